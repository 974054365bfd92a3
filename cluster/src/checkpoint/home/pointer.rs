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
//! | 8 | next: checkpoints from this number on have not begun, as far as its writer knows |
//! | 8 | checkpoint; 0 for none |
//! | 8 | length of its metadata |
//! | 4 | CRC-32C of its metadata |
//! | 4 | CRC-32C of the 56 bytes before |
//!
//! Entered by the control thread. Invariant: a pointer that was not written to its end is none; the highest is
//! never deleted.

use crc32c::crc32c;
use thalweg_core::ids::CheckpointId;

use super::layout::JobLayout;
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::storage::{CheckpointStorage, Location, StorageError, StorageErrorKind};

const MAGIC: &[u8; 8] = b"THALWEGP";
const VERSION: u32 = 1;
/// Bytes of a pointer.
pub const POINTER_BYTES: usize = 60;
/// More than a pointer of any version has: each begins with the eight bytes and its version, and ends with the CRC-32C
/// of all bytes before.
pub(super) const MOST_BYTES: u64 = 4_096;

/// What a pointer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Its number: the highest counts.
    pub sequence: u64,
    /// How many leaders there were, with the one who wrote it.
    pub term: u64,
    /// No checkpoint of this number or a higher one had begun under this leader or was found by it. What was
    /// begun and never completed keeps its number for ever, so that who cleans up late removes nothing new.
    pub next: CheckpointId,
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
        for number in [
            self.sequence,
            self.term,
            self.next.0,
            checkpoint.0,
            facts.bytes,
        ] {
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
        let [sequence, term, next, checkpoint, length] = numbers.as_chunks::<8>().0 else {
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
            next: CheckpointId(u64::from_le_bytes(*next)),
            newest: (checkpoint.0 != 0).then_some((checkpoint, facts)),
        })
    }
}

/// What a file with the name of a pointer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PointerBytes {
    /// A pointer.
    Whole(Pointer),
    /// The begin of one whose writer died, or the zeros a loss of power leaves of it.
    Unfinished,
    /// A whole pointer of this version, which another release wrote.
    OtherVersion(u32),
    /// Nothing a writer of pointers leaves.
    Damaged,
}

impl PointerBytes {
    /// Tells the bytes of a file with this number.
    pub(super) fn of(bytes: &[u8], sequence: u64) -> PointerBytes {
        if let Some(pointer) = Pointer::decode(bytes) {
            return match pointer.sequence == sequence {
                true => PointerBytes::Whole(pointer),
                false => PointerBytes::Damaged,
            };
        }
        if let Some(version) = other_version(bytes) {
            return PointerBytes::OtherVersion(version);
        }
        let (version, sequence) = (VERSION.to_le_bytes(), sequence.to_le_bytes());
        let begin = MAGIC.iter().chain(&version).chain(&sequence);
        let begun = bytes.len() < POINTER_BYTES && bytes.iter().zip(begin).all(|(a, b)| a == b);
        match begun || bytes.iter().all(|byte| *byte == 0) {
            true => PointerBytes::Unfinished,
            false => PointerBytes::Damaged,
        }
    }
}

/// The version of a whole pointer that is not of this one.
fn other_version(bytes: &[u8]) -> Option<u32> {
    let (content, checksum) = bytes.split_last_chunk()?;
    let (version, _) = content.strip_prefix(MAGIC)?.split_first_chunk()?;
    let version = u32::from_le_bytes(*version);
    (version != VERSION && crc32c(content) == u32::from_le_bytes(*checksum)).then_some(version)
}

/// What to say of a pointer of another version.
pub(super) fn of_version(found: u32) -> String {
    format!("it is a pointer of format version {found}, this release reads version {VERSION}")
}

/// Creates a pointer, if it is the highest. Blocks.
///
/// A number that is free may still be one that was overtaken and deleted since; but then a higher one is there,
/// for the highest is never deleted. So it is looked for after the own one was created.
///
/// # Errors
/// [`StorageErrorKind::AlreadyThere`] when somebody else leads the job; [`StorageErrorKind::Uncertain`] when
/// nobody can know whether the pointer lasts and counts; [`StorageErrorKind::Unknown`] when not even whether that of
/// the number is this one.
pub fn create(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    pointer: &Pointer,
) -> Result<(), StorageError> {
    let at = JobLayout::at(home.clone()).pointer(pointer.sequence);
    storage.create_exclusive(&at, &pointer.encode())?;
    let entries = storage.list(home).map_err(StorageError::uncertain)?;
    let highest = entries
        .iter()
        .filter_map(|entry| JobLayout::pointer_of(&entry.name))
        .max();
    if highest.is_none_or(|highest| highest <= pointer.sequence) {
        return Ok(());
    }
    // It says nothing beside the higher one; if it stays, the next leader removes it.
    let _ = storage.delete(&at);
    Err(StorageError {
        kind: StorageErrorKind::AlreadyThere,
        message: format!("another process has taken over the checkpoints in {home}"),
    })
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
            next: CheckpointId(50),
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
