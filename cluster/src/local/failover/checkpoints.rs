//! The checkpoints of a job of which a region begins again.
//!
//! Entered by the control thread. Invariant: between the failure of a region and the time at which it runs again no
//! checkpoint is under way, and its sinks have taken back what the one it goes on from does not list.

use std::collections::BTreeSet;

use thalweg_core::ids::{CheckpointId, SubtaskId, VertexId};
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::sink::Committable;

use super::taking_back::by_each_sink;
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
        let (job, committers) = (self.job, &mut self.committers);
        by_each_sink(job, tasks, |place, subtasks| {
            let sink = job.graph.vertices[place].operator_ids().last().copied();
            let Some((sink, committer)) =
                sink.and_then(|sink| Some((sink, committers.get_mut(&sink)?)))
            else {
                return Ok(());
            };
            let prepared: Vec<Committable> = withdrawn.remove(&sink).unwrap_or_default();
            committer.roll_back(&prepared, subtasks, after)
        })
    }

    /// All of the job begins again from nothing: what its tasks had begun to write is taken back. Where there is a
    /// checkpoint the tasks that are restored from it know what is not listed; without one nobody would find it. It is
    /// hidden, so it does no harm if it stays.
    pub(in crate::local) fn take_all_back(&mut self) {
        if self.coordinator.restore_point().is_some() {
            return;
        }
        let rolls_back = |place: &usize| self.rolls_back(*place);
        let vertices = &self.job.graph.vertices;
        let places = (0..vertices.len()).filter(rolls_back);
        let tasks = places.flat_map(|place| {
            let vertex = VertexId(vertices[place].id);
            (0..vertices[place].parallelism).map(move |index| SubtaskId::new(vertex, index))
        });
        let tasks: BTreeSet<SubtaskId> = tasks.collect();
        if let Err(error) = self.roll_back(&tasks, &[], CheckpointId(0)) {
            tracing::warn!(%error, "what an attempt left behind stays, hidden");
        }
    }
}
