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

#[cfg(test)]
mod tests {
    use super::*;

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
