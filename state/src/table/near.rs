//! Entries found some records before they are asked for.
//!
//! A keyed operator knows the hashes of the records ahead. It walks up to the entry of each in three
//! steps, some records apart, so that no step waits for memory: [`KeyedTable::approach`] asks for the
//! bucket where the key belongs; [`KeyedTable::locate`], when the bucket has come, finds the slot by its
//! tag, or asks for the next bucket and looks there one step later; at last [`KeyedTable::turn_to`] says
//! whose turn it is, and the next lookup begins at the slot that was found.
//!
//! Invariant: what was found is only where a lookup *begins*. It compares the key there and searches as
//! ever when that is not it, so that entries may come, go and move in between. Lives on one shard's
//! thread.

use std::ops::Range;

use thalweg_core::KeyHash;
use thalweg_core::simd::on_this_cpu;
use thalweg_memory::hash::{LANES, Tag};
use thalweg_memory::{Key, Record};

use super::buckets::{Entry, Seat};
use super::hot::KeyedTable;
use crate::error::StateError;

/// Records a table remembers at once; the place of a record is its number modulo this.
pub const WINDOW: usize = 1 << u8::BITS;

/// Tables smaller than this stay in the caches by themselves: prefetching would only cost.
pub(super) const PREFETCH_FROM_BYTES: u64 = 256 << 10;

/// Records of a block: those looked for at once.
const BLOCK: usize = LANES;

/// What was found for each record of the window, and whose turn it is.
pub(super) struct Seats {
    /// After `approach` the bucket where the key belongs, after `locate` four times that and the slot.
    found: [u32; WINDOW],
    tags: [Tag; WINDOW],
    /// Of each block the bits of those that were not found in their first bucket.
    astray: [u16; WINDOW / BLOCK],
    turn: u8,
}

impl Seats {
    pub(super) fn new() -> Seats {
        Seats {
            found: [u32::MAX; WINDOW],
            tags: [Tag::of(0); WINDOW],
            astray: [0; WINDOW / BLOCK],
            turn: 0,
        }
    }

    /// Where the entry whose turn it is was found; no seat of the table where it was not.
    #[inline(always)]
    pub(super) fn expected(&self) -> Seat {
        let found = self.found[usize::from(self.turn)];
        Seat {
            bucket: (found >> 2) as usize,
            slot: (found & 3) as usize,
        }
    }
}

impl<K: Key, V: Record> KeyedTable<K, V> {
    /// Asks for the buckets of the records with these hashes; the first of them has the place `from` in
    /// the window, the others those behind it, up to its end.
    ///
    /// # Panics
    /// When there are more than the window has room for behind `from`.
    #[inline]
    pub fn approach(&mut self, from: u8, hashes: &[KeyHash]) {
        let places = usize::from(from)..usize::from(from) + hashes.len();
        let homes = &mut self.seats.found[places.clone()];
        let tags = &mut self.seats.tags[places];
        let (groups, scale) = (&self.groups, self.buckets.scale());
        on_this_cpu(
            #[inline(always)]
            || {
                for ((hash, home), tag) in hashes.iter().zip(&mut *homes).zip(tags) {
                    *home = scale.home(groups.place(*hash, 0)) as u32;
                    *tag = Tag::of(hash.0);
                }
            },
        );
        if self.account.bytes() >= PREFETCH_FROM_BYTES {
            self.buckets.prefetch(homes);
        }
    }

    /// Finds the entries of so many records that were approached, as far as their first two buckets tell: in
    /// the first buckets of these, in the second ones of those of the block before, which have come meanwhile.
    ///
    /// # Panics
    /// As [`KeyedTable::approach`].
    #[inline]
    pub fn locate(&mut self, from: u8, records: usize) {
        let mut from = usize::from(from);
        let end = from + records;
        loop {
            let block = from / BLOCK;
            let until = end.min((block + 1) * BLOCK);
            self.locate_in_block(block, from..until);
            if until == end {
                return;
            }
            from = until;
        }
    }

    #[inline]
    fn locate_in_block(&mut self, block: usize, places: Range<usize>) {
        let first = places.start % BLOCK;
        let seats = &mut self.seats.found[places.clone()];
        let astray = self.buckets.find_slots(&self.seats.tags[places], seats);
        self.seats.astray[block] |= astray << first;
        let before = block.checked_sub(1).unwrap_or(WINDOW / BLOCK - 1);
        let astray = std::mem::take(&mut self.seats.astray[before]);
        let places = before * BLOCK..(before + 1) * BLOCK;
        let seats = &mut self.seats.found[places.clone()];
        self.buckets
            .find_beside(&self.seats.tags[places], seats, astray);
    }

    /// The next lookups are for the record at this place of the window.
    #[inline(always)]
    pub fn turn_to(&mut self, at: u8) {
        self.seats.turn = at;
    }

    /// Makes `item` part of the value of `key`, which was most likely found ahead.
    ///
    /// # Errors
    /// As [`KeyedTable::fold_in`].
    #[inline(always)]
    pub(crate) fn fold_ahead<A>(
        &mut self,
        (hash, key): (KeyHash, &K::Of<'_>),
        item: A,
        (insert, update): (impl FnOnce(A) -> V, impl FnOnce(&mut V, A)),
    ) -> Result<(), StateError> {
        let same = |entry: &Entry<K::Stored, (), V>| K::same(&entry.key, key);
        let seat = self.seats.expected();
        if !self.cutting
            && let Some((entry, stamp)) = self.buckets.confirm_stamped(seat, same)
        {
            *stamp = self.stamp.over(*stamp);
            let before = entry.value.heap_bytes();
            update(&mut entry.value, item);
            return Ok(self.account.follow(before, entry.value.heap_bytes())?);
        }
        // Out of line, so that the way that is nearly always taken is short.
        self.out_of_line(|table| table.fold(hash, key, item, insert, update).map(drop))
    }

    #[inline(never)]
    fn out_of_line<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        work(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use thalweg_core::MaxParallelism;
    use thalweg_memory::Budget;

    use super::*;

    fn table() -> KeyedTable<u64, u64> {
        let budget = Budget::new("slot-0", 1 << 40);
        KeyedTable::new(0..128, MaxParallelism::default(), budget).unwrap()
    }

    /// A number that depends on `i` and looks like no other.
    fn draw(i: u64) -> u64 {
        KeyHash::of_u64(i ^ 0x5EED).0
    }

    /// Counts keys in chunks as an operator does; `step` records at a time, every tenth one removed.
    fn count(keys: &[u64], step: usize) -> (KeyedTable<u64, u64>, BTreeMap<u64, u64>) {
        let (mut table, mut model) = (table(), BTreeMap::new());
        for (number, chunk) in keys.chunks(step).enumerate() {
            let from = (number * step % WINDOW) as u8;
            let hashes: Vec<_> = chunk.iter().map(|key| KeyHash::of_u64(*key)).collect();
            table.approach(from, &hashes);
            table.locate(from, chunk.len());
            for (at, key) in chunk.iter().enumerate() {
                table.turn_to(from.wrapping_add(at as u8));
                let hash = hashes[at];
                assert_eq!(table.get(hash, key), model.get(key));
                if draw(*key + number as u64).is_multiple_of(10) {
                    assert_eq!(table.remove(hash, key), model.remove(key));
                    continue;
                }
                let counted = table.fold(hash, key, 1, |one| one, |count, one| *count += one);
                let expected = model.entry(*key).or_insert(0);
                *expected += 1;
                assert_eq!(counted, Ok(&*expected));
            }
        }
        (table, model)
    }

    #[test]
    fn entries_that_come_go_and_move_after_they_were_found_are_what_they_should_be() {
        for step in [1, 4, 16, 64] {
            // Few keys: the same one several times in a step. Many: growth between finding and asking.
            for (keys, records) in [(3, 2_000), (50, 5_000), (30_000, 60_000)] {
                let keys: Vec<_> = (0..records).map(|i| draw(i) % keys).collect();
                let (table, model) = count(&keys, step);
                assert_eq!(table.len(), model.len());
                for (key, count) in &model {
                    assert_eq!(table.get(KeyHash::of_u64(*key), key), Some(count));
                }
            }
        }
    }

    #[test]
    // All but those whose tag another entry has, and those that lie beyond the second bucket.
    fn most_entries_are_found_ahead_even_in_a_full_table() {
        let mut table = table();
        let (mut keys, mut found) = (0, 0);
        while !table.buckets.is_full() || table.leaving.is_some() || keys < 20_000 {
            let hash = KeyHash::of_u64(keys);
            table.upsert(hash, &keys, || 0, |_| {}).unwrap();
            keys += 1;
        }
        for chunk in 0..keys / BLOCK as u64 {
            let first = chunk * BLOCK as u64;
            let from = (first % WINDOW as u64) as u8;
            let hashes: Vec<_> = (first..).map(KeyHash::of_u64).take(BLOCK).collect();
            table.approach(from, &hashes);
            table.locate(from, BLOCK);
            // What another step was needed for.
            table.locate(from.wrapping_add(BLOCK as u8), 0);
            for key in first..first + BLOCK as u64 {
                table.turn_to((key % WINDOW as u64) as u8);
                let seat = table.seats.expected();
                found += u64::from(table.buckets.confirm(seat, |e| e.key == key).is_some());
            }
        }
        assert!(found * 100 >= keys * 94, "{found} of {keys}");
    }

    #[test]
    fn a_turn_nothing_was_found_for_searches_as_ever() {
        let mut table = table();
        for key in 0..1_000 {
            let hash = KeyHash::of_u64(key);
            table.turn_to(draw(key) as u8);
            assert_eq!(table.upsert(hash, &key, || key, |_| {}), Ok(&key));
        }
        for key in 0..2_000 {
            table.turn_to(draw(key) as u8);
            let there = (key < 1_000).then_some(&key);
            assert_eq!(table.get(KeyHash::of_u64(key), &key), there);
        }
    }
}
