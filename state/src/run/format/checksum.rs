//! The checksum of everything in a run: CRC-32C.
//!
//! Entered by whatever writes or checks bytes. Invariant: one polynomial for all parts and for the whole
//! file. In a build for fuzzing every checksum is 0, because a fuzzer cannot find checksums and would never
//! get behind them. Plain data, lives on any thread.

/// The checksum of some bytes.
#[inline]
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    checksum_onward(0, bytes)
}

/// The checksum of what has checksum `before`, with `bytes` behind it.
#[inline]
pub(crate) fn checksum_onward(before: u32, bytes: &[u8]) -> u32 {
    if cfg!(fuzzing) {
        return 0;
    }
    crc32c::crc32c_append(before, bytes)
}

/// The polynomial, the highest power in the lowest bit.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// `x` to the power of 2 to the power of the index, for every length in bits there can be.
const POWERS: [u32; 67] = {
    let mut powers = [1 << 30; 67];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = product(powers[at - 1], powers[at - 1]);
        at += 1;
    }
    powers
};

/// The product of two polynomials modulo that of the checksum.
const fn product(one: u32, mut other: u32) -> u32 {
    let (mut product, mut bit) = (0, 1 << 31);
    while bit != 0 {
        if one & bit != 0 {
            product ^= other;
        }
        bit >>= 1;
        other = (other >> 1) ^ (POLYNOMIAL & (other & 1).wrapping_neg());
    }
    product
}

/// The checksum of bytes with checksum `before` and so many bytes with checksum `behind` behind them.
pub(crate) fn checksum_joined(before: u32, behind: u32, bytes: u64) -> u32 {
    let (mut shifted, mut left, mut at) = (before, bytes, 3);
    while left != 0 {
        if left & 1 != 0 {
            shifted = product(POWERS[at], shifted);
        }
        (left, at) = (left >> 1, at + 1);
    }
    shifted ^ behind
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn checksums_are_joined_as_bytes_are(
            before in proptest::collection::vec(any::<u8>(), 0..100),
            behind in proptest::collection::vec(any::<u8>(), 0..9_000),
        ) {
            let joined = checksum_joined(checksum(&before), checksum(&behind), behind.len() as u64);
            prop_assert_eq!(joined, checksum(&[before, behind].concat()));
        }
    }

    /// Of a length no test writes.
    #[test]
    fn lengths_beyond_32_bits_are_joined() {
        let (piece, mut all, mut bytes) = (checksum(&[7]), checksum(&[7]), 1_u64);
        while bytes < 1 << 40 {
            all = checksum_joined(all, all, bytes);
            bytes *= 2;
        }
        let at_the_end = checksum_joined(all, piece, 1);
        let at_the_begin = checksum_joined(piece, all, bytes);
        assert_eq!(at_the_end, at_the_begin);
    }

    /// From the definition of CRC-32C in RFC 3720, appendix B.4.
    #[test]
    fn it_is_castagnolis() {
        assert_eq!(checksum(&[0; 32]), 0x8A91_36AA);
        assert_eq!(checksum(&[0xFF; 32]), 0x62A8_AB43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(checksum(&ascending), 0x46DD_794E);
        assert_eq!(
            checksum_onward(checksum(&ascending[..7]), &ascending[7..]),
            0x46DD_794E
        );
    }
}
