//! The door to deployment: a job goes in, its result comes out.
//!
//! This crate knows what a job is and how its tasks run, not where. A deployer implements
//! [`Executor`]; the facade gives one to every [`crate::Environment`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thalweg_core::error::ErrorKind;
use thalweg_core::metrics::MetricSnapshot;

use crate::checkpoint::CheckpointStatistics;
use crate::graph::Job;
pub use crate::job_client::JobClient;
pub use crate::job_control::{JobControl, JobStatus};
pub use crate::job_request::{
    Answered, CheckpointType, JobRequest, JobWish, RequestRefused, TakenCheckpoint,
};

/// Runs jobs.
pub trait Executor {
    /// Runs the job to its end and answers what it did.
    ///
    /// # Errors
    /// Why the job could not start, failed or was cancelled. Nothing half-written is then
    /// visible in its sinks.
    fn execute(&self, job: Job) -> Result<JobResult, JobError>;

    /// Starts the job and answers a client of it at once.
    ///
    /// # Errors
    /// When this executor runs jobs only while their program waits, or the job cannot start.
    fn submit(&self, job: Job) -> Result<JobClient, JobError> {
        let what = format!(
            "{} would run beside its program, which only an executor on threads of its own can do: call \
             execute instead of execute_async",
            job.graph.name
        );
        Err(JobError::rejected(ErrorKind::Invalid, what))
    }
}

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The program or its configuration cannot run as it is.
    #[error("the job cannot start: {message}")]
    Rejected {
        /// What, where and how to mend it.
        message: String,
        /// What the user should do.
        kind: ErrorKind,
    },
    /// A task failed.
    #[error("the job failed in {task}: {message}")]
    Failed {
        /// The task, with subtask.
        task: String,
        /// The operator, if it is known.
        operator: Option<String>,
        /// What went wrong.
        message: String,
        /// Whether a user function panicked.
        panicked: bool,
        /// What the job had done until then.
        summary: Box<JobSummary>,
    },
    /// Another process leads the job now, or has brought it to its end: it is not to be started again here.
    #[error("the job goes on elsewhere: {message}")]
    Overtaken {
        /// Where that was seen.
        message: String,
        /// What the job had done here until then.
        summary: Box<JobSummary>,
    },
    /// The job had come to its end before, in another process: nothing was run.
    #[error("{message}")]
    Ended {
        /// How it ended, and how to begin anew.
        message: String,
        /// The savepoint it was stopped with; it had finished if there is none.
        savepoint: Option<String>,
    },
    /// The job was told to stop.
    #[error("the job was cancelled after {:.1?}", summary.duration)]
    Cancelled {
        /// What the job had done until then.
        summary: Box<JobSummary>,
    },
    /// The plan was asked for instead of a run.
    #[error("the plan was printed, the job was not run")]
    PlanOnly,
}

impl JobError {
    /// A job refused before it started.
    pub fn rejected(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Rejected {
            message: message.into(),
            kind,
        }
    }
}

/// What a job did.
#[derive(Clone, Debug, Default)]
pub struct JobSummary {
    /// The job's name.
    pub name: String,
    /// Time from the first task's start to the last task's end.
    pub duration: Duration,
    /// Records its sources read.
    pub records_in: u64,
    /// Records its sinks wrote.
    pub records_out: u64,
    /// The user's accumulators, summed over the subtasks.
    pub accumulators: BTreeMap<String, i64>,
    /// Records in and out of each vertex, in the order of the plan.
    pub vertices: Vec<VertexSummary>,
    /// The last values of all metrics of its tasks.
    pub metrics: Vec<MetricSnapshot>,
    /// What became of its checkpoints.
    pub checkpoints: CheckpointStatistics,
    /// The I/O driver the shards ran on.
    pub io_driver: String,
    /// How many shards.
    pub shards: u32,
}

/// What one vertex did.
#[derive(Clone, Debug, Default)]
pub struct VertexSummary {
    /// Its operators.
    pub name: String,
    /// Its subtasks.
    pub parallelism: u32,
    /// Records in at its head.
    pub records_in: u64,
    /// Records out at its border.
    pub records_out: u64,
}

impl fmt::Display for JobSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "job {}: {:.3} s, {} records in, {} records out ({} shards, {})",
            self.name,
            self.duration.as_secs_f64(),
            self.records_in,
            self.records_out,
            self.shards,
            self.io_driver
        )?;
        for (name, value) in &self.accumulators {
            write!(f, "\n  accumulator {name} = {value}")?;
        }
        if self.checkpoints != CheckpointStatistics::default() {
            write!(f, "\n  {}", self.checkpoints)?;
        }
        Ok(())
    }
}

/// The result of a job that ran to its end.
#[derive(Clone, Debug, Default)]
pub struct JobResult {
    /// What it did.
    pub summary: JobSummary,
    /// The savepoint it was stopped by, if it was.
    pub savepoint: Option<String>,
}

impl JobResult {
    /// The last number of a metric, over all subtasks and operators that have it: one of the engine
    /// (`docs/reference/metrics.md`), or one a function has made.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let named = (self.summary.metrics.iter()).filter(|metric| metric.name == name);
        named
            .map(MetricSnapshot::number)
            .reduce(|sum, next| sum + next)
    }

    /// The final value of an accumulator, summed over the subtasks.
    pub fn accumulator(&self, name: &str) -> Option<i64> {
        self.summary.accumulators.get(name).copied()
    }
}
