//! Several runs made into one.
//!
//! Entered in the background, where the runs of an operator have become many, and for savepoints. Invariant:
//! for whoever reads the runs in their order, the merged run in place of those merged says the same. So
//! tombstones stay unless nothing older can lie below them, and an entry that is dropped because it has
//! expired leaves a tombstone there. Goes in slices; memory is that of a writer and of the sections open.
//! Lives where its readers live.

use std::ops::Range;

use super::error::RunError;
use super::format::footer::StateHeader;
use super::order::StateNumber;
use super::rule::{CountingRun, Part, counting, without};
use super::sorted::SortedWalk;
use super::source::ReadAt;
use super::summary::RunSummary;
use super::writer::{RunOptions, RunWriter};
use crate::descriptor::StateDescriptor;
use crate::snapshot::{Row, RowSink};
use crate::table::Scan;

/// What lies below the runs that are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// There may be older runs.
    OlderRuns,
    /// There are none: what the merged run does not say, is not there.
    Nothing,
}

/// One state on its way into the merged run.
struct MergedState {
    header: StateHeader,
    number: StateNumber,
    parts: Vec<Part>,
}

/// A merge at work.
pub struct Merge<'r, R> {
    runs: Vec<CountingRun<'r, R>>,
    /// The state in work last.
    states: Vec<MergedState>,
    walk: Option<SortedWalk<'r, R>>,
    writer: RunWriter,
}

impl<'r, R: ReadAt> Merge<'r, R> {
    /// Merges `runs`, given newest first: neighbours in the order of the operator's runs. The merged run
    /// counts for the key groups for which they count.
    ///
    /// # Errors
    /// When two of them describe a state differently: its older rows must be migrated, not merged. When a
    /// state is full for some of the key groups only: what the full run leaves out would come back from below.
    pub fn new(
        runs: Vec<CountingRun<'r, R>>,
        below: Below,
        options: RunOptions,
    ) -> Result<Merge<'r, R>, RunError> {
        let mut writer = RunWriter::new(options);
        let mut states: Vec<MergedState> = Vec::new();
        let all = extent_of(&runs);
        for (at, run) in runs.iter().enumerate() {
            for (_, header) in run.states() {
                if let Some(newer) = states.iter().find(|it| it.header.name == header.name) {
                    check_same(&newer.header, header, &runs, at)?;
                    continue;
                }
                let (parts, known) = counting(&runs, &header.name);
                let whole = without(all.clone(), &known).is_empty();
                let full = whole || below == Below::Nothing;
                if !full && !known.is_empty() {
                    let state = header.name.clone();
                    return Err(RunError::PartlyFull { state });
                }
                let header = StateHeader {
                    full,
                    ..header.clone()
                };
                let known = runs.iter().any(|run| is_known_by_key(run, &header.name));
                let number = match known {
                    true => writer.declare_known_by_key(header.clone())?,
                    false => writer.declare(header.clone())?,
                };
                states.push(MergedState {
                    header,
                    number,
                    parts,
                });
            }
        }
        states.reverse();
        Ok(Merge {
            runs,
            states,
            walk: None,
            writer,
        })
    }

    /// Writes about `budget` more rows. `expired` is asked of every value whether it may be dropped.
    ///
    /// # Errors
    /// When a run is damaged or cannot be read: the merge is to be given up.
    pub fn advance(
        &mut self,
        budget: usize,
        expired: &mut dyn FnMut(&StateHeader, &Row<'_>) -> bool,
    ) -> Result<Scan, RunError> {
        let mut left = budget.max(1);
        while let Some(state) = self.states.last() {
            let walk = self
                .walk
                .get_or_insert_with(|| SortedWalk::over(&self.runs, &state.parts));
            let mut rows = self.writer.rows_of(state.number)?;
            while let Some(row) = walk.next_row()? {
                let gone = row.is_tombstone() || expired(&state.header, &row);
                if !gone {
                    rows.row(row);
                } else if !state.header.full {
                    rows.row(Row { value: None, ..row });
                }
                left -= 1;
                if left == 0 {
                    return Ok(Scan::More);
                }
            }
            self.walk = None;
            self.states.pop();
        }
        Ok(Scan::Done)
    }

    /// Bytes that are ready to be taken out.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.writer.ready()
    }

    /// Takes out what is ready: the next bytes of the merged run.
    #[must_use]
    pub fn take_output(&mut self) -> Vec<u8> {
        self.writer.take_output()
    }

    /// The last bytes of the merged run, and what it is. To be called when [`Merge::advance`] is done.
    ///
    /// # Errors
    /// When rows are left.
    pub fn finish(self) -> Result<(Vec<u8>, RunSummary), RunError> {
        if let Some(state) = self.states.last() {
            return Err(RunError::MergeNotDone {
                state: state.header.name.clone(),
            });
        }
        self.writer.finish()
    }
}

/// The smallest range that holds the groups of all runs.
fn extent_of<R>(runs: &[CountingRun<'_, R>]) -> Range<u16> {
    let ranges = || {
        runs.iter()
            .map(|run| &run.groups)
            .filter(|groups| !groups.is_empty())
    };
    let start = ranges().map(|groups| groups.start).min();
    let end = ranges().map(|groups| groups.end).max();
    start.zip(end).map_or(0..0, |(start, end)| start..end)
}

fn is_known_by_key<R: ReadAt>(run: &CountingRun<'_, R>, state: &str) -> bool {
    let state = run.state(state);
    state.is_some_and(|(number, _)| run.run.is_known_by_key(number))
}

fn check_same<R: ReadAt>(
    newer: &StateHeader,
    older: &StateHeader,
    runs: &[CountingRun<'_, R>],
    at: usize,
) -> Result<(), RunError> {
    if newer.descriptor == older.descriptor || adds_fields(newer, older) {
        return Ok(());
    }
    let newest = runs.iter().find(|run| run.state(&newer.name).is_some());
    let file = |run: Option<&CountingRun<'_, R>>| run.map_or("", |run| run.run.file()).to_owned();
    let (state, newer, older) = (newer.name.clone(), file(newest), file(runs.get(at)));
    Err(RunError::DescriptorsDiffer {
        state,
        newer,
        older,
    })
}

/// Whether the descriptions differ only in that the newer says what types are made of, as older engines do not.
fn adds_fields(newer: &StateHeader, older: &StateHeader) -> bool {
    let decoded = |it: &StateHeader| StateDescriptor::decode(&mut &it.descriptor[..]);
    let (Ok(newer), Ok(mut older)) = (decoded(newer), decoded(older)) else {
        return false;
    };
    older.learn_fields(&newer);
    newer == older
}
