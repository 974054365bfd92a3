//! The first and the last bytes of a run: what it is, and where its footer lies.
//!
//! Written first and last, read before anything else. Invariant: a release that does not know a version
//! recognises it by these bytes, which stay as they are in every version. Plain data, lives on any thread.

use super::VERSION;
use super::checksum::checksum;
use super::fields::Fields;

const MARK: [u8; 8] = *b"THALWRUN";
const END_MARK: [u8; 8] = *b"NURWLAHT";

/// Bytes before the first section.
pub(crate) const HEADER_BYTES: usize = 16;
/// Bytes behind the footer.
pub(crate) const TRAILER_BYTES: usize = 28;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// A run of this version.
    Run(u32),
    /// Something else.
    Foreign,
    /// A run whose header is not what was written.
    Damaged,
}

/// The first bytes of a run that is written.
pub(crate) fn header() -> [u8; HEADER_BYTES] {
    header_of(VERSION)
}

/// The first bytes of a run of a version.
pub(crate) fn header_of(version: u32) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MARK);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let sum = checksum(&bytes[..12]);
    bytes[12..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Reads the first bytes of a file.
pub(crate) fn read_header(bytes: &[u8; HEADER_BYTES]) -> Header {
    let mut fields = Fields::new(bytes);
    let (mark, version, sum) = (fields.bytes(8), fields.u32(), fields.u32());
    let whole = sum == Some(checksum(&bytes[..12]));
    match version {
        Some(version) if whole && mark == Some(&MARK) => Header::Run(version),
        _ if mark == Some(&MARK) => Header::Damaged,
        _ => Header::Foreign,
    }
}

/// What the last bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Length of the footer.
    pub(crate) footer_bytes: u64,
    /// CRC-32C of the footer.
    pub(crate) footer_checksum: u32,
}

impl Trailer {
    /// The last bytes of a run.
    pub(crate) fn to_bytes(self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[..8].copy_from_slice(&self.footer_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.footer_checksum.to_le_bytes());
        bytes[12..16].copy_from_slice(&VERSION.to_le_bytes());
        let sum = checksum(&bytes[..16]);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        bytes[20..].copy_from_slice(&END_MARK);
        bytes
    }

    /// Reads the last bytes of a file that began as a run of version `begun`.
    pub(crate) fn read(bytes: &[u8; TRAILER_BYTES], begun: u32) -> Option<Trailer> {
        let mut fields = Fields::new(bytes);
        let footer_bytes = fields.u64()?;
        let footer_checksum = fields.u32()?;
        let version = fields.u32()?;
        let sum = fields.u32()?;
        let whole = sum == checksum(&bytes[..16]) && fields.bytes(8)? == END_MARK;
        (whole && version == begun).then_some(Trailer {
            footer_bytes,
            footer_checksum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_the_first_and_the_last_bytes_is_noticed() {
        let first = header();
        assert_eq!(read_header(&first), Header::Run(VERSION));
        for bit in 0..8 * HEADER_BYTES {
            let mut bytes = first;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 64 {
                Header::Foreign
            } else {
                Header::Damaged
            };
            assert_eq!(read_header(&bytes), expected, "bit {bit}");
        }
        let trailer = Trailer {
            footer_bytes: 77,
            footer_checksum: 0xDEAD_BEEF,
        };
        let last = trailer.to_bytes();
        assert_eq!(Trailer::read(&last, VERSION), Some(trailer));
        assert_eq!(Trailer::read(&last, VERSION - 1), None);
        for bit in 0..8 * TRAILER_BYTES {
            let mut bytes = last;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Trailer::read(&bytes, VERSION), None, "bit {bit}");
        }
    }

    #[test]
    fn a_version_to_come_is_told_from_damage() {
        let mut bytes = header();
        bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
        assert_eq!(read_header(&bytes), Header::Damaged);
        let sum = checksum(&bytes[..12]);
        bytes[12..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(read_header(&bytes), Header::Run(9));
    }
}
