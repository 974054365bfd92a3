//! Which checkpoint of a job is the newest: a file that is created, never changed.
//!
//! Pointers are numbered. To say that another checkpoint is the newest, the next number is created
//! exclusively: who finds it taken has been overtaken by another leader and stops. A new leader creates one
//! itself before it does anything else, so that nobody who led before it can, and deletes those before. Pointers
//! below the highest say nothing any more. At the end of a job all of them go: who led before finds its own gone. Of a job
//! that is to be told from one that never was, the last one stays, and says that it has ended.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `THALWEGP` |
//! | 4 | format version: 1, 2 for a savepoint, or 3 for the end of the job |
//! | 8 | sequence number |
//! | 8 | term: how many leaders there were |
//! | 8 | next: checkpoints from this number on have not begun, as far as its writer knows |
//! | 8 | checkpoint; 0 for none, and what follows of it is 0 then |
//! | 8 | length of its metadata |
//! | 4 | CRC-32C of its metadata |
//! | 8, 2, … | in version 3: when the job ended, in ms since 1970; the length of its name, and its name in UTF-8 |
//! | to the last 4 | in versions 2 and 3: where the savepoint is by which the job was stopped, in UTF-8 |
//! | 4 | CRC-32C of all bytes before |
//!
//! A job that is stopped by a savepoint shows what that lists, so from then on it is the newest, wherever it is. One that
//! has ended without has no checkpoint: there is nothing more to do.
//!
//! Entered by the control thread. Invariant: a pointer has its name only when it is whole; the highest is never
//! deleted before the end of the job.

use crc32c::crc32c;
use thalweg_core::ids::CheckpointId;

use super::ended::Ended;
use super::layout::JobLayout;
use super::newest::readable;
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::storage::{CheckpointStorage, Location, StorageError, StorageErrorKind};

const MAGIC: &[u8; 8] = b"THALWEGP";
/// Of a pointer to a checkpoint.
const VERSION: u32 = 1;
/// Of a pointer to a savepoint.
const OF_SAVEPOINT: u32 = 2;
/// Of the end of a job.
const OF_END: u32 = 3;
/// Bytes of a pointer to a checkpoint.
pub const POINTER_BYTES: usize = 60;
/// More than a pointer of any version has: each begins with the eight bytes and its version, and ends with the CRC-32C
/// of all bytes before. No path and no key of an object store is as long.
pub(crate) const MOST_BYTES: u64 = 8_192;

/// What a pointer says.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Where that is, if it is a savepoint: the job was stopped by it.
    pub savepoint: Option<Location>,
    /// The end of the job, if it has ended: it had finished, or was stopped by that savepoint.
    pub ended: Option<Ended>,
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
        let version = match (&self.ended, &self.savepoint) {
            (Some(_), _) => OF_END,
            (None, Some(_)) => OF_SAVEPOINT,
            (None, None) => VERSION,
        };
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&version.to_le_bytes());
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
        if let Some(ended) = &self.ended {
            ended.encode(&mut bytes);
        }
        if let Some(savepoint) = &self.savepoint {
            bytes.extend_from_slice(savepoint.to_string().as_bytes());
        }
        bytes.extend_from_slice(&crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a pointer; `None` for anything that is not one, whole and undamaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Pointer> {
        let (content, checksum) = bytes.split_last_chunk()?;
        if crc32c(content) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let (version, rest) = content.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (numbers, rest) = rest.split_first_chunk::<40>()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let (ended, savepoint) = match u32::from_le_bytes(*version) {
            VERSION if rest.is_empty() => (None, None),
            OF_SAVEPOINT => (None, Some(place_of(rest)?)),
            OF_END => match Ended::decode(rest)? {
                (ended, []) => (Some(ended), None),
                (ended, place) => (Some(ended), Some(place_of(place)?)),
            },
            _ => return None,
        };
        let [sequence, term, next, checkpoint, length] = numbers.as_chunks::<8>().0 else {
            return None;
        };
        let facts = FileFacts {
            bytes: u64::from_le_bytes(*length),
            checksum: u32::from_le_bytes(*checksum),
        };
        let checkpoint = CheckpointId(u64::from_le_bytes(*checkpoint));
        let nothing = facts.bytes == 0 && facts.checksum == 0;
        if checkpoint.0 == 0 && (!nothing || savepoint.is_some()) {
            return None;
        }
        if ended.is_some() && checkpoint.0 != 0 && savepoint.is_none() {
            return None;
        }
        Some(Pointer {
            sequence: u64::from_le_bytes(*sequence),
            term: u64::from_le_bytes(*term),
            next: CheckpointId(u64::from_le_bytes(*next)),
            newest: (checkpoint.0 != 0).then_some((checkpoint, facts)),
            savepoint,
            ended,
        })
    }
}

/// Where a savepoint is, as its address is written.
fn place_of(bytes: &[u8]) -> Option<Location> {
    let text = std::str::from_utf8(bytes).ok()?;
    let place = Location::parse(text).ok()?;
    (place.to_string() == text).then_some(place)
}

/// What a file with the name of a pointer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PointerBytes {
    /// A pointer.
    Whole(Pointer),
    /// A whole pointer of another version, which another release wrote.
    OtherVersion(u32),
    /// Nothing a writer of pointers leaves: it gives the name to what is whole.
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
        match other_version(bytes) {
            Some(version) => PointerBytes::OtherVersion(version),
            None => PointerBytes::Damaged,
        }
    }
}

/// The version of a whole pointer that is not of this one.
fn other_version(bytes: &[u8]) -> Option<u32> {
    let (content, checksum) = bytes.split_last_chunk()?;
    let (version, _) = content.strip_prefix(MAGIC)?.split_first_chunk()?;
    let version = u32::from_le_bytes(*version);
    (version > OF_END && crc32c(content) == u32::from_le_bytes(*checksum)).then_some(version)
}

/// What to say of a pointer of another version.
pub(super) fn of_version(found: u32) -> String {
    format!("it is a pointer of format version {found}, this release reads versions up to {OF_END}")
}

/// Creates a pointer, if it is the highest and follows on that with the number `since`, which its writer knows to be
/// there: the last one it is sure of. Those between the two are tries of the same writer. Blocks.
///
/// A number that is free may still be one that was overtaken and deleted since. Then a higher one is there; or the
/// job has come to its end and all of them are gone. Whoever overtakes and whoever ends a job deletes `since`, and its
/// writer does so only when a later one is sure: so both are looked for after the own one was created.
///
/// # Errors
/// [`StorageErrorKind::AlreadyThere`] when somebody else leads the job and nobody has seen or will see this pointer;
/// [`StorageErrorKind::Overtaken`] when somebody else leads it and may have seen it; [`StorageErrorKind::Uncertain`]
/// when nobody can know whether the pointer lasts and counts; [`StorageErrorKind::Unknown`] when not even whether that
/// of the number is this one.
pub fn create(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    pointer: &Pointer,
    since: Option<u64>,
) -> Result<(), StorageError> {
    let layout = JobLayout::at(home.clone());
    let at = layout.pointer(pointer.sequence);
    storage.create_exclusive(&at, &pointer.encode())?;
    let there = numbers(storage, home).map_err(StorageError::uncertain)?;
    if there.iter().any(|there| *there > pointer.sequence) {
        // It says nothing beside the higher one; if it stays, the next leader removes it.
        let _ = storage.delete(&at);
        return Err(overtaken(home));
    }
    let Some(since) = since.filter(|since| !there.contains(since)) else {
        return Ok(());
    };
    for own in since + 1..=pointer.sequence {
        let at = layout.pointer(own);
        storage.delete(&at).map_err(|error| StorageError {
            kind: StorageErrorKind::Overtaken,
            message: format!(
                "{}; delete {at}, which counts for nothing ({error})",
                overtaken(home)
            ),
        })?;
    }
    // Who has seen it has made a higher one, or finds it gone and withdraws its own.
    let seen = numbers(storage, home).map_or(true, |there| !there.is_empty());
    Err(StorageError {
        kind: match seen {
            true => StorageErrorKind::Overtaken,
            false => StorageErrorKind::AlreadyThere,
        },
        ..overtaken(home)
    })
}

/// The numbers of the pointers that are there.
pub(super) fn numbers(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
) -> Result<Vec<u64>, StorageError> {
    let entries = storage.list(home)?.into_iter();
    let numbers = entries.filter_map(|entry| JobLayout::pointer_of(&entry.name));
    Ok(numbers.collect())
}

/// Sees that a leader's last pointer is there: who overtakes it and who ends the job deletes it.
///
/// # Errors
/// [`StorageErrorKind::Overtaken`] when it is not.
pub(crate) fn still_leads(
    storage: &mut dyn CheckpointStorage,
    pointer: &Location,
) -> Result<(), StorageError> {
    match storage.read(pointer, MOST_BYTES) {
        Err(error) if error.kind == StorageErrorKind::Missing => Err(overtaken(
            &pointer.parent().unwrap_or_else(|| pointer.clone()),
        )),
        other => other.map(drop),
    }
}

pub(super) fn overtaken(home: &Location) -> StorageError {
    StorageError {
        kind: StorageErrorKind::Overtaken,
        message: format!(
            "another process has taken over the checkpoints in {home}, or has brought the job to its end"
        ),
    }
}

/// Deletes the metadata of a checkpoint that its leader could not make true because it was overtaken, unless somebody
/// goes on from it: who takes an older checkpoint for a damaged one may have found it.
///
/// # Errors
/// When storage fails.
pub(crate) fn withdraw(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    checkpoint: CheckpointId,
) -> Result<(), StorageError> {
    let layout = JobLayout::at(home.clone());
    let entries = storage.list(home)?;
    let pointers = readable(storage, home, &entries)?;
    let named = |pointer: &Pointer| {
        pointer
            .newest
            .is_some_and(|(newest, _)| newest == checkpoint)
    };
    if !pointers.iter().any(named) {
        storage.delete(&layout.metadata(checkpoint))?;
        storage.delete_if_empty(&layout.checkpoint(checkpoint))?;
    }
    Ok(())
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
            savepoint: None,
            ended: None,
        };
        assert_eq!(pointer.encode().len(), POINTER_BYTES);
        let none = Pointer {
            newest: None,
            ..pointer.clone()
        };
        let stopped = Pointer {
            savepoint: Some(Location::parse("/savepoints/savepoint-3f2a").unwrap()),
            ..pointer.clone()
        };
        let ended = Some(Ended::new(1_790_000_000_123, "clicks"));
        let finished = Pointer {
            ended: ended.clone(),
            ..none.clone()
        };
        let stopped_for_good = Pointer {
            ended,
            ..stopped.clone()
        };
        for pointer in [pointer, none, stopped, finished, stopped_for_good] {
            let bytes = pointer.encode();
            assert_eq!(Pointer::decode(&bytes).as_ref(), Some(&pointer));
            for cut in 0..bytes.len() {
                assert_eq!(Pointer::decode(&bytes[..cut]), None);
            }
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Pointer::decode(&damaged), None, "{bit}");
            }
        }
        assert_eq!(Pointer::decode(&[0; POINTER_BYTES]), None);
    }

    #[test]
    fn what_says_that_there_is_no_checkpoint_and_what_it_is_made_of_is_no_pointer() {
        let mut bytes = Pointer {
            sequence: 7,
            term: 3,
            next: CheckpointId(1),
            newest: None,
            savepoint: None,
            ended: None,
        }
        .encode();
        let (length, end) = (44, POINTER_BYTES - 4);
        bytes[length] = 1;
        let checksum = crc32c(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&checksum);
        assert_eq!(Pointer::decode(&bytes), None);
    }

    #[test]
    fn a_job_that_has_ended_has_no_checkpoint_but_a_savepoint() {
        let nothing = FileFacts {
            bytes: 9,
            checksum: 1,
        };
        let pointer = Pointer {
            sequence: 7,
            term: 3,
            next: CheckpointId(5),
            newest: Some((CheckpointId(4), nothing)),
            savepoint: None,
            ended: Some(Ended::new(0, "")),
        };
        assert_eq!(Pointer::decode(&pointer.encode()), None);
    }
}
