//! Entries found some records before they are asked for.
//!
//! A keyed operator knows the hashes of the records ahead. It walks up to the entry of each in three
//! steps, some records apart, so that no step waits for memory: [`KeyedTable::approach`] names the bucket
//! where the key belongs, which is asked for when a lookup comes or many stand in line (a processor waits
//! with more than a few misses at once); [`KeyedTable::locate`], when the bucket has come, finds the slot by its
//! tag, or asks for the next bucket and looks there one step later, and for the two behind and looks there
//! another step later; at last [`KeyedTable::turn_to`] says
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
use super::open::OpenEntry;

/// Records a table remembers at once; the place of a record is its number modulo this.
pub const WINDOW: usize = 1 << u8::BITS;

/// Tables smaller than this stay in the caches by themselves: prefetching would only cost.
pub(super) const PREFETCH_FROM_BYTES: u64 = 256 << 10;

/// Records of a block: those looked for at once.
const BLOCK: usize = LANES;

/// The block of records before this one, around the window.
#[inline(always)]
const fn block_before(block: usize) -> usize {
    (block + WINDOW / BLOCK - 1) % (WINDOW / BLOCK)
}

/// What was found for each record of the window, and whose turn it is.
pub(super) struct Seats {
    /// After `approach` the bucket where the key belongs, after `locate` four times that and the slot.
    found: [u32; WINDOW],
    tags: [Tag; WINDOW],
    /// Of each block the bits of those that were not found in their first bucket.
    astray: [u16; WINDOW / BLOCK],
    /// Of each block the bits of those that were not found in their second bucket either.
    lost: [u16; WINDOW / BLOCK],
    turn: u8,
    /// The buckets of places before this one have been asked for.
    asked: u8,
    /// Those from there up to this one stand in line for it.
    approached: u8,
}

impl Seats {
    pub(super) fn new() -> Seats {
        Seats {
            found: [u32::MAX; WINDOW],
            tags: [Tag::of(0); WINDOW],
            astray: [0; WINDOW / BLOCK],
            lost: [0; WINDOW / BLOCK],
            turn: 0,
            asked: 0,
            approached: 0,
        }
    }

    /// The places from `from` up to `until` were approached. Answers those whose buckets are to be asked for at once:
    /// all but a block, which stands in line.
    fn line_up(&mut self, from: u8, until: u8) -> (Range<usize>, Range<usize>) {
        if self.approached != from {
            // Other records than those before: what stood in line is not wanted any more.
            self.asked = from;
        }
        self.approached = until;
        let surplus = usize::from(until.wrapping_sub(self.asked)).saturating_sub(BLOCK);
        let first = usize::from(self.asked);
        self.asked = self.asked.wrapping_add(surplus as u8);
        let end = first + surplus;
        (first..end.min(WINDOW), 0..end.saturating_sub(WINDOW))
    }

    /// The bucket that is first in line.
    #[inline(always)]
    fn next_in_line(&mut self) -> Option<u32> {
        if self.asked == self.approached {
            return None;
        }
        let next = self.found[usize::from(self.asked)];
        self.asked = self.asked.wrapping_add(1);
        Some(next)
    }

    /// Where the entry whose turn it is was found; no seat of the table where it was not.
    #[inline(always)]
    pub(super) fn expected(&self) -> Seat {
        self.of(self.turn)
    }

    /// Where the entry of the record at this place was found.
    #[inline(always)]
    fn of(&self, at: u8) -> Seat {
        let found = self.found[usize::from(at)];
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
        let until = from.wrapping_add(hashes.len() as u8);
        if self.account.bytes() >= PREFETCH_FROM_BYTES {
            let (now, around) = self.seats.line_up(from, until);
            self.buckets.prefetch(&self.seats.found[now]);
            self.buckets.prefetch(&self.seats.found[around]);
        }
    }

    /// Asks for one of the buckets that stand in line: a lookup each, so that they do not wait for each other.
    #[inline(always)]
    fn ask_for_next(&mut self) {
        if let Some(bucket) = self.seats.next_in_line() {
            self.buckets.prefetch(&[bucket]);
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
        if first == 0 {
            // What is left of records that had these places before.
            (self.seats.astray[block], self.seats.lost[block]) = (0, 0);
        }
        let seats = &mut self.seats.found[places.clone()];
        let astray = self.buckets.find_slots(&self.seats.tags[places], seats);
        self.seats.astray[block] |= astray << first;
        self.look_beside(block_before(block));
        self.look_in_next_pair(block_before(block_before(block)));
    }

    /// Looks in their second bucket for those of a block that were not in their first.
    #[inline(always)]
    fn look_beside(&mut self, block: usize) {
        let astray = std::mem::take(&mut self.seats.astray[block]);
        let places = block * BLOCK..(block + 1) * BLOCK;
        let seats = &mut self.seats.found[places.clone()];
        self.seats.lost[block] |=
            (self.buckets).find_beside(&self.seats.tags[places], seats, astray);
    }

    /// Looks in the two buckets behind for those of a block that were not in their second either.
    #[inline(always)]
    fn look_in_next_pair(&mut self, block: usize) {
        let lost = std::mem::take(&mut self.seats.lost[block]);
        let places = block * BLOCK..(block + 1) * BLOCK;
        let seats = &mut self.seats.found[places.clone()];
        (self.buckets).find_in_next_pair(&self.seats.tags[places], seats, lost);
    }

    /// The next lookups are for the record at this place of the window.
    #[inline(always)]
    pub fn turn_to(&mut self, at: u8) {
        self.seats.turn = at;
        self.ask_for_next();
    }

    /// What an entry found ahead is before it changes is written aside, if the cut still needs it.
    #[cold]
    #[inline(never)]
    fn before_change_ahead(&mut self, seat: Seat, key: &K::Of<'_>) {
        if (self.buckets)
            .confirm(seat, |entry| K::same(&entry.key, key))
            .is_some()
        {
            self.write_aside(seat);
        }
    }

    /// Opens the entry that was found for the record at this place of the window, if it is that of `key`.
    #[inline(always)]
    pub(crate) fn open_ahead(&mut self, at: u8, key: &K::Of<'_>) -> Option<OpenEntry<'_, K, V>> {
        self.ask_for_next();
        let seat = self.seats.of(at);
        if self.cutting {
            self.before_change_ahead(seat, key);
        }
        let same = |entry: &Entry<K::Stored, (), V>| K::same(&entry.key, key);
        let entry = self.buckets.confirm_mut(seat, self.stamp, same)?;
        Some(OpenEntry::new(entry, &mut self.account))
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
    fn every_bucket_approached_is_asked_for_once_and_before_it_is_a_block_late() {
        // Lookups for every record, for every third, and for none, as of a state that is seldom used.
        for step in [1, 3, usize::MAX] {
            let (mut seats, mut asked) = (Seats::new(), Vec::new());
            let mut places = Vec::new();
            for block in 0..40_usize {
                let from = (block * BLOCK) as u8;
                for at in 0..BLOCK {
                    seats.found[usize::from(from) + at] = (block * BLOCK + at) as u32;
                }
                let (now, around) = seats.line_up(from, from.wrapping_add(BLOCK as u8));
                places.extend(now.chain(around));
                asked.extend(places.drain(..).map(|place| seats.found[place]));
                assert!(
                    asked.len() >= block * BLOCK,
                    "at most a block stands in line"
                );
                for _ in (0..BLOCK).step_by(step) {
                    asked.extend(seats.next_in_line());
                }
            }
            let all: Vec<u32> = (0..asked.len() as u32).collect();
            assert_eq!(asked, all);
        }
    }

    #[test]
    fn what_stood_in_line_of_other_records_is_not_asked_for() {
        let mut seats = Seats::new();
        assert_eq!(seats.line_up(32, 48), (32..32, 0..0));
        seats.found[0] = 7;
        assert_eq!(seats.line_up(0, 8), (0..0, 0..0));
        assert_eq!(seats.next_in_line(), Some(7));
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
