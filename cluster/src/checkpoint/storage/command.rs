//! What the state machines of checkpoints ask storage for.
//!
//! A machine answers with commands; its driver performs them in order, on the control thread, and feeds
//! each outcome back. Plain data. Invariant: a command that was performed twice does no harm, though the
//! second may fail because the first has succeeded.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use thalweg_core::ids::{AttemptId, CheckpointId, OperatorId, SubtaskId};

use super::contract::{CheckpointStorage, Entry, StorageError, StorageErrorKind};
use super::location::Location;
use crate::checkpoint::home::layout::{JobLayout, SHARED};
use crate::checkpoint::home::pointer::{self, MOST_BYTES, Pointer};
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
        /// The last pointer of the leader who writes it, which must be there.
        led_by: Location,
    },
    /// Say which checkpoint is the newest, if nobody else leads the job.
    Point {
        /// The directory of the job's checkpoints.
        home: Location,
        /// What to say.
        pointer: Pointer,
        /// The number of the leader's last pointer that is sure.
        since: u64,
    },
    /// Delete the metadata of a checkpoint that was overtaken before it was true, and its directory if nothing else is
    /// in it.
    Withdraw {
        /// The directory of the job's checkpoints.
        home: Location,
        /// The checkpoint.
        checkpoint: CheckpointId,
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
    /// Delete a directory if there is nothing in it.
    DeleteIfEmpty(Location),
    /// Delete the directory of a job's checkpoints with all that jobs keep in it, if nobody has taken it over since.
    /// The last pointer, which says that there is no checkpoint, goes when all else is gone for good.
    DeleteHome {
        /// The directory.
        home: Location,
        /// The last pointer.
        last: Location,
    },
    /// Delete all that jobs keep in it but the last pointer, which says that there is no checkpoint, or how the job has
    /// ended. Whoever begins in it meanwhile is not harmed.
    ClearHome {
        /// The directory.
        home: Location,
        /// The last pointer.
        last: Location,
    },
    /// Make a directory that is not there yet.
    NewDirectory(Location),
    /// Delete the files that certain attempts of the job left in a directory. Of which attempt a file is says its
    /// name, which ends in `-<attempt>-<checkpoint>` and `.run` or, for records in flight, `.flight`; files of other
    /// names stay.
    Sweep {
        /// The directory.
        directory: Location,
        /// The attempts.
        attempts: RangeInclusive<AttemptId>,
        /// Only files of these tasks; of all if none is given.
        of: Option<BTreeSet<TaskFiles>>,
        /// The names of the files that stay.
        keep: BTreeSet<String>,
    },
}

/// The files that one subtask writes for one operator of it, or for records in flight: how their names begin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskFiles(String);

impl TaskFiles {
    /// The runs of an operator.
    #[must_use]
    pub fn of_operator(operator: OperatorId, subtask: u32) -> TaskFiles {
        TaskFiles(format!("{operator}-{subtask}"))
    }

    /// Records in flight.
    #[must_use]
    pub fn in_flight(task: SubtaskId) -> TaskFiles {
        TaskFiles(format!("v{}-{}", task.vertex.0, task.index))
    }

    /// Whether a file of this name is one of them.
    fn wrote(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.0.as_str());
        rest.is_some_and(|rest| rest.starts_with(['-', '.']))
    }
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
        StorageCommand::WriteNew { at, bytes, led_by } => {
            pointer::still_leads(storage, led_by)?;
            storage.write_new(at, bytes)
        }
        StorageCommand::Point {
            home,
            pointer,
            since,
        } => pointer::create(storage, home, pointer, Some(*since)),
        StorageCommand::Withdraw { home, checkpoint } => {
            pointer::withdraw(storage, home, *checkpoint)
        }
        StorageCommand::CopyNew { from, to, facts } => storage.copy_new(from, to, *facts),
        StorageCommand::Delete(files) => delete_all(storage, files.iter().cloned()),
        StorageCommand::DeleteDirectory(directory) => storage.delete_directory(directory),
        StorageCommand::DeleteIfEmpty(directory) => storage.delete_if_empty(directory),
        StorageCommand::DeleteHome { home, last } => delete_home(storage, home, last),
        StorageCommand::ClearHome { home, last } => clear_home(storage, home, last),
        StorageCommand::NewDirectory(at) => storage.make_new_directory(at),
        StorageCommand::Sweep {
            directory,
            attempts,
            of,
            keep,
        } => {
            let entries = storage.list(directory)?.into_iter();
            let left = |name: &str| {
                let attempt = attempt_of(name);
                let theirs = attempt.is_some_and(|attempt| attempts.contains(&attempt));
                let of_them = (of.as_ref()).is_none_or(|of| of.iter().any(|task| task.wrote(name)));
                theirs && of_them && !keep.contains(name)
            };
            let files = entries.filter(|entry| !entry.directory && left(&entry.name));
            let files: Vec<Location> = files.map(|entry| directory.child(&entry.name)).collect();
            delete_all(storage, files.into_iter())
        }
    }
}

/// Deletes by name what was there before it was seen that nobody has begun since: no leader gives a name of another.
fn clear_home(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    last: &Location,
) -> Result<(), StorageError> {
    // Whoever has found it may be the first to know that it lasts.
    storage.settle(last)?;
    let shared = home.child(SHARED);
    let mut needless: Vec<Location> = (storage.list(&shared)?.into_iter())
        .map(|run| shared.child(&run.name))
        .collect();
    let entries = storage.list(home)?;
    is_the_last(&entries, home, last)?;
    let pointers = (entries.iter()).filter(|entry| JobLayout::pointer_of(&entry.name).is_some());
    let pointers = pointers.map(|entry| home.child(&entry.name));
    needless.extend(pointers.filter(|pointer| pointer != last));
    for entry in &entries {
        if JobLayout::checkpoint_of(&entry.name).is_some() {
            storage.delete_directory(&home.child(&entry.name))?;
        }
    }
    delete_all(storage, needless.into_iter())
}

/// Sees that no pointer is above one.
fn is_the_last(entries: &[Entry], home: &Location, last: &Location) -> Result<(), StorageError> {
    let number = |name: &str| JobLayout::pointer_of(name);
    match (entries.iter()).find(|entry| number(&entry.name) > number(last.name())) {
        None => Ok(()),
        Some(above) => Err(StorageError {
            kind: StorageErrorKind::Overtaken,
            message: format!(
                "cannot delete {home}: another process has taken it over, as {} says",
                above.name
            ),
        }),
    }
}

fn delete_home(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    last: &Location,
) -> Result<(), StorageError> {
    let entries = storage.list(home)?;
    is_the_last(&entries, home, last)?;
    // Whatever a former leader wrote too late is among them.
    for entry in entries.iter().filter(|entry| entry.directory) {
        if entry.name == SHARED || JobLayout::checkpoint_of(&entry.name).is_some() {
            storage.delete_directory(&home.child(&entry.name))?;
        }
    }
    let pointers = (entries.iter()).filter(|entry| JobLayout::pointer_of(&entry.name).is_some());
    let pointers = pointers.map(|entry| home.child(&entry.name));
    delete_all(storage, pointers.filter(|pointer| pointer != last))?;
    storage.settle(last)?;
    let says = storage.read(last, MOST_BYTES)?;
    storage.delete_directory(home).map_err(|error| {
        // Something else is in it, or came meanwhile: it must not be taken for what has lost its pointer.
        match storage.create_exclusive(last, &says) {
            Err(again) if again.kind != StorageErrorKind::AlreadyThere => again,
            _ => error,
        }
    })
}

/// The attempt a file of this name is of.
pub(crate) fn attempt_of(name: &str) -> Option<AttemptId> {
    if !super::is_plain_name(name) {
        return None;
    }
    let stem = (name.strip_suffix(".run")).or_else(|| name.strip_suffix(".flight"));
    let mut parts = stem?.rsplit('-');
    let attempt = parts.nth(1)?;
    attempt.parse().ok().map(AttemptId)
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
