//! Finding a checkpoint in storage and reading it.
//!
//! Entered by the control thread when a job starts, and by the command that looks at checkpoints. Blocking.
//! Invariant: what is answered has been read whole and its checksums hold; what is there but damaged is an
//! error and not passed over in silence.

use thalweg_core::ids::CheckpointId;

use super::damage::Damage;
use super::ended::EndedJob;
use super::layout::{JobLayout, METADATA, runs_of};
use super::newest::pointers;
use super::pointer::Pointer;
use crate::checkpoint::metadata::facts::MetadataFacts;
use crate::checkpoint::metadata::format::MAX_BYTES;
use crate::checkpoint::metadata::{CheckpointKind, CheckpointMetadata, decode};
use crate::checkpoint::storage::{CheckpointStorage, Location, StorageError, StorageErrorKind};

/// How often a job may complete a checkpoint while its newest one is looked for.
const LOOKS: u32 = 8;

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
    pub facts: MetadataFacts,
    /// No checkpoint of its job has a higher number than this, as far as is known: those that come after it get
    /// others.
    pub given: CheckpointId,
    /// The pointer that says it is the newest, if it was found by one.
    pub pointer: Option<Location>,
}

/// Why no checkpoint was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing there is a checkpoint, nor was before something was damaged.
    #[error(
        "{0} holds no completed checkpoint and no savepoint: give its directory, its `_metadata` file, or the \
         directory of a job's checkpoints"
    )]
    Nothing(Location),
    /// The job has ended: there is nothing to go on from, or a savepoint that its user has to ask for.
    #[error("{0}: its checkpoints are gone")]
    Ended(Box<EndedJob>),
    /// Storage cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is there and not what it should be.
    #[error(transparent)]
    Damaged(Box<Damage>),
    /// It is damaged, and nothing could be taken for it.
    #[error("{damage} (of the older checkpoints in {home} none is whole, {others} are damaged)")]
    NoneWhole {
        /// What is wrong with it.
        damage: Box<Damage>,
        /// The directory of the job's checkpoints.
        home: Location,
        /// How many others are damaged.
        others: usize,
    },
}

impl From<Damage> for FindError {
    fn from(damage: Damage) -> FindError {
        FindError::Damaged(Box::new(damage))
    }
}

impl From<EndedJob> for FindError {
    fn from(ended: EndedJob) -> FindError {
        FindError::Ended(Box::new(ended))
    }
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
        return named(storage, &directory);
    }
    let entries = storage.list(at)?;
    let is_checkpoint = JobLayout::checkpoint_of(at.name()).is_some();
    if is_checkpoint || entries.iter().any(|entry| entry.name == METADATA) {
        return named(storage, at);
    }
    let mut looks = 1;
    loop {
        match newest(storage, at) {
            // A running job may have completed another meanwhile, or ended.
            Err(FindError::Damaged(damage))
                if matches!(*damage, Damage::Lost { .. }) && looks < LOOKS =>
            {
                looks += 1;
            }
            other => return other,
        }
    }
}

/// The newest of a job's checkpoints.
fn newest(storage: &mut dyn CheckpointStorage, home: &Location) -> Result<Found, FindError> {
    let pointers = pointers(storage, home)?;
    match pointers.counts {
        Some(Pointer {
            sequence,
            ended: Some(ended),
            savepoint,
            ..
        }) => Err(EndedJob {
            home: home.clone(),
            pointer: JobLayout::at(home.clone()).pointer(sequence),
            ended,
            savepoint,
        }
        .into()),
        Some(pointer) if pointer.newest.is_some() => pointed_to(storage, home, &pointer),
        _ => Err(FindError::Nothing(home.clone())),
    }
}

/// The checkpoint a pointer says is the newest.
///
/// # Errors
/// When it is not there or not what the pointer says; [`FindError::Nothing`] when the pointer says that there is none.
pub(super) fn pointed_to(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    pointer: &Pointer,
) -> Result<Found, FindError> {
    let layout = JobLayout::at(home.clone());
    let Some((checkpoint, facts)) = pointer.newest else {
        return Err(FindError::Nothing(home.clone()));
    };
    let beside = || layout.checkpoint(checkpoint);
    let (directory, pointer) = (
        pointer.savepoint.clone().unwrap_or_else(beside),
        layout.pointer(pointer.sequence),
    );
    let at = directory.child(METADATA);
    let mut found = match read(storage, &directory) {
        Err(FindError::Nothing(_)) => return Err(Damage::Lost { at, pointer }.into()),
        other => other?,
    };
    if !found.facts.are(facts) {
        return Err(Damage::Replaced { at }.into());
    }
    found.pointer = Some(pointer);
    Ok(found)
}

/// The checkpoint or savepoint in a directory that somebody named.
fn named(storage: &mut dyn CheckpointStorage, directory: &Location) -> Result<Found, FindError> {
    let found = read(storage, directory);
    let own = JobLayout::checkpoint_of(directory.name());
    let (Some(own), Some(home)) = (own, directory.parent()) else {
        return found;
    };
    let pointer = match pointers(storage, &home) {
        Ok(pointers) => pointers.counts,
        // That may be why it was named.
        Err(FindError::Damaged(_)) => None,
        Err(error) => return Err(error),
    };
    let pointer = pointer.filter(|pointer| pointer.newest.is_some_and(|(newest, _)| newest == own));
    match (pointer, found) {
        (Some(pointer), Ok(_) | Err(FindError::Nothing(_))) => pointed_to(storage, &home, &pointer),
        (_, found) => found,
    }
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
        Err(source) if source.is_of_other_release() => {
            let what = source.to_string();
            return Err(Damage::OtherRelease { at, what }.into());
        }
        Err(source) => return Err(Damage::Metadata { at, source }.into()),
    };
    let Some(runs) = runs_of(metadata.kind, directory) else {
        return Err(FindError::Nothing(directory.clone()));
    };
    if !belongs(&metadata, directory) {
        let CheckpointMetadata {
            checkpoint, job, ..
        } = metadata;
        let foreign = Damage::Foreign {
            at,
            checkpoint,
            job,
        };
        return Err(foreign.into());
    }
    Ok(Found {
        given: metadata.checkpoint,
        metadata,
        directory: directory.clone(),
        runs,
        facts: MetadataFacts::of(&bytes),
        pointer: None,
    })
}

/// Whether metadata is of the checkpoint and the job after which its directory is named, where it is.
fn belongs(metadata: &CheckpointMetadata, directory: &Location) -> bool {
    if metadata.kind == CheckpointKind::Savepoint {
        return true;
    }
    let checkpoint = JobLayout::checkpoint_of(directory.name());
    let home = directory.parent();
    let job = home.and_then(|home| JobLayout::job_of(home.name()));
    checkpoint.is_none_or(|checkpoint| checkpoint == metadata.checkpoint)
        && job.is_none_or(|job| job == metadata.job)
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
            let incomplete = Damage::Incomplete {
                checkpoint: found.metadata.checkpoint,
                file: found.runs.child(file),
                expected: facts.bytes,
                found: bytes,
            };
            return Err(incomplete.into());
        }
    }
    Ok(())
}
