//! One page: open addressing over buckets, any number of them.
//!
//! Entered with a place (see the directory) and a tag; left with the bucket and slot of an entry. A page
//! is rebuilt a quarter larger when it is full: entries carry their place, so no key is hashed again.
//!
//! Invariants: entries of a page never exceed `limit`, which leaves vacant slots, so every probe ends; an
//! entry lies in its home bucket or, counted in the overflow of each bucket it passed, in a later one.
//! Lives on one shard's thread.

use super::entry::{Bucket, Entry};
use super::probe::{SLOTS, TagWord};

/// Entries per hundred slots at which a page is full. More is denser, less is faster: in a prototype of
/// this layout 80 against 65 cost 2 to 9 ns per update of tables larger than the caches, and saved 8
/// bytes per entry of 16.
const FULL_PERCENT: usize = 70;
/// Pages of fewer buckets are not worth shrinking.
const SHRINK_FROM: usize = 8;

/// Where an entry lies in its page.
#[derive(Clone, Copy)]
pub(crate) struct Seat {
    pub(crate) bucket: usize,
    pub(crate) slot: usize,
}

/// A run of buckets that grows alone. New pages have none.
pub(crate) struct Page<S, N, V> {
    pub(crate) buckets: Box<[Bucket<S, N, V>]>,
    entries: u32,
    limit: u32,
}

/// The bucket where an entry belongs: the bits of `place` below `shift`, scaled to `buckets`.
#[inline(always)]
fn home(place: u64, shift: u32, buckets: usize) -> usize {
    debug_assert!((1..=32).contains(&shift), "the bits within a group");
    (((place << (64 - shift)) as u128 * buckets as u128) >> 64) as usize
}

#[inline(always)]
fn after(bucket: usize, buckets: usize) -> usize {
    if bucket + 1 == buckets { 0 } else { bucket + 1 }
}

fn limit_of(buckets: usize) -> u32 {
    (buckets * SLOTS * FULL_PERCENT / 100) as u32
}

/// Buckets for `entries` with some room to grow; 0 for none.
fn buckets_for(entries: usize) -> usize {
    (entries * 115).div_ceil(SLOTS * FULL_PERCENT)
}

impl<S, N, V> Page<S, N, V> {
    pub(crate) fn new() -> Self {
        Page {
            buckets: Box::default(),
            entries: 0,
            limit: 0,
        }
    }

    /// An empty page with room for `entries`.
    pub(crate) fn with_room(entries: usize) -> Self {
        Self::of(buckets_for(entries))
    }

    fn of(buckets: usize) -> Self {
        let mut all = Vec::with_capacity(buckets);
        all.resize_with(buckets, Bucket::vacant);
        Page {
            buckets: all.into_boxed_slice(),
            entries: 0,
            limit: limit_of(buckets),
        }
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries as usize
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries >= self.limit
    }

    /// Bytes of a page with room for `entries`.
    pub(crate) fn bytes_with_room(entries: usize) -> u64 {
        (buckets_for(entries) * size_of::<Bucket<S, N, V>>()) as u64
    }

    /// Bytes of the buckets.
    pub(crate) fn bytes(&self) -> u64 {
        (self.buckets.len() * size_of::<Bucket<S, N, V>>()) as u64
    }

    /// Entries that fit after the next growth.
    pub(crate) fn room_after_growth(&self) -> usize {
        let buckets = self.buckets.len() + (self.buckets.len() / 4).max(1);
        // The inverse of `buckets_for`, rounded so that it answers at least these buckets.
        buckets * SLOTS * FULL_PERCENT / 115
    }

    /// Entries a smaller page would need room for, when shrinking is worth it.
    pub(crate) fn shrunk(&self) -> Option<usize> {
        let small = self.buckets.len() >= SHRINK_FROM && self.entries * 4 < self.limit;
        (small || self.entries == 0).then_some(self.entries())
    }

    /// The bucket where `place` belongs, if the page has any.
    #[inline(always)]
    pub(crate) fn home_bucket(&self, place: u64, shift: u32) -> Option<&Bucket<S, N, V>> {
        self.buckets.get(home(place, shift, self.buckets.len()))
    }

    /// Finds the entry with this tag for which `same` holds.
    #[inline(always)]
    pub(crate) fn find(
        &self,
        place: u64,
        shift: u32,
        tag: u8,
        same: impl Fn(&Entry<S, N, V>) -> bool,
    ) -> Option<Seat> {
        let count = self.buckets.len();
        let mut bucket = home(place, shift, count);
        // Every bucket can have been passed only in pathological pages; then one round is enough.
        for _ in 0..count {
            let here = &self.buckets[bucket];
            let mut candidates = here.tags.candidates(tag);
            while let Some(slot) = candidates.next() {
                if let Some(entry) = &here.slots[slot]
                    && same(entry)
                {
                    return Some(Seat { bucket, slot });
                }
            }
            if !here.tags.overflowed() {
                return None;
            }
            bucket = after(bucket, count);
        }
        None
    }

    #[inline(always)]
    pub(crate) fn at(&mut self, seat: Seat) -> &mut Entry<S, N, V> {
        let Some(entry) = &mut self.buckets[seat.bucket].slots[seat.slot] else {
            unreachable!("a seat that was just found is taken");
        };
        entry
    }

    /// Puts a new entry; the page must not be full.
    pub(crate) fn put(&mut self, shift: u32, tag: u8, entry: Entry<S, N, V>) -> Seat {
        assert!(!self.is_full(), "a full page grows first");
        let count = self.buckets.len();
        let mut bucket = home(u64::from(entry.place), shift, count);
        loop {
            let here = &mut self.buckets[bucket];
            if let Some(slot) = here.tags.vacant() {
                here.tags.occupy(slot, tag);
                here.slots[slot] = Some(entry);
                self.entries += 1;
                return Seat { bucket, slot };
            }
            here.tags.count_overflow();
            bucket = after(bucket, count);
        }
    }

    /// Takes an entry out, and its counts from the buckets it passed.
    pub(crate) fn take(&mut self, shift: u32, seat: Seat) -> Entry<S, N, V> {
        let count = self.buckets.len();
        let Some(entry) = self.buckets[seat.bucket].slots[seat.slot].take() else {
            unreachable!("a seat that was just found is taken");
        };
        self.buckets[seat.bucket].tags.vacate(seat.slot);
        let mut passed = home(u64::from(entry.place), shift, count);
        while passed != seat.bucket {
            self.buckets[passed].tags.uncount_overflow();
            passed = after(passed, count);
        }
        self.entries -= 1;
        entry
    }

    /// Moves all entries to a page with room for `room` of them.
    #[cold]
    #[inline(never)]
    pub(crate) fn rebuild(&mut self, shift: u32, room: usize) {
        assert!(room >= self.entries(), "nothing is lost");
        let before = self.entries;
        let mut new = Self::with_room(room);
        self.drain(|tag, entry| {
            new.put(shift, tag, entry);
        });
        assert_eq!(new.entries, before, "every entry moved");
        *self = new;
    }

    /// Moves the entries whose place has bit `shift` set to `high`, the others to `low`. They have room.
    pub(crate) fn split_into(&mut self, shift: u32, low: &mut Self, high: &mut Self) {
        self.drain(|tag, entry| {
            let side = if entry.place >> shift & 1 == 1 {
                &mut *high
            } else {
                &mut *low
            };
            side.put(shift, tag, entry);
        });
    }

    /// How many entries have bit `shift` of their place set.
    pub(crate) fn count_high(&self, shift: u32) -> usize {
        let slots = self.buckets.iter().flat_map(|bucket| &bucket.slots);
        slots
            .flatten()
            .filter(|entry| entry.place >> shift & 1 == 1)
            .count()
    }

    fn drain(&mut self, mut each: impl FnMut(u8, Entry<S, N, V>)) {
        self.entries = 0;
        self.limit = 0;
        for bucket in std::mem::take(&mut self.buckets) {
            let tags: TagWord = bucket.tags;
            for (slot, entry) in bucket.slots.into_iter().enumerate() {
                if let Some(entry) = entry {
                    each(tags.tag(slot), entry);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_always_makes_room_and_room_is_kept() {
        for entries in 0..5_000 {
            let page = Page::<u64, (), u64>::with_room(entries);
            assert!(page.limit as usize >= entries);
            assert_eq!(page.bytes(), Page::<u64, (), u64>::bytes_with_room(entries));
            let grown = Page::<u64, (), u64>::with_room(page.room_after_growth());
            assert!(grown.limit > page.limit, "{entries}");
            assert!(
                grown.buckets.len() <= page.buckets.len() * 5 / 4 + 2,
                "in slices"
            );
        }
    }
}
