//! The newest checkpoint of a job that is whole, where older ones may be taken for damaged ones.
//!
//! Entered by the control thread when a job starts, only if its user allowed that. Blocking: every byte of what is
//! taken is read. Invariant: what is taken was whole when it was read; what was passed over is told of, and left
//! as it is.

use thalweg_core::ids::CheckpointId;
use thalweg_state::run::RunError;

use super::damage::Damage;
use super::find::{FindError, Found, check_lengths, find, read};
use super::layout::{JobLayout, METADATA};
use super::newest::readable;
use super::verify::{RunProblem, files, verify};
use crate::checkpoint::storage::{CheckpointStorage, Entry, Location, StorageErrorKind};

/// A checkpoint that is whole, and what was passed over for it.
#[derive(Debug)]
pub struct Whole {
    /// The checkpoint.
    pub found: Found,
    /// What is wrong with those that were asked for, the newest first; none if what was asked for is whole.
    pub passed_over: Vec<Damage>,
    /// The highest number a pointer of the job had before it was looked for.
    pub(super) highest: u64,
}

impl Whole {
    /// One for which nothing was passed over.
    pub(crate) fn of(found: Found) -> Whole {
        Whole {
            found,
            passed_over: Vec::new(),
            highest: 0,
        }
    }
}

/// Reads the checkpoint at a place, as [`find()`] does, and every byte of its files; if it is damaged, the next older
/// one of the same job, and so on.
///
/// # Errors
/// When there is none, none is whole, or storage fails.
pub fn find_whole(storage: &mut dyn CheckpointStorage, at: &Location) -> Result<Whole, FindError> {
    let job = job_of(at);
    // Whoever makes a pointer after this is noticed by its number.
    let entries = match &job {
        Some((home, _)) => storage.list(home)?,
        None => Vec::new(),
    };
    let first = match find(storage, at).and_then(|found| whole(storage, found)) {
        Err(FindError::Damaged(damage)) if damage.may_be_passed_over() => *damage,
        other => return other.map(Whole::of),
    };
    let Some((home, named)) = job else {
        return Err(first.into());
    };
    let newest = named.or(first.checkpoint());
    let pointers = (entries.iter()).filter_map(|entry| JobLayout::pointer_of(&entry.name));
    let highest = pointers.max().unwrap_or(0);
    let mut all: Vec<CheckpointId> = (entries.iter())
        .filter_map(|entry| JobLayout::checkpoint_of(&entry.name))
        .collect();
    all.sort_unstable();
    let given = given(storage, &home, &entries)?;
    let (layout, mut passed_over) = (JobLayout::at(home.clone()), vec![first]);
    for checkpoint in all.into_iter().rev() {
        if newest.is_some_and(|newest| checkpoint >= newest) {
            continue;
        }
        let read = read(storage, &layout.checkpoint(checkpoint));
        match read.and_then(|found| whole(storage, found)) {
            Ok(mut found) => {
                found.given = found.given.max(given);
                return Ok(Whole {
                    found,
                    passed_over,
                    highest,
                });
            }
            // It never completed, or was being deleted.
            Err(FindError::Nothing(_)) => {}
            Err(FindError::Damaged(damage)) if damage.may_be_passed_over() => {
                passed_over.push(*damage);
            }
            Err(error) => return Err(error),
        }
    }
    let others = passed_over.len() - 1;
    Err(FindError::NoneWhole {
        damage: Box::new(passed_over.swap_remove(0)),
        home,
        others,
    })
}

/// The highest number a checkpoint of a job was given, as far as its directories and pointers tell.
fn given(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    entries: &[Entry],
) -> Result<CheckpointId, FindError> {
    let begun = (entries.iter()).filter_map(|entry| JobLayout::checkpoint_of(&entry.name));
    let pointers = readable(storage, home, entries)?.into_iter();
    let said = pointers.flat_map(|pointer| {
        let newest = pointer.newest.map_or(0, |(newest, _)| newest.0);
        [
            CheckpointId(pointer.next.0.saturating_sub(1)),
            CheckpointId(newest),
        ]
    });
    Ok(begun.chain(said).max().unwrap_or(CheckpointId(0)))
}

/// The directory of the job's checkpoints, and which of them is named, if one is. None for a savepoint, which is
/// alone.
fn job_of(at: &Location) -> Option<(Location, Option<CheckpointId>)> {
    let directory = match at.name() == METADATA {
        true => at.parent()?,
        false => at.clone(),
    };
    match JobLayout::checkpoint_of(directory.name()) {
        Some(checkpoint) => Some((directory.parent()?, Some(checkpoint))),
        None if at.name() == METADATA => None,
        None => Some((directory, None)),
    }
}

/// Reads every byte of the files of a checkpoint.
fn whole(storage: &mut dyn CheckpointStorage, found: Found) -> Result<Found, FindError> {
    check_lengths(storage, &found)?;
    for (file, expected) in files(&found) {
        match verify(storage, &file, expected) {
            Ok(()) => {}
            Err(RunProblem::Storage(error)) if error.kind != StorageErrorKind::Damaged => {
                return Err(error.into());
            }
            Err(RunProblem::Run(newer @ RunError::Newer { .. })) => {
                let (at, what) = (file, newer.to_string());
                return Err(Damage::OtherRelease { at, what }.into());
            }
            Err(problem) => {
                return Err(Damage::File {
                    checkpoint: found.metadata.checkpoint,
                    problem,
                }
                .into());
            }
        }
    }
    Ok(found)
}
