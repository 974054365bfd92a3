//! Sixteen buckets looked into in two times eight, with the instructions of AVX2.
//!
//! Entered by [`BucketArray::find_slots`] on CPUs that have them and not those of AVX-512. Invariant: answers what
//! looking one by one does. Lives on one shard's thread.

use std::arch::x86_64::*;

use super::{BucketArray, LANES, NO_SLOT, Tag};

/// Lanes of a vector.
const EIGHT: usize = LANES / 2;

impl<E> BucketArray<E> {
    /// What `find_slots_one_by_one` does, for eight at once.
    #[target_feature(enable = "avx2")]
    pub(super) fn find_slots_by_eights(
        &self,
        tags: &[Tag; LANES],
        lanes: &mut [u32; LANES],
    ) -> u16 {
        let (tags, _) = tags.as_chunks::<EIGHT>();
        let (lanes, _) = lanes.as_chunks_mut::<EIGHT>();
        let mut astray = 0;
        for (number, (tags, lanes)) in tags.iter().zip(lanes).enumerate() {
            astray |= self.find_eight_slots(tags, lanes) << (number * EIGHT);
        }
        astray
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn find_eight_slots(&self, tags: &[Tag; EIGHT], lanes: &mut [u32; EIGHT]) -> u16 {
        // SAFETY: eight lanes are 32 bytes.
        let homes = unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) };
        let equal = _mm256_cmpeq_epi8(self.first_words(homes), in_three_bytes(tags));
        // All bits of a lane are set where the byte of the slot, or one of a slot before it, is equal.
        let first = _mm256_srai_epi32::<31>(_mm256_slli_epi32::<24>(equal));
        let second = _mm256_srai_epi32::<31>(_mm256_slli_epi32::<16>(equal));
        let third = _mm256_srai_epi32::<31>(_mm256_slli_epi32::<8>(equal));
        let second = _mm256_or_si256(first, second);
        let third = _mm256_or_si256(second, third);
        // Such a lane is minus one: the slot counts down from where there is none.
        let none = _mm256_set1_epi32(NO_SLOT as i32);
        let slots = _mm256_add_epi32(
            _mm256_add_epi32(none, first),
            _mm256_add_epi32(second, third),
        );
        let seats = _mm256_or_si256(_mm256_slli_epi32::<2>(homes), slots);
        // SAFETY: eight lanes are 32 bytes.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), seats) };
        let found = _mm256_movemask_ps(_mm256_castsi256_ps(third));
        !found as u16 & 0xFF
    }

    /// The tags and overflows of buckets; 0 beyond the array.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn first_words(&self, buckets: __m256i) -> __m256i {
        let last = _mm256_set1_epi32(self.buckets().len() as i32 - 1);
        let there = _mm256_cmpeq_epi32(_mm256_min_epu32(buckets, last), buckets);
        let steps = _mm256_mullo_epi32(buckets, _mm256_set1_epi32(Self::STEP));
        let start = self.buckets().as_ptr().cast::<i32>();
        let none = _mm256_setzero_si256();
        // SAFETY: a lane is read only where its bucket is one of the array's: its first word, the
        // tags and the overflow, which are initialised bytes; `fits_lanes` was asked, so the
        // array has a last bucket, and the product has not wrapped.
        unsafe { _mm256_mask_i32gather_epi32::<8>(none, start, steps, there) }
    }
}

/// Each tag in the three low bytes of a lane.
#[inline]
#[target_feature(enable = "avx2")]
fn in_three_bytes(tags: &[Tag; EIGHT]) -> __m256i {
    // SAFETY: eight tags are eight initialised bytes.
    let tags = unsafe { _mm_loadl_epi64(tags.as_ptr().cast()) };
    _mm256_mullo_epi32(_mm256_cvtepu8_epi32(tags), _mm256_set1_epi32(0x01_0101))
}
