//! How a leader takes over a job's checkpoints: it overtakes whoever led before, learns what is true, and
//! removes what nobody needs.
//!
//! Entered once when a job starts, on the control thread. Blocking. Invariant: nothing is deleted before the
//! pointer of the new leader is durable, so a former leader can make nothing true any more; the newest
//! checkpoint and its files are never deleted; what is deleted was there before the pointer, so that nothing of
//! a later leader can be hit.

use std::collections::BTreeSet;
use std::sync::Arc;

use thalweg_core::ids::CheckpointId;

use super::find::{FindError, Found, check_lengths, highest_pointer, read};
use super::layout::{JobLayout, METADATA};
use super::pointer::{self, Pointer};
use crate::checkpoint::complete::Leadership;
use crate::checkpoint::metadata::CheckpointMetadata;
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::storage::{
    CheckpointStorage, Entry, StorageCommand, StorageError, StorageErrorKind, is_plain_name,
    perform,
};

/// How often somebody else may be quicker before it is an error.
const TRIES: u32 = 8;

/// What a new leader begins with.
#[derive(Clone, Debug)]
pub struct Takeover {
    /// Which leader it is.
    pub leadership: Leadership,
    /// The number the next checkpoint gets: higher than any that is or was complete.
    pub next: CheckpointId,
    /// The checkpoints that are kept, oldest first.
    pub kept: Vec<Arc<CheckpointMetadata>>,
    /// What could not be deleted; it does no harm.
    pub leftovers: Vec<StorageError>,
}

/// Takes over the checkpoints of a job, or begins them if there are none.
///
/// # Errors
/// When storage fails, or the newest checkpoint is there and cannot be used.
pub fn take_over(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    retained: usize,
) -> Result<Takeover, FindError> {
    let Overtaken {
        leadership,
        next,
        newest,
        entries,
        runs,
    } = overtake(storage, layout)?;
    let kept = load(storage, layout, newest, &entries, retained)?;
    // Tasks write into it and make no directories.
    storage.make_directory(&layout.shared())?;
    let leftovers = clean(storage, layout, leadership, &kept, &entries, &runs);
    Ok(Takeover {
        leadership,
        next,
        kept,
        leftovers,
    })
}

type Newest = Option<(CheckpointId, FileFacts)>;

/// What was found before the own pointer was made: older than all that a later leader makes, so that to remove
/// of it what is needless does no harm, however late.
struct Overtaken {
    leadership: Leadership,
    next: CheckpointId,
    newest: Newest,
    entries: Vec<Entry>,
    runs: Vec<Entry>,
}

/// Creates the pointer that overtakes all others.
fn overtake(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
) -> Result<Overtaken, FindError> {
    let mut tries = 0;
    // A pointer that may not last is followed by another; one that somebody else has made is read.
    let mut at_least = 0;
    loop {
        let entries = storage.list(layout.home())?;
        let runs = storage.list(&layout.shared())?;
        let (highest, pointer) = highest_pointer(storage, layout.home(), &entries)?;
        let own = Pointer {
            sequence: highest.max(at_least) + 1,
            term: pointer.map_or(0, |pointer| pointer.term) + 1,
            next: next_after(&entries, pointer.as_ref()),
            newest: pointer.and_then(|pointer| pointer.newest),
        };
        match pointer::create(storage, layout.home(), &own) {
            Ok(()) => {
                let leadership = Leadership {
                    sequence: own.sequence,
                    term: own.term,
                    next: own.next,
                };
                return Ok(Overtaken {
                    leadership,
                    next: own.next,
                    newest: own.newest,
                    entries,
                    runs,
                });
            }
            Err(error) => {
                tries += 1;
                let again = [StorageErrorKind::AlreadyThere, StorageErrorKind::Uncertain];
                if tries >= TRIES || !again.contains(&error.kind) {
                    return Err(error.into());
                }
                at_least = own.sequence;
            }
        }
    }
}

/// The first number that was never given to a checkpoint.
fn next_after(entries: &[Entry], pointer: Option<&Pointer>) -> CheckpointId {
    let begun = (entries.iter()).filter_map(|entry| JobLayout::checkpoint_of(&entry.name));
    let found = begun.map(|begun| begun.0 + 1).max().unwrap_or(1);
    CheckpointId(found.max(pointer.map_or(1, |pointer| pointer.next.0)))
}

/// The newest checkpoint and older whole ones, oldest first.
fn load(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    newest: Newest,
    entries: &[Entry],
    retained: usize,
) -> Result<Vec<Arc<CheckpointMetadata>>, FindError> {
    let Some((checkpoint, facts)) = newest else {
        return Ok(Vec::new());
    };
    let found = read(storage, &layout.checkpoint(checkpoint))?;
    if found.facts != facts {
        return Err(FindError::Replaced {
            at: found.directory.child(METADATA),
        });
    }
    check_lengths(storage, &found)?;
    let mut kept = vec![Arc::new(found.metadata)];
    let mut older: Vec<CheckpointId> = (entries.iter())
        .filter_map(|entry| JobLayout::checkpoint_of(&entry.name))
        .filter(|older| *older < checkpoint)
        .collect();
    older.sort_unstable();
    for checkpoint in older.into_iter().rev() {
        if kept.len() >= retained {
            break;
        }
        // One that was being deleted, or never completed, is no longer one.
        if let Some(found) = whole(storage, layout, checkpoint)? {
            kept.insert(0, Arc::new(found.metadata));
        }
    }
    Ok(kept)
}

fn whole(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    checkpoint: CheckpointId,
) -> Result<Option<Found>, FindError> {
    let found = match read(storage, &layout.checkpoint(checkpoint)) {
        Ok(found) => found,
        Err(FindError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    match check_lengths(storage, &found) {
        Ok(()) => Ok(Some(found)),
        Err(FindError::Storage(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Deletes pointers that were overtaken, checkpoints that are not kept, and runs nobody needs.
fn clean(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    leadership: Leadership,
    kept: &[Arc<CheckpointMetadata>],
    entries: &[Entry],
    runs: &[Entry],
) -> Vec<StorageError> {
    let mut commands = Vec::new();
    for entry in entries {
        if let Some(sequence) = JobLayout::pointer_of(&entry.name)
            && sequence < leadership.sequence
        {
            commands.push(StorageCommand::Delete(vec![layout.pointer(sequence)]));
        }
        if let Some(checkpoint) = JobLayout::checkpoint_of(&entry.name)
            && kept.iter().all(|kept| kept.checkpoint != checkpoint)
        {
            let directory = layout.checkpoint(checkpoint);
            commands.push(StorageCommand::DeleteDirectory(directory));
        }
    }
    let keep: BTreeSet<&str> = (kept.iter())
        .flat_map(|metadata| metadata.files().into_keys())
        .collect();
    let needless = (runs.iter())
        .map(|entry| entry.name.as_str())
        .filter(|name| is_plain_name(name) && !keep.contains(name));
    let needless = needless.map(|name| layout.shared().child(name)).collect();
    commands.push(StorageCommand::Delete(needless));
    let outcomes = commands.iter().map(|command| perform(storage, command));
    outcomes.filter_map(Result::err).collect()
}
