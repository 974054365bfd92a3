//! A small table of what was gathered of the keys of one slice, made to stay in the cache.
//!
//! A key lies in the bucket its hash names, beside its tag and the number of its records, or in one of those behind:
//! finding it touches one cache line, mostly, and the keys of some records are looked for side by side. A list of the
//! places taken lets a table with few keys be emptied at the cost of those few. Invariants: each key has one place; a
//! full table takes no new key; where a key was looked for is only where taking it in begins. Lives on one shard's
//! thread.

use std::io;

use thalweg_core::key_group::KeyHash;
use thalweg_memory::hash::{Bucket, BucketArray, LANES, SLOTS, Tag};
use thalweg_memory::record::{Item, Key, Record};

use crate::partition::Select;
use crate::task::TOGETHER;
use crate::window::{TimeWindow, WindowAggregate};

/// Bytes of buckets; the second-level cache has to hold them beside all else.
const BYTES: usize = 512 << 10;
/// Keys per hundred slots at which a table is full.
const FULL_PERCENT: usize = 60;
/// Bytes that accumulators may have on the heap before a table counts as full.
const MOST_HEAP: usize = 1 << 20;

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
pub(super) struct Part<S, A> {
    pub(super) hash: KeyHash,
    pub(super) key: S,
    /// How many records.
    pub(super) records: u32,
    pub(super) held: A,
}

/// What was gathered of the keys of one slice.
pub(super) struct Gathered<K: Key, A> {
    /// The slice.
    pub(super) span: TimeWindow,
    buckets: BucketArray<Entry<K::Stored, A>>,
    taken: Vec<Taken>,
    limit: usize,
    heap: usize,
}

impl<K: Key, A: Record> Gathered<K, A> {
    /// A table without room, for no slice.
    pub(super) fn none(span: TimeWindow) -> Self {
        match Self::with_buckets(span, 0) {
            Ok(none) => none,
            Err(error) => unreachable!("no buckets need no memory: {error}"),
        }
    }

    /// An empty table.
    ///
    /// # Errors
    /// If the system has no memory.
    pub(super) fn new(span: TimeWindow) -> io::Result<Self> {
        Self::with_buckets(span, Self::bucket_count())
    }

    fn with_buckets(span: TimeWindow, buckets: usize) -> io::Result<Self> {
        let limit = buckets * SLOTS * FULL_PERCENT / 100;
        Ok(Self {
            span,
            buckets: BucketArray::new(buckets)?,
            taken: Vec::with_capacity(limit),
            limit,
            heap: 0,
        })
    }

    /// A power of two.
    fn bucket_count() -> usize {
        let most = BYTES / size_of::<Bucket<Entry<K::Stored, A>>>();
        (most / 2 + 1).next_power_of_two().max(16)
    }

    /// Bytes that a table takes at most.
    pub(super) fn bytes() -> u64 {
        let buckets = Self::bucket_count();
        let taken = buckets * SLOTS * FULL_PERCENT / 100 * size_of::<Taken>();
        let heap = if A::OUT_OF_LINE { MOST_HEAP } else { 0 };
        BucketArray::<Entry<K::Stored, A>>::bytes_of(buckets) + (taken + heap) as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Whether what is gathered has to go before another key comes.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.taken.len() >= self.limit || (A::OUT_OF_LINE && self.heap >= MOST_HEAP)
    }

    /// Whether so many keys more can come before what is gathered has to go.
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

    /// Makes a record a part of what is gathered of its key, whose hash this is. The key was looked for, and is likely
    /// to have this seat.
    ///
    /// # Panics
    /// When the key is new and the table full.
    #[inline(always)]
    pub(super) fn take_in_at<T: Item, G: WindowAggregate<K, T, Accumulator = A>>(
        &mut self,
        (hash, seat): (KeyHash, u32),
        item: T::Of<'_>,
        selector: &impl Select<T, K>,
        aggregate: &G,
    ) {
        let (at, slot) = (seat as usize >> 2, seat as usize & 3);
        let buckets = self.buckets.buckets_mut();
        if let Some(bucket) = buckets.get_mut(at)
            && let Some((entry, records)) = bucket.get_stamped(slot)
            && K::same(&entry.key, &selector.select(&item))
        {
            count_one(records);
            let add = |held: &mut A| aggregate.add(held, item);
            return follow(&mut self.heap, &mut entry.held, add);
        }
        let seat = self.seat(hash, &selector.select(&item), || aggregate.create());
        self.change(seat, |held| aggregate.add(held, item));
    }

    /// The same for a record whose key nobody has looked for.
    ///
    /// # Panics
    /// As [`Gathered::take_in_at`].
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

    /// Takes out what was gathered of one key.
    pub(super) fn pop(&mut self) -> Option<Part<K::Stored, A>> {
        let Taken { hash, seat } = self.taken.pop()?;
        let at = seat.bucket as usize;
        let Some((_, records, entry)) = self.buckets.buckets_mut()[at].take(seat.slot as usize)
        else {
            unreachable!("a place in the list is taken");
        };
        for passed in self.way(hash).take_while(|passed| *passed != at) {
            self.buckets.buckets_mut()[passed].uncount_overflow();
        }
        if self.taken.is_empty() {
            self.heap = 0;
        }
        let Entry { key, held } = entry;
        Some(Part {
            hash,
            key,
            records,
            held,
        })
    }
}

/// Four thousand million records of one key and slice are never late.
#[inline(always)]
fn count_one(records: &mut u32) {
    *records = records.wrapping_add(1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::SelectOwned;
    use std::collections::BTreeMap;
    use thalweg_core::event_time::Timestamp;

    const SPAN: TimeWindow = TimeWindow::new(Timestamp(0), Timestamp(1));

    /// A key and a number.
    type Numbered = (u64, u64);

    fn by_key() -> impl Select<Numbered, u64> {
        SelectOwned(|numbered: &Numbered| numbered.0)
    }

    /// Sums the numbers of a key.
    #[derive(Clone)]
    struct Sum;

    impl WindowAggregate<u64, Numbered> for Sum {
        type Accumulator = u64;
        type Row = u64;

        fn create(&self) -> u64 {
            0
        }
        fn add(&self, sum: &mut u64, (_, number): Numbered) {
            *sum += number;
        }
        fn merge(&self, into: &mut u64, other: &u64) {
            *into += other;
        }
        fn row(&self, _: u64, _: TimeWindow, sum: &u64) -> u64 {
            *sum
        }
    }

    /// Makes room for so many bytes.
    #[derive(Clone)]
    struct Reserve;

    impl WindowAggregate<u64, Numbered> for Reserve {
        type Accumulator = Vec<u8>;
        type Row = u64;

        fn create(&self) -> Vec<u8> {
            Vec::new()
        }
        fn add(&self, bytes: &mut Vec<u8>, (_, count): Numbered) {
            bytes.reserve_exact(count as usize);
        }
        fn merge(&self, _: &mut Vec<u8>, _: &Vec<u8>) {}
        fn row(&self, key: u64, _: TimeWindow, _: &Vec<u8>) -> u64 {
            key
        }
    }

    /// Gathers drawn numbers of `keys` keys and empties the table when `give_at` keys are there.
    fn check(keys: u64, numbers: u64, give_at: usize, hash: impl Fn(u64) -> KeyHash) {
        let mut table = Gathered::<u64, u64>::new(SPAN).unwrap();
        let (mut plain, mut sent) = (BTreeMap::new(), BTreeMap::new());
        let mut give = |table: &mut Gathered<u64, u64>| {
            while let Some(part) = table.pop() {
                assert_eq!(part.hash, hash(part.key));
                let sum = sent.entry(part.key).or_insert((0, 0));
                *sum = (sum.0 + part.records, sum.1 + part.held);
            }
            assert!(table.is_empty());
        };
        let mut dice = 7_u64;
        let mut numbers = (0..numbers).map(|number| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((dice >> 33) % keys, number)
        });
        let mut in_bursts = false;
        loop {
            // As the stage does: bursts, of which every key was looked for before the first is taken in, and singles.
            in_bursts = !in_bursts;
            let together = in_bursts && table.has_room_for(TOGETHER);
            let count = if together { TOGETHER } else { 1 };
            let some: Vec<Numbered> = numbers.by_ref().take(count).collect();
            let hashes: Vec<_> = some.iter().map(|(key, _)| hash(*key)).collect();
            let seats = hashes.as_slice().try_into().map(|it| table.look_for(it));
            for (at, (key, number)) in some.iter().enumerate() {
                let (hash, item) = (hashes[at], (*key, *number));
                match seats {
                    Ok(seats) => table.take_in_at((hash, seats[at]), item, &by_key(), &Sum),
                    Err(_) => table.take_in(hash, item, &by_key(), &Sum),
                }
                let sum = plain.entry(*key).or_insert((0, 0));
                *sum = (sum.0 + 1, sum.1 + number);
            }
            if table.is_full() || table.taken.len() >= give_at {
                give(&mut table);
            }
            if some.is_empty() {
                break;
            }
        }
        give(&mut table);
        assert!(sent == plain, "every number went out once, with its key");
    }

    #[test]
    fn what_goes_in_comes_out_summed_by_key() {
        for (keys, give_at) in [(1, 2), (100, 50), (2_000, 700), (50_000, usize::MAX)] {
            check(keys, 100_000, give_at, KeyHash::of_u64);
        }
    }

    #[test]
    fn keys_whose_hashes_collide_are_kept_apart() {
        check(50, 3_000, usize::MAX, |_| KeyHash(3));
        check(50, 3_000, 7, |_| KeyHash(u64::MAX));
        check(2_000, 20_000, 1_500, |key| KeyHash(key % 64 * 128));
    }

    #[test]
    fn accumulators_on_the_heap_fill_the_table() {
        let mut table = Gathered::<u64, Vec<u8>>::new(SPAN).unwrap();
        let mut reserve = |bytes: usize| {
            table.take_in(KeyHash(1), (1, bytes as u64), &by_key(), &Reserve);
            table.is_full()
        };
        assert!(!reserve(MOST_HEAP - 1));
        assert!(reserve(MOST_HEAP));
        assert!(table.is_full());
        assert_eq!(table.pop().map(|part| part.records), Some(2));
        assert!(!table.is_full());
    }
}
