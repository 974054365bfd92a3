//! Which checkpoint of a job is the newest: a file that is created, never changed.
//!
//! Pointers are numbered. To say that another checkpoint is the newest, the next number is created
//! exclusively: who finds it taken has been overtaken by another leader and stops. A new leader creates one
//! itself before it does anything else, so that nobody who led before it can. Pointers below the highest say
//! nothing any more.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `THALWEGP` |
//! | 4 | format version, 1 |
//! | 8 | sequence number |
//! | 8 | term: how many leaders there were |
//! | 8 | checkpoint; 0 for none |
//! | 8 | length of its metadata |
//! | 4 | CRC-32C of its metadata |
//! | 4 | CRC-32C of the 48 bytes before |
//!
//! Pure functions over bytes. Invariant: a pointer that was not written to its end is none.

use crc32c::crc32c;
use thalweg_core::ids::CheckpointId;

use crate::checkpoint::metadata::model::FileFacts;

const MAGIC: &[u8; 8] = b"THALWEGP";
const VERSION: u32 = 1;
/// Bytes of a pointer.
pub const POINTER_BYTES: usize = 52;

/// What a pointer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Its number: the highest counts.
    pub sequence: u64,
    /// How many leaders there were, with the one who wrote it.
    pub term: u64,
    /// The newest checkpoint, and what its metadata must be.
    pub newest: Option<(CheckpointId, FileFacts)>,
}

impl Pointer {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let nothing = FileFacts {
            bytes: 0,
            checksum: 0,
        };
        let (checkpoint, facts) = self.newest.unwrap_or((CheckpointId(0), nothing));
        let mut bytes = Vec::with_capacity(POINTER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        for number in [self.sequence, self.term, checkpoint.0, facts.bytes] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&facts.checksum.to_le_bytes());
        bytes.extend_from_slice(&crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a pointer; `None` for anything that is not one, whole and undamaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Pointer> {
        let bytes: &[u8; POINTER_BYTES] = bytes.try_into().ok()?;
        let (content, checksum) = bytes.split_last_chunk()?;
        if crc32c(content) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let rest = content
            .strip_prefix(MAGIC)?
            .strip_prefix(&VERSION.to_le_bytes())?;
        let (numbers, checksum) = rest.split_last_chunk()?;
        let [sequence, term, checkpoint, length] = numbers.as_chunks::<8>().0 else {
            return None;
        };
        let facts = FileFacts {
            bytes: u64::from_le_bytes(*length),
            checksum: u32::from_le_bytes(*checksum),
        };
        let checkpoint = CheckpointId(u64::from_le_bytes(*checkpoint));
        Some(Pointer {
            sequence: u64::from_le_bytes(*sequence),
            term: u64::from_le_bytes(*term),
            newest: (checkpoint.0 != 0).then_some((checkpoint, facts)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_reads_back_and_no_part_or_variant_of_it_does() {
        let facts = FileFacts {
            bytes: 1_234,
            checksum: 0xFEED_F00D,
        };
        let pointer = Pointer {
            sequence: 7,
            term: 3,
            newest: Some((CheckpointId(41), facts)),
        };
        let bytes = pointer.encode();
        assert_eq!(bytes.len(), POINTER_BYTES);
        assert_eq!(Pointer::decode(&bytes), Some(pointer));
        for cut in 0..bytes.len() {
            assert_eq!(Pointer::decode(&bytes[..cut]), None);
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Pointer::decode(&damaged), None, "{bit}");
        }
        assert_eq!(Pointer::decode(&[0; POINTER_BYTES]), None);
        let none = Pointer {
            newest: None,
            ..pointer
        };
        assert_eq!(Pointer::decode(&none.encode()), Some(none));
    }
}
