//! The pointer of a new leader of a job's checkpoints, after which nobody who led before makes anything true.
//!
//! A part of [`takeover`](super::takeover). Blocking. Invariant: it says what the one before it said, or what was found
//! to be whole; a job that has ended is gone on with by nobody, and begun anew only by who is to.

use thalweg_core::ids::CheckpointId;

use super::ended::EndedJob;
use super::find::FindError;
use super::layout::JobLayout;
use super::newest::{pointers_of_others, readable};
use super::older::Whole;
use super::pointer::{self, Pointer, overtaken};
use crate::checkpoint::complete::Leadership;
use crate::checkpoint::storage::command::attempt_of;
use crate::checkpoint::storage::{
    CheckpointStorage, Entry, Location, StorageError, StorageErrorKind,
};

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
    let (mut at_least, mut own_ones) = (0, Vec::new());
    loop {
        // Pointers and what tasks write are made in it, and no directories on the way.
        storage.make_directory(&layout.shared())?;
        let pointers = pointers_of_others(storage, layout.home(), &own_ones)?;
        let (highest, entries) = (pointers.highest, pointers.entries);
        let followed = pointers.counts.as_ref().map(|pointer| pointer.sequence);
        let pointer = going_on(layout, pointers.counts, anew)?;
        let runs = storage.list(&layout.shared())?;
        let own = Pointer {
            sequence: highest.0.max(at_least) + 1,
            term: highest.1 + 1,
            next: next_after(&entries, pointer.as_ref()),
            newest: pointer.as_ref().and_then(|pointer| pointer.newest),
            savepoint: pointer.and_then(|pointer| pointer.savepoint),
            ended: None,
        };
        own_ones.push(own.clone());
        match create_first(storage, layout.home(), &own_ones, followed) {
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
                if error.kind != StorageErrorKind::Uncertain {
                    own_ones.pop();
                }
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

/// Creates the last of a new leader's pointers, `own_ones`, of which those before may be there. It goes on from the one
/// of another with the number `followed`, if there was one.
///
/// Numbers that were skipped because others had them may be somebody's again, and the one that was followed may be gone.
/// So it is looked for once more what there is beside the own ones: if it is not the same, somebody leads the job, or has
/// ended it, of whom nothing is known yet. Whoever has a lower number finds this one and withdraws, or had looked before.
///
/// # Errors
/// As [`pointer::create`]; [`StorageErrorKind::Uncertain`] when others have to be read first, too.
fn create_first(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    own_ones: &[Pointer],
    followed: Option<u64>,
) -> Result<(), StorageError> {
    let Some(own) = own_ones.last() else {
        return Ok(());
    };
    let at = JobLayout::at(home.clone()).pointer(own.sequence);
    storage.create_exclusive(&at, &own.encode())?;
    let found = match pointers_of_others(storage, home, own_ones) {
        Ok(found) => found,
        Err(FindError::Storage(error)) => return Err(error.uncertain()),
        // The next look tells of it.
        Err(_) => return Err(overtaken(home).uncertain()),
    };
    if found.highest.0 > own.sequence {
        // It says nothing beside the higher one; if it stays, the next leader removes it.
        let _ = storage.delete(&at);
        return Err(overtaken(home));
    }
    let counts = found.counts.map(|pointer| pointer.sequence);
    match counts == followed {
        true => Ok(()),
        false => Err(overtaken(home).uncertain()),
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

#[cfg(test)]
mod tests {
    use super::super::pointer::numbers;
    use super::*;
    use crate::checkpoint::storage::DirectoryStorage;
    use crate::checkpoint::storage::simulated::SimulatedDisk;

    fn pointer(sequence: u64, term: u64) -> Pointer {
        Pointer {
            sequence,
            term,
            next: CheckpointId(1),
            newest: None,
            savepoint: None,
            ended: None,
        }
    }

    #[test]
    fn a_new_leader_sees_who_has_a_number_it_passed_over_and_deletes_nothing_of_others() {
        use StorageErrorKind::{Overtaken, Uncertain};
        // Pointers of others and own tries that are there, the one of others that was followed, the own number; what
        // becomes of it, and what is left.
        for (others, tries, followed, number, becomes, left) in [
            (vec![5], vec![], Some(5), 7, None, vec![5, 7]),
            (vec![5], vec![6], Some(5), 7, None, vec![5, 6, 7]),
            (vec![], vec![], None, 2, None, vec![2]),
            (
                vec![5, 6],
                vec![],
                Some(5),
                7,
                Some(Uncertain),
                vec![5, 6, 7],
            ),
            (
                vec![5, 6],
                vec![7],
                Some(5),
                8,
                Some(Uncertain),
                vec![5, 6, 7, 8],
            ),
            (vec![1], vec![], None, 2, Some(Uncertain), vec![1, 2]),
            (vec![4], vec![6], Some(5), 7, Some(Uncertain), vec![4, 6, 7]),
            (vec![8], vec![6], Some(5), 7, Some(Overtaken), vec![6, 8]),
        ] {
            let layout = JobLayout::at(Location::parse("/checkpoints/job").unwrap());
            let mut storage = DirectoryStorage::on(SimulatedDisk::new());
            storage.make_directory(&layout.shared()).unwrap();
            let mut own_ones: Vec<_> = tries.iter().map(|number| pointer(*number, 1)).collect();
            for there in others
                .iter()
                .map(|number| pointer(*number, 9))
                .chain(own_ones.clone())
            {
                let at = layout.pointer(there.sequence);
                storage.create_exclusive(&at, &there.encode()).unwrap();
            }
            own_ones.push(pointer(number, 1));
            let told = create_first(&mut storage, layout.home(), &own_ones, followed);
            let told = told.err().map(|error| error.kind);
            let mut found = numbers(&mut storage, layout.home()).unwrap();
            found.sort_unstable();
            let case = format!("{others:?} {tries:?} {followed:?} {number}");
            assert_eq!((told, found), (becomes, left), "{case}");
        }
    }
}
