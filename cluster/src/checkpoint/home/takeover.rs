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
use super::older::Whole;
use super::overtake::{Overtaken, overtake, overtake_damaged};
use crate::checkpoint::complete::Leadership;
use crate::checkpoint::metadata::CheckpointMetadata;
use crate::checkpoint::storage::{
    CheckpointStorage, StorageCommand, StorageError, is_plain_name, perform,
};

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
/// When storage fails, the newest checkpoint is not what it was, or the job has ended. Nothing was deleted then.
pub fn take_over(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    retained: usize,
) -> Result<Takeover, FindError> {
    let overtaken = overtake(storage, layout, false)?;
    taken(storage, layout, &overtaken, retained, Vec::new())
}

/// The same for a job that is to begin anew if it has ended.
///
/// # Errors
/// When storage fails, or the newest checkpoint is not what it was.
pub fn begin_anew(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    retained: usize,
) -> Result<Takeover, FindError> {
    let overtaken = overtake(storage, layout, true)?;
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
