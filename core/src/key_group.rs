//! The only place where keys meet parallelism: key → hash → key group → subtask.
//!
//! Entered once per record by the partitioner; the [`KeyHash`] then travels beside the record and is
//! never computed again. Lives on any thread, allocates nothing.
//!
//! Invariants:
//! - the hash is a **stored format**: saved state is cut by it. [`KEY_HASH_VERSION`] names it and the
//!   golden values below hold it; a change of either is a new version, never an edit;
//! - bits are spent once: the key group takes the *high* bits of the hash, so whoever places entries
//!   inside a group uses [`KeyHash::table_index`], a remix whose every bit depends on bits the group has
//!   not fixed;
//! - key groups map to subtasks in order and gapless, so a subtask owns one range of them.
//!
//! Integers go through a bijection (two distinct 64-bit keys never share a hash). Byte strings use the
//! folded 64×64→128 multiplication of wyhash and rapidhash, read little-endian on every machine. It is
//! not a defence against an adversary who picks keys to collide.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;

/// The version of the key hash; part of every saved state.
pub const KEY_HASH_VERSION: u16 = 1;

/// Odd, no regular pattern, and 1 modulo 4 (see [`KeyHash::combine`]).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Multipliers of the `moremur` finaliser.
const MIX_1: u64 = 0x3C79_AC49_2BA7_B653;
const MIX_2: u64 = 0x1C69_B3F7_4AC4_AE35;
/// Multiplier of the table remix.
const REMIX: u64 = 0xD6E8_FEB8_6659_FD93;
/// Secrets of the byte hash: odd, 32 bits set each (those of wyhash's final version).
const SECRET: [u64; 4] = [
    0x2D35_8DCC_AA6C_78A5,
    0x8BB8_4B93_962E_ACC9,
    0x4B33_A62E_D433_D4A3,
    0x4D5A_2DA5_1DE1_AA47,
];

/// The stable 64-bit hash of a key.
///
/// ```
/// use thalweg_core::{KeyHash, MaxParallelism};
/// let max = MaxParallelism::default();
/// let group = max.key_group(KeyHash::of_bytes(b"thalweg"));
/// assert!(max.range(max.subtask(group, 4), 4).contains(&group.0));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct KeyHash(
    /// The hash itself; all 64 bits are good.
    pub u64,
);

impl KeyHash {
    /// The hash of an integer key of up to 64 bits. A bijection: no two integers collide.
    #[inline(always)]
    #[must_use]
    pub const fn of_u64(key: u64) -> KeyHash {
        // The addition keeps 0 from being a fixed point.
        let mut x = key.wrapping_add(GOLDEN);
        x ^= x >> 27;
        x = x.wrapping_mul(MIX_1);
        x ^= x >> 33;
        x = x.wrapping_mul(MIX_2);
        x ^= x >> 27;
        KeyHash(x)
    }

    /// The hash of a 128-bit integer key. Not the hash of the same number in 64 bits.
    #[inline]
    #[must_use]
    pub const fn of_u128(key: u128) -> KeyHash {
        KeyHash::of_u64(key as u64).combine(KeyHash::of_u64((key >> 64) as u64))
    }

    /// The hash of a byte string (of a `str`: its UTF-8 bytes).
    #[inline]
    #[must_use]
    pub const fn of_bytes(key: &[u8]) -> KeyHash {
        let length = key.len();
        if length > 16 {
            return of_long(key);
        }
        // The words of running text have 2 to 8 bytes: one path for them all, four overlapping reads of
        // two bytes, because branches on the length of words are mispredicted (6.2 against 3.6 ns).
        let (a, b) = if length > 8 {
            (read_u64(key, 0), read_u64(key, length - 8))
        } else if length >= 2 {
            let last = length - 2;
            let third = if last < 4 { last } else { 4 };
            let second = if last < 2 { last } else { 2 };
            let low = read_u16(key, 0) | read_u16(key, second) << 16;
            (
                low | read_u16(key, third) << 32 | read_u16(key, last) << 48,
                0,
            )
        } else if length == 1 {
            (key[0] as u64, 0)
        } else {
            (0, 0)
        };
        finish(a, b, SECRET[0], length)
    }

    /// The hash of a key made of two parts, in this order. For each value of one part a bijection in
    /// the other.
    #[inline]
    #[must_use]
    pub const fn combine(self, next: KeyHash) -> KeyHash {
        // GOLDEN + 1 is 2 modulo 4, so that even equal parts (k, k) lose a single bit.
        let mut x = self.0.wrapping_mul(GOLDEN).wrapping_add(next.0);
        x ^= x >> 32;
        x = x.wrapping_mul(MIX_1);
        x ^= x >> 29;
        KeyHash(x)
    }

    /// Where to look inside a table that holds keys of few key groups: a remix whose high *and* low bits
    /// depend on the bits the key group left free. Bijective in the hash.
    #[inline(always)]
    #[must_use]
    pub const fn table_index(self) -> u64 {
        let x = self.0.wrapping_mul(REMIX);
        x ^ (x >> 32)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({:016x})", self.0)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Both halves of the 128-bit product, xored: every input bit reaches every output bit.
#[inline(always)]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The end of every byte hash: the last two words, what came before them, and the length.
#[inline(always)]
const fn finish(a: u64, b: u64, seed: u64, length: usize) -> KeyHash {
    let length = length as u64;
    let product = ((a ^ SECRET[1]) as u128) * ((b ^ seed ^ length) as u128);
    let (low, high) = (product as u64, (product >> 64) as u64);
    KeyHash(fold(low ^ SECRET[2], high ^ SECRET[3] ^ length))
}

#[inline(always)]
const fn read_u64(bytes: &[u8], at: usize) -> u64 {
    match bytes.split_at(at).1.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => unreachable!(),
    }
}

#[inline(always)]
const fn read_u16(bytes: &[u8], at: usize) -> u64 {
    match bytes.split_at(at).1.first_chunk::<2>() {
        Some(pair) => u16::from_le_bytes(*pair) as u64,
        None => unreachable!(),
    }
}

/// Byte strings of more than 16 bytes: three independent lanes of 16 while there are more than 48, then
/// one, and the last 16 bytes (which may overlap what was read) at the end.
#[inline(never)]
const fn of_long(key: &[u8]) -> KeyHash {
    let length = key.len();
    debug_assert!(length > 16, "shorter keys have their own path");
    let mut seed = SECRET[0];
    let mut at = 0;
    if length > 48 {
        let (mut second, mut third) = (seed, seed);
        while length - at > 48 {
            seed = fold(read_u64(key, at) ^ SECRET[1], read_u64(key, at + 8) ^ seed);
            second = fold(
                read_u64(key, at + 16) ^ SECRET[2],
                read_u64(key, at + 24) ^ second,
            );
            third = fold(
                read_u64(key, at + 32) ^ SECRET[3],
                read_u64(key, at + 40) ^ third,
            );
            at += 48;
        }
        seed ^= second ^ third;
    }
    while length - at > 16 {
        seed = fold(read_u64(key, at) ^ SECRET[1], read_u64(key, at + 8) ^ seed);
        at += 16;
    }
    finish(
        read_u64(key, length - 16),
        read_u64(key, length - 8),
        seed,
        length,
    )
}

/// The smallest unit in which keyed state moves between subtasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct KeyGroup(
    /// The group's number, below the job's max parallelism.
    pub u16,
);

impl fmt::Display for KeyGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key group {}", self.0)
    }
}

/// How many key groups a job has, hence the most subtasks a keyed operator can ever have. Fixed for the
/// life of a job's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaxParallelism(NonZeroU32);

/// A number of key groups outside 1..=32768.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "max parallelism {asked} is out of range: set pipeline.max-parallelism to a value from 1 to {}",
    MaxParallelism::LIMIT
)]
pub struct MaxParallelismError {
    asked: u32,
}

impl MaxParallelism {
    /// The largest number of key groups.
    pub const LIMIT: u32 = 32_768;

    /// `groups` key groups.
    ///
    /// # Errors
    /// When `groups` is 0 or above [`MaxParallelism::LIMIT`].
    pub const fn new(groups: u32) -> Result<MaxParallelism, MaxParallelismError> {
        match NonZeroU32::new(groups) {
            Some(count) if groups <= MaxParallelism::LIMIT => Ok(MaxParallelism(count)),
            _ => Err(MaxParallelismError { asked: groups }),
        }
    }

    /// The number of key groups.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The key group of a key: the high bits of its hash, scaled without a division.
    #[inline(always)]
    #[must_use]
    pub const fn key_group(self, hash: KeyHash) -> KeyGroup {
        let group = ((hash.0 >> 32) * self.get() as u64) >> 32;
        debug_assert!(
            group < self.get() as u64,
            "a group is below the number of groups"
        );
        KeyGroup(group as u16)
    }

    /// Which of `parallelism` subtasks owns `group`.
    ///
    /// # Panics
    /// When `parallelism` is 0; in debug builds also when it is above the number of key groups or
    /// `group` is not one of them.
    #[inline]
    #[must_use]
    pub const fn subtask(self, group: KeyGroup, parallelism: u32) -> u32 {
        debug_assert!(parallelism <= self.get(), "more subtasks than key groups");
        debug_assert!((group.0 as u32) < self.get(), "a key group of another job");
        // At most 2^15 * 2^15, so no overflow in 32 bits.
        (group.0 as u32) * parallelism / self.get()
    }

    /// The key groups that subtask `subtask` of `parallelism` owns: those for which
    /// [`MaxParallelism::subtask`] answers `subtask`.
    ///
    /// # Panics
    /// When `subtask >= parallelism` or `parallelism` is above the number of key groups.
    #[must_use]
    pub const fn range(self, subtask: u32, parallelism: u32) -> Range<u16> {
        assert!(subtask < parallelism, "subtask index out of range");
        assert!(parallelism <= self.get(), "more subtasks than key groups");
        let groups = self.get();
        let start = (subtask * groups).div_ceil(parallelism);
        let end = ((subtask + 1) * groups).div_ceil(parallelism);
        debug_assert!(
            start < end && end <= groups,
            "every subtask owns at least one group"
        );
        start as u16..end as u16
    }
}

impl Default for MaxParallelism {
    /// 128, as in Flink.
    fn default() -> Self {
        const DEFAULT: NonZeroU32 = NonZeroU32::new(128).unwrap();
        MaxParallelism(DEFAULT)
    }
}

impl fmt::Display for MaxParallelism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length)
            .map(|index| (index as u8).wrapping_mul(37).wrapping_add(11))
            .collect()
    }

    /// Stored state depends on these: they may only ever be added to.
    #[test]
    fn golden_values_of_version_one() {
        assert_eq!(KEY_HASH_VERSION, 1);
        for (key, hash) in GOLDEN_INTEGERS {
            assert_eq!(KeyHash::of_u64(key).0, hash, "of_u64({key:#x})");
        }
        for (length, hash) in GOLDEN_LENGTHS {
            assert_eq!(
                KeyHash::of_bytes(&bytes(length)).0,
                hash,
                "of_bytes, {length} bytes"
            );
        }
        for (word, hash) in GOLDEN_WORDS {
            assert_eq!(
                KeyHash::of_bytes(word.as_bytes()).0,
                hash,
                "of_bytes({word})"
            );
        }
        for (key, hash) in GOLDEN_WIDE {
            assert_eq!(KeyHash::of_u128(key).0, hash, "of_u128({key:#x})");
        }
        let pair = KeyHash::of_bytes(b"thalweg").combine(KeyHash::of_u64(7));
        assert_eq!((pair.0, pair.table_index()), GOLDEN_PAIR);
    }

    fn spread(hashes: impl Iterator<Item = KeyHash>) -> Vec<u64> {
        let max = MaxParallelism::default();
        let mut counts = vec![0; max.get() as usize];
        for hash in hashes {
            counts[usize::from(max.key_group(hash).0)] += 1;
        }
        counts
    }

    fn assert_even(counts: &[u64], within: f64, what: &str) {
        let even = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        for (index, &count) in counts.iter().enumerate() {
            let off = (count as f64 - even).abs() / even;
            assert!(
                off <= within,
                "{what}: bin {index} has {count}, even is {even}"
            );
        }
    }

    #[test]
    fn a_million_keys_of_any_regular_kind_spread_within_five_percent() {
        let million = 1_000_000_u64;
        assert_even(
            &spread((0..million).map(KeyHash::of_u64)),
            0.05,
            "sequential",
        );
        assert_even(
            &spread((0..million).map(|i| KeyHash::of_u64(i << 32))),
            0.05,
            "high half",
        );
        assert_even(
            &spread((0..million).map(|i| KeyHash::of_u64(i * 1_000))),
            0.05,
            "thousands",
        );
        let word = |i: u64| KeyHash::of_bytes(i.to_string().as_bytes());
        assert_even(&spread((0..million).map(word)), 0.05, "decimal strings");
        let named = |i: u64| KeyHash::of_bytes(format!("user-{i:09}@example.org").as_bytes());
        assert_even(&spread((0..million).map(named)), 0.05, "longer strings");
        let pair = |i: u64| KeyHash::of_u64(i % 1_000).combine(KeyHash::of_u64(i / 1_000));
        assert_even(&spread((0..million).map(pair)), 0.05, "pairs");
        let twin = |i: u64| KeyHash::of_u64(i).combine(KeyHash::of_u64(i));
        assert_even(&spread((0..million).map(twin)), 0.05, "equal pairs");
        assert_even(
            &spread((0..million).map(|i| KeyHash::of_u128(u128::from(i)))),
            0.05,
            "u128",
        );
    }

    #[test]
    fn short_strings_of_every_length_have_no_collisions_and_spread() {
        for length in 1..=4_usize {
            let alphabet = b"abcdefghijklmnopqrstuvwxyz012345";
            let count = 32_usize.pow(length as u32);
            let mut hashes: Vec<u64> = (0..count)
                .map(|mut i| {
                    let mut word = [0; 4];
                    for byte in &mut word[..length] {
                        *byte = alphabet[i % 32];
                        i /= 32;
                    }
                    KeyHash::of_bytes(&word[..length]).0
                })
                .collect();
            if length == 4 {
                assert_even(
                    &spread(hashes.iter().copied().map(KeyHash)),
                    0.05,
                    "four letters",
                );
            }
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(
                hashes.len(),
                count,
                "collision among words of {length} letters"
            );
        }
    }

    /// Within one key group the high and the low bits of the table index still spread evenly: what the
    /// group took from the hash is not missed.
    #[test]
    fn table_index_does_not_repeat_the_bits_of_the_group() {
        let max = MaxParallelism::default();
        let mut high = vec![0_u64; 64];
        let mut low = vec![0_u64; 64];
        let one_group = (0..32_000_000_u64)
            .map(KeyHash::of_u64)
            .filter(|&hash| max.key_group(hash) == KeyGroup(5));
        for index in one_group.map(KeyHash::table_index) {
            high[(index >> 58) as usize] += 1;
            low[(index & 63) as usize] += 1;
        }
        // About 3,900 in each bin: six standard deviations are 10 %.
        assert_even(&high, 0.10, "high bits");
        assert_even(&low, 0.10, "low bits");
    }

    /// Flipping one bit of the key flips each bit of the hash about half of the time.
    #[test]
    fn every_bit_of_the_key_reaches_every_bit_of_the_hash() {
        let samples = 4_096;
        for bit in 0..64 {
            let mut flips = [0_u32; 64];
            for sample in 0..samples {
                let key = KeyHash::of_u64(sample * 7 + 1).0;
                let change = KeyHash::of_u64(key).0 ^ KeyHash::of_u64(key ^ (1 << bit)).0;
                for (position, flip) in flips.iter_mut().enumerate() {
                    *flip += (change >> position & 1) as u32;
                }
            }
            let expected = samples as f64 / 2.0;
            for (position, &flip) in flips.iter().enumerate() {
                let off = (f64::from(flip) - expected).abs() / expected;
                assert!(off < 0.15, "key bit {bit} to hash bit {position}: {flip}");
            }
        }
    }

    #[test]
    fn every_group_belongs_to_exactly_the_subtask_whose_range_holds_it() {
        for groups in [1, 2, 3, 7, 128, 1_000, 32_768] {
            let max = MaxParallelism::new(groups).unwrap();
            for parallelism in [1, 2, 3, 5, 7, 64, 127, 128, 999, 32_768] {
                if parallelism > groups {
                    continue;
                }
                let mut next = 0;
                for subtask in 0..parallelism {
                    let range = max.range(subtask, parallelism);
                    assert_eq!(u32::from(range.start), next, "gapless and in order");
                    assert!(
                        range
                            .clone()
                            .all(|g| max.subtask(KeyGroup(g), parallelism) == subtask)
                    );
                    next = u32::from(range.end);
                }
                assert_eq!(next, groups);
            }
        }
    }

    #[test]
    fn the_ends_of_the_hash_are_the_first_and_the_last_group() {
        for groups in [1, 128, 32_768] {
            let max = MaxParallelism::new(groups).unwrap();
            assert_eq!(max.key_group(KeyHash(0)), KeyGroup(0));
            assert_eq!(u32::from(max.key_group(KeyHash(u64::MAX)).0), groups - 1);
        }
    }

    #[test]
    fn max_parallelism_out_of_range_names_the_key_to_change() {
        for asked in [0, 32_769, u32::MAX] {
            let refusal = MaxParallelism::new(asked).unwrap_err().to_string();
            assert!(refusal.contains("pipeline.max-parallelism"), "{refusal}");
            assert!(refusal.contains("32768"), "{refusal}");
        }
        assert_eq!(MaxParallelism::default().get(), 128);
    }

    proptest! {
        #[test]
        fn strings_that_differ_hash_apart(a: Vec<u8>, b: Vec<u8>) {
            prop_assume!(a != b);
            prop_assert_ne!(KeyHash::of_bytes(&a), KeyHash::of_bytes(&b));
        }

        #[test]
        fn every_byte_counts(mut key in proptest::collection::vec(any::<u8>(), 1..200), at: usize) {
            let before = KeyHash::of_bytes(&key);
            let at = at % key.len();
            key[at] ^= 1;
            prop_assert_ne!(before, KeyHash::of_bytes(&key));
        }

        #[test]
        fn the_order_of_parts_counts(a: u64, b: u64) {
            prop_assume!(a != b);
            let (a, b) = (KeyHash::of_u64(a), KeyHash::of_u64(b));
            prop_assert_ne!(a.combine(b), b.combine(a));
        }
    }

    // Computed by a second implementation, written from the description and not from this code.
    const GOLDEN_INTEGERS: [(u64, u64); 5] = [
        (0, 0xB70F_B2CC_55AF_013F),
        (1, 0x90FA_784D_FF59_DF1D),
        (42, 0xC95A_B96F_C060_FDBF),
        (1 << 32, 0x62FE_C32E_3412_F7CF),
        (u64::MAX, 0x0871_64D5_C9E6_AE5E),
    ];
    const GOLDEN_LENGTHS: [(usize, u64); 14] = [
        (0, 0xE5E1_4DE8_C57B_9FD7),
        (1, 0x9543_E1D7_285A_3548),
        (2, 0x6A86_1915_BFE1_2858),
        (3, 0x1DEF_2262_ED64_2A17),
        (4, 0xD2B7_C1DF_B5B8_7FC9),
        (7, 0x5CDF_4903_ECD2_3589),
        (8, 0xF123_4B7B_123C_3C8F),
        (15, 0xAFEE_E4DA_819C_653A),
        (16, 0x27C1_6B2B_26B3_A819),
        (17, 0x6514_2302_267F_C16A),
        (48, 0x1845_BA69_C404_868C),
        (49, 0xF957_2590_87F0_2F27),
        (97, 0xA650_6CFB_C05D_645B),
        (1_000, 0x999F_970E_CAF2_C824),
    ];
    const GOLDEN_WORDS: [(&str, u64); 3] = [
        ("the", 0x65FC_C1EC_BC76_91C6),
        ("question", 0xF3D1_4A35_8D4C_756D),
        ("тальвег", 0x5440_6E8B_C8B4_12FE),
    ];
    const GOLDEN_WIDE: [(u128, u64); 3] = [
        (0, 0xCB5F_03CE_A16D_5774),
        (1 << 64, 0x9C92_3618_68C0_467B),
        (u128::MAX, 0x0C1B_9EE5_07BD_5FFF),
    ];
    const GOLDEN_PAIR: (u64, u64) = (0xEA6B_1101_51EF_6F68, 0x3645_371C_EEFB_F7A4);
}
