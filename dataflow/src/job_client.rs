//! A job that runs while its program goes on.
//!
//! Answered by [`Environment::execute_async`](crate::Environment::execute_async). Lives on any thread.
//! Invariant: the outcome of the job is answered once, to whoever waits for it.

use std::sync::mpsc::Receiver;

use thalweg_core::error::ErrorKind;
use thalweg_core::ids::JobId;

use crate::executor::{JobError, JobResult};
use crate::job_control::{JobControl, JobStatus};
use crate::job_request::{CheckpointType, RequestRefused, TakenCheckpoint};

/// A running job: what may be asked of it, and its outcome.
///
/// A client that is dropped lets the job run on; a process that ends takes its local jobs with it, so wait
/// for them before `main` returns.
#[must_use = "the job ends with its process: wait for it"]
pub struct JobClient {
    control: JobControl,
    outcome: Receiver<Result<JobResult, JobError>>,
}

impl JobClient {
    /// The client of a job whose outcome will be sent once.
    pub fn new(control: JobControl, outcome: Receiver<Result<JobResult, JobError>>) -> Self {
        Self { control, outcome }
    }

    /// What other threads may ask the job by.
    #[must_use]
    pub fn control(&self) -> &JobControl {
        &self.control
    }

    /// The job's identity.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.control.id()
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        self.control.status()
    }

    /// Takes a checkpoint now; see [`JobControl::checkpoint`].
    ///
    /// # Errors
    /// As there.
    pub fn trigger_checkpoint(
        &self,
        kind: CheckpointType,
    ) -> Result<TakenCheckpoint, RequestRefused> {
        self.control.checkpoint(kind)
    }

    /// Takes a savepoint; see [`JobControl::savepoint`].
    ///
    /// # Errors
    /// As there.
    pub fn trigger_savepoint(&self, directory: Option<&str>) -> Result<String, RequestRefused> {
        self.control.savepoint(directory)
    }

    /// Ends the job by a savepoint; see [`JobControl::stop`].
    ///
    /// # Errors
    /// As there.
    pub fn stop_with_savepoint(
        &self,
        directory: Option<&str>,
        drain: bool,
    ) -> Result<String, RequestRefused> {
        self.control.stop(directory, drain)
    }

    /// Tells the job to stop at once. Does not wait.
    pub fn cancel(&self) {
        self.control.cancel();
    }

    /// Waits for the end of the job.
    ///
    /// # Errors
    /// Why the job failed, or that it was cancelled.
    pub fn wait(self) -> Result<JobResult, JobError> {
        let lost = |_| {
            let what = "the thread that led the job died; this is a defect of the engine";
            Err(JobError::rejected(ErrorKind::Internal, what))
        };
        self.outcome.recv().unwrap_or_else(lost)
    }
}
