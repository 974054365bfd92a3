//! The reading rule: which rows of which runs count.
//!
//! Entered by restores and merges, which are given the runs of one operator with the key groups, and where that
//! is so the state, for which each counts. Invariant: for each state and each key group, runs count from the newest to the oldest, down
//! to and including the first that is full for the state and counts for the group. Runs that came from
//! different subtasks count for different groups, so a full run of one does not hide those of another.
//! Plain data, lives on any thread.

use std::ops::Range;

use super::format::footer::StateHeader;
use super::order::StateNumber;
use super::reader::RunReader;
use super::source::ReadAt;

/// A run with that for which it counts.
pub struct CountingRun<'r, R> {
    /// The run.
    pub run: &'r RunReader<R>,
    /// The key groups.
    pub groups: Range<u16>,
    /// The only state for which it counts; none where it counts for all of its states.
    pub only: Option<StateNumber>,
}

impl<R: ReadAt> CountingRun<'_, R> {
    /// The states for which it counts, with their numbers in it.
    pub fn states(&self) -> impl Iterator<Item = (StateNumber, &StateHeader)> {
        let states = self.run.states().iter().enumerate();
        let states = states.map(|(number, header)| (StateNumber(number as u16), header));
        states.filter(|(number, _)| self.only.is_none_or(|only| only == *number))
    }

    /// The state of a name, if it counts for it.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<(StateNumber, &StateHeader)> {
        self.states().find(|(_, header)| header.name == name)
    }
}

impl<R> Clone for CountingRun<'_, R> {
    fn clone(&self) -> Self {
        CountingRun {
            run: self.run,
            groups: self.groups.clone(),
            only: self.only,
        }
    }
}

/// Rows that count: those of one state and a range of key groups in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The place of the run among those given.
    pub run: usize,
    /// The number of the state in that run.
    pub state: StateNumber,
    /// The groups.
    pub groups: Range<u16>,
}

/// What counts for a state, newest first, and the groups for which all there is of it is known: those for
/// which some run is full. `runs` are given newest first.
///
/// ```
/// use thalweg_state::run::{CountingRun, RunOptions, RunReader, RunWriter, StateHeader, counting};
///
/// let run = |full| -> Result<_, Box<dyn std::error::Error>> {
///     let mut writer = RunWriter::new(RunOptions::default());
///     writer.declare(StateHeader { name: "clicks".to_owned(), descriptor: vec![], full })?;
///     Ok(RunReader::open("run", writer.finish()?.0)?)
/// };
/// let (changes, all, older) = (run(false)?, run(true)?, run(true)?);
/// let runs = [
///     CountingRun { run: &changes, groups: 0..64, only: None },
///     CountingRun { run: &all, groups: 0..32, only: None },
///     CountingRun { run: &older, groups: 0..64, only: None },
/// ];
/// let (parts, known) = counting(&runs, "clicks");
/// let ranges: Vec<_> = parts.iter().map(|part| (part.run, part.groups.clone())).collect();
/// assert_eq!(ranges, [(0, 0..64), (1, 0..32), (2, 32..64)]);
/// assert_eq!(known.len(), 1);
/// assert_eq!(known[0], 0..64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn counting<R: ReadAt>(
    runs: &[CountingRun<'_, R>],
    state: &str,
) -> (Vec<Part>, Vec<Range<u16>>) {
    let mut parts = Vec::new();
    let mut known = Vec::new();
    for (run, counts) in runs.iter().enumerate() {
        let Some((number, header)) = counts.state(state) else {
            continue;
        };
        let left = without(counts.groups.clone(), &known);
        parts.extend(left.into_iter().map(|groups| Part {
            run,
            state: number,
            groups,
        }));
        if header.full {
            add(&mut known, counts.groups.clone());
        }
    }
    (parts, known)
}

/// What is left of `groups` without those of `known`, which ascend and do not touch.
pub(crate) fn without(groups: Range<u16>, known: &[Range<u16>]) -> Vec<Range<u16>> {
    let mut left = Vec::new();
    let mut start = groups.start;
    for range in known {
        if range.start > start {
            left.push(start..range.start.min(groups.end));
        }
        start = start.max(range.end);
    }
    left.push(start..groups.end);
    left.retain(|range| !range.is_empty());
    left
}

/// Adds a range to ranges that ascend and do not touch.
fn add(known: &mut Vec<Range<u16>>, groups: Range<u16>) {
    if groups.is_empty() {
        return;
    }
    known.push(groups);
    known.sort_unstable_by_key(|range| range.start);
    known.dedup_by(|next, before| {
        let touch = next.start <= before.end;
        if touch {
            before.end = before.end.max(next.end);
        }
        touch
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_are_sets_of_groups(
            ranges in vec((0..20_u16, 0..20_u16), 0..6),
            (from, to) in (0..20_u16, 0..20_u16),
        ) {
            let mut known = Vec::new();
            for (start, end) in &ranges {
                add(&mut known, *start..*end);
            }
            let in_ranges = |group: &u16| ranges.iter().any(|(start, end)| (*start..*end).contains(group));
            let all: Vec<u16> = (0..20).filter(in_ranges).collect();
            prop_assert_eq!(known.iter().cloned().flatten().collect::<Vec<_>>(), all);
            prop_assert!(known.is_sorted_by(|one, next| one.end < next.start));
            let left: Vec<u16> = (from..to).filter(|group| !in_ranges(group)).collect();
            let parts = without(from..to, &known);
            prop_assert_eq!(parts.into_iter().flatten().collect::<Vec<_>>(), left);
        }
    }
}
