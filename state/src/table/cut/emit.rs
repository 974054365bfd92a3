//! The writing of a cut, a slice per turn; and the way back.
//!
//! Entered between turns until all rows are out, and when an operator opens from a copy. Invariant: a
//! slice is bounded by its budget, whatever it meets; when the walk has passed over an array that did not
//! change its shape meanwhile, nothing in it is still to be written. Lives on one shard's thread.

use thalweg_core::Epoch;
use thalweg_memory::hash::SLOTS;
use thalweg_memory::{Key, Record};

use super::super::buckets::{Buckets, Entry, Seat};
use super::super::hot::KeyedTable;
use super::super::namespace::Namespace;
use super::super::place::Groups;
use super::super::scan::Scan;
use super::super::stamp::Stamp;
use super::Cut;
use super::ahead::Ahead;
use super::rows::{RowWriter, place_of};
use crate::error::StateError;
use crate::snapshot::{CutKind, Row, RowSink, Snapshot, StateSize};

/// Bytes of rows that cost as much as a row itself.
const BYTES_OF_BUDGET: usize = 1 << 10;
/// Buckets that are passed over at the cost of a row.
const BUCKETS_OF_BUDGET: usize = 8;

/// What is left of a slice.
struct Left {
    budget: usize,
    passed: usize,
}

impl Left {
    fn row(&mut self, bytes: usize) {
        self.budget = self.budget.saturating_sub(1 + bytes / BYTES_OF_BUDGET);
    }

    fn bucket(&mut self) {
        self.passed += 1;
        if self.passed.is_multiple_of(BUCKETS_OF_BUDGET) {
            self.budget = self.budget.saturating_sub(1);
        }
    }

    fn is_over(&self) -> bool {
        self.budget == 0
    }
}

impl<K: Key, V: Record, N: Namespace> KeyedTable<K, V, N> {
    /// See [`Snapshot::emit`]. What `keep` refuses is not written; where an older copy may hold it, a
    /// tombstone is.
    pub(crate) fn emit_kept(
        &mut self,
        budget: usize,
        keep: impl Fn(&V) -> bool,
        out: &mut dyn RowSink,
    ) -> Result<Scan, StateError> {
        let mut left = Left {
            budget: budget.max(1),
            passed: 0,
        };
        if self.emit_set_aside(&mut left, &keep, out) {
            return Ok(Scan::More);
        }
        if self.leaving.is_some() {
            // Entries are walked over when all are in one array: that comes first, in slices too.
            self.move_some(left.budget);
            return Ok(Scan::More);
        }
        let Some(cut) = self.cut.as_deref_mut().filter(|_| self.cutting) else {
            return Ok(Scan::Done);
        };
        if cut.walk.shape != Some(self.shape) {
            cut.walk.go_to_start(Some(self.shape));
        }
        let groups = &self.groups;
        let full = cut.is_alone();
        let ended = cut.walk_over(&mut self.buckets, &mut left, |rows, entry, stamp| {
            emit_one::<K, V, N>(rows, groups, entry, &keep, full || stamp.is_new(), out)
        });
        if !ended {
            return Ok(Scan::More);
        }
        self.end_cut();
        Ok(Scan::Done)
    }

    /// Writes tombstones, then what was written aside or copied, then what was cleared; whether that used up
    /// the slice.
    fn emit_set_aside(
        &mut self,
        left: &mut Left,
        keep: &impl Fn(&V) -> bool,
        out: &mut dyn RowSink,
    ) -> bool {
        let Some(cut) = self.cut.as_deref_mut().filter(|_| self.cutting) else {
            return false;
        };
        cut.emit_rows(left, out);
        let (groups, full) = (&self.groups, cut.is_alone());
        while !left.is_over()
            && let Some((entry, stamp)) = cut.copies.pop(&mut cut.account)
        {
            let in_no_copy = full || stamp.is_new();
            let rows = &mut cut.rows;
            left.row(emit_one::<K, V, N>(
                rows, groups, &entry, keep, in_no_copy, out,
            ));
        }
        while !left.is_over()
            && let Some(mut cleared) = cut.cleared.pop()
        {
            let ended = cut.walk_over(&mut cleared, left, |rows, entry, stamp| {
                emit_one::<K, V, N>(rows, groups, entry, keep, full || stamp.is_new(), out)
            });
            if ended {
                cut.walk.go_to_start(None);
            } else {
                cut.cleared.push(cleared);
            }
        }
        left.is_over()
    }

    /// Asks for the place of a row that will be taken back. What is wrong with it shows then.
    pub(crate) fn ask_for_row(&self, row: &Row<'_>) {
        if let Ok((key, namespace)) = place_of::<K, N>(row) {
            let hash = K::hash(&K::lend(&key));
            if self.groups.range().contains(&self.groups.group_of(hash).0) {
                self.prefetch_in(hash, &namespace);
            }
        }
    }

    /// See [`Snapshot::restore`].
    pub(crate) fn take_back_row(&mut self, row: &Row<'_>) -> Result<(), StateError> {
        let (key, namespace) = place_of::<K, N>(row)?;
        let lent = K::lend(&key);
        let hash = K::hash(&lent);
        let groups = self.groups.range();
        let group = self.groups.group_of(hash);
        if group != row.group || !groups.contains(&group.0) {
            return Err(StateError::ForeignRow {
                group: row.group.0,
                from: groups.start,
                to: groups.end,
            });
        }
        debug_assert!(!self.cutting, "states are restored before they are cut");
        let cut = self.cut_mut();
        cut.build_on_restored();
        let stamp = cut.restored_stamp();
        let found = self.find_mut(hash, &lent, &namespace);
        let Some(bytes) = row.value else {
            if let Some(seat) = found {
                self.take_out(seat);
                self.clear_if_empty();
            }
            return Ok(());
        };
        let value: V = self.cut_mut().rows.value(bytes)?;
        match found {
            Some(seat) => {
                let entry = self.buckets.at_mut(seat, stamp);
                let (before, after) = (entry.value.heap_bytes(), value.heap_bytes());
                entry.value = value;
                self.buckets.set_stamp(seat, stamp);
                self.account.follow(before, after)?;
            }
            None => {
                drop(lent);
                let seat = self.insert(hash, key, namespace, value)?;
                self.buckets.set_stamp(seat, stamp);
                if self.buckets.is_crowded() {
                    self.spread_out();
                }
            }
        }
        Ok(())
    }
}

/// Writes the row of one entry that is kept, or the tombstone of one that is not and that an older copy
/// may hold; answers the bytes.
#[inline]
fn emit_one<K: Key, V: Record, N: Namespace>(
    rows: &mut RowWriter,
    groups: &Groups,
    entry: &Entry<K::Stored, N, V>,
    keep: &impl Fn(&V) -> bool,
    in_no_copy: bool,
    out: &mut dyn RowSink,
) -> usize {
    let row = if keep(&entry.value) {
        rows.row::<K, V, N>(groups, entry)
    } else if in_no_copy {
        return 0;
    } else {
        rows.tombstone::<K, V, N>(groups, entry)
    };
    out.row(row);
    row.bytes()
}

impl<E> Cut<E> {
    /// Writes tombstones, then what was written aside.
    fn emit_rows(&mut self, left: &mut Left, out: &mut dyn RowSink) {
        while !left.is_over() && !self.is_full() {
            match self.buried.show_one(&mut self.walk.buried, out) {
                Some(bytes) => left.row(bytes),
                None => break,
            }
        }
        while !left.is_over() {
            match self.aside.drain_one(&mut self.account, out) {
                Some(bytes) => left.row(bytes),
                None => break,
            }
        }
    }

    /// Writes what is pending in an array, from where the walk stands; whether it came to the end.
    #[inline]
    fn walk_over(
        &mut self,
        buckets: &mut Buckets<E>,
        left: &mut Left,
        mut write: impl FnMut(&mut RowWriter, &E, Stamp) -> usize,
    ) -> bool {
        let (wanted, walk) = (self.wanted, &mut self.walk);
        let begun = walk.bucket + usize::from(walk.slot > 0);
        let mut ahead = (wanted.are_changes()).then(|| Ahead::from(buckets, begun));
        loop {
            if walk.slot == 0
                && let Some(ahead) = &mut ahead
            {
                walk.bucket = ahead.next(buckets);
            }
            if walk.bucket >= buckets.len() {
                return true;
            }
            while walk.slot < SLOTS {
                let (bucket, slot) = (walk.bucket, walk.slot);
                walk.slot += 1;
                let Some(entry) = buckets.bucket(bucket).and_then(|bucket| bucket.get(slot)) else {
                    continue;
                };
                let seat = Seat { bucket, slot };
                let stamp = buckets.stamp(seat);
                if !wanted.is_pending(stamp) {
                    continue;
                }
                left.row(write(&mut self.rows, entry, stamp));
                buckets.set_stamp(seat, wanted.written(stamp));
                if left.is_over() {
                    return false;
                }
            }
            (walk.bucket, walk.slot) = (walk.bucket + 1, 0);
            left.bucket();
            if left.is_over() {
                return false;
            }
        }
    }
}

impl<K: Key, V: Record, N: Namespace> Snapshot for KeyedTable<K, V, N> {
    fn size(&self) -> StateSize {
        StateSize::in_memory(self.len(), self.memory_bytes())
    }

    fn freeze(&mut self, epoch: Epoch, kind: CutKind) -> CutKind {
        self.begin_cut(epoch, kind)
    }

    fn is_cutting(&self) -> bool {
        self.cutting
    }

    fn emit(&mut self, budget: usize, out: &mut dyn RowSink) -> Result<Scan, StateError> {
        self.emit_kept(budget, |_| true, out)
    }

    fn cut_failed(&mut self) {
        self.take_back_cut();
    }

    fn expect_rows(&mut self, about: u64, at_most: u64) {
        self.cut_mut().rows_at_most = at_most;
        self.make_room_for(about);
    }

    fn approach_row(&mut self, row: &Row<'_>) {
        self.ask_for_row(row);
    }

    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError> {
        self.take_back_row(&row)
    }

    fn forget_copies(&mut self) {
        self.lose_copies();
    }
}
