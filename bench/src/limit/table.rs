//! The dense table of the keyed sum: four keys and their four sums in one cache line.
//!
//! A lookup compares the four keys of a line at once and follows a chain of lines only where one is
//! full. The table is sized for a known number of keys and never grows. Owned by one thread.
//! Invariant: a key is in the first line from its home that had room when it came, and keys are never
//! removed, so a line with room ends every search.

use super::machine::{HugeArray, prefetch};

/// What stands in a slot nobody has taken; keys of the workloads are below 2^32.
const EMPTY: u64 = u64::MAX;
const SLOTS: usize = 4;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    keys: [u64; SLOTS],
    sums: [u64; SLOTS],
}

/// Running sums by key.
pub(super) struct SumTable {
    lines: HugeArray<Line>,
    keys: usize,
    owner_bits: u32,
}

/// Multiplies a key into its hash, of which the high bits count: the first chooses the thread, the
/// next ones the line, so that either half of the keys spreads over its table as evenly as all do.
pub(super) const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline(always)]
fn spread(key: u64) -> u64 {
    key.wrapping_mul(SPREAD)
}

/// Which of two threads owns `key`.
#[inline(always)]
pub(super) fn owner(key: u64) -> u64 {
    spread(key) >> 63
}

impl SumTable {
    /// A table for the share one of `threads` threads has of `keys` keys, 1.1 slots for each.
    pub(super) fn for_share(keys: u64, threads: u32) -> Self {
        let share = keys / u64::from(threads);
        let Ok(lines) = usize::try_from(share * 11 / 10 / SLOTS as u64 + 64) else {
            unreachable!("the workloads have a million keys")
        };
        Self {
            lines: HugeArray::filled(
                lines,
                Line {
                    keys: [EMPTY; SLOTS],
                    sums: [0; SLOTS],
                },
            ),
            keys: 0,
            owner_bits: threads.ilog2(),
        }
    }

    /// Number of distinct keys seen.
    #[cfg(test)]
    fn keys(&self) -> usize {
        self.keys
    }

    /// Home lines of `keys`, into `homes`.
    #[inline(always)]
    pub(super) fn homes(&self, keys: &[u64], homes: &mut [u32]) {
        let lines = self.lines.len() as u64;
        for (home, &key) in homes.iter_mut().zip(keys) {
            *home = ((((spread(key) << self.owner_bits) >> 32) * lines) >> 32) as u32;
        }
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, home: u32) {
        prefetch(self.lines.as_ptr().wrapping_add(home as usize));
    }

    /// Adds `value` to the sum of `key`, whose home line is `home`, and returns the sum before.
    ///
    /// # Safety
    /// `home` was made by [`SumTable::homes`] of this table.
    #[inline(always)]
    pub(super) unsafe fn add<const WIDE: u8>(&mut self, home: u32, key: u64, value: u64) -> u64 {
        debug_assert!((home as usize) < self.lines.len(), "a home is a line");
        // SAFETY: the caller vouches for the home, and `homes` makes none at or over the number of
        // lines, which never changes.
        let line = unsafe { self.lines.get_unchecked_mut(home as usize) };
        let hits = find::<WIDE>(&line.keys, key);
        if hits == 0 {
            return self.add_far(home as usize, key, value);
        }
        let sum = &mut line.sums[hits.trailing_zeros() as usize & (SLOTS - 1)];
        let old = *sum;
        *sum = old.wrapping_add(value);
        old
    }

    /// Takes out every key with its sum.
    pub(super) fn drain(&mut self, mut take: impl FnMut(u64, u64)) {
        for line in &mut *self.lines {
            for slot in 0..SLOTS {
                if line.keys[slot] != EMPTY {
                    take(line.keys[slot], line.sums[slot]);
                    line.keys[slot] = EMPTY;
                    line.sums[slot] = 0;
                }
            }
        }
        self.keys = 0;
    }

    /// The key is new or its home line is full of others.
    #[cold]
    #[inline(never)]
    fn add_far(&mut self, home: usize, key: u64, value: u64) -> u64 {
        assert_ne!(key, EMPTY, "keys are below 2^32");
        let mut at = home;
        loop {
            let line = &mut self.lines[at];
            for slot in 0..SLOTS {
                if line.keys[slot] == EMPTY {
                    line.keys[slot] = key;
                    self.keys += 1;
                }
                if line.keys[slot] == key {
                    let old = line.sums[slot];
                    line.sums[slot] = old.wrapping_add(value);
                    return old;
                }
            }
            at = if at + 1 == self.lines.len() {
                0
            } else {
                at + 1
            };
            assert_ne!(at, home, "the table was sized for its keys");
        }
    }
}

/// One bit for each of the four keys that is `key`.
#[inline(always)]
fn find<const WIDE: u8>(keys: &[u64; SLOTS], key: u64) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if WIDE > 0 {
        use std::arch::x86_64::{
            __m256i, _mm256_castsi256_pd, _mm256_cmpeq_epi64, _mm256_load_si256,
            _mm256_movemask_pd, _mm256_set1_epi64x,
        };
        // SAFETY: `WIDE` is above 0 only under a level that has AVX2.
        let wanted = unsafe { _mm256_set1_epi64x(key.cast_signed()) };
        // SAFETY: the keys are the first 32 bytes of a line aligned to 64.
        let stored = unsafe { _mm256_load_si256(keys.as_ptr().cast::<__m256i>()) };
        // SAFETY: AVX2, as above.
        let same = unsafe { _mm256_cmpeq_epi64(stored, wanted) };
        // SAFETY: AVX2, as above.
        let same = unsafe { _mm256_castsi256_pd(same) };
        // SAFETY: AVX2, as above.
        return unsafe { _mm256_movemask_pd(same) }.cast_unsigned();
    }
    let mut hits = 0;
    for (slot, &stored) in keys.iter().enumerate() {
        hits |= u32::from(stored == key) << slot;
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_equal_a_plain_map_even_when_full() {
        let mut table = SumTable::for_share(0, 1);
        let room = table.lines.len() as u64 * SLOTS as u64;
        let mut plain = std::collections::BTreeMap::new();
        for i in 0..20 * room {
            let key = crate::workload::definitions::sm(i) % room;
            let mut home = [0];
            table.homes(&[key], &mut home);
            // SAFETY: the home was made above.
            let old = unsafe { table.add::<0>(home[0], key, i) };
            let sum = plain.entry(key).or_insert(0u64);
            assert_eq!(old, *sum);
            *sum += i;
        }
        assert_eq!(table.keys(), plain.len());
        assert_eq!(table.keys() as u64, room, "the load is full");
    }
}
