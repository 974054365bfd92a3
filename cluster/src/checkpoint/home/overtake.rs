//! The pointer of a new leader of a job's checkpoints, after which nobody who led before makes anything true.
//!
//! A part of [`takeover`](super::takeover). Blocking. Invariant: it says what the one before it said, or what was found
//! to be whole; a job that has ended is gone on with by nobody, and begun anew only by who is to.

use thalweg_core::ids::CheckpointId;

use super::ended::EndedJob;
use super::find::FindError;
use super::layout::JobLayout;
use super::newest::{pointers, readable};
use super::older::Whole;
use super::pointer::{self, Pointer};
use crate::checkpoint::complete::Leadership;
use crate::checkpoint::storage::command::attempt_of;
use crate::checkpoint::storage::{CheckpointStorage, Entry, StorageErrorKind};

/// How often somebody else may be quicker before it is an error.
const TRIES: u32 = 8;

/// What was found before the own pointer was made: older than all that a later leader makes, so that to remove
/// of it what is needless does no harm, however late.
pub(super) struct Overtaken {
    pub(super) leadership: Leadership,
    pub(super) pointer: Pointer,
    pub(super) entries: Vec<Entry>,
    pub(super) runs: Vec<Entry>,
}

/// Creates the pointer that overtakes all others; after the end of the job only if it may begin `anew`.
pub(super) fn overtake(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    anew: bool,
) -> Result<Overtaken, FindError> {
    let mut tries = 0;
    // A pointer that may not last is followed by another; one that somebody else has made is read.
    let mut at_least = 0;
    loop {
        // Pointers and what tasks write are made in it, and no directories on the way.
        storage.make_directory(&layout.shared())?;
        let pointers = pointers(storage, layout.home())?;
        let (pointer, entries) = (going_on(layout, pointers.counts, anew)?, pointers.entries);
        let highest = pointer.as_ref().map(|pointer| pointer.sequence);
        let runs = storage.list(&layout.shared())?;
        let own = Pointer {
            sequence: highest.unwrap_or(0).max(at_least) + 1,
            term: pointer.as_ref().map_or(0, |pointer| pointer.term) + 1,
            next: next_after(&entries, pointer.as_ref()),
            newest: pointer.as_ref().and_then(|pointer| pointer.newest),
            savepoint: pointer.and_then(|pointer| pointer.savepoint),
            ended: None,
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

/// The pointer a leader goes on from. One that says that the job has ended says nothing to who begins it anew.
fn going_on(
    layout: &JobLayout,
    pointer: Option<Pointer>,
    anew: bool,
) -> Result<Option<Pointer>, FindError> {
    let Some(mut pointer) = pointer else {
        return Ok(None);
    };
    match pointer.ended.take() {
        None => Ok(Some(pointer)),
        Some(_) if anew => Ok(Some(Pointer {
            newest: None,
            savepoint: None,
            ..pointer
        })),
        Some(ended) => Err(EndedJob {
            home: layout.home().clone(),
            pointer: layout.pointer(pointer.sequence),
            ended,
            savepoint: pointer.savepoint,
        }
        .into()),
    }
}

/// Creates the pointer that overtakes all others, damaged ones too, and names an older checkpoint. It has the number
/// after the highest there was before that was looked for: whoever has made one since is not overtaken.
pub(super) fn overtake_damaged(
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
        ended: None,
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
