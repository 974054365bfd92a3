//! A small table of what was gathered of the keys of one slice, made to stay in the cache.
//!
//! A key lies in the bucket its hash names, beside its tag and the number of its records, or in one of those behind:
//! finding it touches one cache line, mostly, and the keys of some records are looked for side by side. When what was
//! gathered is given out the keys stay, if it looks as if they came again, so that the next slice finds their places
//! taken; a list of those lets a table with few keys be emptied at the cost of those few. Invariants: each key has one
//! place; one without records since it was given out holds a fresh accumulator; a full table takes no new key; where a
//! key was looked for is only where taking it in begins. Lives on one shard's thread.

#[cfg(test)]
mod tests;

use std::io;

use thalweg_core::key_group::KeyHash;
use thalweg_memory::hash::{Bucket, BucketArray, LANES, SLOTS, Tag};
use thalweg_memory::record::{Item, Key, Record};

use crate::partition::Select;
use crate::task::TOGETHER;
use crate::window::{TimeWindow, WindowAggregate};

/// Bytes of buckets at most; the second-level cache has to hold them beside all else.
pub(super) const MOST_BYTES: u64 = 512 << 10;
/// Buckets at least.
const LEAST_BUCKETS: usize = 16;
/// Keys per hundred slots at which a table is full.
const FULL_PERCENT: usize = 60;
/// Keys per hundred of a full table that stay at most, so that there is room for others.
const STAY_PERCENT: usize = 75;
/// How often all keys go after most of those that stayed have not come again.
const ALL_GO: u32 = 8;
/// Bytes that accumulators may have on the heap before a table counts as full, for each byte of buckets.
const HEAP: usize = 2;

/// A key with what was gathered of it.
struct Entry<S, A> {
    key: S,
    held: A,
}

/// A place that is taken, and the hash of the key there.
#[derive(Clone, Copy)]
struct Taken {
    hash: KeyHash,
    seat: Seat,
}

/// A place of the table.
#[derive(Clone, Copy)]
struct Seat {
    bucket: u32,
    slot: u32,
}

impl Seat {
    fn of(bucket: usize, slot: usize) -> Self {
        let (bucket, slot) = (bucket as u32, slot as u32);
        Seat { bucket, slot }
    }
}

/// What was gathered of a key.
pub(super) struct Part<'a, K: Key, A> {
    pub(super) hash: KeyHash,
    pub(super) key: K::Of<'a>,
    /// How many records.
    pub(super) records: u32,
    pub(super) held: A,
}

/// What was gathered of the keys of one slice.
pub(super) struct Gathered<K: Key, A> {
    span: TimeWindow,
    buckets: BucketArray<Entry<K::Stored, A>>,
    /// The places of all keys, those without records too.
    taken: Vec<Taken>,
    limit: usize,
    /// Bytes that accumulators have on the heap, and at which the table is full.
    heap: usize,
    most_heap: usize,
    /// Keys that were asked for what was gathered of them, and those of which there was something.
    asked: usize,
    given: usize,
    /// So many times more all keys go.
    all_go: u32,
}

impl<K: Key, A: Record> Gathered<K, A> {
    /// A table without room, for no slice.
    pub(super) fn none(span: TimeWindow) -> Self {
        match Self::with_buckets(span, (0, 0)) {
            Ok(none) => none,
            Err(error) => unreachable!("no buckets need no memory: {error}"),
        }
    }

    /// An empty table with about so many bytes of buckets, never more but for one of a few keys.
    ///
    /// # Errors
    /// If the system has no memory.
    pub(super) fn new(span: TimeWindow, most: u64) -> io::Result<Self> {
        Self::with_buckets(span, (Self::bucket_count(most), Self::heap(most)))
    }

    fn with_buckets(span: TimeWindow, (buckets, most_heap): (usize, usize)) -> io::Result<Self> {
        let limit = buckets * SLOTS * FULL_PERCENT / 100;
        Ok(Self {
            span,
            buckets: BucketArray::new(buckets)?,
            taken: Vec::with_capacity(limit),
            limit,
            heap: 0,
            most_heap,
            asked: 0,
            given: 0,
            all_go: 0,
        })
    }

    /// The slice.
    #[inline(always)]
    pub(super) fn span(&self) -> TimeWindow {
        self.span
    }

    /// Gathers records of this slice from here on; what was gathered of another has been given out.
    pub(super) fn begin(&mut self, span: TimeWindow) {
        debug_assert_eq!((self.asked, self.given, self.heap), (0, 0, 0));
        self.span = span;
    }

    /// A power of two.
    fn bucket_count(most: u64) -> usize {
        let most = most as usize / size_of::<Bucket<Entry<K::Stored, A>>>();
        (most / 2 + 1).next_power_of_two().max(LEAST_BUCKETS)
    }

    /// Bytes on the heap at which a table is full.
    fn heap(most: u64) -> usize {
        most as usize * HEAP
    }

    /// Bytes that a table with about so many bytes of buckets takes at most.
    pub(super) fn bytes(most: u64) -> u64 {
        let buckets = Self::bucket_count(most);
        let taken = buckets * SLOTS * FULL_PERCENT / 100 * size_of::<Taken>();
        let heap = if A::OUT_OF_LINE { Self::heap(most) } else { 0 };
        BucketArray::<Entry<K::Stored, A>>::bytes_of(buckets) + (taken + heap) as u64
    }

    /// Whether what is gathered has to go before another key comes.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.taken.len() >= self.limit || (A::OUT_OF_LINE && self.heap >= self.most_heap)
    }

    /// Whether so many keys more can come before it is full.
    #[inline(always)]
    pub(super) fn has_room_for(&self, keys: usize) -> bool {
        self.taken.len() + keys <= self.limit
    }

    /// Looks for the keys with these hashes, all of which are to be taken in next: asks for their buckets, and answers
    /// the seats that have their tags.
    #[inline(always)]
    pub(super) fn look_for(&self, hashes: &[KeyHash; TOGETHER]) -> [u32; TOGETHER] {
        let mask = self.buckets.buckets().len().wrapping_sub(1) as u32;
        let tags = hashes.map(tag_of);
        let mut seats = hashes.map(|hash| hash.0 as u32 & mask);
        self.buckets.prefetch(&seats);
        let mut astray = [0; TOGETHER / LANES];
        let blocks = tags.chunks(LANES).zip(seats.chunks_mut(LANES));
        for ((tags, seats), astray) in blocks.zip(&mut astray) {
            *astray = self.buckets.find_slots_near(tags, seats);
        }
        let blocks = tags.chunks(LANES).zip(seats.chunks_mut(LANES));
        for ((tags, seats), astray) in blocks.zip(astray) {
            self.buckets.find_beside(tags, seats, astray);
        }
        seats
    }

    /// Makes records a part of what is gathered of their keys, whose hashes these are. The keys were looked for, and are
    /// likely to have these seats.
    ///
    /// # Panics
    /// When a key is new and the table full.
    #[inline(always)]
    pub(super) fn take_in_each<T: Item, G: WindowAggregate<K, T, Accumulator = A>>(
        &mut self,
        items: [T::Of<'_>; TOGETHER],
        hashes: &[KeyHash; TOGETHER],
        seats: &[u32; TOGETHER],
        selector: &impl Select<T, K>,
        aggregate: &G,
    ) {
        let mut items = items.into_iter().zip(0..);
        while let Some((item, at)) = self.take_in_found(&mut items, seats, selector, aggregate) {
            let seat = self.seat(hashes[at], &selector.select(&item), || aggregate.create());
            self.change(seat, |held| aggregate.add(held, item));
        }
    }

    /// Takes in the records whose keys are where they were found; answers the first whose key is not.
    #[inline(always)]
    fn take_in_found<'a, T: Item, G: WindowAggregate<K, T, Accumulator = A>>(
        &mut self,
        items: &mut impl Iterator<Item = (T::Of<'a>, usize)>,
        seats: &[u32; TOGETHER],
        selector: &impl Select<T, K>,
        aggregate: &G,
    ) -> Option<(T::Of<'a>, usize)> {
        let buckets = self.buckets.buckets_mut();
        for (item, at) in items {
            let (bucket, slot) = (seats[at] as usize >> 2, seats[at] as usize & 3);
            let found = buckets.get_mut(bucket).and_then(|it| it.get_stamped(slot));
            match found {
                Some((entry, records)) if K::same(&entry.key, &selector.select(&item)) => {
                    count_one(records);
                    let add = |held: &mut A| aggregate.add(held, item);
                    follow(&mut self.heap, &mut entry.held, add);
                }
                _ => return Some((item, at)),
            }
        }
        None
    }

    /// The same for a record whose key nobody has looked for.
    ///
    /// # Panics
    /// As [`Gathered::take_in_each`].
    #[inline(always)]
    pub(super) fn take_in<T: Item, G: WindowAggregate<K, T, Accumulator = A>>(
        &mut self,
        hash: KeyHash,
        item: T::Of<'_>,
        selector: &impl Select<T, K>,
        aggregate: &G,
    ) {
        let buckets = self.buckets.buckets_mut();
        let home = hash.0 as usize & buckets.len().wrapping_sub(1);
        let same = |entry: &Entry<K::Stored, A>| K::same(&entry.key, &selector.select(&item));
        if let Some(bucket) = buckets.get_mut(home)
            && let Some((entry, records)) = bucket.find_stamped(tag_of(hash), same)
        {
            count_one(records);
            let add = |held: &mut A| aggregate.add(held, item);
            return follow(&mut self.heap, &mut entry.held, add);
        }
        let seat = self.seat(hash, &selector.select(&item), || aggregate.create());
        self.change(seat, |held| aggregate.add(held, item));
    }

    /// The seat of a key that has another than was found, or none yet.
    #[inline(never)]
    fn seat(&mut self, hash: KeyHash, key: &K::Of<'_>, create: impl FnOnce() -> A) -> Seat {
        if let Some(seat) = self.find(hash, key) {
            return seat;
        }
        assert!(self.taken.len() < self.limit, "a full table takes no key");
        let (key, held) = (K::store(key), create());
        self.insert(hash, Entry { key, held })
    }

    #[inline(always)]
    fn find(&self, hash: KeyHash, key: &K::Of<'_>) -> Option<Seat> {
        let tag = tag_of(hash);
        let same = |entry: &Entry<K::Stored, A>| K::same(&entry.key, key);
        for at in self.way(hash) {
            let bucket = &self.buckets.buckets()[at];
            if let Some(slot) = bucket.find(tag, same) {
                return Some(Seat::of(at, slot));
            }
            if !bucket.overflows() {
                break;
            }
        }
        None
    }

    /// Buckets in the order in which they are looked at, each once: the pair of the one where the key belongs, then the
    /// pairs behind it. [`BucketArray::find_beside`] looks at the same two first.
    #[inline(always)]
    fn way(&self, hash: KeyHash) -> impl Iterator<Item = usize> + use<K, A> {
        let buckets = self.buckets.buckets().len();
        let home = hash.0 as usize & buckets.wrapping_sub(1);
        (0..buckets).map(move |step| match step {
            0 | 1 => home ^ step,
            _ => ((home & !1) + step) & (buckets - 1),
        })
    }

    /// Gives a key that has none a seat: the first vacant one on its way.
    #[inline(always)]
    fn insert(&mut self, hash: KeyHash, mut entry: Entry<K::Stored, A>) -> Seat {
        for at in self.way(hash) {
            let bucket = &mut self.buckets.buckets_mut()[at];
            match bucket.put(tag_of(hash), 0, entry) {
                Ok(slot) => {
                    let seat = Seat::of(at, slot);
                    self.taken.push(Taken { hash, seat });
                    return seat;
                }
                Err(back) => entry = back,
            }
            bucket.count_overflow();
        }
        unreachable!("a table that is not full has a vacant slot")
    }

    /// Counts one record more at a seat and lets `add` take it in.
    fn change(&mut self, seat: Seat, add: impl FnOnce(&mut A)) {
        let bucket = &mut self.buckets.buckets_mut()[seat.bucket as usize];
        let Some((entry, records)) = bucket.get_stamped(seat.slot as usize) else {
            unreachable!("a seat that was just found is taken");
        };
        count_one(records);
        follow(&mut self.heap, &mut entry.held, add);
    }

    /// Gives out what was gathered of one key more; none when all was given out: then the table is ready for another
    /// slice. What stays in its place is made by `fresh`.
    #[inline(always)]
    pub(super) fn give(&mut self, fresh: impl Fn() -> A) -> Option<Part<'_, K, A>> {
        let (hash, seat) = loop {
            let Some(Taken { hash, seat }) = self.taken.get(self.asked).copied() else {
                self.end_giving();
                return None;
            };
            self.asked += 1;
            let bucket = &self.buckets.buckets()[seat.bucket as usize];
            if bucket.stamp(seat.slot as usize) > 0 {
                break (hash, seat);
            }
        };
        self.given += 1;
        let bucket = &mut self.buckets.buckets_mut()[seat.bucket as usize];
        let Some((entry, records)) = bucket.get_stamped(seat.slot as usize) else {
            unreachable!("a place in the list is taken");
        };
        Some(Part {
            hash,
            key: K::lend(&entry.key),
            records: std::mem::take(records),
            held: std::mem::replace(&mut entry.held, fresh()),
        })
    }

    /// All was given out: lets the keys stay, or go.
    fn end_giving(&mut self) {
        let (keys, given) = (self.taken.len(), self.given);
        (self.asked, self.given, self.heap) = (0, 0, 0);
        let came = given * 2 >= keys;
        if came && self.all_go == 0 && keys * 100 <= self.limit * STAY_PERCENT {
            return;
        }
        self.all_go = match came {
            true => self.all_go.saturating_sub(1),
            false => ALL_GO,
        };
        self.forget_keys();
    }

    /// Empties the table.
    fn forget_keys(&mut self) {
        let buckets = self.buckets.buckets_mut();
        if self.taken.len() * 4 > buckets.len() {
            buckets.iter_mut().for_each(Bucket::clear);
            return self.taken.clear();
        }
        while let Some(Taken { hash, seat }) = self.taken.pop() {
            let at = seat.bucket as usize;
            self.buckets.buckets_mut()[at].take(seat.slot as usize);
            for passed in self.way(hash).take_while(|passed| *passed != at) {
                self.buckets.buckets_mut()[passed].uncount_overflow();
            }
        }
    }
}

/// Counts one more; after four thousand million from the start, but never none.
#[inline(always)]
fn count_one(records: &mut u32) {
    *records = records.wrapping_add(1).max(1);
}

/// Changes an accumulator and follows what it has on the heap.
#[inline(always)]
fn follow<A: Record>(heap: &mut usize, held: &mut A, add: impl FnOnce(&mut A)) {
    if !A::OUT_OF_LINE {
        return add(held);
    }
    let before = held.heap_bytes();
    add(held);
    *heap += held.heap_bytes().saturating_sub(before);
}

#[inline(always)]
fn tag_of(hash: KeyHash) -> Tag {
    Tag::of(hash.0 >> 24)
}
