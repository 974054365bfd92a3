//! One request to a running job: what is asked for, and the way back to whoever asked.
//!
//! Made by the job's control, taken and answered by the control thread. Invariants: a request is answered once, also by
//! being dropped; whether whoever asked still waits can be told at any time. Lives on any thread.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use thalweg_core::ids::CheckpointId;

/// Why a request to a job was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestRefused {
    /// What, why and how to mend it.
    pub message: String,
}

impl RequestRefused {
    /// There is nobody any more who could do it.
    pub(crate) fn ended() -> Self {
        let message = "the job has ended".to_owned();
        Self { message }
    }
}

/// What a checkpoint that is asked for is to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CheckpointType {
    /// What those hold that are taken by themselves: what has changed, and the files of those before.
    #[default]
    Configured,
    /// The whole state, in files of its own but for files that state on disk consists of.
    Full,
}

/// A checkpoint or savepoint that was asked for, and is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenCheckpoint {
    /// Its number, which no other of the job has.
    pub id: CheckpointId,
    /// Its directory, or address in an object store.
    pub path: String,
}

/// What is asked for. Savepoints are made as a new directory in `directory`, or where
/// `execution.checkpointing.savepoint-dir` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobWish {
    /// A checkpoint, as those that are taken by themselves.
    Checkpoint {
        /// What it is to hold.
        kind: CheckpointType,
    },
    /// A savepoint; the job goes on.
    Savepoint {
        /// In which directory.
        directory: Option<String>,
    },
    /// A savepoint, and then the end of the job.
    Stop {
        /// In which directory.
        directory: Option<String>,
        /// Whether windows and timers fire first, as at the end of all input.
        drain: bool,
    },
}

/// A request on its way to the control thread. One that is dropped is answered as not granted.
#[derive(Debug)]
pub struct JobRequest {
    /// What is asked for.
    pub wish: JobWish,
    answer: Option<SyncSender<Result<TakenCheckpoint, RequestRefused>>>,
    /// Lives as long as whoever asked waits.
    waits: Weak<()>,
}

impl JobRequest {
    /// A request, and where it will be answered.
    pub(crate) fn new(wish: JobWish) -> (JobRequest, Answered) {
        let (answer, answered) = sync_channel(1);
        let waits = Arc::new(());
        let request = JobRequest {
            wish,
            answer: Some(answer),
            waits: Arc::downgrade(&waits),
        };
        (
            request,
            Answered {
                answered,
                _waits: waits,
            },
        )
    }

    /// Whether whoever asked has gone.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.waits.strong_count() == 0
    }

    /// Tells who asked where the savepoint or checkpoint is, or why there is none.
    pub fn answer(mut self, answer: Result<TakenCheckpoint, String>) {
        self.tell(answer.map_err(|message| RequestRefused { message }));
    }

    fn tell(&mut self, answer: Result<TakenCheckpoint, RequestRefused>) {
        if let Some(who) = self.answer.take() {
            // Whoever asked may have gone; what was done is done all the same.
            let _ = who.send(answer);
        }
    }
}

impl Drop for JobRequest {
    fn drop(&mut self) {
        self.tell(Err(RequestRefused::ended()));
    }
}

/// Where a request is answered. Whoever drops it has gone: a request that was not begun by then is not carried out.
#[derive(Debug)]
pub struct Answered {
    answered: Receiver<Result<TakenCheckpoint, RequestRefused>>,
    _waits: Arc<()>,
}

impl Answered {
    /// Waits for the answer.
    ///
    /// # Errors
    /// Why the request was not granted.
    pub fn wait(self) -> Result<TakenCheckpoint, RequestRefused> {
        let answer = self.answered.recv();
        answer.unwrap_or_else(|_| Err(RequestRefused::ended()))
    }

    /// Waits so long for the answer; None if it has not come. It comes once.
    #[must_use]
    pub fn wait_for(&self, patience: Duration) -> Option<Result<TakenCheckpoint, RequestRefused>> {
        match self.answered.recv_timeout(patience) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(RequestRefused::ended())),
        }
    }
}
