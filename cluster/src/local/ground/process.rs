//! This process: its clocks, its file systems, shards on threads of their own.
//!
//! Entered by the control thread, which blocks here. Invariant: when [`Ground::stop`] has answered, no shard of
//! the attempt runs, or the outcome says that one was left behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::config::Configuration;
#[cfg(feature = "object-store")]
use thalweg_core::config::options;
use thalweg_core::seam::clock::{entropy, monotonic_ns, wall_ms};
use thalweg_dataflow::checkpoint::{CrashListener, CrashPoint, RunFiles};
use thalweg_dataflow::executor::JobError;

use super::shards::Shards;
use super::{Ground, Surroundings};
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::storage::{AnyStorage, CheckpointStorage, Location};
use crate::local::cancel::CancelToken;
use crate::local::checkpointing::RunDirectory;

use crate::local::metrics::{Attached, MetricsReader};
use crate::local::outcome::Outcome;
use crate::local::plan::Deployment;
#[cfg(feature = "object-store")]
use crate::{
    checkpoint::storage::LocalCopies,
    local::spill,
    local::staging::{FetchedRuns, Staging, Uploads},
};

/// How often a job that waits for its next attempt looks whether it is to stop.
const CANCEL_CHECK: Duration = Duration::from_millis(20);

/// This process, with somebody who may look at its metrics.
pub(crate) struct Process<'r> {
    metrics: &'r MetricsReader,
    listener: &'r CrashListener,
    storage: AnyStorage,
}

impl<'r> Process<'r> {
    pub(crate) fn new(metrics: &'r MetricsReader, listener: &'r CrashListener) -> Self {
        Self {
            metrics,
            listener,
            storage: AnyStorage::telling(listener.clone()),
        }
    }
}

/// Shards whose metrics can be read while they run.
pub(crate) struct Running<'r> {
    shards: Shards,
    _read: Attached<'r>,
}

impl Surroundings for Process<'_> {
    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    fn wall_ms(&self) -> i64 {
        wall_ms()
    }

    fn draw(&self) -> u64 {
        entropy()
    }

    fn passes(&self, point: CrashPoint) {
        self.listener.passes(point);
    }

    fn crash_points(&self) -> CrashListener {
        self.listener.clone()
    }

    fn storage(&self) -> Box<dyn CheckpointStorage> {
        Box::new(self.storage.clone())
    }

    fn runs_in(
        &self,
        directory: &Location,
        files: &BTreeMap<&str, FileFacts>,
        configuration: &Configuration,
    ) -> Result<Arc<dyn RunFiles + Send + Sync>, JobError> {
        if let Some(path) = directory.path() {
            return Ok(Arc::new(RunDirectory(path.to_owned())));
        }
        #[cfg(feature = "object-store")]
        {
            let objects = self.storage.objects();
            let fetched = FetchedRuns::fetch(objects, directory, files, configuration)?;
            Ok(Arc::new(fetched))
        }
        #[cfg(not(feature = "object-store"))]
        {
            let _ = (files, configuration);
            unreachable!("without object stores every place is a path")
        }
    }

    #[cfg(feature = "object-store")]
    fn staging(
        &self,
        shared: &Location,
        configuration: &Configuration,
    ) -> Result<Option<Box<dyn Staging>>, JobError> {
        if shared.path().is_some() {
            return Ok(None);
        }
        let storage = self.storage.objects().clone();
        if configuration.get(&options::RECOVERY_FROM_LOCAL) {
            let claimed = spill::claim_one(configuration)?;
            storage.keep_copies(LocalCopies::new(shared.clone(), claimed));
        }
        let uploads = Uploads::new(storage, shared.clone(), configuration)?;
        Ok(Some(Box::new(uploads)))
    }
}

impl<'r> Ground for Process<'r> {
    type Shards = Running<'r>;

    fn start(
        &self,
        deployment: &mut Deployment<'_>,
        outcome: &mut Outcome,
    ) -> Result<Running<'r>, JobError> {
        let shards = Shards::start(deployment, outcome)?;
        let driver = shards.driver();
        outcome.note_driver(driver);
        let (job, count) = (&deployment.graph.name, deployment.layout.shards);
        tracing::info!(%job, io_driver = %driver, shards = count, "the shards of the job have started");
        let _read = self.metrics.attach(shards.mailboxes());
        Ok(Running { shards, _read })
    }

    fn wait(
        &self,
        _running: &mut Running<'r>,
        outcome: &mut Outcome,
        cancel: &CancelToken,
        attend: &mut dyn FnMut(&mut Outcome) -> Duration,
    ) {
        outcome.wait(cancel, attend);
    }

    fn stop(&self, running: Running<'r>, outcome: &mut Outcome, others_follow: &dyn Fn() -> bool) {
        running.shards.stop(outcome, others_follow);
    }

    fn pause(&self, delay: Duration, stops: &dyn Fn() -> bool) -> bool {
        let end =
            monotonic_ns().saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
        loop {
            if stops() {
                return false;
            }
            let left = Duration::from_nanos(end.saturating_sub(monotonic_ns()));
            if left.is_zero() {
                return true;
            }
            std::thread::park_timeout(left.min(CANCEL_CHECK));
        }
    }
}
