//! How many keys the states of a checkpoint hold.
//!
//! Entered by the command that looks at checkpoints; blocking: all rows are read. Invariant: what is counted is what
//! a job that is restored would hold: of rows of one entry the newest, and no tombstones.

use thalweg_state::run::{CountingRun, ReadAt, RunError, RunReader, SortedWalk, counting};
use thalweg_state::snapshot::RunHandle;

use super::find::Found;
use super::verify::RunProblem;
use crate::checkpoint::metadata::OperatorState;
use crate::checkpoint::storage::CheckpointStorage;

/// What one state of an operator holds, in all its subtasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateKeys {
    /// The name of the state.
    pub name: String,
    /// Its keys.
    pub keys: u64,
    /// Its entries: more than keys where a key has several, such as a map or a list of several parts.
    pub entries: u64,
}

/// Runs, each with its handle, which says for what it counts.
type Chain<'h> = Vec<(RunReader<Box<dyn ReadAt>>, &'h RunHandle)>;

/// A run with that for which it counts.
fn counting_run<'r>(
    (run, handle): &'r (RunReader<Box<dyn ReadAt>>, &RunHandle),
) -> CountingRun<'r, Box<dyn ReadAt>> {
    CountingRun {
        run,
        groups: handle.groups.clone(),
        only: handle.only,
    }
}

/// The keys of every state of an operator, by name.
///
/// # Errors
/// A run that cannot be read.
pub fn keys(
    storage: &mut dyn CheckpointStorage,
    found: &Found,
    operator: &OperatorState,
) -> Result<Vec<StateKeys>, RunProblem> {
    let mut chains = Vec::new();
    for subtask in &operator.subtasks {
        let mut chain: Chain<'_> = Vec::new();
        for run in &subtask.runs {
            let file = found.runs.child(&run.file);
            let source = storage.open(&file)?;
            chain.push((RunReader::open(file.to_string(), source)?, run));
        }
        chains.push(chain);
    }
    let runs: Vec<_> = chains.iter().flatten().map(counting_run).collect();
    let mut names: Vec<&str> = (runs.iter().flat_map(CountingRun::states))
        .map(|(_, state)| state.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut counted = Vec::new();
    for name in names {
        let mut state = StateKeys {
            name: name.to_owned(),
            keys: 0,
            entries: 0,
        };
        for chain in &chains {
            count(chain, &mut state)?;
        }
        counted.push(state);
    }
    Ok(counted)
}

/// Adds what one subtask holds. No key is in two subtasks.
fn count(chain: &Chain<'_>, into: &mut StateKeys) -> Result<(), RunError> {
    let runs: Vec<_> = chain.iter().map(counting_run).collect();
    let (parts, _) = counting(&runs, &into.name);
    let mut walk = SortedWalk::over(&runs, &parts);
    let mut last: Option<Vec<u8>> = None;
    while let Some(row) = walk.next_row()? {
        if row.is_tombstone() {
            continue;
        }
        into.entries += 1;
        if last.as_deref() != Some(row.key) {
            into.keys += 1;
            last = Some(row.key.to_vec());
        }
    }
    Ok(())
}
