//! The whole cluster in one process.
//!
//! Entered through [`LocalExecutor`], an executor of the dataflow crate. The calling thread
//! is the control thread: it lays the job out, starts the shards, takes checkpoints, commits, and
//! after a failure begins again. Nothing of a job outlives the call but its checkpoints.

mod attempts;
mod cancel;
mod checkpointing;
mod connector_runtime;
mod coordination;
mod deploy;
mod layout;
mod memory;
mod metrics;
mod outcome;
mod plan;
mod recovery;
mod shards;
mod simulated;

pub use cancel::CancelToken;
pub use metrics::{MetricsReader, MetricsSnapshot};
pub use simulated::SimulatedExecutor;

use thalweg_dataflow::executor::{Executor, JobError, JobResult};
use thalweg_dataflow::graph::Job;

use self::attempts::Attempts;

/// Runs jobs on shards of this process.
#[derive(Clone, Default)]
pub struct LocalExecutor {
    cancel: CancelToken,
    metrics: MetricsReader,
}

impl LocalExecutor {
    /// An executor whose jobs stop when the token is cancelled.
    pub fn new(cancel: CancelToken) -> Self {
        Self {
            cancel,
            metrics: MetricsReader::new(),
        }
    }

    /// The same, with the metrics of the running job open to the reader: one job at a time.
    pub fn with_metrics(mut self, reader: MetricsReader) -> Self {
        self.metrics = reader;
        self
    }
}

impl Executor for LocalExecutor {
    fn execute(&self, job: Job) -> Result<JobResult, JobError> {
        Attempts::of(&job, &self.cancel, &self.metrics)?.run()
    }
}
