//! What may be asked of a running job, by whoever holds its control.
//!
//! Shared between the job's control thread, which serves requests and says how the job stands, and any other
//! thread. Invariants: every request is answered once, at the latest when the job has ended; none waits while the job
//! does not run, but for its first start; a status that is final stays. Lives on any thread.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::ids::JobId;

use crate::job_request::{
    Answered, CheckpointType, JobRequest, JobWish, RequestRefused, TakenCheckpoint,
};

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// It was accepted, and its tasks are not all on their shards.
    Created,
    /// Its tasks run.
    Running,
    /// A task of it failed, and the others are being stopped.
    Failing,
    /// It failed and waits for its next attempt, or some of its tasks do while the others run.
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

    /// Why nothing can be asked of a job that stands so, if nothing can: what is asked before its tasks run for the
    /// first time waits for them.
    fn refuses(self) -> Option<RequestRefused> {
        let message = match self {
            Self::Created | Self::Running => return None,
            Self::Failing | Self::Restarting => format!(
                "the job is {self}: it has failed, and its state can only be copied while all of its tasks run, so \
                 nothing was done. Try again when it is {}, or cancel it",
                Self::Running
            ),
            Self::Cancelling => "the job is being cancelled".to_owned(),
            Self::Finished | Self::Cancelled | Self::Failed => return Some(RequestRefused::ended()),
        };
        Some(RequestRefused { message })
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Failing => "FAILING",
            Self::Restarting => "RESTARTING",
            Self::Cancelling => "CANCELLING",
            Self::Finished => "FINISHED",
            Self::Cancelled => "CANCELED",
            Self::Failed => "FAILED",
        })
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

impl State {
    /// Takes out what the job cannot do as it stands.
    fn refused(&mut self) -> Refused {
        let why = self.status.refuses();
        let requests = why.is_some().then(|| std::mem::take(&mut self.requests));
        Refused(why.zip(requests))
    }
}

/// Requests that are refused, to be answered when nothing is locked.
struct Refused(Option<(RequestRefused, VecDeque<JobRequest>)>);

impl Refused {
    fn answer(self) {
        let Some((why, requests)) = self.0 else {
            return;
        };
        for request in requests {
            request.answer(Err(why.message.clone()));
        }
    }
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
    /// Why there is none: no directory is named anywhere, it cannot be written, a task declined or failed, or the job
    /// has ended. A job that has failed and waits to begin again, or of which some tasks do
    /// ([`JobStatus::Failing`], [`JobStatus::Restarting`]), refuses at once: try again when it is
    /// [`JobStatus::Running`]. One that was just accepted ([`JobStatus::Created`]) is waited for.
    pub fn savepoint(&self, directory: Option<&str>) -> Result<String, RequestRefused> {
        let directory = directory.map(str::to_owned);
        self.take(JobWish::Savepoint { directory })
    }

    /// Takes a savepoint below `directory` and ends the job by it, and waits until the savepoint is complete
    /// and all output up to it is visible. Answers its path. With `drain`, windows and event-time timers fire
    /// first, as at the end of all input: to be used when the job is not to go on.
    ///
    /// # Errors
    /// As [`JobControl::savepoint`]. If it fails after sources have stopped, the job begins again, if its restart
    /// strategy allows.
    pub fn stop(&self, directory: Option<&str>, drain: bool) -> Result<String, RequestRefused> {
        let directory = directory.map(str::to_owned);
        self.take(JobWish::Stop { directory, drain })
    }

    /// Takes a checkpoint now, and waits for it. The job goes on.
    ///
    /// It is a checkpoint like those that are taken by themselves: it lies where they do, is kept and deleted as they
    /// are, what it lists is committed, `execution.state-recovery.path: latest` finds it, and one that fails counts for
    /// `execution.checkpointing.tolerable-failed-checkpoints`. It waits until fewer than
    /// `execution.checkpointing.max-concurrent-checkpoints` are under way; the interval and the pause between two
    /// (`execution.checkpointing.min-pause`) do not hold it back, but the pause counts from its end.
    ///
    /// # Errors
    /// Why there is none: the job was started without `execution.checkpointing.dir`, a task declined or failed, it was
    /// not answered by all tasks in `execution.checkpointing.timeout`, it could not be written, or the job has ended. A
    /// job that does not run refuses as for [`JobControl::savepoint`].
    pub fn checkpoint(&self, kind: CheckpointType) -> Result<TakenCheckpoint, RequestRefused> {
        self.put(JobWish::Checkpoint { kind })?.wait()
    }

    fn take(&self, wish: JobWish) -> Result<String, RequestRefused> {
        self.put(wish)?.wait().map(|taken| taken.path)
    }

    /// Tells the job to stop at once. Does not wait. Whatever else is asked of it is refused.
    pub fn cancel(&self) {
        let mut state = self.state();
        if state.status.is_terminal() {
            return;
        }
        state.cancel = true;
        state.status = JobStatus::Cancelling;
        let refused = state.refused();
        drop(state);
        refused.answer();
    }

    /// Asks for something and does not wait: the answer comes out of what is answered here, in time. Whoever drops that
    /// has gone: what was not begun by then is not done.
    ///
    /// # Errors
    /// When the job can do nothing as it stands: see [`JobControl::savepoint`].
    pub fn put(&self, wish: JobWish) -> Result<Answered, RequestRefused> {
        let mut state = self.state();
        if let Some(refused) = state.status.refuses() {
            return Err(refused);
        }
        let (request, answered) = JobRequest::new(wish);
        state.requests.push_back(request);
        Ok(answered)
    }

    /// For the control thread: the next request that somebody waits for.
    #[must_use]
    pub fn take_request(&self) -> Option<JobRequest> {
        let requests = &mut self.state().requests;
        std::iter::from_fn(|| requests.pop_front()).find(|request| !request.is_withdrawn())
    }

    /// For the control thread: whether the job was told to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.state().cancel
    }

    /// For the control thread: how the job stands now. One that is being cancelled only ends. Requests that it cannot
    /// do as it stands are answered so.
    pub fn is_now(&self, status: JobStatus) {
        let mut state = self.state();
        let stays = match state.status {
            JobStatus::Cancelling => !status.is_terminal(),
            before => before.is_terminal(),
        };
        if !stays {
            state.status = status;
        }
        let refused = state.refused();
        drop(state);
        refused.answer();
    }

    /// For the control thread: the job has ended so. Requests that wait are answered.
    pub fn ended(&self, status: JobStatus) {
        debug_assert!(status.is_terminal(), "{status} is no end");
        self.is_now(status);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use thalweg_core::ids::CheckpointId;

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
                    let (id, path) = (CheckpointId(1), "/s/savepoint-1".to_owned());
                    request.answer(Ok(TakenCheckpoint { id, path }));
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
        let refused = control.savepoint(None).unwrap_err();
        assert_eq!(refused.message, "the job is being cancelled");
        control.ended(JobStatus::Cancelled);
        control.ended(JobStatus::Failed);
        control.is_now(JobStatus::Restarting);
        control.cancel();
        assert_eq!(control.status(), JobStatus::Cancelled);
        assert!(control.stop(None, false).is_err());
    }

    const SAVEPOINT: JobWish = JobWish::Savepoint { directory: None };

    #[test]
    fn a_job_that_does_not_run_refuses_at_once_what_is_asked_and_what_waited() {
        for status in [JobStatus::Failing, JobStatus::Restarting] {
            let control = JobControl::new(JobId(1), "job");
            let before_its_first_start = control.put(SAVEPOINT).unwrap();
            assert_eq!(before_its_first_start.wait_for(Duration::ZERO), None);
            control.is_now(JobStatus::Running);
            assert_eq!(before_its_first_start.wait_for(Duration::ZERO), None);
            control.is_now(status);
            let waited = before_its_first_start.wait_for(Duration::ZERO);
            let waited = waited.unwrap().unwrap_err();
            let asked = control.stop(None, false).unwrap_err();
            assert_eq!(waited, asked);
            let text = asked.to_string();
            assert!(text.contains(&format!("the job is {status}")), "{text}");
            assert!(text.contains("Try again when it is RUNNING"), "{text}");
            assert!(control.take_request().is_none());
            control.is_now(JobStatus::Running);
            let again = control.put(SAVEPOINT).unwrap();
            assert_eq!(control.take_request().unwrap().wish, SAVEPOINT);
            assert!(again.wait().is_err(), "it was dropped");
        }
    }

    #[test]
    fn who_has_gone_is_served_no_more_and_whoever_asked_after_it_is() {
        let control = JobControl::new(JobId(1), "job");
        control.is_now(JobStatus::Running);
        let gone = control.put(SAVEPOINT).unwrap();
        let stop = JobWish::Stop {
            directory: None,
            drain: false,
        };
        let waits = control.put(stop.clone()).unwrap();
        drop(gone);
        let taken = control.take_request().unwrap();
        assert_eq!(taken.wish, stop);
        assert!(!taken.is_withdrawn());
        assert!(control.take_request().is_none());
        drop(waits);
        assert!(taken.is_withdrawn());
    }

    #[test]
    fn whatever_waits_is_refused_when_the_job_is_cancelled() {
        let control = JobControl::new(JobId(1), "job");
        control.is_now(JobStatus::Running);
        let waits: Vec<Answered> = (0..100).map(|_| control.put(SAVEPOINT).unwrap()).collect();
        control.cancel();
        assert!(control.is_cancelled());
        for waits in waits {
            let refused = waits.wait_for(Duration::ZERO).unwrap().unwrap_err();
            assert_eq!(refused.message, "the job is being cancelled");
        }
    }
}
