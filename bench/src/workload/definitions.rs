//! The arithmetic of the workloads: generator, key choice, checksum terms.
//!
//! All of it is wrapping 64-bit arithmetic, pure and inline, callable on any thread. The golden
//! values in the tests were computed by an independent program with unbounded integers; a change
//! that moves one of them makes all figures measured before it incomparable.

/// The increment of splitmix64: 2^64 divided by the golden ratio.
pub const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Number of distinct keys of the workloads `gen` and `sum`.
pub const SUM_KEYS: u64 = 1_000_000;

/// Number of distinct keys of the workload `win`.
pub const WIN_KEYS: u64 = 10_000;

/// Records of `win` per millisecond of event time.
pub const WIN_RECORDS_PER_MS: u64 = 1_000;

/// Length of a window of `win`, ms.
pub const WIN_MS: u64 = 1_000;

/// One output step of splitmix64 started at `x`.
#[inline(always)]
#[must_use]
pub const fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The `i`-th output of splitmix64 with seed 0: the value of record `i`.
#[inline(always)]
#[must_use]
pub const fn sm(i: u64) -> u64 {
    mix(i.wrapping_mul(GOLDEN))
}

/// A number in `0..m`, uniform if the high half of `r` is; `m` must fit 32 bits.
#[inline(always)]
#[must_use]
pub const fn pick(r: u64, m: u64) -> u64 {
    ((r >> 32) * m) >> 32
}

/// Checksum term of one number.
#[inline(always)]
#[must_use]
pub const fn h1(a: u64) -> u64 {
    mix(a)
}

/// Checksum term of two numbers.
#[inline(always)]
#[must_use]
pub const fn h2(a: u64, b: u64) -> u64 {
    mix(h1(a).wrapping_add(b))
}

/// Checksum term of three numbers.
#[inline(always)]
#[must_use]
pub const fn h3(a: u64, b: u64, c: u64) -> u64 {
    mix(h2(a, b).wrapping_add(c))
}

/// Checksum term of four numbers.
#[inline(always)]
#[must_use]
pub const fn h4(a: u64, b: u64, c: u64, d: u64) -> u64 {
    mix(h3(a, b, c).wrapping_add(d))
}

/// Record `i` of the workloads `gen` and `sum`: its key and its value.
#[inline(always)]
#[must_use]
pub const fn sum_record(i: u64) -> (u64, u64) {
    let value = sm(i);
    (pick(value, SUM_KEYS), value)
}

/// Record `i` of the workload `win`: its key and its event time in ms.
#[inline(always)]
#[must_use]
pub const fn win_record(i: u64) -> (u64, u64) {
    (pick(sm(i), WIN_KEYS), win_ms(i))
}

/// `i / WIN_RECORDS_PER_MS` for up to 2^52 records, of products of 32 bits: vectors have no other way to divide.
///
/// A multiple of 2^34 has a known quotient and remainder. What is left is an eighth of less than 2^35 by 125, which is
/// its product with 2^38 / 125 rounded up: 56 / 2^38 of it too much, and so less than what is missing to the next
/// integer.
#[inline(always)]
const fn win_ms(i: u64) -> u64 {
    const BITS: u32 = 34;
    const QUOTIENT: u64 = (1 << BITS) / WIN_RECORDS_PER_MS;
    const REMAINDER: u64 = (1 << BITS) % WIN_RECORDS_PER_MS;
    const INVERSE: u64 = (1_u64 << 38).div_ceil(WIN_RECORDS_PER_MS / 8);
    let high = (i >> BITS) & u32::MAX as u64;
    let eighths = ((i & ((1 << BITS) - 1)) + high * REMAINDER) >> 3;
    high * QUOTIENT + (((eighths & u32::MAX as u64) * INVERSE) >> 38)
}

/// Record `i` of the workload `timers` is its own key; its timer is for this many ms, about twelve days at most.
#[inline(always)]
#[must_use]
pub const fn timer_of(i: u64) -> u64 {
    sm(i) >> 34
}

/// What a running value of `key` that went from `old` to `new` adds to the checksum.
///
/// The terms of one key telescope, so the total does not depend on the order of the keys' records.
#[inline(always)]
#[must_use]
pub const fn step(key: u64, old: u64, new: u64) -> u64 {
    let key = mix(key);
    mix(key.wrapping_add(new)).wrapping_sub(mix(key.wrapping_add(old)))
}

/// Java's `String.hashCode` of a word, sign-extended to 64 bits.
///
/// The hash runs over UTF-16 units as Java's does. A byte sequence that is not UTF-8 counts as the
/// replacement character, which is what a Java reader would have made of it.
#[inline(always)]
#[must_use]
pub fn java_hash(word: &[u8]) -> u64 {
    if let Some(bytes) = ascii_eight(word) {
        return java_hash_of_eight(bytes);
    }
    let hash = match word.is_ascii() {
        true => word
            .iter()
            .fold(0, |hash, &byte| java_step(hash, byte.into())),
        false => String::from_utf8_lossy(word)
            .encode_utf16()
            .fold(0, java_step),
    };
    i64::from(hash).cast_unsigned()
}

#[inline(always)]
fn java_step(hash: i32, unit: u16) -> i32 {
    hash.wrapping_mul(31).wrapping_add(i32::from(unit))
}

/// The bytes of an ASCII word of two to eight as [`java_hash_of_eight`] wants them: the last one
/// highest, behind zeros. `None` for all other words.
#[inline(always)]
#[must_use]
pub fn ascii_eight(word: &[u8]) -> Option<u64> {
    const OTHER: u64 = u64::from_le_bytes([0x80; 8]);
    if !(2..=8).contains(&word.len()) {
        return None;
    }
    let bytes = eight(word) << (64 - 8 * word.len());
    (bytes & OTHER == 0).then_some(bytes)
}

/// The bytes of a word of two to eight, little-endian: four pairs, which overlap where it is shorter.
#[inline(always)]
fn eight(word: &[u8]) -> u64 {
    let last = word.len() - 2;
    let pairs = [0, last.min(2), last.min(4), last];
    pairs.into_iter().fold(0, |all, at| {
        let pair = u16::from_le_bytes([word[at], word[at + 1]]);
        all | u64::from(pair) << (8 * at)
    })
}

/// The [`java_hash`] of eight bytes, the first one lowest; zeros before the first byte add nothing.
///
/// Neighbours are joined three times: no loop, no branch, so it is computed of many words at once.
#[inline(always)]
#[must_use]
pub fn java_hash_of_eight(bytes: u64) -> u64 {
    const BYTES: u64 = 0x00FF_00FF_00FF_00FF;
    const PAIRS: u64 = 0x0000_FFFF_0000_FFFF;
    const FOURS: u64 = 0x0000_0000_FFFF_FFFF;
    let pairs = (bytes & BYTES) * 31 + ((bytes >> 8) & BYTES);
    let fours = (pairs & PAIRS) * (31 * 31) + ((pairs >> 16) & PAIRS);
    let hash = (fours & FOURS) * (31 * 31 * 31 * 31) + (fours >> 32);
    i64::from(hash as i32).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_is_splitmix64() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(1), 0x910a_2dec_8902_5cc1);
        assert_eq!(mix(u64::MAX), 0xe4d9_7177_1b65_2c20);
        assert_eq!(mix(12_345), 0x2211_8258_a9d1_11a0);
    }

    #[test]
    fn the_time_of_a_record_is_its_number_divided() {
        let near = |i: u64| i.saturating_sub(2_001)..i + 2_001;
        let powers = (0..52).map(|bits| 1_u64 << bits);
        for i in powers
            .chain([999_999_999_999, 4_503_599_627_368_000])
            .flat_map(near)
        {
            assert_eq!(win_ms(i), i / WIN_RECORDS_PER_MS, "of record {i}");
        }
    }

    #[test]
    fn records_and_keys_are_golden() {
        let golden = [
            (0, 0xe220_a839_7b1d_cdaf, 883_310, 6),
            (1, 0x6e78_9e6a_a1b9_65f4, 431_527, 3),
            (2, 0x06c4_5d18_8009_454f, 26_433, 0),
            (3, 0xf88b_b8a8_724c_81ec, 970_881, 6),
            (1 << 40, 0x1937_167e_168d_9372, 98_496, 0),
        ];
        for (i, value, of_million, of_seven) in golden {
            assert_eq!(sm(i), value);
            assert_eq!(sum_record(i), (of_million, value));
            assert_eq!(pick(value, 7), of_seven);
        }
    }

    #[test]
    fn terms_are_golden() {
        assert_eq!(h1(1), 0x910a_2dec_8902_5cc1);
        assert_eq!(h2(1, 2), 0xbcd9_dbb4_9673_066b);
        assert_eq!(h3(1, 2, 3), 0x6ae5_15c1_c0ac_7e37);
        assert_eq!(h4(1, 2, 3, 4), 0x336c_3255_cbcc_01fe);
    }

    #[test]
    fn java_hashes_are_golden() {
        let golden = [
            ("", 0),
            ("a", 0x61),
            ("hello", 0x05e9_18d2),
            ("thalweg", 0xffff_ffff_af54_a55a),
            ("the-quick-brown-fox-jumps", 0x7c00_d374),
            ("Straße", 0xffff_ffff_943a_3bd6),
            ("\u{1F600}x", 0x0346_9f75),
        ];
        for (word, hash) in golden {
            assert_eq!(java_hash(word.as_bytes()), hash, "{word}");
        }
        assert_eq!(java_hash(b"\xff"), java_hash("\u{FFFD}".as_bytes()));
    }

    #[test]
    fn java_hashes_of_any_length_are_those_of_single_steps() {
        let text: String = (0..40_u8).map(|i| char::from(b'!' + i * 2)).collect();
        for start in 0..8 {
            for end in start..text.len() {
                let word = &text[start..end];
                let plain = word.bytes().fold(0_i32, |hash, byte| {
                    hash.wrapping_mul(31).wrapping_add(i32::from(byte))
                });
                assert_eq!(
                    java_hash(word.as_bytes()),
                    i64::from(plain) as u64,
                    "{word}"
                );
            }
        }
    }

    #[test]
    fn steps_telescope() {
        let whole = step(7, 0, 30);
        let parts = [(0, 4), (4, 19), (19, 30)];
        let sum = parts
            .iter()
            .fold(0u64, |sum, &(old, new)| sum.wrapping_add(step(7, old, new)));
        assert_eq!(sum, whole);
        assert_eq!(whole, h2(7, 30).wrapping_sub(h2(7, 0)));
    }
}
