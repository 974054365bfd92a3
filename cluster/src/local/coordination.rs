//! The checkpoints of a local job: its coordinator driven, its tasks told, its sinks committed.
//!
//! Entered by the control thread, which may block on storage. Invariants: everything the coordinator answers
//! is carried out, in order; a committable is committed only when the checkpoint that lists it is true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use thalweg_core::error::ErrorKind;
use thalweg_core::ids::{AttemptId, CheckpointId, Epoch, JobId, OperatorId, SubtaskId};
use thalweg_dataflow::checkpoint::{
    CheckpointAnswer, CheckpointStatistics, CompletedCheckpoint, CrashPoint, Defect, Drain,
    TaskCommand,
};
use thalweg_dataflow::executor::{JobError, JobRequest};
use thalweg_dataflow::graph::Job;
use thalweg_dataflow::sink::{Committable, Committer};
use thalweg_dataflow::task::TaskReport;
use thalweg_network::{Barrier, BarrierKind};
use thalweg_state::{CutKind, OperatorSnapshot, SnapshotEffort, TaskSnapshot};

use super::checkpointing::TaskDoor;
use super::ground::{Surroundings, point_after, point_before};
use super::metrics::{JobFigures, LastCheckpoint};
use super::outcome::Outcome;
use super::requests::Requests;
use super::staging::Staging;
use crate::checkpoint::home::layout::JobLayout;
use crate::checkpoint::metadata::PendingCommittable;
use crate::checkpoint::protocol::{AfterFailure, Completed, JobEnd, Wanted};
use crate::checkpoint::storage::{CheckpointStorage, Location, perform};
use crate::checkpoint::tasks::VertexShape;
use crate::checkpoint::trigger::{Now, RequestId};
use crate::checkpoint::{CheckpointCoordinator, CheckpointSettings, Input, Output};

/// How often it is looked whether runs have arrived.
const STAGING_CHECK: Duration = Duration::from_millis(2);
/// The request of the checkpoint that ends a job.
const FINAL: RequestId = RequestId(u64::MAX);

/// The coordinator of one job with all that its outputs need.
pub(crate) struct Coordination<'j> {
    pub(super) job: &'j Job,
    pub(super) id: JobId,
    pub(super) settings: CheckpointSettings,
    pub(super) layout: JobLayout,
    pub(super) ground: &'j dyn Surroundings,
    pub(super) storage: Box<dyn CheckpointStorage>,
    /// The way of runs to where checkpoints are, if tasks cannot write there themselves.
    pub(super) staging: Option<Box<dyn Staging>>,
    pub(super) coordinator: CheckpointCoordinator,
    /// The last number that was given to tasks, of all of the job or of a region of it.
    pub(super) attempt: AttemptId,
    /// The number of the attempt of the whole job.
    pub(super) first_attempt: AttemptId,
    /// How many numbers were given.
    pub(super) numbers: u32,
    pub(super) doors: BTreeMap<SubtaskId, TaskDoor>,
    /// The tasks of the attempt that begins that read again what was in flight.
    pub(super) replaying: BTreeSet<SubtaskId>,
    pub(super) committers: BTreeMap<OperatorId, Box<dyn Committer>>,
    /// How many finished tasks the coordinator knows of.
    pub(super) known_finished: usize,
    /// Why the attempt must end, and what may follow.
    pub(super) failure: Option<(String, AfterFailure)>,
    /// What became of the checkpoint that ends the job.
    concluded: Option<Result<CheckpointId, String>>,
    /// Who waits for a savepoint.
    requests: Requests,
    /// The savepoint the job ends by.
    ended_by: Option<Location>,
    statistics: CheckpointStatistics,
    pub(super) figures: JobFigures,
}

impl<'j> Coordination<'j> {
    pub(super) fn new(
        (job, id): (&'j Job, JobId),
        ground: &'j dyn Surroundings,
        settings: CheckpointSettings,
        layout: JobLayout,
        (storage, staging): (Box<dyn CheckpointStorage>, Option<Box<dyn Staging>>),
        coordinator: CheckpointCoordinator,
        figures: JobFigures,
    ) -> Self {
        Self {
            job,
            id,
            ground,
            settings,
            layout,
            storage,
            staging,
            coordinator,
            attempt: AttemptId(0),
            first_attempt: AttemptId(0),
            numbers: 0,
            doors: BTreeMap::new(),
            replaying: BTreeSet::new(),
            committers: committers_of(job),
            known_finished: 0,
            failure: None,
            concluded: None,
            statistics: CheckpointStatistics::default(),
            figures,
            requests: Requests::default(),
            ended_by: None,
        }
    }

    /// Whether checkpoints are taken by themselves.
    pub(crate) fn is_periodic(&self) -> bool {
        self.settings.interval_ms.is_some()
    }

    /// Now, for the coordinator.
    fn now(&self) -> Now {
        Now {
            ms: self.ground.now_ns() / 1_000_000,
            wall_ms: self.ground.wall_ms(),
        }
    }

    /// The tasks of the attempt run.
    pub(crate) fn running(&mut self, doors: Vec<(SubtaskId, TaskDoor)>) {
        self.doors = doors.into_iter().collect();
        self.known_finished = 0;
        let vertices = shapes_of(self.job);
        let (attempt, tasks) = (self.first_attempt, std::mem::take(&mut self.replaying));
        self.step(Input::Replaying { tasks });
        self.step(Input::Running { attempt, vertices });
    }

    /// Somebody asks for a savepoint.
    pub(crate) fn ask(&mut self, request: JobRequest) {
        let named = (self.id, self.ground.draw());
        let storage = &mut *self.storage;
        let wanted = (self.requests).take_in(request, &self.settings, named, storage);
        if let Some((request, wanted)) = wanted {
            self.step(Input::Wanted { request, wanted });
        }
    }

    /// Takes in what tasks said and does what is due; answers how long nothing will be.
    pub(crate) fn attend(&mut self, outcome: &mut Outcome) -> Duration {
        self.hear(outcome);
        self.step(Input::Tick);
        if let Some((reason, _)) = &self.failure {
            outcome.fail("the checkpoints", reason.clone());
        } else if let Some(savepoint) = self.ended_by.take() {
            outcome.stop_by(savepoint.to_string());
        }
        let patience = match self.coordinator.wake_ms() {
            Some(at) => Duration::from_millis(at.saturating_sub(self.now().ms)),
            None => Duration::MAX,
        };
        match &self.staging {
            Some(staging) if !staging.is_idle() => patience.min(STAGING_CHECK),
            _ => patience,
        }
    }

    /// Takes in what tasks said, and first of all who has gone: for them nothing is begun by it.
    fn hear(&mut self, outcome: &mut Outcome) {
        for request in self.requests.withdrawn() {
            self.step(Input::Withdrawn { request });
        }
        let attempt = self.first_attempt;
        let mut answers = outcome.take_answers();
        if let Some(staging) = &mut self.staging {
            answers.into_iter().for_each(|answer| staging.take(answer));
            answers = staging.arrived();
        }
        for answer in answers {
            if let CheckpointAnswer::Done(snapshot) = &answer
                && self.has_defect(Defect::CommitTooEarly)
            {
                self.commit_too_early(snapshot);
            }
            let input = match answer {
                CheckpointAnswer::Done(snapshot) => Input::Receipt { attempt, snapshot },
                CheckpointAnswer::Replayed { vertex, subtask } => Input::Replayed {
                    attempt,
                    task: SubtaskId::new(vertex, subtask),
                },
                CheckpointAnswer::Declined {
                    vertex,
                    subtask,
                    checkpoint,
                    reason,
                } => Input::Declined {
                    attempt,
                    task: SubtaskId::new(vertex, subtask),
                    checkpoint,
                    reason,
                },
            };
            self.step(input);
        }
        while let Some(report) = outcome.finished().get(self.known_finished) {
            let task = SubtaskId::new(report.vertex, report.subtask);
            // What it answered before it ended comes first.
            if (self.staging.as_ref()).is_some_and(|staging| staging.holds(task)) {
                break;
            }
            self.known_finished += 1;
            let last = Some(self.left_behind(report));
            self.step(Input::TaskFinished {
                attempt,
                task,
                last,
            });
        }
    }

    /// What of a finished task is part of every later checkpoint.
    fn left_behind(&self, report: &TaskReport) -> TaskSnapshot {
        let vertex = &self.job.graph.vertices[report.vertex.0 as usize];
        let ids = vertex.operator_ids();
        let mut operators: Vec<OperatorSnapshot> = (ids.iter().zip(&vertex.operators))
            .map(|(id, operator)| OperatorSnapshot::empty(*id, &*operator.name))
            .collect();
        for (place, part) in &report.remembered {
            if let Some(operator) = operators.get_mut(*place) {
                operator.parts.push(part.clone());
            }
        }
        if let Some(sink) = operators.last_mut() {
            let prepared = report.committables.iter();
            sink.committables = prepared.map(|Committable(bytes)| bytes.clone()).collect();
        }
        if self.has_defect(Defect::FinishedForgotten) {
            operators.clear();
        }
        operators.retain(|operator| !operator.is_empty());
        TaskSnapshot {
            vertex: report.vertex,
            subtask: report.subtask,
            checkpoint: CheckpointId(0),
            operators,
            in_flight: Vec::new(),
            effort: SnapshotEffort::default(),
        }
    }

    /// Every task has finished: one last checkpoint lists what is still to be committed, or the savepoint by which
    /// the job was being stopped when its last task came to its end by itself.
    ///
    /// # Errors
    /// When it cannot be made true, or what it lists cannot be committed. Another attempt may begin.
    pub(crate) fn conclude(&mut self, outcome: &mut Outcome) -> Result<(), String> {
        self.hear(outcome);
        while let Some(staging) = self.staging.as_mut().filter(|staging| !staging.is_idle()) {
            staging.wait();
            self.hear(outcome);
        }
        self.concluded = None;
        let wanted = Wanted::Checkpoint { full: false };
        let request = FINAL;
        self.step(Input::Wanted { request, wanted });
        // What may follow is asked for when the attempt has been stopped.
        if let Some(reason) = self.trouble() {
            return Err(reason);
        }
        if let Some(savepoint) = self.ended_by.take() {
            outcome.stop_by(savepoint.to_string());
            return Ok(());
        }
        match self.concluded.take() {
            Some(Ok(_)) => Ok(()),
            Some(Err(reason)) => Err(reason),
            None => Err("the checkpoint that ends the job was not made true".to_owned()),
        }
    }

    /// How many of the ends that were reported the coordinator knows of, those of `tasks` left out.
    pub(super) fn heard_of(&self, outcome: &Outcome, tasks: &BTreeSet<SubtaskId>) -> usize {
        let known = outcome.finished().iter().take(self.known_finished);
        let others = known.filter(|report| {
            let task = SubtaskId::new(report.vertex, report.subtask);
            !tasks.contains(&task)
        });
        others.count()
    }

    /// Why the attempt must end, if it must.
    pub(super) fn trouble(&self) -> Option<String> {
        self.failure.as_ref().map(|(reason, _)| reason.clone())
    }

    /// The attempt failed; its tasks are being stopped.
    pub(crate) fn failing(&mut self, reason: &str) {
        let (attempt, reason) = (self.first_attempt, reason.to_owned());
        self.step(Input::Failing { attempt, reason });
    }

    /// No task runs any more. Answers what may follow.
    pub(crate) fn stopped(&mut self) -> AfterFailure {
        self.doors.clear();
        if let Some(staging) = &mut self.staging {
            staging.stop();
        }
        self.step(Input::Stopped);
        let failure = self.failure.take();
        failure.map_or(AfterFailure::Restart, |(_, then)| then)
    }

    /// The job is over.
    pub(crate) fn ended(&mut self, end: JobEnd) {
        self.step(Input::Ended(end));
    }

    /// What became of the checkpoints so far.
    pub(crate) fn statistics(&self) -> &CheckpointStatistics {
        &self.statistics
    }

    /// Tells the coordinator and carries out what it answers; what follows from that comes before the rest.
    pub(super) fn step(&mut self, input: Input) {
        let mut line = VecDeque::from(self.tell(input));
        while let Some(output) = line.pop_front() {
            if let Some(input) = self.carry_out(output) {
                let following = self.tell(input).into_iter();
                following.rev().for_each(|output| line.push_front(output));
            }
        }
    }

    /// Tells the coordinator. How many are under way is to be seen before anybody is told of one that is not.
    fn tell(&mut self, input: Input) -> Vec<Output> {
        let now = self.now();
        let outputs = self.coordinator.step(input, now);
        let under_way = self.coordinator.under_way();
        self.figures.checkpoints_under_way(under_way);
        outputs
    }

    /// Carries out one thing; answers what the coordinator is to be told of it.
    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Trigger {
                checkpoint,
                kind,
                stop,
                tasks,
            } => {
                self.figures.checkpoint_started();
                self.trigger(checkpoint, kind, stop, tasks);
            }
            Output::Store { ticket, command } => {
                self.passes(point_before(&command));
                let outcome = perform(&mut *self.storage, &command);
                self.passes(point_after(&command).filter(|_| outcome.is_ok()));
                return Some(Input::Stored { ticket, outcome });
            }
            Output::Complete { completed, commit } => {
                let checkpoint = completed.metadata.checkpoint;
                self.note_completed(&completed);
                if self.has_defect(Defect::SharedRunsDeleted) {
                    self.delete_shared_runs(checkpoint);
                }
                match self.commit(&commit) {
                    // A savepoint the job goes on after commits nothing: what it lists waits.
                    Ok(()) if commit.is_empty() => {}
                    Ok(()) => return Some(Input::Committed { checkpoint }),
                    Err(reason) => {
                        let failure = (reason, AfterFailure::Restart);
                        self.failure = self.failure.take().or(Some(failure));
                    }
                }
            }
            Output::Aborted { checkpoint, reason } => {
                tracing::warn!(%checkpoint, %reason, "given up");
                self.statistics.note_given_up();
                self.figures.checkpoint_failed();
                for door in self.doors.values() {
                    door.tell(TaskCommand::Abort(checkpoint));
                }
            }
            Output::Answer { request, answer } => {
                if request == FINAL {
                    self.concluded = Some(answer.map(|completed| completed.metadata.checkpoint));
                } else {
                    let trouble = self.failure.as_ref().map(|(reason, _)| reason.as_str());
                    let ended_by = self.requests.answered(request, answer, trouble);
                    self.ended_by = self.ended_by.take().or(ended_by);
                }
            }
            Output::Discard(withdrawn) => self.withdraw(&withdrawn),
            Output::RollBack {
                tasks,
                withdrawn,
                after,
            } => self.take_back(&tasks, &withdrawn, after),
            Output::Refused { checkpoint, why } => tracing::debug!(%checkpoint, %why, "refused"),
            Output::Leftover(error) => tracing::warn!(%error, "left behind"),
            Output::FailJob { reason, then } => {
                self.failure = self.failure.take().or(Some((reason, then)));
            }
        }
        None
    }

    fn note_completed(&mut self, completed: &Completed) {
        let checkpoint = completed.metadata.checkpoint;
        let (ms, bytes) = (completed.duration_ms, completed.bytes_written);
        let in_flight = completed.bytes_in_flight;
        tracing::info!(%checkpoint, ms, bytes, in_flight, "completed");
        self.statistics.note_completed(CompletedCheckpoint {
            checkpoint,
            duration: Duration::from_millis(ms),
            bytes_written: bytes,
            bytes_in_flight: in_flight,
        });
        let files = completed.metadata.files();
        self.figures.checkpoint_completed(LastCheckpoint {
            duration_ms: ms,
            bytes_written: bytes,
            bytes: files.values().map(|file| file.bytes).sum(),
            completed_ms: self.ground.wall_ms(),
        });
    }

    fn passes(&self, point: Option<CrashPoint>) {
        if let Some(point) = point {
            self.ground.passes(point);
        }
    }

    fn trigger(
        &self,
        checkpoint: CheckpointId,
        kind: CutKind,
        stop: Option<bool>,
        tasks: BTreeSet<SubtaskId>,
    ) {
        let barrier = Barrier {
            checkpoint,
            epoch: Epoch(u64::from(self.first_attempt.0)),
            kind: match kind {
                CutKind::Changes => BarrierKind::Changes,
                CutKind::Everything => BarrierKind::Everything,
                CutKind::Copy => BarrierKind::Copy,
            },
            // A savepoint holds nothing in flight: a changed program can start from it.
            overtakes_at: (self.settings.overtakes_after_ms)
                .filter(|_| kind != CutKind::Copy)
                .map(|after| match after {
                    0 => 0,
                    after => self
                        .ground
                        .now_ns()
                        .saturating_add(after.saturating_mul(1_000_000)),
                }),
        };
        let stop = stop.map(|drain| match drain {
            true => Drain::Everything,
            false => Drain::Nothing,
        });
        for task in tasks {
            if let Some(door) = self.doors.get(&task) {
                door.tell(TaskCommand::Trigger { barrier, stop });
            }
        }
    }

    /// Commits what a completed checkpoint lists, oldest first.
    pub(super) fn commit(&mut self, list: &[PendingCommittable]) -> Result<(), String> {
        for (operator, prepared) in by_operator(list) {
            let Some(committer) = self.committers.get_mut(&operator) else {
                if self.settings.ignore_unclaimed {
                    tracing::warn!(%operator, "the program has no such sink: what it prepared stays as it is");
                    continue;
                }
                return Err(format!(
                    "the checkpoint lists output of the sink {operator}, which the program does not \
                     have: give the sink the uid it had, or set \
                     execution.state-recovery.ignore-unclaimed-state to leave that output hidden"
                ));
            };
            self.ground.passes(CrashPoint::BeforeCommit);
            let committed = committer.commit(&prepared);
            self.ground.passes(CrashPoint::AfterCommit);
            committed.map_err(|error| format!("output could not be made visible: {error}"))?;
        }
        Ok(())
    }

    /// Removes what will never be committed.
    fn withdraw(&mut self, list: &[PendingCommittable]) {
        for (operator, prepared) in by_operator(list) {
            let Some(committer) = self.committers.get_mut(&operator) else {
                continue;
            };
            if let Err(error) = committer.abort(&prepared) {
                tracing::warn!(%operator, %error, "left something behind");
            }
        }
    }
}

/// A list of committables by sink, each in its order.
pub(super) fn by_operator(list: &[PendingCommittable]) -> BTreeMap<OperatorId, Vec<Committable>> {
    let mut sorted: BTreeMap<OperatorId, Vec<Committable>> = BTreeMap::new();
    for pending in list {
        let of_sink = sorted.entry(pending.operator).or_default();
        of_sink.push(Committable(pending.bytes.clone()));
    }
    sorted
}

/// Who commits the output of each sink.
fn committers_of(job: &Job) -> BTreeMap<OperatorId, Box<dyn Committer>> {
    let vertices = job.vertices.iter().zip(&job.graph.vertices);
    let of_vertex = |(vertex, description): (
        &thalweg_dataflow::graph::JobVertex,
        &thalweg_dataflow::graph::VertexDescription,
    )| {
        let committer = vertex.sink.as_ref()?.committer()?;
        Some((*description.operator_ids().last()?, committer))
    };
    vertices.filter_map(of_vertex).collect()
}

/// The vertices of a job as checkpoints see them.
pub(super) fn shapes_of(job: &Job) -> Vec<VertexShape> {
    let shape = |description: &thalweg_dataflow::graph::VertexDescription| {
        let names = description
            .operators
            .iter()
            .map(|operator| operator.name.clone());
        VertexShape {
            vertex: thalweg_core::ids::VertexId(description.id),
            name: description.name.clone(),
            parallelism: description.parallelism,
            max_parallelism: job.max_parallelism.get(),
            operators: description.operator_ids().into_iter().zip(names).collect(),
        }
    };
    job.graph.vertices.iter().map(shape).collect()
}

/// A job that cannot begin.
pub(super) fn refused(message: impl std::fmt::Display) -> JobError {
    JobError::rejected(ErrorKind::Invalid, message.to_string())
}
