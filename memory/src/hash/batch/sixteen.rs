//! Sixteen buckets looked into at once, with the instructions of AVX-512.
//!
//! Entered by [`BucketArray::find_slots`] on CPUs that have them. Invariant: answers what looking one by one
//! does. Lives on one shard's thread.

use std::arch::x86_64::*;

use super::{BucketArray, LANES, NO_SLOT, Tag};

impl<E> BucketArray<E> {
    /// What `find_slots_one_by_one` does, for sixteen at once.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn find_sixteen_slots(&self, tags: &[Tag; LANES], lanes: &mut [u32; LANES]) -> u16 {
        // SAFETY: sixteen lanes are 64 bytes.
        let homes = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
        let (slots, found) = self.slots_of_sixteen(wide_tags(tags), homes);
        let seats = _mm512_or_si512(_mm512_slli_epi32::<2>(homes), slots);
        // SAFETY: sixteen lanes are 64 bytes.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), seats) };
        !found
    }

    /// The slots of entries with these tags in buckets, and the lanes that have one.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn slots_of_sixteen(&self, tags: __m512i, buckets: __m512i) -> (__m512i, __mmask16) {
        let count = _mm512_set1_epi32(self.buckets().len() as i32);
        let there = _mm512_cmplt_epu32_mask(buckets, count);
        let steps = _mm512_mullo_epi32(buckets, _mm512_set1_epi32(Self::STEP));
        let start = self.buckets().as_ptr().cast::<i32>();
        let none = _mm512_setzero_si512();
        // SAFETY: a lane is read only where its bucket is one of the array's: its first word, the
        // tags and the overflow, which are initialised bytes; `fits_lanes` was asked, so the
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
}

/// Each tag in the three low bytes of a lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn wide_tags(tags: &[Tag; LANES]) -> __m512i {
    // SAFETY: sixteen tags are sixteen initialised bytes.
    let tags = unsafe { _mm_loadu_si128(tags.as_ptr().cast()) };
    _mm512_mullo_epi32(_mm512_cvtepu8_epi32(tags), _mm512_set1_epi32(0x01_0101))
}
