//! Which state of a checkpoint goes to which task of the job that starts from it.
//!
//! Entered once per start with the metadata and the vertices of the new job, which may have another
//! parallelism and other chains: state finds its operator by the operator's id. Pure functions. Invariant:
//! every key group of every run chain is given to exactly the task that owns it, every item of a split part
//! to exactly one task; state that would be lost is refused by the name of its operator, unless that was
//! allowed.
//!
//! The runs of an operator are given newest first. After a rescale a task may get the chains of several former
//! tasks: they stand one after the other and have no key group in common. So the rule for reading them goes
//! by key group: of the runs that have the group, from the newest to the oldest, down to the first full one.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_core::ids::{CheckpointId, OperatorId, SubtaskId};
use thalweg_core::key_group::MaxParallelism;
use thalweg_dataflow::checkpoint::RestoredSection;
use thalweg_state::snapshot::{OperatorPart, OperatorSnapshot, Redistribution, RunHandle};

use super::in_flight::deal_in_flight;
use super::metadata::{
    CheckpointMetadata, OperatorState, PendingCommittable, SubtaskState, VertexState,
};
use super::tasks::VertexShape;

/// What one task starts with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskRestore {
    /// Whether it had finished: it has nothing to do any more but to say so.
    pub finished: bool,
    /// The states of its operators, those that have any; without committables.
    pub operators: Vec<OperatorSnapshot>,
    /// What was on its way to it.
    pub in_flight: Vec<RestoredSection>,
}

/// What a job starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePlan {
    /// The checkpoint it starts from.
    pub checkpoint: CheckpointId,
    /// Every task.
    pub tasks: BTreeMap<SubtaskId, TaskRestore>,
    /// What must be committed before any task starts; doing it twice does no harm.
    pub commit: Vec<PendingCommittable>,
    /// Operators whose state was dropped, by name.
    pub dropped: Vec<String>,
}

/// Why a job cannot start from a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The job has no such operator.
    #[error(
        "{checkpoint} holds state of the operators {}, which the program does not have: give operators the \
         uid they had, or set execution.state-recovery.ignore-unclaimed-state to drop their state",
        .operators.join(", ")
    )]
    Unclaimed {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Name and id of each.
        operators: Vec<String>,
    },
    /// The number of key groups changed.
    #[error(
        "the state of {operator} is cut into {was} key groups, the program asks for {is}: set \
         pipeline.max-parallelism to {was}"
    )]
    MaxParallelism {
        /// The operator.
        operator: String,
        /// How many there were.
        was: u32,
        /// How many the program asks for.
        is: u32,
    },
    /// More subtasks than key groups.
    #[error("{vertex} asks for a parallelism of {parallelism}, its state allows {most} at most")]
    Parallelism {
        /// The vertex.
        vertex: String,
        /// What it asks for.
        parallelism: u32,
        /// The number of its key groups.
        most: u32,
    },
    /// Some operators of a chain had reached their end and some not.
    #[error(
        "{vertex} puts {ended}, which had reached the end of its input, in one chain with {running}, which \
         had not: start a new chain between them"
    )]
    HalfFinished {
        /// The vertex of the program.
        vertex: String,
        /// An operator that had finished.
        ended: String,
        /// One that had not.
        running: String,
    },
    /// Records were on their way to an operator that is not first in its chain.
    #[error(
        "records were in flight to {operator}, which the program puts into the chain of {vertex}: start a new \
         chain before it, or restore a savepoint, which holds no records in flight"
    )]
    InFlightInside {
        /// The vertex of the program.
        vertex: String,
        /// The operator.
        operator: String,
    },
    /// Records were on their way to a task that was not there.
    #[error(
        "records were in flight to a task of {operator} that was not part of the job: the checkpoint is not \
         whole"
    )]
    InFlightUnknown {
        /// The operator.
        operator: OperatorId,
    },
    /// The same part is to be dealt out in two ways.
    #[error(
        "the part '{part}' of {operator} is said to be dealt out in two ways: the checkpoint is not whole"
    )]
    Redistribution {
        /// The operator.
        operator: String,
        /// The part.
        part: String,
    },
}

/// Deals out the state of a checkpoint.
///
/// # Errors
/// What does not fit, by name, and how to mend it.
pub fn assign(
    metadata: &CheckpointMetadata,
    vertices: &[VertexShape],
    ignore_unclaimed: bool,
) -> Result<RestorePlan, RestoreError> {
    let former: BTreeMap<OperatorId, Former<'_>> = (metadata.operators())
        .map(|(vertex, state)| (state.operator, Former { vertex, state }))
        .collect();
    let mut dropped = unclaimed(&former, vertices);
    let (mut in_flight, lost) = deal_in_flight(metadata, vertices)?;
    dropped.extend(
        lost.into_iter()
            .filter(|name| !dropped.contains(name))
            .collect::<Vec<_>>(),
    );
    if !dropped.is_empty() && !ignore_unclaimed {
        return Err(RestoreError::Unclaimed {
            checkpoint: metadata.checkpoint,
            operators: dropped,
        });
    }
    let mut tasks = BTreeMap::new();
    for vertex in vertices {
        let finished = is_finished(vertex, &former)?;
        let mut restores = vec![TaskRestore::default(); vertex.parallelism as usize];
        for (operator, name) in &vertex.operators {
            let Some(former) = former.get(operator) else {
                continue;
            };
            let shares = deal(former, vertex, *operator, name)?;
            for (restore, share) in restores.iter_mut().zip(shares) {
                restore
                    .operators
                    .extend(Some(share).filter(|share| !share.is_empty()));
            }
        }
        for (index, mut restore) in (0..).zip(restores) {
            restore.finished = finished;
            let task = SubtaskId::new(vertex.vertex, index);
            restore.in_flight = in_flight.remove(&task).unwrap_or_default();
            tasks.insert(task, restore);
        }
    }
    Ok(RestorePlan {
        checkpoint: metadata.checkpoint,
        tasks,
        commit: metadata.committables.clone(),
        dropped,
    })
}

/// An operator as it was.
struct Former<'a> {
    vertex: &'a VertexState,
    state: &'a OperatorState,
}

/// Operators with state that no vertex has any more.
fn unclaimed(former: &BTreeMap<OperatorId, Former<'_>>, vertices: &[VertexShape]) -> Vec<String> {
    let claimed: BTreeSet<OperatorId> = (vertices.iter())
        .flat_map(|vertex| vertex.operators.iter().map(|(operator, _)| *operator))
        .collect();
    let lost = former.values().filter(|former| {
        !former.state.subtasks.is_empty() && !claimed.contains(&former.state.operator)
    });
    lost.map(|former| format!("{} ({})", former.state.name, former.state.operator))
        .collect()
}

/// Whether a vertex has nothing to do any more: all its operators had finished, everywhere. Operators that are
/// new have no say in it.
fn is_finished(
    vertex: &VertexShape,
    former: &BTreeMap<OperatorId, Former<'_>>,
) -> Result<bool, RestoreError> {
    let known = vertex.operators.iter().filter_map(|(operator, name)| {
        let former = former.get(operator)?;
        Some((former.vertex.is_finished(), name))
    });
    let (ended, running): (Vec<_>, Vec<_>) = known.partition(|(finished, _)| *finished);
    match (ended.first(), running.first()) {
        (Some((_, ended)), Some((_, running))) => Err(RestoreError::HalfFinished {
            vertex: vertex.name.clone(),
            ended: (*ended).clone(),
            running: (*running).clone(),
        }),
        (Some(_), None) => Ok(true),
        (None, _) => Ok(false),
    }
}

/// The shares of one operator, by new subtask.
fn deal(
    former: &Former<'_>,
    vertex: &VertexShape,
    operator: OperatorId,
    name: &str,
) -> Result<Vec<OperatorSnapshot>, RestoreError> {
    let empty = OperatorSnapshot::empty(operator, name);
    let mut shares = vec![empty; vertex.parallelism as usize];
    let subtasks = &former.state.subtasks;
    if subtasks.iter().any(|subtask| !subtask.runs.is_empty()) {
        let most = groups(former, vertex, name)?;
        for (index, share) in (0..).zip(&mut shares) {
            let range = most.range(index, vertex.parallelism);
            let runs = subtasks.iter().flat_map(|subtask| &subtask.runs);
            share.runs = runs.filter_map(|run| clip(run, &range)).collect();
        }
    }
    let same = former.vertex.parallelism == vertex.parallelism;
    for (part, redistribution) in part_names(subtasks, name)? {
        let parts = deal_part(subtasks, part, redistribution, vertex.parallelism, same);
        for (share, items) in shares.iter_mut().zip(parts) {
            let items = items.map(|items| OperatorPart {
                name: part.to_owned(),
                redistribution,
                items,
            });
            share.parts.extend(items);
        }
    }
    Ok(shares)
}

/// The key groups of an operator with runs, if the new vertex agrees with the old one about them.
fn groups(
    former: &Former<'_>,
    vertex: &VertexShape,
    name: &str,
) -> Result<MaxParallelism, RestoreError> {
    let was = former.vertex.max_parallelism;
    if was != vertex.max_parallelism {
        return Err(RestoreError::MaxParallelism {
            operator: name.to_owned(),
            was,
            is: vertex.max_parallelism,
        });
    }
    match MaxParallelism::new(was) {
        Ok(most) if vertex.parallelism <= was => Ok(most),
        _ => Err(RestoreError::Parallelism {
            vertex: vertex.name.clone(),
            parallelism: vertex.parallelism,
            most: was,
        }),
    }
}

/// The part of a run that counts for a range of key groups, if any does.
fn clip(run: &RunHandle, range: &std::ops::Range<u16>) -> Option<RunHandle> {
    let groups = run.groups.start.max(range.start)..run.groups.end.min(range.end);
    (!groups.is_empty()).then(|| RunHandle {
        groups,
        ..run.clone()
    })
}

/// The parts of an operator by name, with how each is dealt out.
fn part_names<'a>(
    subtasks: &'a [SubtaskState],
    operator: &str,
) -> Result<BTreeMap<&'a str, Redistribution>, RestoreError> {
    let mut names = BTreeMap::new();
    for part in subtasks.iter().flat_map(|subtask| &subtask.parts) {
        let before = names.insert(part.name.as_str(), part.redistribution);
        if before.is_some_and(|before| before != part.redistribution) {
            return Err(RestoreError::Redistribution {
                operator: operator.to_owned(),
                part: part.name.clone(),
            });
        }
    }
    Ok(names)
}

/// The items of one part, by new subtask; `None` for a subtask that has the part no more.
fn deal_part(
    subtasks: &[SubtaskState],
    name: &str,
    redistribution: Redistribution,
    parallelism: u32,
    same: bool,
) -> Vec<Option<Vec<Vec<u8>>>> {
    let copies: Vec<(u32, &Vec<Vec<u8>>)> = (subtasks.iter())
        .flat_map(|subtask| subtask.parts.iter().map(|part| (subtask.subtask, part)))
        .filter(|(_, part)| part.name == name)
        .map(|(subtask, part)| (subtask, &part.items))
        .collect();
    let count = parallelism as usize;
    match redistribution {
        // Whoever had it keeps it.
        Redistribution::Split if same => {
            let mut shares = vec![None; count];
            for (subtask, items) in copies {
                shares[subtask as usize] = Some(items.clone());
            }
            shares
        }
        Redistribution::Split => {
            let mut shares = vec![Some(Vec::new()); count];
            let items = copies.iter().flat_map(|(_, items)| items.iter());
            for (at, item) in items.enumerate() {
                if let Some(share) = &mut shares[at % count] {
                    share.push(item.clone());
                }
            }
            shares
        }
        Redistribution::Union => {
            let all: Vec<Vec<u8>> = copies
                .iter()
                .flat_map(|(_, items)| (*items).clone())
                .collect();
            vec![Some(all); count]
        }
        Redistribution::Broadcast => {
            let copy = |index: usize| copies[index % copies.len()].1.clone();
            (0..count).map(|index| Some(copy(index))).collect()
        }
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
