//! The whole cluster in one process.
//!
//! Entered through [`LocalExecutor`], an executor of the dataflow crate. The calling thread
//! is the control thread: it lays the job out, starts the shards, waits, commits. Nothing
//! of a job outlives the call.

mod cancel;
mod connector_runtime;
mod deploy;
mod layout;
mod memory;
mod outcome;
mod plan;
mod shards;
mod simulated;

pub use cancel::CancelToken;
pub use simulated::SimulatedExecutor;

use thalweg_dataflow::executor::{Executor, JobError, JobResult};
use thalweg_dataflow::graph::Job;

use self::outcome::Outcome;
use self::plan::Deployment;
use self::shards::Shards;

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
        let mut deployment = Deployment::of(job)?;
        let mut outcome = Outcome::expecting(&deployment);
        let shards = Shards::start(&mut deployment, &outcome)?;
        outcome.note_driver(shards.driver());
        outcome.wait(&self.cancel);
        shards.stop(&mut outcome);
        outcome.conclude(&deployment)
    }
}
