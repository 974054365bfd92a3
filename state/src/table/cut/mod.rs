//! The cut of a table: what it is at one moment, written while it changes.
//!
//! Entered at a barrier by `freeze`, which moves a counter on and looks at no entry. From then until the
//! last row is out the table is *cutting*: whoever changes or removes an entry that is still to be written
//! has its row written aside first. A removed entry that an older copy may hold leaves a tombstone for the
//! next cut. What a table that is not cutting pays is a branch on a flag.
//!
//! Invariants: an entry is written at most once per cut, with the value it had at `freeze`; which those
//! are is told from the stamps alone, so entries may move meanwhile; where tombstones would take too much
//! memory they are forgotten and the next cut writes everything. `emit` writes a cut and takes its rows
//! back, `rows` makes rows of entries. Lives on one shard's thread.

mod ahead;
mod copies;
mod emit;
mod rows;
#[cfg(test)]
mod tests;

use thalweg_core::Epoch;
use thalweg_memory::{Budget, Key, Record};

use copies::Copies;

use super::account::Account;
use super::buckets::{Buckets, Entry, Seat};
use super::hot::KeyedTable;
use super::namespace::Namespace;
use super::stamp::{Generation, Stamp, Wanted};
#[cfg(test)]
use crate::snapshot::planted::{self, Bug};
use crate::snapshot::{CutKind, LogCursor, RowLog};
pub(in crate::table) use rows::{RowWriter, place_of};

/// Full cuts given up one after the other at which marks are made equal again: marks have 8 bits.
const MARKS: u8 = 250;
/// Bytes of tombstones any table may keep; more only where it holds twice as much itself.
const FEW_GRAVES: u64 = 64 << 10;

/// What a table knows of its copies, out of the way of those that have none.
pub(super) type CutOf<K, V, N> = Box<Cut<Entry<<K as Key>::Stored, N, V>>>;

/// What a table that was cut or restored knows of its copies.
pub(super) struct Cut<E> {
    epoch: Option<Epoch>,
    generation: Generation,
    mark: u8,
    /// Full cuts given up since one was written to its end.
    given_up: u8,
    /// The first generation whose changes no copy holds; none where there is no copy to build on.
    since: Option<Generation>,
    /// What `since` was before the last cut that was no copy.
    before: Option<Option<Generation>>,
    kind: CutKind,
    wanted: Wanted,
    walk: Walk,
    /// What was removed since the last cut, and whether some of it was forgotten.
    graves: RowLog,
    graves_lost: bool,
    /// What is removed is remembered beside the cold runs, whose rows may be newer than those of a cut.
    buried_elsewhere: bool,
    /// What was removed before the last cut.
    buried: RowLog,
    buried_lost: bool,
    /// Rows of entries that were changed before the walk came to them.
    aside: RowLog,
    /// Copies of others, from before they were.
    copies: Copies<E>,
    /// Arrays of entries that were cleared before the walk came to them.
    cleared: Vec<Buckets<E>>,
    /// No more rows than this come back.
    rows_at_most: u64,
    /// Memory of what is kept here: what a table owes for its cut does not keep it from growing.
    pub(super) account: Account,
    rows: RowWriter,
}

/// Where the writing of a cut stands.
#[derive(Default)]
struct Walk {
    buried: LogCursor,
    /// A bucket of the array that is walked over, and the shape of the table it belongs to.
    bucket: usize,
    slot: usize,
    shape: Option<u64>,
}

impl Walk {
    /// To the start of an array of a table of this shape, or of one that was cleared.
    pub(super) fn go_to_start(&mut self, shape: Option<u64>) {
        (self.shape, self.bucket, self.slot) = (shape, 0, 0);
    }
}

impl<E> Cut<E> {
    fn new(budget: Budget) -> Cut<E> {
        Cut {
            epoch: None,
            generation: Generation::FIRST,
            mark: 0,
            given_up: 0,
            since: None,
            before: None,
            kind: CutKind::Everything,
            wanted: Wanted::Unmarked {
                mark: 0,
                base: true,
            },
            walk: Walk::default(),
            graves: RowLog::default(),
            graves_lost: false,
            buried_elsewhere: false,
            buried: RowLog::default(),
            buried_lost: false,
            aside: RowLog::default(),
            copies: Copies::new(),
            cleared: Vec::new(),
            rows_at_most: 0,
            account: Account::new(budget),
            rows: RowWriter::new(),
        }
    }

    /// The stamp of changes from now on.
    fn stamp(&self) -> Stamp {
        Stamp::of(self.generation, self.mark)
    }

    /// The stamp of what is restored.
    pub(super) fn restored_stamp(&self) -> Stamp {
        Stamp::of(Generation::RESTORED, self.mark)
    }

    /// Whether an entry with this stamp has still to be written.
    pub(super) fn wants(&self, stamp: Stamp) -> bool {
        self.wanted.is_pending(stamp)
    }

    /// The number of the last full cut.
    pub(super) fn mark(&self) -> u8 {
        self.mark
    }

    /// Whether the rows of the cut are all there is.
    pub(super) fn is_full(&self) -> bool {
        self.kind.is_full()
    }

    /// Whether no older row counts beside those of the cut: none of its own, and none that is carried.
    pub(super) fn is_alone(&self) -> bool {
        self.is_full() && !self.buried_elsewhere
    }

    /// No more rows than this come back.
    pub(super) fn rows_at_most(&self) -> u64 {
        self.rows_at_most
    }

    /// Counts from what is restored.
    pub(super) fn build_on_restored(&mut self) {
        self.since = Some(Generation::FIRST);
    }

    /// What a cut of some kind has to be.
    fn kind_of(&self, asked: CutKind) -> CutKind {
        let far = |since| self.generation.is_far_from(since);
        if asked == CutKind::Changes && (self.graves_lost || self.since.is_none_or(far)) {
            return CutKind::Everything;
        }
        asked
    }

    /// Begins a cut.
    fn begin(&mut self, epoch: Epoch, kind: CutKind) {
        self.epoch = Some(epoch);
        self.kind = kind;
        self.walk = Walk::default();
        let written = self.generation.on(1);
        self.wanted = match (kind, self.since) {
            (CutKind::Changes, Some(since)) => Wanted::Changed { since, written },
            _ => {
                self.mark = self.mark.wrapping_add(1);
                let (mark, base) = (self.mark, kind != CutKind::Copy);
                Wanted::Unmarked { mark, base }
            }
        };
        if kind == CutKind::Copy {
            return;
        }
        self.generation = self.generation.on(2);
        self.before = Some(self.since.replace(self.generation));
        self.buried.clear(&mut self.account);
        self.buried = std::mem::take(&mut self.graves);
        self.buried_lost = std::mem::take(&mut self.graves_lost);
    }

    /// Makes the changes of the last cut count again; whether they did not before.
    fn take_back(&mut self) -> bool {
        if self.kind == CutKind::Copy {
            return false;
        }
        let Some(before) = self.before.take() else {
            return false;
        };
        self.since = before;
        self.graves_lost |= std::mem::take(&mut self.buried_lost);
        if self.buried_elsewhere {
            self.graves_lost |= self.buried.bytes() > 0;
            self.buried.clear(&mut self.account);
            return true;
        }
        self.buried.append(&mut self.graves);
        self.graves = std::mem::take(&mut self.buried);
        true
    }

    /// Gives back what only the writing of the cut needed.
    fn end(&mut self) {
        self.aside.clear(&mut self.account);
        self.copies.clear(&mut self.account);
        self.cleared.clear();
        let kept = (self.graves.bytes() + self.buried.bytes()) as u64;
        let over = self.account.bytes() - kept;
        self.account.release(over);
    }

    /// Forgets what was removed: the next cut writes everything.
    fn lose_graves(&mut self) {
        self.graves.clear(&mut self.account);
        self.graves_lost = true;
    }
}

/// A copy of an entry, where its value has no memory of its own.
#[inline]
fn copy_of<K: Key, V: Record, N: Namespace>(
    entry: &Entry<K::Stored, N, V>,
) -> Option<Entry<K::Stored, N, V>> {
    // What is dropped may do more than give memory back.
    if const { std::mem::needs_drop::<V>() } {
        return None;
    }
    Some(Entry {
        value: entry.value.plain_copy()?,
        key: K::store(&K::lend(&entry.key)),
        namespace: entry.namespace,
    })
}

impl<K: Key, V: Record, N: Namespace> KeyedTable<K, V, N> {
    /// What is known of copies, made when it is first needed.
    pub(super) fn cut_mut(&mut self) -> &mut Cut<Entry<K::Stored, N, V>> {
        let budget = || self.account.budget().clone();
        self.cut.get_or_insert_with(|| Box::new(Cut::new(budget())))
    }

    /// See [`Snapshot::freeze`](crate::Snapshot::freeze).
    pub(super) fn begin_cut(&mut self, epoch: Epoch, kind: CutKind) -> CutKind {
        if self.cutting {
            self.give_up_cut();
            self.take_back_cut();
        }
        if self.cut.as_ref().is_some_and(|cut| cut.given_up >= MARKS) {
            self.make_marks_equal();
        }
        let cut = self.cut_mut();
        debug_assert!(
            cut.epoch.is_none_or(|last| last < epoch),
            "epochs only count up"
        );
        let kind = cut.kind_of(kind);
        cut.begin(epoch, kind);
        self.stamp = cut.stamp();
        if kind != CutKind::Copy {
            self.buckets.begin_marks();
        }
        self.cutting = true;
        kind
    }

    /// Whether a cut of changes would be everything.
    pub(crate) fn would_be_everything(&self) -> bool {
        let cut = self.cut.as_ref();
        cut.is_none_or(|cut| cut.kind_of(CutKind::Changes) != CutKind::Changes)
    }

    /// See [`Snapshot::cut_failed`](crate::Snapshot::cut_failed).
    pub(super) fn take_back_cut(&mut self) {
        self.give_up_cut();
        if self.cut.as_mut().is_some_and(|cut| cut.take_back()) {
            #[cfg(test)]
            if planted::is_in(Bug::MarksLost) {
                return;
            }
            self.buckets.take_marks_back();
        }
    }

    /// Ends a cut whose rows are not all out.
    fn give_up_cut(&mut self) {
        if !self.cutting {
            return;
        }
        if let Some(cut) = &mut self.cut {
            cut.given_up += u8::from(cut.is_full());
        }
        self.leave_cut();
    }

    /// Ends a cut whose rows are all out.
    pub(super) fn end_cut(&mut self) {
        if let Some(cut) = &mut self.cut
            && cut.is_full()
        {
            cut.given_up = 0;
        }
        self.leave_cut();
    }

    fn leave_cut(&mut self) {
        self.cutting = false;
        if let Some(cut) = &mut self.cut {
            cut.end();
        }
    }

    /// See [`Snapshot::forget_copies`](crate::Snapshot::forget_copies).
    pub(super) fn lose_copies(&mut self) {
        if let Some(cut) = &mut self.cut {
            cut.since = None;
            cut.before = cut.before.map(|_| None);
            cut.graves.clear(&mut cut.account);
        }
    }

    /// Gives all entries the mark of the table: after many full cuts in a row that were given up, some
    /// have marks of long ago, which would soon be taken for new ones.
    #[cold]
    fn make_marks_equal(&mut self) {
        let Some(cut) = &mut self.cut else {
            return;
        };
        let all = Wanted::Unmarked {
            mark: cut.mark,
            base: false,
        };
        let leaving = self.leaving.as_mut().map(|leaving| &mut leaving.buckets);
        for buckets in [Some(&mut self.buckets), leaving].into_iter().flatten() {
            buckets.restamp_all(|stamp| all.written(stamp));
        }
        cut.given_up = 0;
    }

    /// Keeps an entry aside that is about to change, if the cut still needs it: as a copy, or as its row.
    #[cold]
    #[inline(never)]
    pub(super) fn write_aside(&mut self, seat: Seat) {
        #[cfg(test)]
        if planted::is_in(Bug::NothingWrittenAside) {
            return;
        }
        let Some(cut) = &mut self.cut else {
            return;
        };
        let stamp = self.buckets.stamp(seat);
        if !cut.wanted.is_pending(stamp) {
            return;
        }
        let entry = self.buckets.at(seat);
        if let Some(copy) = copy_of::<K, V, N>(entry) {
            cut.copies.push_owing(copy, stamp, &mut cut.account);
        } else {
            let row = cut.rows.row::<K, V, N>(&self.groups, entry);
            cut.aside.push_owing(row, &mut cut.account);
        }
        self.buckets.set_stamp(seat, cut.wanted.written(stamp));
    }

    /// Writes down that an entry is about to be removed, where copies are kept that may hold it.
    #[cold]
    #[inline(never)]
    pub(super) fn bury(&mut self, seat: Seat) {
        if self.cutting {
            self.write_aside(seat);
        }
        let Some(cut) = &mut self.cut else {
            return;
        };
        let stamp = self.buckets.stamp(seat);
        #[cfg(test)]
        if planted::is_in(Bug::TombstonesLost) {
            return;
        }
        if cut.since.is_none() || cut.graves_lost || stamp.is_new() || cut.buried_elsewhere {
            return;
        }
        let row = cut
            .rows
            .tombstone::<K, V, N>(&self.groups, self.buckets.at(seat));
        let most = (self.account.bytes() / 2).max(FEW_GRAVES);
        if cut.graves.bytes() as u64 > most || cut.graves.push(row, &mut cut.account).is_err() {
            cut.lose_graves();
        }
    }

    /// From now on what is removed is remembered beside the cold runs: an entry that was removed may come again
    /// and leave memory before the next cut, whose tombstone would hide it. The next cut writes everything if
    /// it had tombstones to write.
    pub(crate) fn bury_elsewhere(&mut self) {
        let cut = self.cut_mut();
        cut.buried_elsewhere = true;
        if cut.graves.bytes() > 0 {
            cut.lose_graves();
        }
    }

    /// Writes down that all entries are about to be dropped. Answers whether it took their arrays, because
    /// the cut still needs what is in them.
    pub(super) fn bury_all(&mut self) -> bool {
        let Some(cut) = &mut self.cut else {
            return false;
        };
        if self.len == 0 {
            return false;
        }
        if cut.since.is_some() {
            cut.lose_graves();
        }
        if !self.cutting {
            return false;
        }
        let nothing = Self::nothing(&self.groups);
        cut.cleared
            .push(std::mem::replace(&mut self.buckets, nothing));
        let leaving = self.leaving.take();
        cut.cleared.extend(leaving.map(|leaving| leaving.buckets));
        cut.walk.go_to_start(None);
        cut.account.take_over(&mut self.account);
        true
    }
}
