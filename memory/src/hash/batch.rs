//! Many buckets at once: asked for, and looked into for the slots with given tags.
//!
//! Entered by the keyed table of `state` for a handful of records at a time, some records before they are
//! applied, so that the CPU finds memory and slots for all of them side by side. What is answered are
//! *seats*: four times the bucket and the slot, [`NO_SLOT`] where the bucket has no entry with the tag.
//! Invariant: a seat is a guess for whoever holds it; reading the entry there checks that there is one.
//! Lives on one shard's thread.

use super::buckets::{BucketArray, SLOTS, Tag};

/// The slot of a seat whose bucket had no entry with the tag.
pub const NO_SLOT: u32 = SLOTS as u32;
const _: () = assert!(SLOTS == 3, "a seat keeps its slot in two bits");

/// Lanes of a vector of seats: how many are looked for at once.
pub const LANES: usize = 16;

/// Where the next entry of a full bucket lies first.
const fn neighbour(bucket: u32) -> u32 {
    bucket ^ 1
}
const _: () = assert!(
    neighbour(neighbour(4)) == 4 && neighbour(4) == 5,
    "as in wide"
);

impl<E> BucketArray<E> {
    /// Asks for buckets, to be changed. Numbers beyond the array are harmless.
    #[inline(always)]
    pub fn prefetch(&self, buckets: &[u32]) {
        for bucket in buckets {
            self.prefetch_one(*bucket);
        }
    }

    #[inline(always)]
    fn prefetch_one(&self, bucket: u32) {
        let place = self.place(bucket);
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            // SAFETY: a prefetch is a hint: it neither faults nor changes memory, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(place.cast()) };
            if Self::BUCKET_BYTES > 64 {
                let end = place.wrapping_add(Self::BUCKET_BYTES - 64);
                // SAFETY: as above.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(end.cast()) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        if let Some(bucket) = self.buckets().get(bucket as usize) {
            thalweg_core::simd::prefetch_write(bucket);
            bucket.prefetch_end();
        }
        let _ = place;
    }

    /// Turns the numbers of buckets into seats: in each the first slot with the tag that stands at the
    /// same place of `tags`. Asks for the neighbours of buckets that have none; answers the bits of those.
    ///
    /// # Panics
    /// When there are not as many tags as buckets, or more than [`LANES`].
    #[inline]
    pub fn find_slots(&self, tags: &[Tag], buckets: &mut [u32]) -> u16 {
        assert_eq!(tags.len(), buckets.len(), "a tag for each bucket");
        assert!(tags.len() <= LANES, "a bit for each bucket");
        #[cfg(target_arch = "x86_64")]
        if self.wide_enough()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && let Ok(tags) = tags.try_into()
            && let Ok(lanes) = (&mut *buckets).try_into()
        {
            // SAFETY: the CPU has just been asked for the features.
            return unsafe { self.find_slots_wide(tags, lanes) };
        }
        self.find_slots_one_by_one(tags, buckets)
    }

    /// Looks in the neighbour of its bucket for each of the entries whose bit is set in `astray`: those that
    /// [`BucketArray::find_slots`] did not find. Where an entry may lie further on, what comes next is asked
    /// for.
    ///
    /// # Panics
    /// When a bit is set beyond the tags or seats.
    #[inline]
    pub fn find_beside(&self, tags: &[Tag], seats: &mut [u32], astray: u16) {
        let mut astray = astray;
        while astray != 0 {
            let at = astray.trailing_zeros() as usize;
            astray &= astray - 1;
            let bucket = neighbour(seats[at] >> 2);
            let Some(there) = self.buckets().get(bucket as usize) else {
                continue;
            };
            let slot = there.candidate(tags[at]);
            seats[at] = bucket << 2 | slot;
            if slot == NO_SLOT && there.overflows() {
                let next = (bucket | 1).wrapping_add(1);
                self.prefetch_one(next);
                self.prefetch_one(neighbour(next));
            }
        }
    }

    #[inline]
    fn find_slots_one_by_one(&self, tags: &[Tag], buckets: &mut [u32]) -> u16 {
        let mut astray = 0;
        for (number, (tag, at)) in tags.iter().zip(buckets).enumerate() {
            let bucket = *at;
            let there = self.buckets().get(bucket as usize);
            let slot = there.map_or(NO_SLOT, |there| there.candidate(*tag));
            // No branch: nobody can foretell which are found. The bucket itself is near already.
            let missing = u32::from(slot == NO_SLOT);
            self.prefetch_one(bucket ^ missing);
            astray |= (missing as u16) << number;
            *at = bucket << 2 | slot;
        }
        astray
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    use super::{BucketArray, LANES, NO_SLOT, Tag};

    impl<E> BucketArray<E> {
        /// A bucket in steps of 8 bytes, the largest by which a gather multiplies.
        const STEP: i32 = (Self::BUCKET_BYTES / 8) as i32;

        /// Whether every bucket can be reached by the 31 bits of a lane.
        #[inline(always)]
        pub(super) fn wide_enough(&self) -> bool {
            self.buckets().len() <= (i32::MAX / Self::STEP) as usize
        }

        /// What `find_slots_one_by_one` does, for sixteen at once.
        #[target_feature(enable = "avx512f,avx512bw")]
        pub(super) fn find_slots_wide(&self, tags: &[Tag; LANES], lanes: &mut [u32; LANES]) -> u16 {
            // SAFETY: sixteen lanes are 64 bytes.
            let homes = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
            let (slots, found) = self.slots_wide(wide_tags(tags), homes);
            let seats = _mm512_or_si512(_mm512_slli_epi32::<2>(homes), slots);
            // SAFETY: sixteen lanes are 64 bytes.
            unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), seats) };
            self.prefetch_neighbours(homes, !found);
            !found
        }

        /// The slots of entries with these tags in buckets, and the lanes that have one.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn slots_wide(&self, tags: __m512i, buckets: __m512i) -> (__m512i, __mmask16) {
            let count = _mm512_set1_epi32(self.buckets().len() as i32);
            let there = _mm512_cmplt_epu32_mask(buckets, count);
            let steps = _mm512_mullo_epi32(buckets, _mm512_set1_epi32(Self::STEP));
            let start = self.buckets().as_ptr().cast::<i32>();
            let none = _mm512_setzero_si512();
            // SAFETY: a lane is read only where its bucket is one of the array's: its first word, the
            // tags and the overflow, which are initialised bytes; `wide_enough` was asked, so the
            // product has not wrapped.
            let words = unsafe { _mm512_mask_i32gather_epi32::<8>(none, there, steps, start) };
            let differ = _mm512_xor_si512(words, tags);
            let first = _mm512_testn_epi32_mask(differ, _mm512_set1_epi32(0xFF));
            let second = _mm512_testn_epi32_mask(differ, _mm512_set1_epi32(0xFF00));
            let third = _mm512_testn_epi32_mask(differ, _mm512_set1_epi32(0xFF_0000));
            let slots = _mm512_set1_epi32(NO_SLOT as i32);
            let slots = _mm512_mask_mov_epi32(slots, third, _mm512_set1_epi32(2));
            let slots = _mm512_mask_mov_epi32(slots, second, _mm512_set1_epi32(1));
            let slots = _mm512_mask_mov_epi32(slots, first, none);
            (slots, first | second | third)
        }

        /// Asks for the neighbours of some buckets: of four at most, in a fixed number of steps, because
        /// nobody can foretell how many there are. Where there are fewer, the first homes, which are
        /// near already, make up the number.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn prefetch_neighbours(&self, homes: __m512i, missing: __mmask16) {
            let neighbours = _mm512_xor_si512(homes, _mm512_set1_epi32(1));
            let packed = _mm512_mask_compress_epi32(homes, missing, neighbours);
            let packed = _mm512_castsi512_si128(packed);
            for bucket in [
                _mm_extract_epi32::<0>(packed),
                _mm_extract_epi32::<1>(packed),
                _mm_extract_epi32::<2>(packed),
                _mm_extract_epi32::<3>(packed),
            ] {
                self.prefetch_one(bucket.cast_unsigned());
            }
        }
    }

    /// Each tag in the three low bytes of a lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn wide_tags(tags: &[Tag; LANES]) -> __m512i {
        // SAFETY: sixteen tags are sixteen initialised bytes.
        let tags = unsafe { _mm_loadu_si128(tags.as_ptr().cast()) };
        _mm512_mullo_epi32(_mm512_cvtepu8_epi32(tags), _mm512_set1_epi32(0x01_0101))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buckets with none to three entries each; the tag of an entry is its number.
    fn array<E: Copy>(buckets: usize, entry: E) -> BucketArray<E> {
        let mut array = BucketArray::new(buckets).unwrap();
        for (number, bucket) in array.buckets_mut().iter_mut().enumerate() {
            for slot in 0..number % (SLOTS + 1) {
                assert!(
                    bucket
                        .put(Tag::of((number * 3 + slot) as u64), 0, entry)
                        .is_ok()
                );
            }
            // A tag is not mistaken for a count that has the same bits.
            (0..200).for_each(|_| bucket.count_overflow());
        }
        array
    }

    fn check<E: Copy>(buckets: usize, entry: E) {
        let array = array(buckets, entry);
        for first in 0..40 {
            let asked: Vec<u32> = (0..37)
                .map(|i| (first * 31 + i * 17) % (buckets as u32 + 9))
                .collect();
            let tags: Vec<_> = (0..37_u64)
                .map(|i| Tag::of(u64::from(asked[i as usize]) * 3 + (i + u64::from(first)) % 5))
                .collect();
            array.prefetch(&asked);
            for (asked, tags) in asked.chunks(LANES).zip(tags.chunks(LANES)) {
                check_some(&array, asked, tags);
            }
        }
    }

    fn check_some<E>(array: &BucketArray<E>, asked: &[u32], tags: &[Tag]) {
        let slot_of = |bucket: u32, tag: Tag| {
            let there = array.buckets().get(bucket as usize);
            let found = there.and_then(|there| there.find(tag, |_| true));
            found.map_or(NO_SLOT, |slot| slot as u32)
        };
        let (mut wide, mut narrow) = (asked.to_vec(), asked.to_vec());
        let astray = array.find_slots(tags, &mut wide);
        assert_eq!(astray, array.find_slots_one_by_one(tags, &mut narrow));
        assert_eq!(wide, narrow);
        for (number, (seat, bucket)) in wide.iter().zip(asked).enumerate() {
            assert_eq!(seat >> 2, *bucket);
            assert_eq!(
                seat & 3,
                slot_of(*bucket, tags[number]),
                "of bucket {bucket}"
            );
            assert_eq!(seat & 3 == NO_SLOT, astray >> number & 1 == 1);
        }
        array.find_beside(tags, &mut wide, astray);
        for (number, (seat, bucket)) in wide.iter().zip(asked).enumerate() {
            let beside = neighbour(*bucket);
            if narrow[number] & 3 != NO_SLOT || beside as usize >= array.buckets().len() {
                assert_eq!(*seat, narrow[number], "found before, or out of the array");
            } else {
                assert_eq!(*seat, beside << 2 | slot_of(beside, tags[number]));
            }
        }
    }

    #[test]
    fn slots_are_found_whatever_the_size_of_entries_and_however_many_at_once() {
        check(64, (1_u64, 2_u64));
        check(5_000, (1_u64, 2_u64));
        check(64, [0_u64; 9]);
        check(2, 1_u8);
        check(0, 1_u8);
    }

    #[test]
    fn an_entry_beside_its_bucket_is_found_there() {
        let mut array = BucketArray::<u64>::new(6).unwrap();
        assert!(array.buckets_mut()[5].put(Tag::of(7), 0, 1).is_ok());
        let (tags, mut seats) = ([Tag::of(7); 16], [4; 16]);
        assert_eq!(array.find_slots(&tags, &mut seats), u16::MAX);
        assert_eq!(seats, [4 << 2 | NO_SLOT; 16]);
        array.find_beside(&tags, &mut seats, u16::MAX);
        assert_eq!(seats, [5 << 2; 16]);
    }
}
