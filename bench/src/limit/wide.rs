//! Kernels in AVX-512 that no compiler finds: parting eight records at once.
//!
//! Everything here is called only under a [`super::level::Level`] that has the instructions.

use std::arch::x86_64::{
    __m512i, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm512_add_epi32, _mm512_add_epi64,
    _mm512_castsi512_si256, _mm512_cmpeq_epi8_mask, _mm512_cvtepu8_epi32, _mm512_loadu_si512,
    _mm512_maskz_compress_epi8, _mm512_maskz_compress_epi64, _mm512_movepi64_mask,
    _mm512_mul_epu32, _mm512_mullo_epi64, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_epi64,
    _mm512_srli_epi64, _mm512_storeu_si512, _mm512_xor_si512,
};

use super::sum::Batch;
use super::table::SPREAD;
use super::win;
use crate::workload::definitions::{GOLDEN, SUM_KEYS, WIN_KEYS, WIN_RECORDS_PER_MS};

/// Parts `eights` times eight records, every second one from `from`; how many that were.
///
/// # Safety
/// The CPU has AVX-512 F and DQ, and each batch has room for all the records and eight more.
#[target_feature(enable = "avx512f,avx512dq,popcnt")]
pub(super) unsafe fn part_eights(
    own: &mut Batch,
    other: &mut Batch,
    from: u64,
    eights: usize,
    thread: u64,
) -> usize {
    let lanes: [u64; 8] =
        std::array::from_fn(|lane| from.wrapping_add(2 * lane as u64).wrapping_mul(GOLDEN));
    // SAFETY: the array is eight lanes of eight bytes.
    let mut product = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
    let flip = if thread == 1 { 0 } else { u8::MAX };
    for _ in 0..eights {
        let values = mix(product);
        product = _mm512_add_epi64(product, all(GOLDEN.wrapping_mul(16)));
        let keys = _mm512_mul_epu32(_mm512_srli_epi64::<32>(values), all(SUM_KEYS));
        let keys = _mm512_srli_epi64::<32>(keys);
        let stays = _mm512_movepi64_mask(_mm512_mullo_epi64(keys, all(SPREAD))) ^ flip;
        // SAFETY: the caller vouches for the room.
        unsafe { append(own, stays, keys, values) };
        // SAFETY: the caller vouches for the room.
        unsafe { append(other, !stays, keys, values) };
    }
    8 * eights
}

#[target_feature(enable = "avx512f")]
fn all(value: u64) -> __m512i {
    _mm512_set1_epi64(value.cast_signed())
}

/// Parts `eights` times eight timed records, every second one from `from`; how many that were.
///
/// # Safety
/// The CPU has AVX-512 F and DQ, and each batch has room for all the records and eight more.
#[target_feature(enable = "avx512f,avx512dq,popcnt")]
pub(super) unsafe fn part_timed_eights(
    own: &mut win::Batch,
    other: &mut win::Batch,
    from: u64,
    eights: usize,
    thread: u64,
) -> usize {
    // A block is short: counted from a whole millisecond, its numbers divide in 32 bits.
    let first_ms = from / WIN_RECORDS_PER_MS;
    let behind = from % WIN_RECORDS_PER_MS;
    assert!(
        behind + 16 * (eights as u64) < MOST_DIVIDED,
        "the block is short"
    );
    let numbers: [u64; 8] = std::array::from_fn(|lane| from.wrapping_add(2 * lane as u64));
    let products = numbers.map(|number| number.wrapping_mul(GOLDEN));
    let counted: [u64; 8] = std::array::from_fn(|lane| behind + 2 * lane as u64);
    // SAFETY: the array is eight lanes of eight bytes.
    let mut product = unsafe { _mm512_loadu_si512(products.as_ptr().cast()) };
    // SAFETY: as above.
    let mut counted = unsafe { _mm512_loadu_si512(counted.as_ptr().cast()) };
    let flip = if thread == 1 { 0 } else { u8::MAX };
    for _ in 0..eights {
        let keys = _mm512_mul_epu32(_mm512_srli_epi64::<32>(mix(product)), all(WIN_KEYS));
        let keys = _mm512_srli_epi64::<32>(keys);
        let times = _mm512_srli_epi64::<32>(_mm512_mul_epu32(counted, all(PER_RECORD)));
        let times = _mm512_add_epi64(times, all(first_ms));
        product = _mm512_add_epi64(product, all(GOLDEN.wrapping_mul(16)));
        counted = _mm512_add_epi64(counted, all(16));
        let stays = _mm512_movepi64_mask(_mm512_mullo_epi64(keys, all(SPREAD))) ^ flip;
        for (batch, mask) in [(&mut *own, stays), (&mut *other, !stays)] {
            let len = batch.len;
            // SAFETY: the caller vouches for the room of eight lanes behind `len`.
            unsafe { store_chosen(&raw mut batch.keys[len], mask, keys) };
            // SAFETY: as above.
            unsafe { store_chosen(&raw mut batch.times[len], mask, times) };
            batch.len += mask.count_ones() as usize;
        }
    }
    8 * eights
}

/// One part in 1000 of 2^32, rounded up: exact for numbers below [`MOST_DIVIDED`].
const PER_RECORD: u64 = (1 << 32) / WIN_RECORDS_PER_MS + 1;
/// Up to here multiplying by [`PER_RECORD`] divides exactly: the excess of a product stays below a part.
const MOST_DIVIDED: u64 = (1 << 32) / (WIN_RECORDS_PER_MS * WIN_RECORDS_PER_MS);

/// Stores the lanes chosen by `mask` one behind the other.
///
/// # Safety
/// `to` may be written for eight lanes.
#[target_feature(enable = "avx512f")]
unsafe fn store_chosen(to: *mut u64, mask: u8, lanes: __m512i) {
    let chosen = _mm512_maskz_compress_epi64(mask, lanes);
    // SAFETY: the caller's promise.
    unsafe { _mm512_storeu_si512(to.cast(), chosen) };
}

/// [`crate::workload::definitions::mix`] of eight lanes.
#[target_feature(enable = "avx512f,avx512dq")]
fn mix(x: __m512i) -> __m512i {
    let z = _mm512_add_epi64(x, all(GOLDEN));
    let z = _mm512_xor_si512(z, _mm512_srli_epi64::<30>(z));
    let z = _mm512_mullo_epi64(z, all(0xBF58_476D_1CE4_E5B9));
    let z = _mm512_xor_si512(z, _mm512_srli_epi64::<27>(z));
    let z = _mm512_mullo_epi64(z, all(0x94D0_49BB_1331_11EB));
    _mm512_xor_si512(z, _mm512_srli_epi64::<31>(z))
}

/// Appends the lanes chosen by `mask`.
///
/// # Safety
/// The batch has room for eight more records.
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn append(batch: &mut Batch, mask: u8, keys: __m512i, values: __m512i) {
    let keys = _mm512_maskz_compress_epi64(mask, keys);
    let values = _mm512_maskz_compress_epi64(mask, values);
    // SAFETY: the caller vouches for the room of eight lanes behind `len`.
    let to = unsafe { batch.keys.as_mut_ptr().add(batch.len) };
    // SAFETY: as above.
    unsafe { _mm512_storeu_si512(to.cast(), keys) };
    // SAFETY: as above.
    let to = unsafe { batch.values.as_mut_ptr().add(batch.len) };
    // SAFETY: as above.
    unsafe { _mm512_storeu_si512(to.cast(), values) };
    batch.len += mask.count_ones() as usize;
}

/// One bit for each byte that is a space or a newline.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn separators(bytes: &[u8; 64]) -> u64 {
    // SAFETY: the array is 64 bytes.
    let bytes = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b' '.cast_signed()))
        | _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'\n'.cast_signed()))
}

static BYTES: [u8; 64] = {
    let mut bytes = [0; 64];
    let mut at = 0;
    while at < 64 {
        bytes[at] = at as u8;
        at += 1;
    }
    bytes
};

/// Writes the positions of at most 32 bits of `mask`, counted from `base`; how many there are.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
pub(super) fn positions(mask: u64, base: u32, to: &mut [u32; 32]) -> usize {
    debug_assert!(mask & (mask >> 1) == 0, "no two neighbours are set");
    // SAFETY: the array is 64 bytes.
    let bytes = unsafe { _mm512_loadu_si512(BYTES.as_ptr().cast()) };
    let bytes = _mm512_castsi512_si256(_mm512_maskz_compress_epi8(mask, bytes));
    let base = _mm512_set1_epi32(base.cast_signed());
    let low = _mm512_add_epi32(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(bytes)), base);
    // SAFETY: the first half of the array is 16 lanes of four bytes.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), low) };
    let count = mask.count_ones() as usize;
    if count > 16 {
        let high = _mm512_cvtepu8_epi32(_mm256_extracti128_si256::<1>(bytes));
        let high = _mm512_add_epi32(high, base);
        // SAFETY: the second half of the array is 16 lanes of four bytes.
        unsafe { _mm512_storeu_si512(to[16..].as_mut_ptr().cast(), high) };
    }
    count
}
