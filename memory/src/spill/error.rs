//! What can go wrong with a spill file, and how to mend it.
//!
//! Left by every request. Invariant: after an error of a file nothing that it holds is trusted; the task that
//! spilled to it fails. Plain data, lives on any thread.

use std::io;
use std::path::Path;

use thalweg_core::ErrorKind;

/// A spill file that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpillError {
    /// The file system has no room.
    #[error(
        "the disk of the spill directory {directory} is full: {asked} more bytes did not fit, {used} bytes \
         are spilled by this process; free some, or name other directories in io.tmp.dirs"
    )]
    Full {
        /// The directory.
        directory: String,
        /// Bytes that were to be written.
        asked: u64,
        /// Bytes of all spill files of the process.
        used: u64,
    },
    /// The process has spilled as much as it may.
    #[error(
        "this process has {used} of {limit} bytes spilled and may not spill {asked} more: raise \
         thalweg.spill.quota"
    )]
    OverQuota {
        /// Bytes that were to be written.
        asked: u64,
        /// Bytes of all spill files of the process.
        used: u64,
        /// The most there may be.
        limit: u64,
    },
    /// The system refused an operation.
    #[error(
        "the spill file {path} could not be {what}: {cause}; look at the disk below it, or name other \
         directories in io.tmp.dirs"
    )]
    Io {
        /// The file or directory.
        path: String,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        cause: String,
        /// What to do about it.
        kind: ErrorKind,
    },
    /// The file ends before what was written to it.
    #[error(
        "the spill file {path} ends before byte {end}, though it was written: somebody has changed it; keep \
         others out of the directories of io.tmp.dirs"
    )]
    EndsEarly {
        /// The file.
        path: String,
        /// The byte behind the last one asked for.
        end: u64,
    },
}

impl SpillError {
    /// What the receiver should do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            SpillError::Full { .. } | SpillError::OverQuota { .. } => ErrorKind::Resource,
            SpillError::Io { kind, .. } => *kind,
            SpillError::EndsEarly { .. } => ErrorKind::Data,
        }
    }

    pub(super) fn of_io(path: &Path, what: &'static str, error: &io::Error) -> SpillError {
        SpillError::Io {
            path: path.display().to_string(),
            what,
            cause: error.to_string(),
            kind: ErrorKind::of_io(error),
        }
    }
}
