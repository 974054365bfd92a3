//! The checkpoints of a job of which a region begins again.
//!
//! Entered by the control thread. Invariant: between the failure of a region and the time at which it runs again no
//! checkpoint is under way, and its sinks have taken back what the one it goes on from does not list.

use std::collections::BTreeSet;

use thalweg_core::ids::{CheckpointId, SubtaskId};
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::sink::Committable;

use crate::checkpoint::Input;
use crate::checkpoint::metadata::PendingCommittable;
use crate::checkpoint::protocol::AfterFailure;
use crate::local::checkpointing::{Beginning, TaskDoor};
use crate::local::coordination::{Coordination, by_operator};

impl Coordination<'_> {
    /// Whether regions may begin again alone: runs on their way to elsewhere are not told apart by region.
    pub(crate) fn knows_regions(&self) -> bool {
        self.staging.is_none()
    }

    /// Whether one may now.
    pub(crate) fn may_rest(&self) -> bool {
        self.coordinator.may_rest()
    }

    /// Whether a sink, if it commits, can take back what some of its subtasks wrote.
    pub(crate) fn rolls_back(&self, vertex: usize) -> bool {
        let sink = self.job.graph.vertices[vertex].operator_ids();
        let committer = sink.last().and_then(|sink| self.committers.get(sink));
        committer.is_none_or(|committer| committer.rolls_back())
    }

    /// A task of the region failed; its tasks are being taken off.
    pub(super) fn region_failing(&mut self, tasks: &BTreeSet<SubtaskId>, reason: String) {
        self.doors.retain(|task, _| !tasks.contains(task));
        let (attempt, tasks) = (self.first_attempt, tasks.clone());
        self.step(Input::RegionFailing {
            attempt,
            tasks,
            reason,
        });
    }

    /// The tasks of the region have gone, and all they said was heard. `heard` says of how many reports of ends that are
    /// still there the coordinator knows.
    pub(super) fn region_stopped(&mut self, tasks: &BTreeSet<SubtaskId>, heard: usize) {
        self.known_finished = heard;
        let tasks = tasks.clone();
        self.step(Input::RegionStopped { tasks });
    }

    /// What the region begins with.
    pub(super) fn region_beginning(
        &mut self,
        tasks: &BTreeSet<SubtaskId>,
    ) -> Result<Beginning, JobError> {
        let beginning = self.beginning_of(Some(tasks))?;
        self.replaying.retain(|task| tasks.contains(task));
        Ok(beginning)
    }

    /// The tasks of the region run again.
    pub(super) fn region_running(
        &mut self,
        tasks: &BTreeSet<SubtaskId>,
        doors: Vec<(SubtaskId, TaskDoor)>,
    ) {
        self.doors.extend(doors);
        let replaying = std::mem::take(&mut self.replaying);
        let (attempt, tasks) = (self.attempt, tasks.clone());
        self.step(Input::RegionRunning {
            attempt,
            tasks,
            replaying,
        });
    }

    /// Has the sinks of tasks that begin again take back what they wrote; the attempt ends if they cannot.
    pub(in crate::local) fn take_back(
        &mut self,
        tasks: &BTreeSet<SubtaskId>,
        withdrawn: &[PendingCommittable],
        after: CheckpointId,
    ) {
        if let Err(reason) = self.roll_back(tasks, withdrawn, after) {
            let failure = (reason, AfterFailure::Restart);
            self.failure = self.failure.take().or(Some(failure));
        }
    }

    fn roll_back(
        &mut self,
        tasks: &BTreeSet<SubtaskId>,
        withdrawn: &[PendingCommittable],
        after: CheckpointId,
    ) -> Result<(), String> {
        let mut withdrawn = by_operator(withdrawn);
        for description in &self.job.graph.vertices {
            let of_vertex = tasks.iter().filter(|task| task.vertex.0 == description.id);
            let subtasks: BTreeSet<u32> = of_vertex.map(|task| task.index).collect();
            let Some(operator) = description.operator_ids().last().copied() else {
                continue;
            };
            let committer = self.committers.get_mut(&operator);
            let Some(committer) = committer.filter(|_| !subtasks.is_empty()) else {
                continue;
            };
            let prepared: Vec<Committable> = withdrawn.remove(&operator).unwrap_or_default();
            let rolled_back = committer.roll_back(&prepared, &subtasks, after);
            rolled_back.map_err(|error| {
                format!(
                    "what {} wrote cannot be taken back: {error}",
                    description.name
                )
            })?;
        }
        Ok(())
    }
}
