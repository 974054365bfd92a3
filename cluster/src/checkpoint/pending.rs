//! One checkpoint under way: who must answer, who has.
//!
//! Owned by the coordinator from the trigger until the checkpoint is complete or given up. A plain state
//! machine in ms of the monotonic clock. Invariant: it is answered exactly when every task that was asked has
//! answered once or has finished; an answer changes nothing if it is refused.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_core::ids::{CheckpointId, SubtaskId};
use thalweg_state::CutKind;
use thalweg_state::snapshot::TaskSnapshot;

use super::storage::is_plain_name;
use super::trigger::Purpose;

/// A checkpoint that waits for answers.
#[derive(Clone, Debug)]
pub struct PendingCheckpoint {
    /// Its number.
    pub checkpoint: CheckpointId,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether every run of it is to hold the whole state.
    pub full: bool,
    /// When it started, by the wall clock: ms since 1970.
    pub started_wall_ms: i64,
    /// When it started.
    pub started_ms: u64,
    /// When it is given up.
    pub deadline_ms: u64,
    awaited: BTreeSet<SubtaskId>,
    answers: BTreeMap<SubtaskId, TaskSnapshot>,
    finished: BTreeSet<SubtaskId>,
}

/// Why an answer does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The task was not asked, or has answered.
    #[error("{0} was not asked, or has answered before")]
    NotAwaited(SubtaskId),
    /// A name in it is not one of a file.
    #[error("{task} names a file {file:?}, which is no plain name")]
    NoName {
        /// The task.
        task: SubtaskId,
        /// The name.
        file: String,
    },
}

impl PendingCheckpoint {
    /// What tasks write for it. A savepoint stands beside the row of checkpoints: none builds on it.
    #[must_use]
    pub fn kind(&self) -> CutKind {
        match self.full {
            _ if self.purpose.is_savepoint() => CutKind::Copy,
            true => CutKind::Everything,
            false => CutKind::Changes,
        }
    }

    /// A checkpoint that asks these tasks; those that have finished count as answered.
    pub(super) fn new(
        checkpoint: CheckpointId,
        purpose: Purpose,
        awaited: BTreeSet<SubtaskId>,
        finished: BTreeSet<SubtaskId>,
    ) -> PendingCheckpoint {
        PendingCheckpoint {
            checkpoint,
            full: purpose.is_savepoint(),
            purpose,
            started_wall_ms: 0,
            started_ms: 0,
            deadline_ms: u64::MAX,
            awaited,
            answers: BTreeMap::new(),
            finished,
        }
    }

    /// Takes an answer in.
    ///
    /// # Errors
    /// Why it does not count; then nothing has changed.
    pub fn answer(&mut self, snapshot: TaskSnapshot) -> Result<(), Refusal> {
        let task = SubtaskId::new(snapshot.vertex, snapshot.subtask);
        if !self.awaited.contains(&task) {
            return Err(Refusal::NotAwaited(task));
        }
        if let Some(file) = bad_name(&snapshot) {
            return Err(Refusal::NoName { task, file });
        }
        self.awaited.remove(&task);
        self.answers.insert(task, snapshot);
        Ok(())
    }

    /// A task has finished: if it still had to answer, that counts as its answer.
    pub fn finish(&mut self, task: SubtaskId) -> bool {
        let awaited = self.awaited.remove(&task);
        if awaited {
            self.finished.insert(task);
        }
        awaited
    }

    /// Whether nobody must answer any more.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.deadline_ms <= now_ms
    }

    /// Who must answer.
    #[must_use]
    pub fn awaited(&self) -> &BTreeSet<SubtaskId> {
        &self.awaited
    }

    /// The answers so far.
    #[must_use]
    pub fn answers(&self) -> &BTreeMap<SubtaskId, TaskSnapshot> {
        &self.answers
    }

    /// The tasks that had finished and were not asked, or finished instead of answering.
    #[must_use]
    pub fn finished(&self) -> &BTreeSet<SubtaskId> {
        &self.finished
    }
}

/// The first name in a snapshot that is none of a file.
pub(super) fn bad_name(snapshot: &TaskSnapshot) -> Option<String> {
    let bad = snapshot.files().find(|file| !is_plain_name(file));
    bad.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_core::ids::{OperatorId, VertexId};
    use thalweg_state::snapshot::{OperatorSnapshot, RunHandle, SnapshotEffort};

    use super::*;

    fn snapshot(index: u32) -> TaskSnapshot {
        TaskSnapshot {
            vertex: VertexId(0),
            subtask: index,
            checkpoint: CheckpointId(1),
            operators: Vec::new(),
            in_flight: Vec::new(),
            effort: SnapshotEffort::default(),
        }
    }

    fn pending(tasks: u32, finished: u32) -> PendingCheckpoint {
        let tasks = (0..tasks).map(|index| SubtaskId::new(VertexId(0), index));
        let (finished, awaited) = tasks.partition(|task| task.index < finished);
        PendingCheckpoint::new(CheckpointId(1), Purpose::Periodic, awaited, finished)
    }

    #[test]
    fn a_path_for_a_name_does_not_count_as_an_answer() {
        let mut pending = pending(1, 0);
        let mut hostile = snapshot(0);
        let mut operator = OperatorSnapshot::empty(OperatorId(1), "x");
        operator.runs.push(RunHandle {
            file: "../x".to_owned(),
            bytes: 0,
            checksum: 0,
            rows: 0,
            groups: 0..1,
            full: true,
            only: None,
        });
        hostile.operators.push(operator);
        assert!(matches!(
            pending.answer(hostile),
            Err(Refusal::NoName { .. })
        ));
        assert!(!pending.is_answered());
        pending.answer(snapshot(0)).unwrap();
        assert!(pending.is_answered());
    }

    proptest! {
        /// Answers and ends in any order, doubled and unknown: answered exactly when all are accounted for.
        #[test]
        fn it_is_answered_when_every_task_is_accounted_for(
            tasks in 0..6_u32,
            finished in 0..6_u32,
            events in proptest::collection::vec((0..8_u32, any::<bool>()), 0..40),
        ) {
            let mut pending = pending(tasks, finished);
            let mut open: BTreeSet<u32> = (finished.min(tasks)..tasks).collect();
            for (index, answers) in events {
                let was_open = open.remove(&index);
                let counted = if answers {
                    pending.answer(snapshot(index)).is_ok()
                } else {
                    pending.finish(SubtaskId::new(VertexId(0), index))
                };
                prop_assert_eq!(counted, was_open);
                prop_assert_eq!(pending.is_answered(), open.is_empty());
            }
            prop_assert_eq!(pending.answers().len() + pending.finished().len() + open.len(), tasks as usize);
        }
    }
}
