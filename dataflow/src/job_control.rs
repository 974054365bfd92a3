//! What may be asked of a running job, by whoever holds its control.
//!
//! Shared between the job's control thread, which serves requests and says how the job stands, and any other
//! thread. Invariants: every request is answered once, at the latest when the job has ended; a status that is
//! final stays. Lives on any thread.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::ids::JobId;

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// It was accepted, and its tasks are not all on their shards.
    Created,
    /// Its tasks run.
    Running,
    /// It failed and waits for its next attempt.
    Restarting,
    /// It was told to stop, and its tasks have not all stopped.
    Cancelling,
    /// It came to its end, or was stopped with a savepoint.
    Finished,
    /// It was stopped before its end.
    Cancelled,
    /// It failed for good.
    Failed,
}

impl JobStatus {
    /// Whether the life of the job is over.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Failed)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Restarting => "RESTARTING",
            Self::Cancelling => "CANCELLING",
            Self::Finished => "FINISHED",
            Self::Cancelled => "CANCELED",
            Self::Failed => "FAILED",
        })
    }
}

/// Why a request to a job was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestRefused {
    /// What, why and how to mend it.
    pub message: String,
}

/// What is asked for. Savepoints are made as a new directory in `directory`, or where
/// `execution.checkpointing.savepoint-dir` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobWish {
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
    answer: Option<SyncSender<Result<String, RequestRefused>>>,
}

impl JobRequest {
    /// Tells who asked where the savepoint is, or why there is none.
    pub fn answer(mut self, answer: Result<String, String>) {
        self.tell(answer);
    }

    fn tell(&mut self, answer: Result<String, String>) {
        if let Some(who) = self.answer.take() {
            // Whoever asked may have gone; what was done is done all the same.
            let _ = who.send(answer.map_err(|message| RequestRefused { message }));
        }
    }
}

impl Drop for JobRequest {
    fn drop(&mut self) {
        self.tell(Err("the job has ended".to_owned()));
    }
}

/// The way to a running job. Clones lead to the same job.
///
/// ```
/// use thalweg_core::ids::JobId;
/// use thalweg_dataflow::executor::{JobControl, JobStatus};
/// let control = JobControl::new(JobId(7), "words");
/// assert_eq!(control.status(), JobStatus::Created);
/// control.ended(JobStatus::Finished);
/// let refused = control.savepoint(None).unwrap_err();
/// assert_eq!(refused.to_string(), "the job has ended");
/// ```
#[derive(Clone)]
pub struct JobControl(Arc<Shared>);

struct Shared {
    id: JobId,
    name: String,
    state: Mutex<State>,
}

struct State {
    status: JobStatus,
    cancel: bool,
    requests: VecDeque<JobRequest>,
}

impl JobControl {
    /// The control of a job that was just accepted.
    #[must_use]
    pub fn new(id: JobId, name: impl Into<String>) -> Self {
        let state = State {
            status: JobStatus::Created,
            cancel: false,
            requests: VecDeque::new(),
        };
        Self(Arc::new(Shared {
            id,
            name: name.into(),
            state: Mutex::new(state),
        }))
    }

    /// The job's identity, which no other job has.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.0.id
    }

    /// How its user calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        self.state().status
    }

    /// Takes a savepoint below `directory`, and waits for it. Answers its path. The job goes on.
    ///
    /// Where sinks had prepared output, a checkpoint follows it at once and is waited for too: what the savepoint lists
    /// is committed then, so that it can be restored whatever becomes of the job.
    ///
    /// # Errors
    /// Why there is none: no directory is named anywhere, it cannot be written, a task declined, or the job
    /// has ended.
    pub fn savepoint(&self, directory: Option<&str>) -> Result<String, RequestRefused> {
        let directory = directory.map(str::to_owned);
        self.ask(JobWish::Savepoint { directory })
    }

    /// Takes a savepoint below `directory` and ends the job by it, and waits until the savepoint is complete
    /// and all output up to it is visible. Answers its path. With `drain`, windows and event-time timers fire
    /// first, as at the end of all input: to be used when the job is not to go on.
    ///
    /// # Errors
    /// As [`JobControl::savepoint`]. Sources have then stopped, so the job begins again, if its restart
    /// strategy allows.
    pub fn stop(&self, directory: Option<&str>, drain: bool) -> Result<String, RequestRefused> {
        let directory = directory.map(str::to_owned);
        self.ask(JobWish::Stop { directory, drain })
    }

    /// Tells the job to stop at once. Does not wait.
    pub fn cancel(&self) {
        let mut state = self.state();
        if !state.status.is_terminal() {
            state.cancel = true;
            state.status = JobStatus::Cancelling;
        }
    }

    fn ask(&self, wish: JobWish) -> Result<String, RequestRefused> {
        let ended = || RequestRefused {
            message: "the job has ended".to_owned(),
        };
        let answered = self.put(wish).ok_or_else(ended)?;
        answered.recv().unwrap_or_else(|_| Err(ended()))
    }

    /// Asks for something and does not wait: the answer comes out of what is answered here, in time. None if the job
    /// has ended.
    #[must_use]
    pub fn put(&self, wish: JobWish) -> Option<Receiver<Result<String, RequestRefused>>> {
        let (answer, answered) = sync_channel(1);
        let request = JobRequest {
            wish,
            answer: Some(answer),
        };
        let mut state = self.state();
        if state.status.is_terminal() {
            return None;
        }
        state.requests.push_back(request);
        Some(answered)
    }

    /// For the control thread: the next request.
    #[must_use]
    pub fn take_request(&self) -> Option<JobRequest> {
        self.state().requests.pop_front()
    }

    /// For the control thread: whether the job was told to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.state().cancel
    }

    /// For the control thread: how the job stands now. One that is being cancelled only ends.
    pub fn is_now(&self, status: JobStatus) {
        let mut state = self.state();
        let stays = state.status.is_terminal() || state.status == JobStatus::Cancelling;
        if !stays || status.is_terminal() {
            state.status = status;
        }
    }

    /// For the control thread: the job has ended so. Requests that wait are answered.
    pub fn ended(&self, status: JobStatus) {
        debug_assert!(status.is_terminal(), "{status} is no end");
        self.is_now(status);
        let requests = std::mem::take(&mut self.state().requests);
        drop(requests);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the other end is another thread")]
    fn a_request_is_answered_by_whoever_takes_it_or_by_the_end() {
        let control = JobControl::new(JobId(1), "job");
        let served = control.clone();
        let serve = move || {
            let mut seen = Vec::new();
            while seen.len() < 2 {
                let Some(request) = served.take_request() else {
                    std::thread::yield_now();
                    continue;
                };
                seen.push(request.wish.clone());
                if seen.len() == 1 {
                    request.answer(Ok("/s/savepoint-1".to_owned()));
                }
            }
            seen
        };
        let thread = std::thread::Builder::new().spawn(serve).unwrap();
        let first = control.savepoint(Some("/s")).unwrap();
        assert_eq!(first, "/s/savepoint-1");
        let second = control.stop(None, true).unwrap_err();
        assert_eq!(second.message, "the job has ended");
        let directory = Some("/s".to_owned());
        let stop = JobWish::Stop {
            directory: None,
            drain: true,
        };
        assert_eq!(
            thread.join().unwrap(),
            [JobWish::Savepoint { directory }, stop]
        );
    }

    #[test]
    fn an_end_is_final_and_a_job_that_is_being_cancelled_only_ends() {
        let control = JobControl::new(JobId(1), "job");
        control.is_now(JobStatus::Running);
        control.cancel();
        control.is_now(JobStatus::Running);
        assert_eq!(control.status(), JobStatus::Cancelling);
        assert!(control.is_cancelled());
        control.ended(JobStatus::Cancelled);
        control.is_now(JobStatus::Restarting);
        control.cancel();
        assert_eq!(control.status(), JobStatus::Cancelled);
        assert!(control.stop(None, false).is_err());
    }
}
