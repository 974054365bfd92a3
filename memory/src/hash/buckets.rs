//! Buckets of three slots with their tags and stamps in front, and arrays of them on huge pages.
//!
//! Entered by the keyed table of `state`, once per record. A bucket of entries of up to 16 bytes is one
//! cache line, so a lookup that finds its entry at home touches one line; an array of 2 MiB or more asks
//! for huge pages, because with small pages a random access to a large table costs a page walk besides.
//! That is why there is `unsafe` here: safe slots need a word each to say that they are vacant, and
//! memory from the allocator cannot be asked to lie on huge pages.
//!
//! Invariant: a slot holds an entry exactly when its tag is not 0. Only [`Bucket::put`] sets a tag and
//! only [`Bucket::take`] clears one, and both move the entry with it. Lives on one shard's thread.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::NonNull;

use memmap2::{Advice, MmapMut, UncheckedAdvice};

/// Slots of a bucket.
pub const SLOTS: usize = 3;
/// Arrays from this size on are mapped; smaller ones come from the allocator.
const MAPPED_FROM: usize = 64 << 10;
/// Arrays from this size on are worth huge pages.
const HUGE_FROM: usize = 2 << 20;
/// What is given back begins and ends at a multiple of this: of the pages of every processor.
const GIVEN_BACK_BY: usize = 64 << 10;
/// An overflow count that is no longer exact and stays.
const MANY: u8 = u8::MAX;

/// Seven bits of an entry's hash; never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Tag(u8);

impl Tag {
    /// The tag of a hash: its lowest bits.
    #[inline(always)]
    pub const fn of(bits: u64) -> Tag {
        Tag(bits as u8 | 0x80)
    }
}

/// Three slots. Zeroed memory is a vacant bucket.
#[repr(C, align(64))]
pub struct Bucket<E> {
    tags: [u8; SLOTS],
    overflow: u8,
    stamps: [u32; SLOTS],
    slots: [MaybeUninit<E>; SLOTS],
}

impl<E> Bucket<E> {
    const VACANT: Self = Bucket {
        tags: [0; SLOTS],
        overflow: 0,
        stamps: [0; SLOTS],
        slots: [const { MaybeUninit::uninit() }; SLOTS],
    };

    /// The slot with this tag for whose entry `same` holds.
    ///
    /// Which slot it is cannot be foretold, so the first candidate is found without a branch.
    #[inline(always)]
    pub fn find(&self, tag: Tag, mut same: impl FnMut(&E) -> bool) -> Option<usize> {
        let with = self.slots_with(tag);
        if with == 0 {
            return None;
        }
        let first = (with.trailing_zeros() >> 3) as usize;
        // SAFETY: a tag is never 0, so an equal one stands beside an entry.
        if same(unsafe { self.slots[first].assume_init_ref() }) {
            return Some(first);
        }
        self.find_after(first, tag, same)
    }

    /// The same, as the entry and the stamp beside it, to change.
    #[inline(always)]
    pub fn find_stamped(
        &mut self,
        tag: Tag,
        mut same: impl FnMut(&E) -> bool,
    ) -> Option<(&mut E, &mut u32)> {
        let with = self.slots_with(tag);
        if with == 0 {
            return None;
        }
        let mut slot = (with.trailing_zeros() >> 3) as usize;
        // SAFETY: a tag is never 0, so an equal one stands beside an entry.
        if !same(unsafe { self.slots[slot].assume_init_ref() }) {
            slot = self.find_after(slot, tag, same)?;
        }
        // SAFETY: as above, and in `find_after`.
        let entry = unsafe { self.slots[slot].assume_init_mut() };
        Some((entry, &mut self.stamps[slot]))
    }

    /// The same, behind a slot that has the tag by chance.
    #[cold]
    fn find_after(
        &self,
        first: usize,
        tag: Tag,
        mut same: impl FnMut(&E) -> bool,
    ) -> Option<usize> {
        (first + 1..SLOTS).find(|slot| {
            // SAFETY: a tag is never 0, so an equal one stands beside an entry.
            self.tags[*slot] == tag.0 && same(unsafe { self.slots[*slot].assume_init_ref() })
        })
    }

    /// The first slot with this tag; [`SLOTS`] where none has it.
    #[inline(always)]
    pub fn candidate(&self, tag: Tag) -> u32 {
        // A bit in the byte behind the last slot's stands for none.
        (self.slots_with(tag) | 0x8000_0000).trailing_zeros() >> 3
    }

    /// A word whose lowest bit set stands in the byte of the first slot with this tag; 0 where none has it.
    #[inline(always)]
    fn slots_with(&self, tag: Tag) -> u32 {
        // All four bytes, so that they are one load; the overflow's is masked out at the end.
        let [a, b, c] = self.tags;
        let word = u32::from_le_bytes([a, b, c, self.overflow]) ^ (u32::from(tag.0) * 0x01_01_01);
        word.wrapping_sub(0x01_01_01) & !word & 0x80_80_80
    }

    /// The entry in a slot, if there is such a slot and it is taken.
    #[inline(always)]
    pub fn get(&self, slot: usize) -> Option<&E> {
        if *self.tags.get(slot)? == 0 {
            return None;
        }
        // SAFETY: the tag is not 0, so the slot holds an entry.
        Some(unsafe { self.slots[slot].assume_init_ref() })
    }

    /// The entry in a slot, if it is taken, to change.
    #[inline(always)]
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut E> {
        if self.tags[slot] == 0 {
            return None;
        }
        // SAFETY: the tag is not 0, so the slot holds an entry.
        Some(unsafe { self.slots[slot].assume_init_mut() })
    }

    /// The entry in a slot with the stamp beside it, if there is such a slot and it is taken, to change.
    #[inline(always)]
    pub fn get_stamped(&mut self, slot: usize) -> Option<(&mut E, &mut u32)> {
        if *self.tags.get(slot)? == 0 {
            return None;
        }
        // SAFETY: the tag is not 0, so the slot holds an entry.
        let entry = unsafe { self.slots[slot].assume_init_mut() };
        Some((entry, &mut self.stamps[slot]))
    }

    /// The stamp beside a slot: what its owner last put there.
    #[inline(always)]
    pub fn stamp(&self, slot: usize) -> u32 {
        self.stamps[slot]
    }

    /// Sets the stamp beside a slot.
    #[inline(always)]
    pub fn set_stamp(&mut self, slot: usize, stamp: u32) {
        self.stamps[slot] = stamp;
    }

    /// Puts an entry into a vacant slot; gives it back where there is none.
    ///
    /// # Errors
    /// The entry, if every slot is taken.
    #[inline]
    pub fn put(&mut self, tag: Tag, stamp: u32, entry: E) -> Result<usize, E> {
        let Some(slot) = self.tags.iter().position(|tag| *tag == 0) else {
            return Err(entry);
        };
        self.slots[slot].write(entry);
        self.tags[slot] = tag.0;
        self.stamps[slot] = stamp;
        Ok(slot)
    }

    /// Takes the entry out of a slot, with its tag and stamp.
    #[inline]
    pub fn take(&mut self, slot: usize) -> Option<(Tag, u32, E)> {
        let tag = std::mem::replace(&mut self.tags[slot], 0);
        if tag == 0 {
            return None;
        }
        // SAFETY: the tag was not 0, so the slot held an entry; it is 0 now, so nobody reads it again.
        let entry = unsafe { self.slots[slot].assume_init_read() };
        Some((Tag(tag), self.stamps[slot], entry))
    }

    /// Drops every entry and forgets what went further on.
    #[inline]
    pub fn clear(&mut self) {
        if std::mem::needs_drop::<E>() {
            for slot in 0..SLOTS {
                drop(self.take(slot));
            }
        }
        self.tags = [0; SLOTS];
        self.overflow = 0;
    }

    /// Writes to a bucket that was never used, so that it has memory of its own.
    ///
    /// A write and nothing before it: a read would be answered with the page of zeros that all share, and taking
    /// that away again at the write interrupts every other core of the process.
    #[inline]
    pub fn touch(&mut self) {
        self.overflow = 0;
    }

    /// Brings the end of a bucket of several cache lines near.
    #[inline(always)]
    pub fn prefetch_end(&self) {
        thalweg_core::simd::prefetch_write(&self.slots[SLOTS - 1]);
    }

    /// Whether every slot is vacant.
    #[inline]
    pub fn is_vacant(&self) -> bool {
        self.tags == [0; SLOTS]
    }

    /// Whether entries that belong here may lie further on.
    #[inline(always)]
    pub fn overflows(&self) -> bool {
        self.overflow != 0
    }

    /// An entry that belongs here goes further on.
    #[inline]
    pub fn count_overflow(&mut self) {
        self.overflow = self.overflow.saturating_add(1);
    }

    /// An entry that went further on is gone.
    #[inline]
    pub fn uncount_overflow(&mut self) {
        debug_assert!(self.overflow > 0, "every entry that went on was counted");
        if self.overflow != MANY {
            self.overflow -= 1;
        }
    }
}

impl<E> Drop for Bucket<E> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<E>() {
            for slot in 0..SLOTS {
                drop(self.take(slot));
            }
        }
    }
}

/// Who owns the memory of an array.
enum Memory {
    /// The array itself: a box that was taken apart.
    Allocated,
    /// Pages, unmapped when this is dropped.
    Mapped(MmapMut),
}

/// A fixed number of buckets.
pub struct BucketArray<E> {
    start: NonNull<Bucket<E>>,
    len: usize,
    memory: Memory,
}

impl<E> BucketArray<E> {
    /// Vacant buckets. Memory that is never used is never touched.
    ///
    /// # Errors
    /// If the system has no memory for them.
    pub fn new(len: usize) -> io::Result<Self> {
        const { assert!(align_of::<Bucket<E>>() <= 4096, "pages are aligned to 4096") };
        let Some(bytes) = len.checked_mul(size_of::<Bucket<E>>()) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        if bytes < MAPPED_FROM {
            let buckets: Box<[Bucket<E>]> = (0..len).map(|_| Bucket::VACANT).collect();
            let start = NonNull::from(Box::leak(buckets)).cast();
            let memory = Memory::Allocated;
            return Ok(Self { start, len, memory });
        }
        let mut mapping = MmapMut::map_anon(bytes)?;
        if bytes >= HUGE_FROM {
            // Only advice: small pages serve as well, more slowly.
            let _ = mapping.advise(Advice::HugePage);
        }
        let Some(start) = NonNull::new(mapping.as_mut_ptr().cast()) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let memory = Memory::Mapped(mapping);
        Ok(Self { start, len, memory })
    }

    /// Gives the memory of vacant buckets back to the system, where there are whole pages of it; they stay there, and
    /// forget what went further on. An array that is not mapped keeps it.
    ///
    /// # Panics
    /// When one of them holds an entry.
    pub fn give_back(&mut self, vacant: Range<usize>) {
        assert!(
            self.buckets()[vacant.clone()].iter().all(Bucket::is_vacant),
            "what is given back holds nothing"
        );
        let Memory::Mapped(pages) = &mut self.memory else {
            return;
        };
        let start = pages.as_ptr() as usize;
        let at = |bucket: usize| start + bucket * size_of::<Bucket<E>>();
        let from = at(vacant.start).next_multiple_of(GIVEN_BACK_BY);
        let to = at(vacant.end) / GIVEN_BACK_BY * GIVEN_BACK_BY;
        if from < to {
            // SAFETY: the pages between are those of vacant buckets alone, as both ends are within `vacant`, and nobody
            // borrows a bucket, as `self` is borrowed alone. They read as zeros from here on, which is a vacant bucket.
            // Refused, they stay as they are: it is the system's memory to want back.
            let _ = unsafe {
                pages.unchecked_advise_range(UncheckedAdvice::DontNeed, from - start, to - from)
            };
        }
    }

    /// Bytes of a bucket.
    pub(super) const BUCKET_BYTES: usize = size_of::<Bucket<E>>();

    /// Where in a bucket its slots begin.
    pub(super) const SLOTS_AT: usize = std::mem::offset_of!(Bucket<E>, slots);

    /// Where a bucket lies, if it is one of the array's.
    #[inline(always)]
    pub(super) fn place(&self, bucket: u32) -> *const u8 {
        let offset = (bucket as usize).wrapping_mul(Self::BUCKET_BYTES);
        self.start.as_ptr().cast::<u8>().wrapping_add(offset)
    }

    /// Bytes of address space of so many buckets.
    pub const fn bytes_of(len: usize) -> u64 {
        (len * size_of::<Bucket<E>>()) as u64
    }

    /// The buckets.
    #[inline(always)]
    pub fn buckets(&self) -> &[Bucket<E>] {
        // SAFETY: `start` points to `len` buckets that live as long as `self`: those of a box that was
        // taken apart and is put together again only in `drop`, or zeroed pages, and zeroed memory is a vacant bucket (tags, counts and stamps are plain
        // integers, slots need not be initialised). A mapping is aligned to 4096, checked in `new`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The buckets, to change.
    #[inline(always)]
    pub fn buckets_mut(&mut self) -> &mut [Bucket<E>] {
        // SAFETY: as in `buckets`; `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<E> Drop for BucketArray<E> {
    fn drop(&mut self) {
        if matches!(self.memory, Memory::Allocated) {
            // SAFETY: `start` and `len` are those of the box taken apart in `new`; nobody uses them after.
            drop(unsafe { Box::from_raw(self.buckets_mut()) });
        } else if std::mem::needs_drop::<E>() {
            for bucket in self.buckets_mut() {
                for slot in 0..SLOTS {
                    drop(bucket.take(slot));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn a_bucket_of_small_entries_is_one_cache_line() {
        assert_eq!(size_of::<Bucket<(u64, u64)>>(), 64);
        assert_eq!(size_of::<Bucket<u64>>(), 64);
        assert_eq!(size_of::<Bucket<[u64; 4]>>(), 128);
    }

    #[test]
    fn entries_come_out_as_they_went_in() {
        for len in [3, 4096] {
            let mut array = BucketArray::<(u64, u64)>::new(len).unwrap();
            let bucket = &mut array.buckets_mut()[len - 1];
            assert!(bucket.is_vacant());
            for i in 0..3 {
                assert_eq!(
                    bucket.put(Tag::of(i), i as u32, (i, i * 10)),
                    Ok(i as usize)
                );
            }
            assert_eq!(bucket.put(Tag::of(9), 9, (9, 9)), Err((9, 9)));
            assert_eq!(bucket.find(Tag::of(1), |e| e.0 == 1), Some(1));
            assert_eq!(bucket.find(Tag::of(1), |_| false), None);
            assert_eq!(bucket.find(Tag::of(7), |_| true), None);
            assert_eq!(bucket.take(1), Some((Tag::of(1), 1, (1, 10))));
            assert_eq!((bucket.take(1), bucket.get(1)), (None, None));
            assert_eq!((bucket.get(2), bucket.stamp(2)), (Some(&(2, 20)), 2));
        }
    }

    #[test]
    fn an_overflow_count_that_is_lost_stays() {
        let mut array = BucketArray::<u64>::new(1).unwrap();
        let bucket = &mut array.buckets_mut()[0];
        bucket.count_overflow();
        bucket.uncount_overflow();
        assert!(!bucket.overflows());
        (0..300).for_each(|_| bucket.count_overflow());
        (0..300).for_each(|_| bucket.uncount_overflow());
        assert!(bucket.overflows());
    }

    #[test]
    fn what_is_given_back_is_vacant_and_what_is_beside_it_stays() {
        for len in [100, 10_000] {
            let mut array = BucketArray::<(u64, u64)>::new(len).unwrap();
            let (from, to) = (len / 10, len / 2);
            for (at, bucket) in array.buckets_mut().iter_mut().enumerate() {
                bucket.count_overflow();
                if !(from..to).contains(&at) {
                    bucket.put(Tag::of(0), 0, (at as u64, 1)).unwrap();
                }
            }
            array.give_back(from..to);
            for (at, bucket) in array.buckets().iter().enumerate() {
                let there = bucket.find(Tag::of(0), |entry| entry.0 == at as u64);
                assert_eq!(there.is_some(), !(from..to).contains(&at), "{at} of {len}");
            }
            // Those in the middle have lost their counts, if whole pages lie there.
            let middle = &mut array.buckets_mut()[(from + to) / 2];
            assert_eq!(middle.overflows(), len < 1_000);
            assert_eq!(middle.put(Tag::of(7), 1, (7, 7)), Ok(0));
        }
    }

    #[test]
    #[should_panic(expected = "holds nothing")]
    fn what_holds_an_entry_is_not_given_back() {
        let mut array = BucketArray::<u64>::new(10_000).unwrap();
        array.buckets_mut()[77].put(Tag::of(7), 1, 7).unwrap();
        array.give_back(70..80);
    }

    #[test]
    fn every_entry_is_dropped_once() {
        let shared = Rc::new(());
        for len in [2, 8192] {
            let mut array = BucketArray::<Rc<()>>::new(len).unwrap();
            for bucket in array.buckets_mut() {
                for _ in 0..2 {
                    assert!(bucket.put(Tag::of(0), 0, Rc::clone(&shared)).is_ok());
                }
            }
            let taken = array.buckets_mut()[0].take(0);
            assert_eq!(Rc::strong_count(&shared), 1 + 2 * len);
            drop(array);
            assert_eq!(Rc::strong_count(&shared), 2);
            drop(taken);
            assert_eq!(Rc::strong_count(&shared), 1);
        }
    }
}
