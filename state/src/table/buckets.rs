//! One array of buckets and the probing in it.
//!
//! An entry lies in its home bucket or, counted in the overflow of each bucket it passed, in a later one:
//! first in the other bucket of the same pair, which processors tend to fetch along with it, then in the
//! pairs behind it; behind the last pair comes the first. Invariants: the number of buckets is even; there is always a vacant slot, so every probe ends.
//! Lives on one shard's thread.

use std::io;

use thalweg_core::simd::prefetch_write;
use thalweg_memory::hash::{Bucket, BucketArray, SLOTS, Tag};

use super::marks::Marks;
use super::place::{Place, Scale};
use super::stamp::Stamp;

/// What processors fetch at once.
const CACHE_LINE: usize = 64;

/// Entries per hundred slots at which an array is full.
const FULL_PERCENT: usize = 60;

/// Buckets an entry has passed where too many crowd into a part of an array: in one that is full all over, hardly
/// any passes ten.
const CROWDED: usize = 64;

/// One entry: key, namespace and value.
pub(crate) struct Entry<S, N, V> {
    pub(crate) key: S,
    pub(crate) namespace: N,
    pub(crate) value: V,
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) bucket: usize,
    pub(crate) slot: usize,
}

/// Buckets with the scale of their number.
pub(crate) struct Buckets<E> {
    array: BucketArray<E>,
    scale: Scale,
    entries: usize,
    crowded: bool,
    /// The most buckets that an entry has passed.
    furthest: usize,
    /// Where entries changed or were put since the last barrier.
    changed: Marks,
    /// Where they had before it.
    pending: Marks,
}

/// How many entries so many buckets may hold.
pub(crate) fn limit_of(buckets: usize) -> usize {
    buckets * SLOTS * FULL_PERCENT / 100
}

impl<E> Buckets<E> {
    pub(crate) fn new(buckets: usize, scale: Scale) -> io::Result<Self> {
        assert!(buckets.is_multiple_of(2), "buckets come in pairs");
        let array = BucketArray::new(buckets)?;
        Ok(Buckets {
            array,
            scale,
            entries: 0,
            crowded: false,
            furthest: 0,
            changed: Marks::on_all(buckets),
            pending: Marks::on_all(buckets),
        })
    }

    pub(crate) fn bytes_of(buckets: usize) -> u64 {
        BucketArray::<E>::bytes_of(buckets) + Marks::bytes_of_both(buckets)
    }

    pub(crate) fn bytes(&self) -> u64 {
        Self::bytes_of(self.len())
    }

    pub(crate) fn len(&self) -> usize {
        self.array.buckets().len()
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries >= limit_of(self.len())
    }

    /// Whether entries have crowded into a part of the array.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// They may have; it is not said again before the next one comes.
    pub(crate) fn bear_crowding(&mut self) {
        self.crowded = false;
    }

    #[inline(always)]
    pub(crate) fn bucket(&self, at: usize) -> Option<&Bucket<E>> {
        self.array.buckets().get(at)
    }

    /// How places are scaled to the buckets.
    pub(crate) fn scale(&self) -> Scale {
        self.scale
    }

    /// Asks for buckets by their numbers.
    #[inline(always)]
    pub(crate) fn prefetch(&self, homes: &[u32]) {
        self.array.prefetch(homes);
    }

    /// Asks for all of a bucket, if there is such a one.
    #[inline(always)]
    pub(crate) fn ask_for(&self, at: usize) {
        if let Some(bucket) = self.bucket(at) {
            prefetch_write(bucket);
            if size_of_val(bucket) > CACHE_LINE {
                bucket.prefetch_end();
            }
        }
    }

    /// Turns the numbers of buckets into four times that and the slot with the tag; answers the bits of those
    /// that have none.
    #[inline]
    pub(crate) fn find_slots(&self, tags: &[Tag], homes: &mut [u32]) -> u16 {
        self.array.find_slots(tags, homes)
    }

    /// Looks for what has no slot after `find_slots` one bucket on.
    #[inline]
    pub(crate) fn find_beside(&self, tags: &[Tag], seats: &mut [u32], astray: u16) -> u16 {
        self.array.find_beside(tags, seats, astray)
    }

    /// Looks for what was not beside either in the pair of buckets behind.
    #[inline]
    pub(crate) fn find_in_next_pair(&self, tags: &[Tag], seats: &mut [u32], astray: u16) {
        self.array.find_in_next_pair(tags, seats, astray);
    }

    /// The bucket where a place belongs.
    #[inline(always)]
    pub(crate) fn home(&self, place: Place) -> usize {
        self.scale.home(place)
    }

    /// The buckets in which what belongs to places from `first` to `behind` may lie, in the order in which it is looked
    /// for there: the first of them, and how many.
    pub(crate) fn stretch_of(&self, first: Place, behind: Place) -> (usize, usize) {
        // The other bucket of a pair may be the one before.
        let (start, end) = (self.home(first) & !1, self.home(behind));
        (start, (end - start + self.furthest + 3).min(self.len()))
    }

    /// The bucket that is looked at after so many others.
    #[inline(always)]
    fn on_the_way(&self, home: usize, steps: usize) -> usize {
        if steps < 2 {
            return home ^ steps;
        }
        // Fewer steps than buckets, so once around at most: no division on the way of a lookup.
        let (pair, pairs) = (home / 2 + steps / 2, self.len() / 2);
        let pair = if pair < pairs { pair } else { pair - pairs };
        pair * 2 + steps % 2
    }

    /// Finds the entry with this tag for which `same` holds.
    #[inline(always)]
    pub(crate) fn find(&self, place: Place, tag: Tag, same: impl Fn(&E) -> bool) -> Option<Seat> {
        let buckets = self.array.buckets();
        let home = self.home(place);
        let bucket = buckets.get(home)?;
        if let Some(slot) = bucket.find(tag, &same) {
            return Some(Seat { bucket: home, slot });
        }
        if bucket.overflows() {
            self.find_further(home, tag, same)
        } else {
            None
        }
    }

    #[inline(never)]
    fn find_further(&self, home: usize, tag: Tag, same: impl Fn(&E) -> bool) -> Option<Seat> {
        let buckets = self.array.buckets();
        // Every bucket can have been passed only in pathological arrays; then one round is enough.
        for steps in 1..buckets.len() {
            let bucket = self.on_the_way(home, steps);
            if let Some(slot) = buckets[bucket].find(tag, &same) {
                return Some(Seat { bucket, slot });
            }
            if !buckets[bucket].overflows() {
                return None;
            }
        }
        None
    }

    /// How many buckets a search for what is absent goes through, on average over all homes.
    #[cfg(test)]
    pub(crate) fn searched_for_absent(&self) -> f64 {
        let searched = |home: usize| {
            let way = (0..self.len()).map(|steps| self.on_the_way(home, steps));
            let passed = way.take_while(|bucket| self.array.buckets()[*bucket].overflows());
            passed.count() + 1
        };
        (0..self.len()).map(searched).sum::<usize>() as f64 / self.len() as f64
    }

    /// The seat itself, if there is an entry for which `same` holds.
    #[inline(always)]
    pub(crate) fn confirm(&self, seat: Seat, same: impl Fn(&E) -> bool) -> Option<Seat> {
        let entry = self.array.buckets().get(seat.bucket)?.get(seat.slot)?;
        same(entry).then_some(seat)
    }

    /// The entry at a seat, to change, with its stamp set, if there is one for which `same` holds.
    #[inline(always)]
    pub(crate) fn confirm_mut(
        &mut self,
        seat: Seat,
        stamp: Stamp,
        same: impl Fn(&E) -> bool,
    ) -> Option<&mut E> {
        let bucket = self.array.buckets_mut().get_mut(seat.bucket)?;
        let (entry, old) = bucket.get_stamped(seat.slot)?;
        if !same(entry) {
            return None;
        }
        let over = stamp.over(*old);
        if *old != over {
            *old = over;
            self.changed.set(seat.bucket);
        }
        Some(entry)
    }

    /// The entry at a seat that was just found.
    #[inline(always)]
    pub(crate) fn at(&self, seat: Seat) -> &E {
        match self.array.buckets()[seat.bucket].get(seat.slot) {
            Some(entry) => entry,
            None => unreachable!("a seat that was just found is taken"),
        }
    }

    /// The same, to change, with its stamp set.
    #[inline(always)]
    pub(crate) fn at_mut(&mut self, seat: Seat, stamp: Stamp) -> &mut E {
        let bucket = &mut self.array.buckets_mut()[seat.bucket];
        let over = stamp.over(bucket.stamp(seat.slot));
        if bucket.stamp(seat.slot) != over {
            bucket.set_stamp(seat.slot, over);
            self.changed.set(seat.bucket);
        }
        match bucket.get_mut(seat.slot) {
            Some(entry) => entry,
            None => unreachable!("a seat that was just found is taken"),
        }
    }

    /// The stamp beside an entry.
    #[inline(always)]
    pub(crate) fn stamp(&self, seat: Seat) -> Stamp {
        Stamp(self.array.buckets()[seat.bucket].stamp(seat.slot))
    }

    /// A barrier comes: what changed before is pending.
    pub(crate) fn begin_marks(&mut self) {
        std::mem::swap(&mut self.changed, &mut self.pending);
        self.changed.clear();
    }

    /// What was pending at the last barrier counts as changed after it.
    pub(crate) fn take_marks_back(&mut self) {
        self.changed.join(&self.pending);
    }

    /// The first bucket from this one on that may hold what was pending at the last barrier.
    #[inline]
    pub(crate) fn next_pending(&self, bucket: usize) -> usize {
        self.pending.next(bucket)
    }

    /// Puts another stamp beside an entry, which does not count as changed.
    #[inline(always)]
    pub(crate) fn set_stamp(&mut self, seat: Seat, stamp: Stamp) {
        self.array.buckets_mut()[seat.bucket].set_stamp(seat.slot, stamp.0);
    }

    /// Changes the stamps of all entries.
    pub(crate) fn restamp_all(&mut self, change: impl Fn(Stamp) -> Stamp) {
        for bucket in self.array.buckets_mut() {
            for slot in 0..SLOTS {
                let stamp = Stamp(bucket.stamp(slot));
                bucket.set_stamp(slot, change(stamp).0);
            }
        }
    }

    /// Puts a new entry where its place belongs.
    pub(crate) fn put(&mut self, place: Place, tag: Tag, stamp: Stamp, entry: E) -> Seat {
        assert!(self.entries < self.len() * SLOTS, "there is a vacant slot");
        let mut entry = entry;
        let home = self.home(place);
        let mut steps = 0;
        loop {
            let bucket = self.on_the_way(home, steps);
            let here = &mut self.array.buckets_mut()[bucket];
            match here.put(tag, stamp.0, entry) {
                Ok(slot) => {
                    self.entries += 1;
                    self.crowded |= steps >= CROWDED;
                    self.furthest = self.furthest.max(steps);
                    self.changed.set(bucket);
                    return Seat { bucket, slot };
                }
                Err(back) => entry = back,
            }
            here.count_overflow();
            steps += 1;
        }
    }

    /// Takes out the entry at a seat; `place` is where it belongs.
    pub(crate) fn take(&mut self, place: Place, seat: Seat) -> Option<E> {
        let (_, _, entry) = self.array.buckets_mut()[seat.bucket].take(seat.slot)?;
        let home = self.home(place);
        let way = (0..self.len()).map(|steps| self.on_the_way(home, steps));
        let passed: usize = way.take_while(|bucket| *bucket != seat.bucket).count();
        for steps in 0..passed {
            let bucket = self.on_the_way(home, steps);
            self.array.buckets_mut()[bucket].uncount_overflow();
        }
        self.entries -= 1;
        Some(entry)
    }

    /// Writes to a vacant bucket, if there is such a one, so that it has memory.
    pub(crate) fn touch(&mut self, bucket: usize) {
        if let Some(bucket) = self.array.buckets_mut().get_mut(bucket) {
            bucket.touch();
            debug_assert!(bucket.is_vacant());
        }
    }

    /// Gives back the memory of buckets from `from` on, of those whose entries are all out up to `emptied`; answers up to
    /// which. What belongs near the end of those may lie behind them, and is still looked for from there.
    pub(crate) fn give_back(&mut self, from: usize, emptied: usize) -> usize {
        // Pairs are passed one after the other, so what belongs to a bucket lies so far behind it at most.
        let to = emptied.saturating_sub(self.furthest + 2);
        if to > from {
            self.array.give_back(from..to);
        }
        to.max(from)
    }

    /// Drops every entry; the buckets stay.
    pub(crate) fn clear(&mut self) {
        self.array.buckets_mut().iter_mut().for_each(Bucket::clear);
        self.entries = 0;
    }

    /// Takes everything out of one bucket. Overflow counts stay, so that probes still pass.
    pub(crate) fn empty(&mut self, bucket: usize, mut moved: impl FnMut(Tag, Stamp, E)) {
        for slot in 0..SLOTS {
            if let Some((tag, stamp, entry)) = self.array.buckets_mut()[bucket].take(slot) {
                self.entries -= 1;
                moved(tag, Stamp(stamp), entry);
            }
        }
    }
}
