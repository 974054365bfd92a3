//! What a job was restored from, as one subtask sees it, and the way of rows back into states.
//!
//! Entered while a chain is built, before its first turn: reading may wait. Invariants: every state that is
//! declared gets the rows of its name and types or the job is refused by name; every state in the copy that
//! nobody declares is refused too, unless its user allowed that. Lives on one shard's thread.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use thalweg_core::ids::OperatorId;
use thalweg_state::run::{Clip, ReadAt, RunReader, StateNumber};
use thalweg_state::{OperatorPart, RunHandle, Snapshot, StateDescriptor, StateError, StateVisitor};

/// Opens the files of a copy.
pub trait RunFiles {
    /// Opens one run for reading. May wait.
    ///
    /// # Errors
    /// A file that is not there or cannot be opened.
    fn open(&self, handle: &RunHandle) -> io::Result<Box<dyn ReadAt>>;
}

/// One operator of one subtask, as it was.
#[derive(Clone, Debug, Default)]
pub struct RestoredOperator {
    /// The runs that hold its keyed state, newest first, each clipped to what belongs to this subtask.
    pub runs: Vec<RunHandle>,
    /// Its other states.
    pub parts: Vec<OperatorPart>,
}

impl RestoredOperator {
    /// The items of a part, none where there is no such part.
    #[must_use]
    pub fn items(&self, part: &str) -> Option<Vec<Vec<u8>>> {
        let mut found = self
            .parts
            .iter()
            .filter(|other| other.name == part)
            .peekable();
        found.peek()?;
        Some(found.flat_map(|part| part.items.iter().cloned()).collect())
    }
}

/// What one subtask was restored from.
pub struct RestoredState {
    /// Its operators; those that are not here begin empty.
    pub operators: Vec<(OperatorId, RestoredOperator)>,
    /// Where the runs are read from.
    pub files: Arc<dyn RunFiles + Send + Sync>,
    /// Whether the files stay as long as this job needs them. Otherwise its first checkpoint writes
    /// everything anew.
    pub keeps_files: bool,
    /// Whether state of the copy that no operator declares is left behind silently.
    pub allow_unclaimed: bool,
}

impl RestoredState {
    pub(crate) fn operator(&self, id: OperatorId) -> Option<&RestoredOperator> {
        let found = self.operators.iter().find(|(other, _)| *other == id);
        found.map(|(_, operator)| operator)
    }

    /// Gives the rows of `runs` back to the states that `show` shows.
    pub(crate) fn give_back(
        &self,
        runs: &[RunHandle],
        show: impl FnOnce(&mut dyn StateVisitor) -> Result<(), StateError>,
    ) -> Result<(), String> {
        let open = |handle: &RunHandle| {
            let opened = self.files.open(handle);
            opened.map_err(|error| {
                format!("the state file {} cannot be opened: {error}", handle.file)
            })
        };
        let sources = runs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut readers = Vec::with_capacity(runs.len());
        for (handle, source) in runs.iter().zip(&sources) {
            let reader = RunReader::open(&*handle.file, &**source);
            let reader = reader.map_err(|error| error.to_string())?;
            readers.push((reader, handle.groups.clone()));
        }
        let mut giver = Giver {
            runs: readers,
            keeps_files: self.keeps_files,
            given: Vec::new(),
            refused: None,
        };
        show(&mut giver).map_err(|error| error.to_string())?;
        match giver.refused.take() {
            Some(refused) => Err(refused),
            None => self.check_unclaimed(&giver),
        }
    }

    fn check_unclaimed(&self, giver: &Giver<'_>) -> Result<(), String> {
        let states = giver.runs.iter().flat_map(|(run, _)| run.states());
        let unclaimed = states
            .map(|state| &state.name)
            .find(|name| !giver.given.contains(name));
        match unclaimed {
            Some(name) if !self.allow_unclaimed => Err(format!(
                "the copy holds the state '{name}', which this operator does not declare any more: \
                 declare it, give the operator another uid, or allow it to be left behind \
                 (execution.state-recovery.ignore-unclaimed-state: true)"
            )),
            _ => Ok(()),
        }
    }
}

struct Giver<'r> {
    runs: Vec<(RunReader<&'r dyn ReadAt>, Range<u16>)>,
    keeps_files: bool,
    given: Vec<String>,
    refused: Option<String>,
}

impl StateVisitor for Giver<'_> {
    fn visit(
        &mut self,
        descriptor: &StateDescriptor,
        state: &mut dyn Snapshot,
    ) -> Result<(), StateError> {
        if self.refused.is_some() {
            return Ok(());
        }
        match self.give(descriptor, state) {
            Ok(()) => self.given.push(descriptor.name().to_owned()),
            Err(refusal) => self.refused = Some(refusal),
        }
        Ok(())
    }
}

impl Giver<'_> {
    /// Oldest first, and in each run what is gone before what is there.
    fn give(&self, descriptor: &StateDescriptor, state: &mut dyn Snapshot) -> Result<(), String> {
        for (run, number, groups) in self.runs_of(descriptor)?.into_iter().rev() {
            for groups in groups {
                let clip = || Clip::all().of_state(number).within(groups.clone());
                for clip in [clip().tombstones(), clip().puts()] {
                    let mut walk = run.walk(clip);
                    while let Some((_, row)) = walk.next_row().map_err(|error| error.to_string())? {
                        let restored = state.restore(row);
                        restored.map_err(|error| in_file(descriptor, run.file(), &error))?;
                    }
                }
            }
        }
        state.restored().map_err(|error| error.to_string())?;
        if !self.keeps_files {
            state.forget_copies();
        }
        Ok(())
    }

    /// The runs that count for a state, newest first, each with the key groups for which it does: those that
    /// no newer run holds in full.
    fn runs_of(&self, descriptor: &StateDescriptor) -> Result<Vec<Counting<'_>>, String> {
        let mut counting = Vec::new();
        let mut decided: Vec<Range<u16>> = Vec::new();
        for (run, groups) in &self.runs {
            let Some(number) = run.state(descriptor.name()) else {
                continue;
            };
            let header = &run.states()[usize::from(number.0)];
            check_descriptor(descriptor, &header.descriptor, run.file())?;
            counting.push((run, number, without(groups, &decided)));
            if header.full {
                decided.push(groups.clone());
            }
        }
        Ok(counting)
    }
}

/// A run, the number of a state in it, and the key groups for which it counts.
type Counting<'g> = (&'g RunReader<&'g dyn ReadAt>, StateNumber, Vec<Range<u16>>);

/// What is left of a range without others.
fn without(range: &Range<u16>, others: &[Range<u16>]) -> Vec<Range<u16>> {
    let mut left = vec![range.clone()];
    for other in others {
        let parts = left.into_iter().flat_map(|part| {
            let before = part.start..part.end.min(other.start);
            let behind = part.start.max(other.end)..part.end;
            [before, behind]
        });
        left = parts.filter(|part| !part.is_empty()).collect();
    }
    left
}

fn in_file(descriptor: &StateDescriptor, file: &str, error: &StateError) -> String {
    format!("state '{}' from {file}: {error}", descriptor.name())
}

/// Refuses rows of other types than those that are declared.
fn check_descriptor(
    declared: &StateDescriptor,
    mut found: &[u8],
    file: &str,
) -> Result<(), String> {
    let name = declared.name();
    let found = StateDescriptor::decode(&mut found)
        .map_err(|error| format!("the description of state '{name}' in {file}: {error}"))?;
    let checked = found.check_restore(declared);
    checked.map_err(|error| format!("{error} (in {file})"))
}

#[cfg(test)]
#[allow(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are what is tried"
)]
mod tests {
    use super::*;

    #[test]
    fn what_newer_runs_decided_is_left_out() {
        assert_eq!(without(&(0..10), &[]), [0..10]);
        assert_eq!(without(&(0..10), &[3..5]), [0..3, 5..10]);
        assert_eq!(without(&(0..10), &[3..5, 4..8, 0..1]), [1..3, 8..10]);
        assert_eq!(without(&(4..6), &[0..10]), Vec::<Range<u16>>::new());
        assert_eq!(without(&(4..6), &[0..4, 6..9]), [4..6]);
    }
}
