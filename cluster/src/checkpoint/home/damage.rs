//! What can be wrong with a checkpoint that is there.
//!
//! Plain data, made by whoever reads a job's checkpoints. Invariant: it names the file, says what is wrong and
//! how to mend it; nothing is deleted because of it.

use thalweg_core::ids::{CheckpointId, JobId};

use super::layout::JobLayout;
use super::verify::RunProblem;
use crate::checkpoint::metadata::MetadataError;
use crate::checkpoint::storage::Location;

/// Damage of a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The file that says which is the newest is no such file.
    #[error(
        "{at} says which checkpoint of its job is the newest, and it is damaged; put it back from a copy, or name \
         one of the checkpoints beside it by execution.state-recovery.path, or let the newest whole one be taken \
         (execution.state-recovery.fallback-to-older-checkpoint: true)"
    )]
    Pointer {
        /// The pointer.
        at: Location,
    },
    /// A file of it was written by another release: nothing is wrong with it, so nothing is taken instead of it.
    #[error(
        "{at} is not damaged: it was written by a newer release, of which nothing is passed over; use that release, \
         or name a checkpoint or savepoint of this one by execution.state-recovery.path ({what})"
    )]
    OtherRelease {
        /// The file.
        at: Location,
        /// Which version it has, and which can be read.
        what: String,
    },
    /// No file says which is the newest.
    #[error(
        "{home} holds checkpoints, such as {checkpoint}, but no file newest-… that says which is the newest; put \
         it back from a copy, name one of the checkpoints by execution.state-recovery.path, let the newest whole one be \
         taken (execution.state-recovery.fallback-to-older-checkpoint: true), or move the directory away"
    )]
    NoPointer {
        /// The directory of a job's checkpoints.
        home: Location,
        /// One of them.
        checkpoint: Location,
    },
    /// The newest checkpoint is not there.
    #[error(
        "{at} is not there, and {pointer} says that it is the newest checkpoint; put it back from a copy, or name \
         an older checkpoint by execution.state-recovery.path, or let one be taken \
         (execution.state-recovery.fallback-to-older-checkpoint: true)"
    )]
    Lost {
        /// The metadata file.
        at: Location,
        /// What says that it should be there.
        pointer: Location,
    },
    /// Its metadata cannot be used.
    #[error("{at}: {source}")]
    Metadata {
        /// The metadata file.
        at: Location,
        /// What is wrong with it.
        source: MetadataError,
    },
    /// The pointer to it says it should be something else.
    #[error(
        "{at} is not the metadata that was written when the checkpoint completed; put it back from a copy, or take \
         an older checkpoint"
    )]
    Replaced {
        /// The metadata file.
        at: Location,
    },
    /// It is the metadata of another checkpoint.
    #[error(
        "{at} is of {checkpoint} of job {job}, which does not belong there; put it back from a copy, or take \
         an older checkpoint"
    )]
    Foreign {
        /// The metadata file.
        at: Location,
        /// Which checkpoint it is of.
        checkpoint: CheckpointId,
        /// Which job it is of.
        job: JobId,
    },
    /// A run file is missing or of another length.
    #[error(
        "{checkpoint} needs the file {file} of {expected} bytes, and there {}; put it back from a copy, or take an \
         older checkpoint",
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
    /// A file of it is not what was written.
    #[error("{checkpoint} is damaged: {problem}")]
    File {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// What is wrong with the file.
        problem: RunProblem,
    },
}

impl Damage {
    /// The checkpoint that is damaged, where that is known.
    #[must_use]
    pub fn checkpoint(&self) -> Option<CheckpointId> {
        let of = |at: &Location| JobLayout::checkpoint_of(at.parent()?.name());
        match self {
            Damage::Pointer { .. } | Damage::NoPointer { .. } => None,
            Damage::OtherRelease { at, .. }
            | Damage::Lost { at, .. }
            | Damage::Metadata { at, .. }
            | Damage::Replaced { at }
            | Damage::Foreign { at, .. } => of(at),
            Damage::Incomplete { checkpoint, .. } | Damage::File { checkpoint, .. } => {
                Some(*checkpoint)
            }
        }
    }

    /// Whether an older checkpoint may be taken for what is damaged so. Not for what another release wrote: it is
    /// whole, and what was committed since the older one would be committed again.
    #[must_use]
    pub fn may_be_passed_over(&self) -> bool {
        !matches!(self, Damage::OtherRelease { .. })
    }
}
