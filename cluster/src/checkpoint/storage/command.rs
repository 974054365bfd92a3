//! What the state machines of checkpoints ask storage for.
//!
//! A machine answers with commands; its driver performs them in order, on the control thread, and feeds
//! each outcome back. Plain data. Invariant: a command that was performed twice does no harm, though the
//! second may fail because the first has succeeded.

use std::collections::BTreeSet;

use super::contract::{CheckpointStorage, StorageError};
use super::location::Location;
use crate::checkpoint::metadata::model::FileFacts;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageCommand {
    /// Write a file that is not there yet, whole.
    WriteNew {
        /// Where.
        at: Location,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Create a file if nobody else has.
    CreateExclusive {
        /// Where.
        at: Location,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Copy a file, checking it.
    CopyNew {
        /// The file.
        from: Location,
        /// Where a copy is wanted.
        to: Location,
        /// What it must be.
        facts: FileFacts,
    },
    /// Delete files.
    Delete(Vec<Location>),
    /// Delete a directory with its files.
    DeleteDirectory(Location),
    /// Delete all files of a directory but these.
    Sweep {
        /// The directory.
        directory: Location,
        /// The names of the files that stay.
        keep: BTreeSet<String>,
    },
}

/// Performs one command. Blocks.
///
/// # Errors
/// What storage says; of several deletions the first that failed, after all have been tried.
pub fn perform(
    storage: &mut dyn CheckpointStorage,
    command: &StorageCommand,
) -> Result<(), StorageError> {
    match command {
        StorageCommand::WriteNew { at, bytes } => storage.write_new(at, bytes),
        StorageCommand::CreateExclusive { at, bytes } => storage.create_exclusive(at, bytes),
        StorageCommand::CopyNew { from, to, facts } => storage.copy_new(from, to, *facts),
        StorageCommand::Delete(files) => delete_all(storage, files.iter().cloned()),
        StorageCommand::DeleteDirectory(directory) => storage.delete_directory(directory),
        StorageCommand::Sweep { directory, keep } => {
            let entries = storage.list(directory)?;
            let needless = entries
                .into_iter()
                .filter(|entry| !entry.directory && !keep.contains(&entry.name));
            let files: Vec<Location> = needless
                .filter(|entry| super::is_plain_name(&entry.name))
                .map(|entry| directory.child(&entry.name))
                .collect();
            delete_all(storage, files.into_iter())
        }
    }
}

fn delete_all(
    storage: &mut dyn CheckpointStorage,
    files: impl Iterator<Item = Location>,
) -> Result<(), StorageError> {
    let mut first = Ok(());
    for file in files {
        first = first.and(storage.delete(&file));
    }
    first
}
