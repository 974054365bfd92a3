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
mod outcome;
mod plan;
mod recovery;
mod shards;
mod simulated;

pub use cancel::CancelToken;
pub use simulated::SimulatedExecutor;

use thalweg_dataflow::executor::{Executor, JobError, JobResult};
use thalweg_dataflow::graph::Job;

use self::attempts::Attempts;

/// Runs jobs on shards of this process.
#[derive(Clone, Default)]
pub struct LocalExecutor {
    cancel: CancelToken,
}

impl LocalExecutor {
    /// An executor whose jobs stop when the token is cancelled.
    pub fn new(cancel: CancelToken) -> Self {
        Self { cancel }
    }
}

impl Executor for LocalExecutor {
    fn execute(&self, job: Job) -> Result<JobResult, JobError> {
        Attempts::of(&job, &self.cancel)?.run()
    }
}
