//! The contract of checkpoint storage.
//!
//! Implemented by [`DirectoryStorage`](super::DirectoryStorage) for directories, by `ObjectStorage` for object stores,
//! and for both behind one front by [`AnyStorage`](super::AnyStorage). Calls block, on the control thread. Invariant:
//! `Ok` means durable; after any error but [`StorageErrorKind::Uncertain`] and [`StorageErrorKind::Unknown`] nothing
//! of what was asked for is there or will come back after a loss of power, except leftovers whose names begin with a
//! dot.

use std::fmt;
use std::io;

use thalweg_core::error::ErrorKind;
use thalweg_core::seam::mend::mend_of;
use thalweg_state::run::ReadAt;

use super::Location;
use crate::checkpoint::metadata::model::FileFacts;

/// What the caller can do about trouble with storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageErrorKind {
    /// What was to be made is there already, perhaps by somebody else.
    AlreadyThere,
    /// Another process leads the job, or led it to its end. What was to be said may have been seen by others.
    Overtaken,
    /// What was to be read is not there, or the directory in which something was to be made.
    Missing,
    /// There is no room.
    Full,
    /// The bytes are not what they should be.
    Damaged,
    /// It was written and perhaps will last, perhaps not: nobody knows. If it is there the caller made it.
    Uncertain,
    /// No answer came: perhaps it was written, now or later, perhaps not, and what is there may be another's.
    Unknown,
    /// Whatever else an operating system says.
    Failed(ErrorKind),
}

/// Why storage did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StorageError {
    /// What the caller can do.
    pub kind: StorageErrorKind,
    /// What happened, where, and how to mend it.
    pub message: String,
}

impl StorageError {
    /// Trouble of the operating system while doing `what` (a verb) at a place.
    #[must_use]
    pub fn of_io(what: &str, at: &impl fmt::Display, error: &io::Error) -> StorageError {
        let kind = match error.kind() {
            io::ErrorKind::AlreadyExists => StorageErrorKind::AlreadyThere,
            io::ErrorKind::NotFound => StorageErrorKind::Missing,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageErrorKind::Full,
            _ => StorageErrorKind::Failed(ErrorKind::of_io(error)),
        };
        let known = mend_of(error);
        let mend = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "let the user who runs the job read and write there",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space there",
            io::ErrorKind::ReadOnlyFilesystem => "use a file system that is not read-only",
            io::ErrorKind::AlreadyExists => "see who else writes there",
            _ => known.as_deref().unwrap_or("check the disk it lies on"),
        };
        StorageError {
            kind,
            message: format!("cannot {what} {at}: {error}; {mend}"),
        }
    }

    /// The same trouble, but what was asked for may have happened all the same.
    #[must_use]
    pub fn uncertain(self) -> StorageError {
        StorageError {
            kind: StorageErrorKind::Uncertain,
            ..self
        }
    }

    /// What the user should do.
    #[must_use]
    pub fn error_kind(&self) -> ErrorKind {
        match self.kind {
            StorageErrorKind::AlreadyThere
            | StorageErrorKind::Overtaken
            | StorageErrorKind::Missing => ErrorKind::Invalid,
            StorageErrorKind::Full | StorageErrorKind::Uncertain => ErrorKind::Resource,
            StorageErrorKind::Unknown => ErrorKind::Retry,
            StorageErrorKind::Damaged => ErrorKind::Data,
            StorageErrorKind::Failed(kind) => kind,
        }
    }
}

/// Something in a directory of storage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length in bytes; 0 for a directory.
    pub bytes: u64,
    /// Whether it is a directory.
    pub directory: bool,
}

/// Of how many bytes and of which checksum a file is and should be.
pub(super) fn check(
    from: &Location,
    found: FileFacts,
    facts: FileFacts,
) -> Result<(), StorageError> {
    if found == facts {
        return Ok(());
    }
    Err(StorageError {
        kind: StorageErrorKind::Damaged,
        message: format!(
            "{from} has {} bytes with checksum {:08x}, it should have {} with {:08x}: it is damaged",
            found.bytes, found.checksum, facts.bytes, facts.checksum
        ),
    })
}

/// A file that was to be read whole is longer than it may be.
pub(super) fn too_long(at: &Location, most: u64) -> StorageError {
    StorageError {
        kind: StorageErrorKind::Damaged,
        message: format!("{at} is longer than the {most} bytes it may have"),
    }
}

/// Keeps the files of checkpoints. Where there are directories only [`CheckpointStorage::make_directory`] makes those
/// on the way: a job's directory that was deleted is not made again by who still writes into it.
pub trait CheckpointStorage: Send {
    /// Writes a file that is not there yet, whole or not at all: nobody ever sees a part of it. The directory it lies
    /// in is made if need be, in one that is there.
    ///
    /// # Errors
    /// When the file is there already or cannot be made durable.
    fn write_new(&mut self, at: &Location, bytes: &[u8]) -> Result<(), StorageError>;

    /// Creates a file, of all who try at most one of them, whole or not at all.
    ///
    /// # Errors
    /// [`StorageErrorKind::AlreadyThere`] when somebody was first; [`StorageErrorKind::Unknown`] when nobody can tell
    /// who was, if anybody.
    fn create_exclusive(&mut self, at: &Location, bytes: &[u8]) -> Result<(), StorageError>;

    /// Copies a file to a place where none is, whole or not at all, and checks on the way that it is what it
    /// should be. The directory is made as by [`CheckpointStorage::write_new`].
    ///
    /// # Errors
    /// [`StorageErrorKind::Damaged`] when length or checksum are not as `facts` says.
    fn copy_new(
        &mut self,
        from: &Location,
        to: &Location,
        facts: FileFacts,
    ) -> Result<(), StorageError>;

    /// Reads a file of at most `most` bytes.
    ///
    /// # Errors
    /// When it is not there, longer, or cannot be read.
    fn read(&mut self, at: &Location, most: u64) -> Result<Vec<u8>, StorageError>;

    /// Opens a file that is to be read from any place in it, by this thread.
    ///
    /// # Errors
    /// When it is not there or cannot be opened.
    fn open(&mut self, at: &Location) -> Result<Box<dyn ReadAt>, StorageError>;

    /// Sees to it that a file that was found survives the loss of power: who made it may have died before that.
    ///
    /// # Errors
    /// When it is not there or cannot be made durable.
    fn settle(&mut self, at: &Location) -> Result<(), StorageError>;

    /// Length and checksum of a file, from all its bytes.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    fn examine(&mut self, at: &Location) -> Result<FileFacts, StorageError>;

    /// What is in a directory, by name, without names that begin with a dot; nothing if it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&mut self, at: &Location) -> Result<Vec<Entry>, StorageError>;

    /// Makes a directory, and those it lies in, durably; it may be there already.
    ///
    /// # Errors
    /// When it cannot be made durable.
    fn make_directory(&mut self, at: &Location) -> Result<(), StorageError>;

    /// Makes a directory that is not there yet, durably: of all who try at most one succeeds.
    ///
    /// # Errors
    /// [`StorageErrorKind::AlreadyThere`] when something of that name is there.
    fn make_new_directory(&mut self, at: &Location) -> Result<(), StorageError>;

    /// Deletes a file; it may be gone already. The deletion need not survive a loss of power.
    ///
    /// # Errors
    /// When it is still there.
    fn delete(&mut self, at: &Location) -> Result<(), StorageError>;

    /// Deletes a directory and the files in it, leftovers too; it may be gone already. Directories in it are
    /// not looked into. The deletion need not survive a loss of power.
    ///
    /// # Errors
    /// When something of it is still there.
    fn delete_directory(&mut self, at: &Location) -> Result<(), StorageError>;

    /// Deletes a directory if there is nothing in it; it may be gone already.
    ///
    /// # Errors
    /// When it cannot be told or deleted; that something is in it is none.
    fn delete_if_empty(&mut self, at: &Location) -> Result<(), StorageError>;
}
