//! What a job stands on: clock, dice, disk and shards.
//!
//! [`process`] is this process with its threads, [`simulated`] one thread with virtual time, an order drawn from
//! a seed and a disk that forgets; all that decides about a job is the same on both. Entered by the control
//! thread. Invariant: what a job's control thread learns of the world it learns here.

mod crash_point;
mod process;
mod shards;
mod simulated;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::config::Configuration;
use thalweg_dataflow::checkpoint::{CrashListener, CrashPoint, Defect, RunFiles};
use thalweg_dataflow::executor::JobError;

pub(super) use self::crash_point::{point_after, point_before};
pub(super) use self::process::Process;
pub use self::simulated::SimulatedExecutor;
use super::cancel::CancelToken;

use super::outcome::Outcome;
use super::plan::Deployment;
use super::staging::Staging;
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::storage::{CheckpointStorage, Location};

/// Clock, dice and disk.
pub(crate) trait Surroundings {
    /// The monotonic clock, ns.
    fn now_ns(&self) -> u64;

    /// The date, ms since 1970.
    fn wall_ms(&self) -> i64;

    /// A number nobody can foretell, unless he knows the seed.
    fn draw(&self) -> u64;

    /// Storage for checkpoints.
    fn storage(&self) -> Box<dyn CheckpointStorage>;

    /// The runs of a checkpoint in a directory, to be read from shards; `files` are those that are wanted. Blocks.
    ///
    /// # Errors
    /// When the directory is elsewhere and one cannot be fetched.
    fn runs_in(
        &self,
        directory: &Location,
        files: &BTreeMap<&str, FileFacts>,
        configuration: &Configuration,
    ) -> Result<Arc<dyn RunFiles + Send + Sync>, JobError>;

    /// How runs come to `shared`; none where tasks write there themselves.
    ///
    /// # Errors
    /// When there is no room for them on their way.
    fn staging(
        &self,
        shared: &Location,
        configuration: &Configuration,
    ) -> Result<Option<Box<dyn Staging>>, JobError> {
        let _ = (shared, configuration);
        Ok(None)
    }

    /// The control thread has come to this point.
    fn passes(&self, point: CrashPoint) {
        let _ = point;
    }

    /// Who is told of the points that tasks come to.
    fn crash_points(&self) -> CrashListener {
        CrashListener::default()
    }

    /// What is to be done wrong, to see that it is found.
    fn defect(&self) -> Option<Defect> {
        None
    }
}

/// The same, with shards.
pub(crate) trait Ground: Surroundings {
    /// The running shards of one attempt.
    type Shards;

    /// Starts the shards of an attempt, once all its subtasks are built. The outcome hears of one that cannot
    /// be; then none runs.
    ///
    /// # Errors
    /// When a shard cannot be made. None is left then.
    fn start(
        &self,
        deployment: &mut Deployment<'_>,
        outcome: &mut Outcome,
    ) -> Result<Self::Shards, JobError>;

    /// Waits until every task has finished, one has failed, or the job is cancelled. `attend` is called
    /// between looks and answers how long nothing will be due.
    fn wait(
        &self,
        shards: &mut Self::Shards,
        outcome: &mut Outcome,
        cancel: &CancelToken,
        attend: &mut dyn FnMut(&mut Outcome) -> Duration,
    );

    /// Stops all shards and waits for them; while `others_follow`, because another attempt is to begin, for longer
    /// than a user would.
    fn stop(&self, shards: Self::Shards, outcome: &mut Outcome, others_follow: &dyn Fn() -> bool);

    /// Lets time pass between two attempts; false if the job is to stop, which `stops` says.
    fn pause(&self, delay: Duration, stops: &dyn Fn() -> bool) -> bool;

    /// Whether the process is no more: nothing may be done any longer.
    fn is_gone(&self) -> bool {
        false
    }
}
