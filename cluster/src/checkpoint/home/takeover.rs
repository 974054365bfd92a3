//! How a leader takes over a job's checkpoints: it overtakes whoever led before, learns what is true, and
//! removes what nobody needs.
//!
//! Entered once when a job starts, on the control thread. Blocking. Invariant: nothing is deleted before the
//! pointer of the new leader is durable, so a former leader can make nothing true any more; the newest
//! checkpoint and its files are never deleted; what is deleted was there before the pointer, so that nothing of
//! a later leader can be hit; nothing is deleted because it is damaged.

use std::collections::BTreeSet;
use std::sync::Arc;

use thalweg_core::ids::CheckpointId;

use super::damage::Damage;
use super::find::{FindError, Found, check_lengths, pointed_to, read};
use super::layout::JobLayout;
use super::newest::{pointers, readable};
use super::older::Whole;
use super::pointer::{self, Pointer};
use crate::checkpoint::complete::Leadership;
use crate::checkpoint::metadata::CheckpointMetadata;
use crate::checkpoint::storage::command::attempt_of;
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
    /// The savepoint by which the job was stopped, newer than all checkpoints: what it lists may be committed.
    pub stopped_by: Option<Found>,
    /// Older checkpoints that would be kept if they were not damaged. They stay as they are, with their files.
    pub aside: Vec<Aside>,
    /// Checkpoints above the newest that can be read, and no pointer says that they are true: one was passed over for
    /// damage of its files, or its leader died before it was true. They stay, with their files, until this leader has
    /// completed one.
    pub unsaid: Vec<Arc<CheckpointMetadata>>,
    /// What could not be deleted; it does no harm.
    pub leftovers: Vec<StorageError>,
}

/// A checkpoint that is damaged.
#[derive(Clone, Debug)]
pub struct Aside {
    /// Its number.
    pub checkpoint: CheckpointId,
    /// What is wrong with it.
    pub damage: Arc<Damage>,
    /// What it is made of, if its metadata can be read.
    pub metadata: Option<Arc<CheckpointMetadata>>,
}

/// Takes over the checkpoints of a job, or begins them if there are none.
///
/// # Errors
/// When storage fails, or the newest checkpoint is not what it was. Nothing was deleted then.
pub fn take_over(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    retained: usize,
) -> Result<Takeover, FindError> {
    let overtaken = overtake(storage, layout)?;
    taken(storage, layout, &overtaken, retained, Vec::new())
}

/// The same for a job whose newest checkpoint is damaged: it goes on from an older one. What was passed over stays,
/// with its files, and no run that was there is deleted.
///
/// # Errors
/// When storage fails, or another leader has come between.
pub fn take_over_from(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    retained: usize,
    whole: Whole,
) -> Result<Takeover, FindError> {
    let overtaken = overtake_damaged(storage, layout, &whole)?;
    let passed_over = whole.passed_over.into_iter().filter_map(|damage| {
        Some(Aside {
            checkpoint: damage.checkpoint()?,
            damage: Arc::new(damage),
            metadata: None,
        })
    });
    taken(storage, layout, &overtaken, retained, passed_over.collect())
}

fn taken(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    overtaken: &Overtaken,
    retained: usize,
    passed_over: Vec<Aside>,
) -> Result<Takeover, FindError> {
    let Kept {
        kept,
        stopped_by,
        mut aside,
        mut unsaid,
    } = load(storage, layout, overtaken, retained)?;
    let was_passed = |at| passed_over.iter().any(|passed| passed.checkpoint == at);
    aside.retain(|aside| !was_passed(aside.checkpoint));
    unsaid.retain(|unsaid| !was_passed(unsaid.checkpoint));
    aside.extend(passed_over);
    let leftovers = clean(storage, layout, overtaken, (&kept, &unsaid), &aside);
    Ok(Takeover {
        leadership: overtaken.leadership,
        next: overtaken.pointer.next,
        kept,
        stopped_by,
        aside,
        unsaid,
        leftovers,
    })
}

/// What was found before the own pointer was made: older than all that a later leader makes, so that to remove
/// of it what is needless does no harm, however late.
struct Overtaken {
    leadership: Leadership,
    pointer: Pointer,
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
        // Pointers and what tasks write are made in it, and no directories on the way.
        storage.make_directory(&layout.shared())?;
        let pointers = pointers(storage, layout.home())?;
        let (pointer, entries) = (pointers.counts, pointers.entries);
        let highest = pointer.as_ref().map(|pointer| pointer.sequence);
        let runs = storage.list(&layout.shared())?;
        let own = Pointer {
            sequence: highest.unwrap_or(0).max(at_least) + 1,
            term: pointer.as_ref().map_or(0, |pointer| pointer.term) + 1,
            next: next_after(&entries, pointer.as_ref()),
            newest: pointer.as_ref().and_then(|pointer| pointer.newest),
            savepoint: pointer.and_then(|pointer| pointer.savepoint),
        };
        match pointer::create(storage, layout.home(), &own, highest) {
            Ok(()) => {
                let leadership = Leadership {
                    sequence: own.sequence,
                    since: own.sequence,
                    term: own.term,
                    next: own.next,
                };
                return Ok(Overtaken {
                    leadership,
                    pointer: own,
                    entries,
                    runs,
                });
            }
            Err(error) => {
                tries += 1;
                let again = [
                    StorageErrorKind::AlreadyThere,
                    StorageErrorKind::Overtaken,
                    StorageErrorKind::Uncertain,
                    // Who led it to its end has deleted the directory.
                    StorageErrorKind::Missing,
                ];
                if tries >= TRIES || !again.contains(&error.kind) {
                    return Err(error.into());
                }
                at_least = own.sequence;
            }
        }
    }
}

/// Creates the pointer that overtakes all others, damaged ones too, and names an older checkpoint. It has the number
/// after the highest there was before that was looked for: whoever has made one since is not overtaken.
fn overtake_damaged(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    whole: &Whole,
) -> Result<Overtaken, FindError> {
    storage.make_directory(&layout.shared())?;
    let entries = storage.list(layout.home())?;
    let runs = storage.list(&layout.shared())?;
    let pointers = readable(storage, layout.home(), &entries)?;
    // Every leader has made a pointer, and attempts of it may have left runs.
    let attempts = (runs.iter()).filter_map(|run| attempt_of(&run.name));
    let terms = (pointers.iter().map(|pointer| pointer.term))
        .chain(attempts.map(|attempt| u64::from(attempt.0 >> 16)));
    let term = terms.max().unwrap_or(0).max(whole.highest) + 1;
    let found = &whole.found;
    let next = next_after(&entries, pointers.first());
    let own = Pointer {
        sequence: whole.highest + 1,
        term,
        next: CheckpointId(next.0.max(found.given.0 + 1)),
        newest: Some((found.metadata.checkpoint, found.facts.facts())),
        savepoint: None,
    };
    let since = Some(whole.highest).filter(|it| *it > 0);
    pointer::create(storage, layout.home(), &own, since)?;
    Ok(Overtaken {
        leadership: Leadership {
            sequence: own.sequence,
            since: own.sequence,
            term,
            next: own.next,
        },
        pointer: own,
        entries,
        runs,
    })
}

/// The first number that was never given to a checkpoint.
fn next_after(entries: &[Entry], pointer: Option<&Pointer>) -> CheckpointId {
    let begun = (entries.iter()).filter_map(|entry| JobLayout::checkpoint_of(&entry.name));
    let found = begun.map(|begun| begun.0 + 1).max().unwrap_or(1);
    CheckpointId(found.max(pointer.map_or(1, |pointer| pointer.next.0)))
}

/// What is there of checkpoints that count.
struct Kept {
    /// The newest checkpoint and older whole ones, oldest first.
    kept: Vec<Arc<CheckpointMetadata>>,
    stopped_by: Option<Found>,
    aside: Vec<Aside>,
    unsaid: Vec<Arc<CheckpointMetadata>>,
}

fn load(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    overtaken: &Overtaken,
    retained: usize,
) -> Result<Kept, FindError> {
    let (mut kept, mut aside, mut unsaid) = (Vec::new(), Vec::new(), Vec::new());
    let mut stopped_by = None;
    let Some((newest, _)) = overtaken.pointer.newest else {
        return Ok(Kept {
            kept,
            stopped_by,
            aside,
            unsaid,
        });
    };
    let found = pointed_to(storage, layout.home(), &overtaken.pointer)?;
    check_lengths(storage, &found)?;
    match overtaken.pointer.savepoint {
        Some(_) => stopped_by = Some(found),
        None => kept.push(Arc::new(found.metadata)),
    }
    let mut older: Vec<CheckpointId> = (overtaken.entries.iter())
        .filter_map(|entry| JobLayout::checkpoint_of(&entry.name))
        .filter(|older| *older < newest)
        .collect();
    older.sort_unstable();
    // One above it was passed over by a former leader, or never completed.
    let above = (overtaken.entries.iter())
        .filter_map(|entry| JobLayout::checkpoint_of(&entry.name))
        .filter(|above| *above > newest);
    for checkpoint in above {
        match look_at(storage, layout, checkpoint)? {
            Older::Whole(metadata) => unsaid.push(metadata),
            Older::Damaged(damaged) => aside.push(damaged),
            Older::None => {}
        }
    }
    for checkpoint in older.into_iter().rev() {
        if kept.len() >= retained {
            break;
        }
        match look_at(storage, layout, checkpoint)? {
            Older::Whole(metadata) => kept.insert(0, metadata),
            Older::Damaged(damaged) => aside.push(damaged),
            Older::None => {}
        }
    }
    Ok(Kept {
        kept,
        stopped_by,
        aside,
        unsaid,
    })
}

/// A checkpoint that is not the newest.
enum Older {
    Whole(Arc<CheckpointMetadata>),
    Damaged(Aside),
    /// It was being deleted, or never completed.
    None,
}

fn look_at(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    checkpoint: CheckpointId,
) -> Result<Older, FindError> {
    let aside = |damage, metadata| {
        let damage = Arc::from(damage);
        Older::Damaged(Aside {
            checkpoint,
            damage,
            metadata,
        })
    };
    let found = match read(storage, &layout.checkpoint(checkpoint)) {
        Ok(found) => found,
        Err(FindError::Nothing(_)) => return Ok(Older::None),
        Err(FindError::Damaged(damage)) => return Ok(aside(damage, None)),
        Err(error) => return Err(error),
    };
    let lengths = check_lengths(storage, &found);
    let metadata = Arc::new(found.metadata);
    match lengths {
        Ok(()) => Ok(Older::Whole(metadata)),
        Err(FindError::Damaged(damage)) => Ok(aside(damage, Some(metadata))),
        Err(error) => Err(error),
    }
}

/// Deletes pointers that were overtaken, checkpoints that are not kept, and runs nobody needs.
fn clean(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    overtaken: &Overtaken,
    (kept, unsaid): (&[Arc<CheckpointMetadata>], &[Arc<CheckpointMetadata>]),
    aside: &[Aside],
) -> Vec<StorageError> {
    let mut commands = Vec::new();
    let read = || kept.iter().chain(unsaid);
    let stay: BTreeSet<CheckpointId> = (read().map(|read| read.checkpoint))
        .chain(aside.iter().map(|aside| aside.checkpoint))
        .collect();
    for entry in &overtaken.entries {
        if let Some(sequence) = JobLayout::pointer_of(&entry.name)
            && sequence < overtaken.leadership.sequence
        {
            commands.push(StorageCommand::Delete(vec![layout.pointer(sequence)]));
        }
        if let Some(checkpoint) = JobLayout::checkpoint_of(&entry.name)
            && !stay.contains(&checkpoint)
        {
            let directory = layout.checkpoint(checkpoint);
            commands.push(StorageCommand::DeleteDirectory(directory));
        }
    }
    // Which files one needs whose metadata cannot be read, nobody knows.
    if aside.iter().all(|aside| aside.metadata.is_some()) {
        let aside = aside.iter().filter_map(|aside| aside.metadata.as_ref());
        let keep: BTreeSet<&str> = (read().chain(aside))
            .flat_map(|metadata| metadata.files().into_keys())
            .collect();
        let needless = (overtaken.runs.iter())
            .map(|entry| entry.name.as_str())
            .filter(|name| is_plain_name(name) && !keep.contains(name));
        let needless = needless.map(|name| layout.shared().child(name)).collect();
        commands.push(StorageCommand::Delete(needless));
    }
    let outcomes = commands.iter().map(|command| perform(storage, command));
    outcomes.filter_map(Result::err).collect()
}
