//! Entries that leave memory and come back: what a table does for its overflow.
//!
//! Entered some buckets at a time between batches, and for each entry that was read back. Invariants:
//! an entry is dropped only while a cold run holds it as it is, or has left it out because it is over, which is
//! said then; and not before a cut that needs it has written it. Every change of an entry makes it one that no cold
//! run holds. Lives on one shard's thread.

use thalweg_core::{KeyGroup, KeyHash};
use thalweg_memory::hash::SLOTS;
use thalweg_memory::{Key, Record};

use super::buckets::{Buckets, Entry, Seat, limit_of};
use super::cut::{RowWriter, place_of};
use super::grow::{FIRST, larger};
use super::hot::KeyedTable;
use super::namespace::{Namespace, entry_hash};
use super::near::WINDOW;
use super::stamp::{Generation, Stamp};
use crate::error::StateError;
use crate::lsm::Candidate;
use crate::snapshot::{Row, RowSink};

/// The part of its places that a table uses whose entries leave: buckets are emptied in turn, so some are fuller than
/// they are on average, and what is not there is sought far where buckets are full.
const UNEVEN: (usize, usize) = (7, 8);
/// Places up to which a table uses all of them: what has to stay for the records ahead is much of so few.
const FEW: usize = 16 * WINDOW;

/// Tells whether what an entry holds is over.
pub(crate) type Over<V> = Box<dyn Fn(&V) -> bool>;
/// Answers that as of now.
pub(crate) type OverByNow<V> = Box<dyn Fn() -> Over<V>>;
/// Is told of entries that are over as they are dropped: the hashes of their keys, and tombstones.
pub(crate) type Gone<'a> = dyn FnMut(KeyHash, &Row<'_>) + 'a;

/// How full a table is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling {
    /// Entries in the array that takes new ones, and those still to be moved there.
    pub(crate) entries: usize,
    /// How many it takes before it has to grow.
    pub(crate) limit: usize,
    /// Bytes of entries outside of the arrays.
    pub(crate) heap_bytes: u64,
    /// Bytes of the array that it would grow to, if it does not hold them already.
    pub(crate) growth_bytes: u64,
    /// Bytes that it takes to grow so far that more entries fit.
    pub(crate) room_bytes: u64,
}

impl<K: Key, V: Record, N: Namespace> KeyedTable<K, V, N> {
    pub(super) const UNEVEN: (usize, usize) = UNEVEN;
    pub(super) const FEW: usize = FEW;
    /// Whether entries may have something on the heap.
    pub(crate) const HAS_HEAP: bool = std::mem::needs_drop::<Entry<K::Stored, N, V>>();

    /// How full it is, and what it takes to grow for so many more entries.
    pub(crate) fn filling(&self, more: usize) -> Filling {
        let growth_bytes = match &self.coming {
            Some(_) => 0,
            None => Buckets::<Entry<K::Stored, N, V>>::bytes_of(self.next_len()),
        };
        let leaving = self.leaving.as_ref();
        let coming = self.coming.as_ref();
        let arrays = self.buckets.bytes()
            + coming.map_or(0, |coming| coming.bytes())
            + leaving.map_or(0, |leaving| leaving.held);
        Filling {
            entries: self.len,
            limit: self.places_in(self.buckets.len()),
            heap_bytes: self.account.bytes().saturating_sub(arrays),
            growth_bytes,
            room_bytes: self.bytes_for(more).max(growth_bytes),
        }
    }

    /// Bytes of the first array, which is reserved with the first entry.
    #[must_use]
    pub fn first_bytes() -> u64 {
        Buckets::<Entry<K::Stored, N, V>>::bytes_of(FIRST)
    }

    /// How many more entries it takes before it has to grow.
    #[must_use]
    pub fn fits(&self) -> usize {
        limit_of(self.buckets.len()).saturating_sub(self.len)
    }

    /// Bytes that are reserved before so many more entries are in, beside what those have on the heap: where it has
    /// to grow, the larger array. A small one may have to grow more than once: then two are there at a time, beside the
    /// one that is there now.
    #[must_use]
    pub fn bytes_for(&self, more: usize) -> u64 {
        let entries = self.len.saturating_add(more);
        let (mut buckets, mut before) = (self.buckets.len(), 0);
        while limit_of(buckets) < entries {
            (before, buckets) = (buckets, larger(buckets));
        }
        let bytes_of = Buckets::<Entry<K::Stored, N, V>>::bytes_of;
        if buckets == self.buckets.len() {
            return 0;
        }
        let smaller = if before == self.buckets.len() {
            0
        } else {
            bytes_of(before)
        };
        let coming = self.coming.as_ref().map_or(0, |coming| coming.bytes());
        (bytes_of(buckets) + smaller).saturating_sub(coming)
    }

    /// Bytes that keys and values have on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> u64 {
        self.filling(0).heap_bytes
    }

    /// The key group of a hash.
    pub(crate) fn group_of(&self, hash: KeyHash) -> KeyGroup {
        self.groups.group_of(hash)
    }

    /// Buckets of the array that takes new entries.
    pub(crate) fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    /// How many buckets a search for what is absent goes through, on average.
    #[cfg(test)]
    pub(crate) fn searched_for_absent(&self) -> f64 {
        self.buckets.searched_for_absent()
    }

    /// Ends a growth that is going on, a few buckets at a time; whether none is.
    pub(crate) fn settle(&mut self, buckets: usize) -> bool {
        self.move_some(buckets);
        self.leaving.is_none()
    }

    /// Where the entry of a key lies, as a number of a slot, if it is in memory.
    #[inline]
    pub(crate) fn slot_of(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> Option<usize> {
        let seat = self.find_mut(hash, key, namespace)?;
        Some(seat.bucket * SLOTS + seat.slot)
    }

    /// Writes the rows of some buckets that no cold run holds and that `pick` picks; answers how many. From here on
    /// they count as held by a cold run: the rows must get into one before anything is dropped.
    pub(crate) fn flush_buckets(
        &mut self,
        buckets: impl Iterator<Item = usize>,
        rows: &mut OverflowRows,
        mut pick: impl FnMut(Candidate) -> bool,
        out: &mut dyn RowSink,
    ) -> usize {
        let mut written = 0;
        for seat in seats(buckets) {
            let Some(entry) = self.entry_at(seat) else {
                continue;
            };
            let (candidate, stamp) = (
                candidate_of::<K, V, N>(entry, seat),
                self.buckets.stamp(seat),
            );
            if !pick(candidate) || stamp.is_cold() {
                continue;
            }
            out.row(rows.0.row::<K, V, N>(&self.groups, entry));
            self.buckets.set_stamp(seat, stamp.made_cold());
            written += 1;
        }
        written
    }

    /// What this says is over cold runs leave out when they are merged, though an entry counts as held by one.
    pub(crate) fn leave_out(&mut self, over_by_now: OverByNow<V>) {
        self.left_out = Some(over_by_now);
    }

    /// What tells of entries that cold runs may have left out, if they leave anything out.
    pub(crate) fn over_by_now(&self) -> Option<Over<V>> {
        self.left_out.as_ref().map(|over_by_now| over_by_now())
    }

    /// Drops the entries of some buckets that a cold run holds as they are and that `pick` picks;
    /// answers how many. Those that are over are shown to `gone`: a copy may hold them and no run any more.
    pub(crate) fn drop_buckets(
        &mut self,
        buckets: impl Iterator<Item = usize>,
        rows: &mut OverflowRows,
        mut pick: impl FnMut(Candidate) -> bool,
        gone: &mut Gone<'_>,
    ) -> usize {
        let (mut dropped, over) = (0, self.over_by_now());
        for seat in seats(buckets) {
            let Some(entry) = self.entry_at(seat) else {
                continue;
            };
            let candidate = candidate_of::<K, V, N>(entry, seat);
            if !self.buckets.stamp(seat).is_cold() || !pick(candidate) {
                continue;
            }
            if self.is_wanted(seat) {
                // The cut in work comes to it; written aside it would take memory all the same.
                continue;
            }
            self.drop_at((seat, candidate.key), over.as_ref(), rows, gone);
            dropped += 1;
        }
        dropped
    }

    fn drop_at(
        &mut self,
        (seat, hash): (Seat, KeyHash),
        over: Option<&Over<V>>,
        rows: &mut OverflowRows,
        gone: &mut Gone<'_>,
    ) {
        let entry = self.buckets.at(seat);
        if over.is_some_and(|over| over(&entry.value)) {
            gone(hash, &rows.0.tombstone::<K, V, N>(&self.groups, entry));
        }
        drop(self.take_out(seat));
    }

    /// The keys of the entries in some buckets whose namespace is wanted.
    pub(crate) fn keys_in_buckets(
        &self,
        buckets: impl Iterator<Item = usize>,
        wanted: impl Fn(&N) -> bool,
    ) -> Vec<(KeyHash, K::Stored)> {
        let entries = seats(buckets).filter_map(|seat| self.entry_at(seat));
        let wanted = entries.filter(|entry| wanted(&entry.namespace));
        let key = |entry: &Entry<K::Stored, N, V>| {
            let key = K::lend(&entry.key);
            (K::hash(&key), K::store(&key))
        };
        wanted.map(key).collect()
    }

    /// Writes the row of one entry, unless a cold run holds it; whether it was written. See
    /// [`KeyedTable::flush_buckets`].
    pub(crate) fn flush_entry(
        &mut self,
        (hash, key): (KeyHash, &K::Of<'_>),
        namespace: &N,
        rows: &mut OverflowRows,
        out: &mut dyn RowSink,
    ) {
        let Some(seat) = self.find_mut(hash, key, namespace) else {
            return;
        };
        let stamp = self.buckets.stamp(seat);
        let entry = self.buckets.at(seat);
        out.row(rows.0.row::<K, V, N>(&self.groups, entry));
        self.buckets.set_stamp(seat, stamp.made_cold());
    }

    /// Whether a cold run holds one entry as it is.
    pub(crate) fn is_cold(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> bool {
        let seat = self.find_mut(hash, key, namespace);
        seat.is_some_and(|seat| self.buckets.stamp(seat).is_cold())
    }

    /// Whether one entry may be dropped: a cold run holds it as it is, and no cut has still to write it.
    pub(crate) fn may_leave(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> bool {
        let seat = self.find_mut(hash, key, namespace);
        seat.is_some_and(|seat| self.buckets.stamp(seat).is_cold() && !self.is_wanted(seat))
    }

    /// Drops one entry, which may leave. See [`KeyedTable::drop_buckets`].
    pub(crate) fn drop_entry(
        &mut self,
        (hash, key, namespace): (KeyHash, &K::Of<'_>, &N),
        over: Option<&Over<V>>,
        rows: &mut OverflowRows,
        gone: &mut Gone<'_>,
    ) {
        if let Some(seat) = self.find_mut(hash, key, namespace) {
            self.drop_at((seat, hash), over, rows, gone);
        }
    }

    /// Shows the entry that a row is of, with its key and namespace, if it is in memory.
    ///
    /// # Errors
    /// When the row is not of the types of the table.
    pub(crate) fn entry_of<R>(
        &self,
        row: &Row<'_>,
        show: impl FnOnce(&K::Of<'_>, &N, &V) -> R,
    ) -> Result<Option<R>, StateError> {
        let (key, namespace) = place_of::<K, N>(row)?;
        let key = K::lend(&key);
        let value = self.get_in(K::hash(&key), &key, &namespace);
        Ok(value.map(|value| show(&key, &namespace, value)))
    }

    /// The key of a row of this table.
    ///
    /// # Errors
    /// When the row is not of the types of the table.
    pub(crate) fn key_of(&self, row: &Row<'_>) -> Result<K::Stored, StateError> {
        let (key, _) = place_of::<K, N>(row)?;
        Ok(key)
    }

    /// Takes an entry in that a cold run holds as it is.
    ///
    /// # Errors
    /// When the row is not of the types of the table, or there is no memory for it.
    pub(crate) fn admit(
        &mut self,
        row: &Row<'_>,
        rows: &mut OverflowRows,
    ) -> Result<(), StateError> {
        // A full cut in work carries the run: it has not to write the entry besides.
        let mark = self.cut.as_ref().map_or(0, |cut| cut.mark());
        self.admit_as(Stamp::of(Generation::RESTORED, mark).made_cold(), row, rows)
    }

    /// Takes an entry in of a copy that is taken back while the table is at work, as if it had been there before. A full
    /// cut in work has still to write it.
    ///
    /// # Errors
    /// As [`KeyedTable::admit`].
    pub(crate) fn admit_late(
        &mut self,
        row: &Row<'_>,
        rows: &mut OverflowRows,
    ) -> Result<(), StateError> {
        let mark = self.cut.as_ref().map_or(0, |cut| cut.mark());
        let before = mark.wrapping_sub(1);
        self.admit_as(Stamp::of(Generation::RESTORED, before), row, rows)?;
        if self.buckets.is_crowded() {
            self.spread_out_meanwhile();
        }
        Ok(())
    }

    fn admit_as(
        &mut self,
        stamp: Stamp,
        row: &Row<'_>,
        rows: &mut OverflowRows,
    ) -> Result<(), StateError> {
        let (key, namespace) = place_of::<K, N>(row)?;
        let lent = K::lend(&key);
        let hash = K::hash(&lent);
        let there = self.find_mut(hash, &lent, &namespace).is_some();
        drop(lent);
        let Some(value) = row.value.filter(|_| !there) else {
            return Ok(());
        };
        let value: V = rows.value(value)?;
        let seat = self.insert(hash, key, namespace, value)?;
        self.buckets.set_stamp(seat, stamp);
        Ok(())
    }

    /// What a row of this table's keys says: the key with its hash, and its value unless it says that it is gone.
    ///
    /// # Errors
    /// When the row is not of these types, or of a key of other key groups.
    pub fn read_row<W: Record>(
        &self,
        row: &Row<'_>,
        rows: &mut OverflowRows,
    ) -> Result<(KeyHash, K::Stored, Option<W>), StateError> {
        let (key, ()) = place_of::<K, ()>(&Row {
            namespace: &[],
            ..*row
        })?;
        let hash = K::hash(&K::lend(&key));
        let (group, groups) = (self.groups.group_of(hash), self.groups.range());
        if group != row.group || !groups.contains(&group.0) {
            return Err(StateError::ForeignRow {
                group: row.group.0,
                from: groups.start,
                to: groups.end,
            });
        }
        let value = row.value.map(|value| rows.value(value)).transpose()?;
        Ok((hash, key, value))
    }

    /// The state is that of a copy that is not taken back row by row: the next cut of changes builds on it.
    pub(crate) fn build_on_copy(&mut self) {
        self.cut_mut().build_on_restored();
    }

    /// Whether the cut in work has still to write an entry.
    fn is_wanted(&self, seat: Seat) -> bool {
        let cut = self.cut.as_ref().filter(|_| self.cutting);
        cut.is_some_and(|cut| cut.wants(self.buckets.stamp(seat)))
    }

    fn entry_at(&self, seat: Seat) -> Option<&Entry<K::Stored, N, V>> {
        self.buckets.bucket(seat.bucket)?.get(seat.slot)
    }
}

fn candidate_of<K: Key, V, N: Namespace>(entry: &Entry<K::Stored, N, V>, seat: Seat) -> Candidate {
    let key = K::hash(&K::lend(&entry.key));
    Candidate {
        slot: seat.bucket * SLOTS + seat.slot,
        key,
        entry: entry_hash(key, &entry.namespace),
    }
}

fn seats(buckets: impl Iterator<Item = usize>) -> impl Iterator<Item = Seat> {
    buckets.flat_map(|bucket| (0..SLOTS).map(move |slot| Seat { bucket, slot }))
}

/// Makes rows of entries and entries of rows, in memory that is used again.
pub struct OverflowRows(RowWriter);

impl Default for OverflowRows {
    fn default() -> OverflowRows {
        OverflowRows::new()
    }
}

impl OverflowRows {
    /// Without memory yet.
    #[must_use]
    pub fn new() -> OverflowRows {
        OverflowRows(RowWriter::new())
    }

    /// The value of a row.
    pub(crate) fn value<V: Record>(&mut self, bytes: &[u8]) -> Result<V, StateError> {
        self.0.value(bytes)
    }
}
