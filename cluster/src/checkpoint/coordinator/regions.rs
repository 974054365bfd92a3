//! Some tasks begin again while the others run on.
//!
//! A part of the coordinator. A region is a set of tasks that no exchange connects with the others, so what its tasks
//! did since the newest checkpoint can be undone without them. Rules:
//!
//! - What is under way is given up, though all tasks of the region may have answered: it would hold what the region did
//!   before it went back. None starts until the region runs again and has read again what was in flight.
//! - The region goes back to the newest completed checkpoint. What its sinks prepared since is rolled back; what others
//!   prepared stays, for the next checkpoint to list.
//! - A savepoint that waits until what it lists is committed is given up: the region takes a part of that back.
//! - Tasks of the region that had finished since begin again too.
//! - Files that its tasks wrote and no completed checkpoint needs are removed: nobody builds on them any more.
//!
//! Invariant: no checkpoint that is made true lists what a region did before it went back to an earlier one.

use std::collections::BTreeSet;

use thalweg_core::ids::{AttemptId, CheckpointId, SubtaskId};

use super::{CheckpointCoordinator, Phase};
use crate::checkpoint::metadata::PendingCommittable;
use crate::checkpoint::protocol::Output;
use crate::checkpoint::storage::command::TaskFiles;
use crate::checkpoint::tasks::VertexShape;
use crate::checkpoint::trigger::Now;

impl CheckpointCoordinator {
    /// Whether tasks may begin again while others run on: not once sources have been told to stop for good.
    #[must_use]
    pub fn may_rest(&self) -> bool {
        matches!(self.phase, Phase::Running(_)) && !self.stopping
    }

    pub(super) fn region_failing(
        &mut self,
        attempt: AttemptId,
        tasks: BTreeSet<SubtaskId>,
        reason: &str,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if self.phase != Phase::Running(attempt) {
            return;
        }
        self.replaying.retain(|task| !tasks.contains(task));
        self.resting.extend(tasks);
        let open = self.pending.keys().chain(self.ready.keys());
        let open: Vec<CheckpointId> = open.copied().collect();
        for checkpoint in open {
            self.fail(checkpoint, reason, false, now, out);
        }
        self.drop_unsettled(reason, out);
        let why = format!(
            "not begun, because tasks of the job have failed: {reason}; try again when it is RUNNING"
        );
        self.refuse_wanted(&why, out);
    }

    /// Nobody of the region writes any more, and all it said was heard.
    pub(super) fn region_stopped(&mut self, tasks: BTreeSet<SubtaskId>, out: &mut Vec<Output>) {
        if !matches!(self.phase, Phase::Running(_)) {
            return;
        }
        for late in self.late.values_mut() {
            late.retain(|task| !tasks.contains(task));
        }
        self.tasks.revive(&tasks);
        let newest = self.store.newest().map(|kept| kept.checkpoint);
        let foreign = (self.foreign.as_ref()).map(|point| point.metadata.checkpoint);
        let completing = (self.completing.as_ref()).map(|it| it.pending.checkpoint);
        let restored = newest.max(foreign).max(completing);
        let restored = restored.unwrap_or(CheckpointId(0));
        let vertices = self.tasks.vertices();
        let of_region = |entry: &PendingCommittable| {
            let mut vertices = vertices.iter();
            let vertex =
                vertices.find(|it| it.operators.iter().any(|(id, _)| *id == entry.operator));
            vertex.is_some_and(|it| tasks.contains(&SubtaskId::new(it.vertex, entry.subtask)))
        };
        let withdrawn = self.ledger.discard_where(restored, of_region);
        let files = (vertices.iter()).flat_map(|vertex| files_of(vertex, &tasks));
        let files: BTreeSet<TaskFiles> = files.collect();
        out.push(Output::RollBack {
            tasks,
            withdrawn,
            after: restored,
        });
        // What its tasks were writing when they were taken off, and what was given up.
        self.sweep(Some(files), out);
    }

    pub(super) fn region_running(
        &mut self,
        attempt: AttemptId,
        tasks: &BTreeSet<SubtaskId>,
        replaying: BTreeSet<SubtaskId>,
    ) {
        if !matches!(self.phase, Phase::Running(_)) {
            return;
        }
        self.resting.retain(|task| !tasks.contains(task));
        self.replaying.extend(replaying);
        if let Some(attempts) = self.attempts.take() {
            let (first, last) = attempts.into_inner();
            self.attempts = Some(first.min(attempt)..=last.max(attempt));
        }
    }
}

/// The files that those tasks write that are of this vertex.
fn files_of(vertex: &VertexShape, tasks: &BTreeSet<SubtaskId>) -> Vec<TaskFiles> {
    let own = tasks.iter().filter(|task| task.vertex == vertex.vertex);
    let files = own.flat_map(|task| {
        let operators = vertex.operators.iter();
        let runs = operators.map(|(operator, _)| TaskFiles::of_operator(*operator, task.index));
        runs.chain([TaskFiles::in_flight(*task)])
    });
    files.collect()
}
