//! What the coordinator is told and what it answers.
//!
//! Plain data between the coordinator and its driver, on the control thread. Everything from tasks carries
//! the attempt it belongs to, so that what comes late from an attempt that is over is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use thalweg_core::ids::{AttemptId, CheckpointId, SubtaskId};
use thalweg_state::CutKind;
use thalweg_state::snapshot::TaskSnapshot;

use super::metadata::{CheckpointMetadata, PendingCommittable};
use super::storage::{Location, StorageCommand, StorageError};
use super::tasks::VertexShape;
use super::trigger::RequestId;

/// Names one storage command, so that its outcome finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(
    /// The bare number.
    pub u64,
);

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A checkpoint now; `full` if its runs are to hold the whole state.
    Checkpoint {
        /// Whether its runs hold the whole state.
        full: bool,
    },
    /// A savepoint in this directory, which must not be there yet.
    Savepoint {
        /// Its directory.
        directory: Location,
    },
    /// A savepoint in this directory, and then the end of the job.
    Stop {
        /// Its directory.
        directory: Location,
        /// Whether windows and timers fire first, as at the end of all input.
        drain: bool,
    },
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// All its input was read, or it was stopped with a savepoint.
    Finished,
    /// Somebody cancelled it.
    Cancelled,
    /// The process it ran in was asked to end.
    Interrupted,
    /// It failed and does not start again.
    Failed,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// All tasks of an attempt run.
    Running {
        /// The attempt.
        attempt: AttemptId,
        /// Its vertices.
        vertices: Vec<VertexShape>,
    },
    /// These tasks of the attempt that is about to run read again what was in flight: until they have, no checkpoint
    /// starts.
    Replaying {
        /// The tasks.
        tasks: BTreeSet<SubtaskId>,
    },
    /// A task has read again all that was in flight.
    Replayed {
        /// The attempt of the task.
        attempt: AttemptId,
        /// The task.
        task: SubtaskId,
    },
    /// A task answered: all it wrote is durable.
    Receipt {
        /// The attempt of the task.
        attempt: AttemptId,
        /// What it wrote.
        snapshot: TaskSnapshot,
    },
    /// A task cannot answer.
    Declined {
        /// The attempt of the task.
        attempt: AttemptId,
        /// The task.
        task: SubtaskId,
        /// The checkpoint it was asked for.
        checkpoint: CheckpointId,
        /// Why.
        reason: String,
    },
    /// A task reached the end of its input, and what it prepared is durable.
    TaskFinished {
        /// The attempt of the task.
        attempt: AttemptId,
        /// The task.
        task: SubtaskId,
        /// What of it must be part of every later checkpoint, and what it prepared since its last answer.
        last: Option<TaskSnapshot>,
    },
    /// A task of the attempt failed, or the job is being restarted for another reason: tasks are being
    /// cancelled.
    Failing {
        /// The attempt.
        attempt: AttemptId,
        /// Why, for those who wait for a checkpoint.
        reason: String,
    },
    /// No task runs any more: nobody writes files.
    Stopped,
    /// Some tasks are being cancelled, to begin again while the others run on.
    RegionFailing {
        /// The attempt of the job.
        attempt: AttemptId,
        /// The tasks.
        tasks: BTreeSet<SubtaskId>,
        /// Why, for those who wait for a checkpoint.
        reason: String,
    },
    /// These tasks have gone, and all they said was told before.
    RegionStopped {
        /// The tasks.
        tasks: BTreeSet<SubtaskId>,
    },
    /// These tasks run again.
    RegionRunning {
        /// Their own attempt: they write files under this number.
        attempt: AttemptId,
        /// The tasks.
        tasks: BTreeSet<SubtaskId>,
        /// Those that read again what was in flight: until they have, no checkpoint starts.
        replaying: BTreeSet<SubtaskId>,
    },
    /// Somebody wants something.
    Wanted {
        /// Who.
        request: RequestId,
        /// What.
        wanted: Wanted,
    },
    /// Whoever wanted something waits for it no more: it is not begun.
    Withdrawn {
        /// Who.
        request: RequestId,
    },
    /// Storage performed a command.
    Stored {
        /// Which.
        ticket: Ticket,
        /// How it went.
        outcome: Result<(), StorageError>,
    },
    /// All that a checkpoint listed is committed.
    Committed {
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// The job is over; no task runs any more.
    Ended(JobEnd),
}

/// A checkpoint that became true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// What it is.
    pub metadata: Arc<CheckpointMetadata>,
    /// Its directory.
    pub directory: Location,
    /// From the trigger until it was true, in ms.
    pub duration_ms: u64,
    /// Bytes that tasks wrote for it.
    pub bytes_written: u64,
    /// Of these, bytes of records in flight.
    pub bytes_in_flight: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tell these tasks to take part. Sources send a barrier between two turns; a task all of whose inputs
    /// have ended answers at once; others wait for the barrier.
    Trigger {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// What runs are to hold.
        kind: CutKind,
        /// Whether sources stop after the barrier; `Some(true)` if they say first that nothing more comes.
        stop: Option<bool>,
        /// The tasks.
        tasks: BTreeSet<SubtaskId>,
    },
    /// Perform this, in the order of the outputs, and feed the outcome back.
    Store {
        /// Names the command.
        ticket: Ticket,
        /// What to do.
        command: StorageCommand,
    },
    /// A checkpoint is true. Tell tasks, commit what it says (oldest first, again if need be), then feed
    /// [`Input::Committed`] back, unless there was nothing to commit.
    Complete {
        /// The checkpoint.
        completed: Completed,
        /// What to commit; nothing for a savepoint the job goes on after.
        commit: Vec<PendingCommittable>,
    },
    /// A checkpoint will not become true: tell the tasks that have not answered.
    Aborted {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        reason: String,
    },
    /// Tell who asked.
    Answer {
        /// Who.
        request: RequestId,
        /// What became of it.
        answer: Result<Completed, String>,
    },
    /// This will never be committed: remove what sinks keep for it.
    Discard(Vec<PendingCommittable>),
    /// These tasks begin again: their sinks take back what they wrote since the checkpoint they go on from.
    RollBack {
        /// The tasks.
        tasks: BTreeSet<SubtaskId>,
        /// What they prepared that will never be committed.
        withdrawn: Vec<PendingCommittable>,
        /// Nothing they prepared for a checkpoint after this one is listed anywhere.
        after: CheckpointId,
    },
    /// Something came late, twice, or from an attempt that is over, and changed nothing.
    Refused {
        /// The checkpoint it was about.
        checkpoint: CheckpointId,
        /// Why.
        why: String,
    },
    /// Storage could not delete something; what may be is tried again later.
    Leftover(StorageError),
    /// The job must fail.
    FailJob {
        /// Why.
        reason: String,
        /// What may follow.
        then: AfterFailure,
    },
}

/// What may follow the failure of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// The restart strategy may start it again.
    Restart,
    /// This process must let go of the job: it does not know what is true of it.
    LetGo,
    /// This process must let go of the job: another leads it.
    Overtaken,
}
