//! How a checkpoint starts: its number, its purpose, and the tasks that must answer.
//!
//! Owned by the coordinator. A plain state machine. Invariant: numbers only go up, over all attempts and
//! leaders of a job; who must answer is settled when the checkpoint starts and only shrinks.

use std::collections::BTreeSet;

use thalweg_core::ids::{CheckpointId, SubtaskId};

use super::pending::PendingCheckpoint;
use super::settings::CheckpointSettings;
use super::storage::Location;
use super::tasks::JobTasks;

/// Tells apart those who asked for something; given by who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(
    /// The bare number.
    pub u64,
);

/// What a checkpoint is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The interval was over.
    Periodic,
    /// Somebody asked for one.
    Asked(RequestId),
    /// The user's own copy.
    Savepoint {
        /// Who asked.
        request: RequestId,
        /// Its directory.
        directory: Location,
    },
    /// The user's own copy, after which the job ends.
    Stop {
        /// Who asked.
        request: RequestId,
        /// Its directory.
        directory: Location,
        /// Whether sources say that nothing more will come, so that all windows and timers fire first.
        drain: bool,
    },
}

impl Purpose {
    /// Whether it is the user's own copy.
    #[must_use]
    pub fn is_savepoint(&self) -> bool {
        matches!(self, Purpose::Savepoint { .. } | Purpose::Stop { .. })
    }

    /// Whether the job ends after it.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        matches!(self, Purpose::Stop { .. })
    }

    /// Whether the job never goes back behind it, so that what it lists is committed: all but savepoints after which
    /// the job goes on.
    #[must_use]
    pub fn lists_for_good(&self) -> bool {
        !matches!(self, Purpose::Savepoint { .. })
    }

    /// Who waits for it.
    #[must_use]
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Purpose::Periodic => None,
            Purpose::Asked(request)
            | Purpose::Savepoint { request, .. }
            | Purpose::Stop { request, .. } => Some(*request),
        }
    }

    /// Its directory, if it is the user's own copy.
    #[must_use]
    pub fn savepoint(&self) -> Option<&Location> {
        match self {
            Purpose::Savepoint { directory, .. } | Purpose::Stop { directory, .. } => {
                Some(directory)
            }
            _ => None,
        }
    }
}

/// A moment: the monotonic clock to measure by, and the date for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// ms of the monotonic clock.
    pub ms: u64,
    /// ms since 1970 by the wall clock.
    pub wall_ms: i64,
}

/// Why a checkpoint does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    /// Some tasks have finished, and the settings want none then.
    #[error(
        "some tasks have finished, and execution.checkpointing.checkpoints-after-tasks-finish is false"
    )]
    TasksFinished,
}

/// Starts checkpoints.
#[derive(Clone, Debug)]
pub struct Trigger {
    next: CheckpointId,
    timeout_ms: u64,
    after_tasks_finish: bool,
}

impl Trigger {
    /// The next checkpoint will have this number.
    #[must_use]
    pub fn new(settings: &CheckpointSettings, next: CheckpointId) -> Trigger {
        Trigger {
            next,
            timeout_ms: settings.timeout_ms,
            after_tasks_finish: settings.after_tasks_finish,
        }
    }

    /// The number of the next one.
    #[must_use]
    pub fn next(&self) -> CheckpointId {
        self.next
    }

    /// Starts one that asks all tasks that run.
    ///
    /// # Errors
    /// Why it cannot start.
    pub fn start(
        &mut self,
        tasks: &JobTasks,
        purpose: Purpose,
        full: bool,
        now: Now,
    ) -> Result<PendingCheckpoint, NotStarted> {
        let finished: BTreeSet<SubtaskId> = tasks.finished().collect();
        // The one that ends a job asks nobody.
        if !finished.is_empty() && !tasks.running().is_empty() && !self.after_tasks_finish {
            return Err(NotStarted::TasksFinished);
        }
        let checkpoint = self.next;
        self.next = CheckpointId(checkpoint.0 + 1);
        let running = tasks.running().clone();
        let mut pending = PendingCheckpoint::new(checkpoint, purpose, running, finished);
        pending.full |= full;
        pending.started_ms = now.ms;
        pending.started_wall_ms = now.wall_ms;
        pending.deadline_ms = now.ms.saturating_add(self.timeout_ms);
        Ok(pending)
    }
}
