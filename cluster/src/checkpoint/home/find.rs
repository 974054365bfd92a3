//! Finding a checkpoint in storage and reading it.
//!
//! Entered by the control thread when a job starts, and by the command that looks at checkpoints. Blocking.
//! Invariant: what is answered has been read whole and its checksums hold; what is there but damaged is an
//! error and not passed over in silence.

use crc32c::crc32c;
use thalweg_core::ids::CheckpointId;

use super::layout::{JobLayout, METADATA, runs_of};
use super::pointer::{POINTER_BYTES, Pointer};
use crate::checkpoint::metadata::format::MAX_BYTES;
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::metadata::{CheckpointMetadata, MetadataError, decode};
use crate::checkpoint::storage::{
    CheckpointStorage, Entry, Location, StorageError, StorageErrorKind,
};

/// A checkpoint or savepoint that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its content.
    pub metadata: CheckpointMetadata,
    /// Its directory.
    pub directory: Location,
    /// Where its run files lie.
    pub runs: Location,
    /// Length and checksum of the metadata itself.
    pub facts: FileFacts,
    /// The pointer that says it is the newest, if it was found by one.
    pub pointer: Option<Location>,
}

/// Why no checkpoint was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing there is a checkpoint.
    #[error(
        "{0} holds no completed checkpoint and no savepoint: give its directory, its `_metadata` file, or the \
         directory of a job's checkpoints"
    )]
    Nothing(Location),
    /// Storage cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is there but cannot be used.
    #[error("{at}: {source}")]
    Unusable {
        /// The metadata file.
        at: Location,
        /// What is wrong with it.
        source: MetadataError,
    },
    /// The pointer to it says it should be something else.
    #[error(
        "{at} is not the metadata that was written when the checkpoint completed; take an older checkpoint"
    )]
    Replaced {
        /// The metadata file.
        at: Location,
    },
    /// A run file is missing or of another length.
    #[error(
        "{checkpoint} needs the run file {file} of {expected} bytes, and there {}; take an older checkpoint",
        found.map_or("is none".to_owned(), |bytes| format!("are {bytes}"))
    )]
    Incomplete {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The file.
        file: Location,
        /// Its length as it should be.
        expected: u64,
        /// Its length as it is.
        found: Option<u64>,
    },
}

/// Reads the checkpoint at a place: its directory, its `_metadata` file, or the directory of a job's
/// checkpoints, of which the newest is taken.
///
/// # Errors
/// When there is none or it cannot be used.
pub fn find(storage: &mut dyn CheckpointStorage, at: &Location) -> Result<Found, FindError> {
    if at.name() == METADATA
        && let Some(directory) = at.parent()
    {
        return read(storage, &directory);
    }
    let entries = storage.list(at)?;
    if entries.iter().any(|entry| entry.name == METADATA) {
        return read(storage, at);
    }
    let (_, pointer) = highest_pointer(storage, at, &entries)?;
    let newest = pointer.and_then(|pointer| Some((pointer.sequence, pointer.newest?)));
    let Some((sequence, (checkpoint, facts))) = newest else {
        return Err(FindError::Nothing(at.clone()));
    };
    let layout = JobLayout::at(at.clone());
    let mut found = read(storage, &layout.checkpoint(checkpoint))?;
    found.pointer = Some(layout.pointer(sequence));
    if found.facts != facts {
        return Err(FindError::Replaced {
            at: found.directory.child(METADATA),
        });
    }
    Ok(found)
}

/// Reads the checkpoint or savepoint in this directory.
///
/// # Errors
/// When there is none or it cannot be used.
pub fn read(storage: &mut dyn CheckpointStorage, directory: &Location) -> Result<Found, FindError> {
    let at = directory.child(METADATA);
    let bytes = match storage.read(&at, MAX_BYTES + 1_024) {
        Err(error) if error.kind == StorageErrorKind::Missing => {
            return Err(FindError::Nothing(directory.clone()));
        }
        other => other?,
    };
    let metadata = match decode(&bytes) {
        Ok(metadata) => metadata,
        Err(source) => return Err(FindError::Unusable { at, source }),
    };
    let Some(runs) = runs_of(metadata.kind, directory) else {
        return Err(FindError::Nothing(directory.clone()));
    };
    let facts = FileFacts {
        bytes: bytes.len() as u64,
        checksum: crc32c(&bytes),
    };
    Ok(Found {
        metadata,
        directory: directory.clone(),
        runs,
        facts,
        pointer: None,
    })
}

/// Sees to it that a checkpoint is found again whatever happens: who completed it may have died before it would
/// have survived a loss of power. To be done before anything is made of it that others see.
///
/// # Errors
/// When it is gone or storage fails.
pub fn settle(storage: &mut dyn CheckpointStorage, found: &Found) -> Result<(), FindError> {
    storage.settle(&found.directory.child(METADATA))?;
    if let Some(pointer) = &found.pointer {
        storage.settle(pointer)?;
    }
    Ok(())
}

/// The highest number any pointer has, and the highest pointer that was written to its end.
pub(super) fn highest_pointer(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    entries: &[Entry],
) -> Result<(u64, Option<Pointer>), FindError> {
    let mut sequences: Vec<u64> = (entries.iter())
        .filter_map(|entry| JobLayout::pointer_of(&entry.name))
        .collect();
    sequences.sort_unstable();
    let layout = JobLayout::at(home.clone());
    let highest = sequences.last().copied().unwrap_or(0);
    for sequence in sequences.into_iter().rev() {
        let bytes = match storage.read(&layout.pointer(sequence), POINTER_BYTES as u64 + 1) {
            // Overtaken and deleted since it was listed.
            Err(error) if error.kind == StorageErrorKind::Missing => continue,
            // Longer than a pointer can be.
            Err(error) if error.kind == StorageErrorKind::Damaged => continue,
            other => other?,
        };
        let pointer = Pointer::decode(&bytes).filter(|pointer| pointer.sequence == sequence);
        if pointer.is_some() {
            return Ok((highest, pointer));
        }
    }
    Ok((highest, None))
}

/// Checks that every run file is there and has its length.
///
/// # Errors
/// The first one that is not.
pub fn check_lengths(storage: &mut dyn CheckpointStorage, found: &Found) -> Result<(), FindError> {
    let there = storage.list(&found.runs)?;
    for (file, facts) in found.metadata.files() {
        let entry = there.iter().find(|entry| entry.name == file);
        let bytes = entry.map(|entry| entry.bytes);
        if bytes != Some(facts.bytes) {
            return Err(FindError::Incomplete {
                checkpoint: found.metadata.checkpoint,
                file: found.runs.child(file),
                expected: facts.bytes,
                found: bytes,
            });
        }
    }
    Ok(())
}
