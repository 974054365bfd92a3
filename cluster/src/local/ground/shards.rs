//! The shards of one job: started together, stopped together.
//!
//! Entered by the control thread. Invariant: no task of a job has a turn before all of them are built; where one
//! cannot be, none ever runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::config::{IoDriver, options};
use thalweg_core::error::ErrorKind;
use thalweg_core::ids::ShardId;
use thalweg_core::seam::clock::monotonic_ns;
use thalweg_core::seam::mend::mend_of;
use thalweg_core::seam::reactor::{DriverChoice, DriverKind};
use thalweg_core::shard::doorbell::Doorbell;
use thalweg_core::shard::mailbox::MailboxSender;
use thalweg_core::shard::mesh::Mesh;
use thalweg_core::shard::placement;
use thalweg_core::shard::start::{ReadyShard, ShardConfig, ShardHandle, prepare};
use thalweg_dataflow::executor::JobError;

use crate::local::connector_runtime::ConnectorRuntime;
use crate::local::deploy::ShardPlan;
use crate::local::outcome::Outcome;
use crate::local::plan::Deployment;

/// Parcels a lane between two shards holds; more wait in the sender's outbox.
const LANE_CAPACITY: usize = 64;
/// Descriptors of a shard on io_uring; on epoll it has three.
const DESCRIPTORS_PER_SHARD: u32 = 7;
/// How long shards that do not answer are waited for when a job ends.
const STOP_PATIENCE: Duration = Duration::from_millis(800);
/// The same when another attempt is to follow, which none can while one is there that may still write.
const RESTART_PATIENCE: Duration = Duration::from_secs(30);

/// The running shards of one job.
pub(crate) struct Shards {
    handles: Vec<ShardHandle>,
    driver: DriverKind,
}

impl Shards {
    /// Builds all subtasks, each on its shard, then lets the shards run. Where the outcome hears that one
    /// could not be built, the shards end instead.
    ///
    /// # Errors
    /// When a shard cannot be made. None is left then.
    pub(crate) fn start(
        deployment: &mut Deployment<'_>,
        outcome: &mut Outcome,
    ) -> Result<Self, JobError> {
        let mut ready = Vec::with_capacity(deployment.shards.len());
        match prepare_all(deployment, outcome, &mut ready) {
            Ok(()) if outcome.failure().is_none() => {
                Ok(Self::of(ready.into_iter().map(ReadyShard::go)))
            }
            Ok(()) => Ok(Self::of(ready.into_iter().map(ReadyShard::abandon))),
            Err(error) => {
                Self::of(ready.into_iter().map(ReadyShard::abandon)).stop(outcome, &|| false);
                Err(error)
            }
        }
    }

    fn of(handles: impl Iterator<Item = ShardHandle>) -> Self {
        let handles: Vec<ShardHandle> = handles.collect();
        let driver = (handles.first()).map_or(DriverKind::Epoll, |handle| handle.driver);
        Self { handles, driver }
    }

    /// Where commands to the shards go.
    pub(crate) fn mailboxes(&self) -> Vec<(ShardId, MailboxSender)> {
        let handles = (0..).map(ShardId).zip(&self.handles);
        handles
            .map(|(shard, handle)| (shard, handle.mailbox.clone()))
            .collect()
    }

    /// The driver the shards run on.
    pub(crate) fn driver(&self) -> DriverKind {
        self.driver
    }

    /// Stops all shards and waits for them, not longer than a patient user would, or while `others_follow` as long
    /// as one that is only slow may take. One that is stuck in a user function is left behind and told of: a thread
    /// cannot be ended from outside.
    pub(crate) fn stop(self, outcome: &mut Outcome, others_follow: &dyn Fn() -> bool) {
        self.handles.iter().for_each(ShardHandle::stop);
        let from = monotonic_ns();
        let given_up = || {
            let waited = Duration::from_nanos(monotonic_ns() - from);
            waited >= STOP_PATIENCE && (waited >= RESTART_PATIENCE || !others_follow())
        };
        for (index, handle) in self.handles.into_iter().enumerate() {
            let name = format!("shard {index}");
            match handle.join_unless(given_up) {
                Ok(true) => {}
                Ok(false) => outcome.left_behind(name),
                Err(error) => outcome.shard_failed(name, &error.to_string()),
            }
        }
    }
}

/// Makes the shards, each with its subtasks built: all at the same time, because what a job is restored from may
/// take long. Every one that was begun has ended or is among the ready ones then.
fn prepare_all(
    deployment: &mut Deployment<'_>,
    outcome: &mut Outcome,
    ready: &mut Vec<ReadyShard>,
) -> Result<(), JobError> {
    let count = deployment.shards.len();
    let doorbells: Vec<Arc<Doorbell>> = (0..count).map(|_| Doorbell::new()).collect();
    let meshes = Mesh::build(count, LANE_CAPACITY);
    let plans = std::mem::take(&mut deployment.shards);
    let cpus = cpus_for(deployment, count);
    let driver = driver_of(deployment)?;
    let threads = deployment.configuration.get(&options::CONNECTOR_THREADS);
    let runtime = ConnectorRuntime::new(threads);
    let spill = crate::local::spill::claim(&deployment.configuration)?;
    let mut starting = Vec::with_capacity(count);
    let mut refused = None;
    for (index, (subtasks, mut mesh)) in plans.into_iter().zip(meshes).enumerate() {
        mesh.set_doorbells(doorbells.clone());
        let config = config_of(driver, deployment, index, cpus[index], &doorbells[index]);
        let (runtime, spill) = (Some(Arc::clone(&runtime)), spill.clone());
        let reports = outcome.reports();
        let plan = ShardPlan::of(deployment, (subtasks, mesh), reports, runtime, spill);
        match prepare(config, move |shard| plan.build(shard)) {
            Ok(shard) => starting.push(shard),
            Err(error) => {
                refused = Some((index, error));
                break;
            }
        }
    }
    for (index, shard) in starting.into_iter().enumerate() {
        match shard.ready() {
            Ok(shard) => ready.push(shard),
            Err(error) => refused = refused.or(Some((index, error))),
        }
    }
    outcome.poll();
    match refused {
        None => Ok(()),
        Some((index, error)) => Err(not_made(index, count, &error)),
    }
}

/// A shard could not be made.
fn not_made(index: usize, count: usize, error: &io::Error) -> JobError {
    let mend = match mend_of(error) {
        Some(mend) => format!(
            "; {mend}; or lower thalweg.shard.count or the parallelism (-p): each shard is a thread with about \
             {DESCRIPTORS_PER_SHARD} descriptors"
        ),
        None => String::new(),
    };
    let what = format!("shard {index} of {count} could not start: {error}{mend}");
    JobError::rejected(ErrorKind::Resource, what)
}

/// A CPU of its own for each shard, or none where there are more shards than CPUs.
fn cpus_for(deployment: &Deployment<'_>, shards: usize) -> Vec<Option<usize>> {
    let allowed = placement::allowed_cpus().unwrap_or_default();
    let pin = deployment.configuration.get(&options::SHARD_PIN);
    if !pin || shards > allowed.len() {
        return vec![None; shards];
    }
    allowed.into_iter().take(shards).map(Some).collect()
}

/// The driver the shards are asked to run on.
fn driver_of(deployment: &Deployment<'_>) -> Result<DriverChoice, JobError> {
    let configuration = &deployment.configuration;
    let required = configuration.get(&options::REQUIRE_IO_URING);
    match configuration.get(&options::IO_DRIVER) {
        IoDriver::Auto if required => Ok(DriverChoice::IoUring),
        IoDriver::Auto => Ok(DriverChoice::Auto),
        IoDriver::IoUring => Ok(DriverChoice::IoUring),
        IoDriver::Epoll if required => Err(JobError::rejected(
            ErrorKind::Invalid,
            "thalweg.io.driver is epoll and thalweg.io.require-io-uring is true: set one of them otherwise",
        )),
        IoDriver::Epoll => Ok(DriverChoice::Epoll),
    }
}

fn config_of(
    driver: DriverChoice,
    deployment: &Deployment<'_>,
    index: usize,
    cpu: Option<usize>,
    doorbell: &Arc<Doorbell>,
) -> ShardConfig {
    let configuration = &deployment.configuration;
    ShardConfig {
        id: ShardId(index as u16),
        cpu,
        driver,
        spin_ns: configuration.get(&options::SHARD_SPIN).as_nanos() as u64,
        turn_budget_ns: configuration.get(&options::TURN_BUDGET).as_nanos() as u64,
        stall_threshold_ns: configuration.get(&options::STALL_THRESHOLD).as_nanos() as u64,
        doorbell: Arc::clone(doorbell),
    }
}
