//! The whole cluster in one process.
//!
//! Entered through [`LocalExecutor`], an executor of the dataflow crate. The calling thread, or one that is
//! started for the job, is the control thread: it lays the job out, starts the shards, takes checkpoints,
//! commits, serves what is asked of the job, and after a failure begins again. Nothing of a job outlives the
//! control thread's call but its checkpoints and savepoints.

mod attempts;
mod cancel;
mod checkpointing;
mod connector_runtime;
mod coordination;
mod deploy;
mod failover;
mod ground;
mod layout;
mod memory;
mod metrics;
mod outcome;
mod plan;
mod planted;
mod recovery;
mod requests;
mod spill;
mod staging;

pub use cancel::CancelToken;

pub use ground::SimulatedExecutor;
pub use metrics::{MetricsReader, MetricsSnapshot};
pub use thalweg_dataflow::checkpoint::CrashPoint;

use std::sync::mpsc::sync_channel;
use std::thread;

use thalweg_core::config::options;
use thalweg_core::error::ErrorKind;
use thalweg_core::ids::JobId;
use thalweg_core::seam::clock::entropy;
use thalweg_dataflow::checkpoint::CrashListener;
use thalweg_dataflow::executor::{Executor, JobClient, JobControl, JobError, JobResult, JobStatus};
use thalweg_dataflow::graph::Job;

use self::attempts::Attempts;

use self::ground::Process;
use self::metrics::JobFigures;

/// Runs jobs on shards of this process.
#[derive(Clone, Default)]
pub struct LocalExecutor {
    cancel: CancelToken,
    metrics: MetricsReader,
    listener: CrashListener,
}

impl LocalExecutor {
    /// An executor whose jobs stop when the token is cancelled.
    pub fn new(cancel: CancelToken) -> Self {
        Self {
            cancel,
            metrics: MetricsReader::new(),
            listener: CrashListener::default(),
        }
    }

    /// The same, which tells a listener of the points at which a crash is most dangerous, on the thread that comes there:
    /// the control thread, or that of a shard. For tests that end their process there.
    pub fn with_crash_points(
        mut self,
        listener: impl Fn(CrashPoint) + Send + Sync + 'static,
    ) -> Self {
        self.listener = CrashListener::new(listener);
        self
    }

    /// The same, with the metrics of the running job open to the reader: one job at a time.
    pub fn with_metrics(mut self, reader: MetricsReader) -> Self {
        self.metrics = reader;
        self
    }
}

/// The control of a job that is about to run, under the identity its user gave it, else one of its own.
#[must_use]
pub fn control_of(job: &Job) -> JobControl {
    let identity = job.configuration.get(&options::JOB_IDENTITY);
    let drawn = || JobId(u128::from(entropy()) << 64 | u128::from(entropy()));
    let id = identity.map_or_else(drawn, |identity| JobId::of_identity(&identity));
    JobControl::new(id, &*job.graph.name)
}

impl LocalExecutor {
    /// Runs the job to its end on this thread, and serves what is asked of it through `control`.
    ///
    /// # Errors
    /// As [`Executor::execute`].
    pub fn run(&self, job: &Job, control: &JobControl) -> Result<JobResult, JobError> {
        let ground = Process::new(&self.metrics, &self.listener);
        let _over = Over(control);
        let figures = JobFigures::of(&job.graph.name);
        let _shown = self.metrics.show(&figures);
        let attempts = Attempts::of(job, self.cancel.narrower(), &ground, control, figures);
        let result = attempts.and_then(Attempts::run);
        control.ended(status_at_end(&result));
        result
    }
}

impl Executor for LocalExecutor {
    fn execute(&self, job: Job) -> Result<JobResult, JobError> {
        self.run(&job, &control_of(&job))
    }

    fn submit(&self, job: Job) -> Result<JobClient, JobError> {
        let executor = self.clone();
        beside(control_of(&job), move |control| executor.run(&job, control))
    }
}

fn status_at_end(result: &Result<JobResult, JobError>) -> JobStatus {
    match result {
        Ok(_) | Err(JobError::Ended { .. }) => JobStatus::Finished,
        Err(JobError::Cancelled { .. }) => JobStatus::Cancelled,
        Err(_) => JobStatus::Failed,
    }
}

/// Whoever leads a job has it end at the latest when this is dropped, though it panics: nobody would answer what is
/// asked of it any more. A job that has ended otherwise did so.
struct Over<'c>(&'c JobControl);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.ended(JobStatus::Failed);
    }
}

/// Leads a job on a thread of its own, by `lead`, which runs it to its end. However that ends, the job has ended then.
///
/// # Errors
/// When there is no thread for it.
#[allow(
    clippy::disallowed_methods,
    reason = "a job is led by a thread of its own, which runs no task"
)]
pub fn beside(
    control: JobControl,
    lead: impl FnOnce(&JobControl) -> Result<JobResult, JobError> + Send + 'static,
) -> Result<JobClient, JobError> {
    let (sender, outcome) = sync_channel(1);
    let led = control.clone();
    let leading = move || {
        let over = Over(&led);
        let result = lead(&led);
        led.ended(status_at_end(&result));
        drop(over);
        // Nobody waits for the outcome only when the client was dropped.
        let _ = sender.send(result);
    };
    let thread = thread::Builder::new().name("thalweg-job".to_owned());
    thread.spawn(leading).map_err(|error| {
        let what = format!("no thread could be started to lead the job: {error}");
        JobError::rejected(ErrorKind::Resource, what)
    })?;
    Ok(JobClient::new(control, outcome))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use thalweg_dataflow::executor::JobWish;

    use super::*;

    const SAVEPOINT: JobWish = JobWish::Savepoint { directory: None };

    /// Leads a job so; how it stands when its outcome is known, and what became of what was asked of it before.
    fn led(
        lead: impl FnOnce(&JobControl) -> Result<JobResult, JobError> + Send + 'static,
    ) -> (JobStatus, String) {
        let control = JobControl::new(JobId(7), "job");
        let asked = control.put(SAVEPOINT).unwrap();
        let client = beside(control.clone(), lead).unwrap();
        client.wait().unwrap_err();
        let answer = asked.wait_for(Duration::ZERO).expect("it was answered");
        control.put(SAVEPOINT).expect_err("nobody would answer");
        (control.status(), answer.unwrap_err().message)
    }

    #[test]
    fn a_job_whose_leader_is_done_or_dies_has_ended_and_answers_what_was_asked() {
        let ended = (JobStatus::Failed, "the job has ended".to_owned());
        let refused = |_: &JobControl| Err(JobError::rejected(ErrorKind::Invalid, "no room"));
        assert_eq!(led(refused), ended);
        assert_eq!(led(|_| panic!("a defect")), ended);
        let (message, savepoint) = ("it had ended before".to_owned(), None);
        let before = |_: &JobControl| Err(JobError::Ended { message, savepoint });
        assert_eq!(led(before).0, JobStatus::Finished);
    }
}
