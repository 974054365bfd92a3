//! The checkpoints of one job: everything of this room behind one `step`.
//!
//! Owned by the control thread of the job, which drives it:
//!
//! 1. [`take_over`](super::home::takeover::take_over) the job's directory, make the coordinator;
//! 2. [`CheckpointCoordinator::restore_point`] says what to start from; deal its state out with
//!    [`assign`](super::restore::assign), commit what the plan says must be, start the tasks under
//!    the number [`CheckpointCoordinator::attempt`] gives, and feed [`Input::Running`];
//! 3. for everything that happens, and at [`CheckpointCoordinator::wake_ms`] if nothing does, call
//!    [`CheckpointCoordinator::step`] and carry its outputs out in order; storage commands with
//!    [`perform`](super::storage::perform), feeding each outcome back at once;
//! 4. when a task fails, and after [`Output::FailJob`]: [`Input::Failing`], cancel the others, [`Input::Stopped`]
//!    when all are gone, ask the restart strategy, go on at 2 with the next attempt;
//! 5. when only some tasks are to begin again, those of a region, and [`CheckpointCoordinator::may_rest`]:
//!    [`Input::RegionFailing`], cancel them, [`Input::RegionStopped`] when they are gone, deal the state of what
//!    [`CheckpointCoordinator::restore_point`] says out to them, [`Input::RegionRunning`];
//! 6. at the end of the job: [`Input::Ended`].
//!
//! A plain state machine: no I/O, no clock. Invariant: numbers only go up; at any time at most one checkpoint
//! is being made true; what is once complete is never taken back; nothing of an attempt that is over counts.

mod answers;
mod completing;
mod errands;
mod giving_up;
mod regions;
mod savepoints;
mod starting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use thalweg_core::config::CheckpointRetention;
use thalweg_core::ids::{AttemptId, CheckpointId, JobId, SubtaskId};

use self::errands::{Errand, Outlived};
pub(crate) use self::giving_up::home_goes;
use self::savepoints::Unsettled;
use super::commits::CommitLedger;
use super::complete::{Completion, Leadership};
use super::home::find::Found;
use super::home::layout::JobLayout;
use super::home::takeover::Takeover;
use super::metadata::CheckpointMetadata;
use super::metadata::model::FileFacts;
use super::pending::PendingCheckpoint;
use super::protocol::{Input, Output, Ticket, Wanted};
use super::schedule::Schedule;
use super::settings::CheckpointSettings;
use super::storage::{Location, StorageCommand};
use super::store::CheckpointStore;
use super::tasks::JobTasks;
use super::trigger::{Now, RequestId, Trigger};

/// What a job starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePoint {
    /// The checkpoint or savepoint.
    pub metadata: Arc<CheckpointMetadata>,
    /// Where its run files lie.
    pub runs: Location,
}

/// Where the job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No task runs.
    Still,
    /// All tasks run or have finished.
    Running(AttemptId),
    /// Tasks are being cancelled.
    Failing,
    /// It leads the job no more, or the job is over.
    Over,
}

/// The coordinator of one job.
#[derive(Clone, Debug)]
pub struct CheckpointCoordinator {
    job: (JobId, String),
    layout: JobLayout,
    retention: CheckpointRetention,
    /// Whether it is said for good that the job has ended.
    marks_end: bool,
    tolerable_failures: u32,
    max_concurrent: usize,
    phase: Phase,
    stopping: bool,
    /// Tasks that read again what was in flight when the job was cut.
    replaying: BTreeSet<SubtaskId>,
    /// Tasks of regions that begin again, from their failure until they run.
    resting: BTreeSet<SubtaskId>,
    schedule: Schedule,
    trigger: Trigger,
    tasks: JobTasks,
    /// The attempts there were under this leader, from the first to the last.
    attempts: Option<RangeInclusive<AttemptId>>,
    wanted: VecDeque<(RequestId, Wanted)>,
    pending: BTreeMap<CheckpointId, PendingCheckpoint>,
    /// Answered by all, waiting for those before to be made true.
    ready: BTreeMap<CheckpointId, PendingCheckpoint>,
    completing: Option<Completion>,
    /// Of checkpoints given up: who may still answer. Such an answer counts for nothing but what it prepared.
    late: BTreeMap<CheckpointId, BTreeSet<SubtaskId>>,
    ledger: CommitLedger,
    store: CheckpointStore,
    /// Checkpoints of former leaders that nobody says are true, which stay until this one has completed its first.
    unsaid: Vec<Arc<CheckpointMetadata>>,
    /// Whether former leaders had completed any.
    goes_on: bool,
    /// What the job started from, until its own first checkpoint is true; or the savepoint it was stopped by.
    foreign: Option<RestorePoint>,
    /// The savepoint by which this attempt was stopped, and what its metadata must be.
    stopped_by: Option<((CheckpointId, FileFacts), Location)>,
    /// Whole savepoints of which nobody was told yet.
    unsettled: Vec<Unsettled>,
    leadership: Leadership,
    /// The lowest pointer that has not been deleted.
    oldest_pointer: u64,
    failures: u32,
    errands: BTreeMap<Ticket, Errand>,
    garbage: Vec<StorageCommand>,
    outlived: Outlived,
    next_ticket: u64,
}

impl CheckpointCoordinator {
    /// The coordinator of a job. `restored` is what the user asked to start from: it counts if the job has no
    /// checkpoint of its own.
    #[must_use]
    pub fn new(
        settings: &CheckpointSettings,
        job: (JobId, String),
        layout: JobLayout,
        takeover: Takeover,
        restored: Option<Found>,
    ) -> CheckpointCoordinator {
        let goes_on = !takeover.kept.is_empty() || takeover.stopped_by.is_some();
        let restored = restored.filter(|_| takeover.kept.is_empty());
        let restored = takeover.stopped_by.or(restored);
        let listed = takeover.kept.last().map(|kept| kept.committables.clone());
        let base = restored.as_ref().map(|found| found.given.0 + 1);
        let next = CheckpointId(takeover.next.0.max(base.unwrap_or(0)));
        let aside = takeover.aside.iter();
        let aside = aside.map(|aside| (aside.checkpoint, aside.metadata.as_deref()));
        let mut store = CheckpointStore::new(settings.retained, takeover.kept);
        // Damaged ones stay as long as the job.
        store.keep_aside(aside);
        let unsaid = takeover.unsaid;
        store.keep_aside(unsaid.iter().map(|it| (it.checkpoint, Some(&**it))));
        CheckpointCoordinator {
            job,
            layout,
            retention: settings.retention,
            marks_end: settings.marks_end,
            tolerable_failures: settings.tolerable_failures,
            max_concurrent: settings.max_concurrent,
            phase: Phase::Still,
            stopping: false,
            replaying: BTreeSet::new(),
            resting: BTreeSet::new(),
            schedule: Schedule::new(settings),
            trigger: Trigger::new(settings, next),
            tasks: JobTasks::of(Vec::new()),
            attempts: None,
            wanted: VecDeque::new(),
            pending: BTreeMap::new(),
            ready: BTreeMap::new(),
            completing: None,
            late: BTreeMap::new(),
            ledger: CommitLedger::with(match &restored {
                Some(found) => found.metadata.committables.clone(),
                None => listed.unwrap_or_default(),
            }),
            store,
            unsaid,
            goes_on,
            foreign: restored.map(|found| RestorePoint {
                metadata: Arc::new(found.metadata),
                runs: found.runs,
            }),
            stopped_by: None,
            unsettled: Vec::new(),
            leadership: takeover.leadership,
            oldest_pointer: takeover.leadership.sequence,
            failures: 0,
            errands: BTreeMap::new(),
            garbage: Vec::new(),
            outlived: Outlived::default(),
            next_ticket: 0,
        }
    }

    /// The number of an attempt, for all that must not be mixed up with what other attempts write: `restarts`
    /// counts the attempts under this coordinator.
    #[must_use]
    pub fn attempt(&self, restarts: u32) -> AttemptId {
        self.leadership.attempt(restarts)
    }

    /// What the job starts from; `None` for nothing. Only to be asked while no storage command is being
    /// performed: one may be making a newer checkpoint true.
    #[must_use]
    pub fn restore_point(&self) -> Option<RestorePoint> {
        debug_assert!(self.completing.is_none(), "a checkpoint is being made true");
        let own = self.store.newest().map(|metadata| RestorePoint {
            metadata: Arc::clone(metadata),
            runs: self.layout.shared(),
        });
        let points = own.into_iter().chain(self.foreign.clone());
        points.max_by_key(|point| point.metadata.checkpoint)
    }

    /// When to call [`CheckpointCoordinator::step`] with [`Input::Tick`] if nothing happens before: ms of the
    /// monotonic clock.
    #[must_use]
    pub fn wake_ms(&self) -> Option<u64> {
        let deadlines = self.pending.values().map(|pending| pending.deadline_ms);
        let may = self.may_start() && !self.stop_waits() && !self.tasks.running().is_empty();
        let due = self.schedule.wake_ms(self.under_way()).filter(|_| may);
        deadlines.chain(due).min()
    }

    /// How many checkpoints have not ended.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.pending.len() + self.ready.len() + usize::from(self.completing.is_some())
    }

    /// The completed checkpoints that are kept, oldest first.
    pub fn kept(&self) -> impl Iterator<Item = &Arc<CheckpointMetadata>> {
        self.store.kept()
    }

    /// Takes in what happened and answers what is to be done, in order.
    pub fn step(&mut self, input: Input, now: Now) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Tick => {}
            Input::Running { attempt, vertices } => self.run(attempt, vertices, now),
            Input::Replaying { tasks } => self.replaying = tasks,
            Input::Replayed { attempt, task } => {
                if self.phase == Phase::Running(attempt) {
                    self.replaying.remove(&task);
                }
            }
            Input::Receipt { attempt, snapshot } => self.receipt(attempt, snapshot, now, &mut out),
            Input::Declined {
                attempt,
                task,
                checkpoint,
                reason,
            } => self.declined(attempt, task, checkpoint, &reason, now, &mut out),
            Input::TaskFinished {
                attempt,
                task,
                last,
            } => self.task_finished(attempt, task, last, &mut out),
            Input::Failing { attempt, reason } => {
                if self.phase == Phase::Running(attempt) {
                    self.stand_still(&reason, now, &mut out);
                }
            }
            Input::Stopped => {
                if matches!(self.phase, Phase::Running(_)) {
                    self.stand_still("the job stopped", now, &mut out);
                }
                if self.phase == Phase::Failing {
                    self.phase = Phase::Still;
                }
                self.clear_away(&mut out);
            }
            Input::RegionFailing {
                attempt,
                tasks,
                reason,
            } => self.region_failing(attempt, tasks, &reason, now, &mut out),
            Input::RegionStopped { tasks } => self.region_stopped(tasks, &mut out),
            Input::RegionRunning {
                attempt,
                tasks,
                replaying,
            } => self.region_running(attempt, &tasks, replaying),
            Input::Wanted { request, wanted } => self.want(request, wanted, &mut out),
            Input::Withdrawn { request } => self.withdrawn(request, &mut out),
            Input::Stored { ticket, outcome } => self.stored(ticket, outcome, now, &mut out),
            Input::Committed { checkpoint } => self.ledger.committed(checkpoint),
            Input::Ended(end) => self.end(end, now, &mut out),
        }
        self.advance(now, &mut out);
        out
    }

    /// All that follows without anything further happening.
    fn advance(&mut self, now: Now, out: &mut Vec<Output>) {
        self.expire(now, out);
        loop {
            let answered: Vec<CheckpointId> = (self.pending.values())
                .filter(|pending| pending.is_answered())
                .map(|pending| pending.checkpoint)
                .collect();
            for checkpoint in answered {
                let pending = self.pending.remove(&checkpoint);
                self.ready
                    .extend(pending.map(|pending| (checkpoint, pending)));
            }
            self.begin_completion(now, out);
            if !self.start_next(now, out) {
                break;
            }
        }
        self.dispose_of_outlived(out);
    }
}
#[cfg(test)]
mod tests;
