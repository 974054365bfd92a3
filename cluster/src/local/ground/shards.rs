//! The shards of one job: started together, stopped together.

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::config::{IoDriver, options};
use thalweg_core::error::ErrorKind;
use thalweg_core::ids::ShardId;
use thalweg_core::seam::clock::monotonic_ns;
use thalweg_core::seam::reactor::{DriverChoice, DriverKind};
use thalweg_core::shard::doorbell::Doorbell;
use thalweg_core::shard::mailbox::MailboxSender;
use thalweg_core::shard::mesh::Mesh;
use thalweg_core::shard::placement;
use thalweg_core::shard::start::{ShardConfig, ShardHandle, start};
use thalweg_dataflow::executor::JobError;

use crate::local::connector_runtime::ConnectorRuntime;
use crate::local::deploy::ShardPlan;
use crate::local::outcome::Outcome;
use crate::local::plan::Deployment;

/// Parcels a lane between two shards holds; more wait in the sender's outbox.
const LANE_CAPACITY: usize = 64;
/// How long shards that do not answer are waited for when a job ends.
const STOP_PATIENCE: Duration = Duration::from_millis(800);

/// The running shards of one job.
pub(crate) struct Shards {
    handles: Vec<ShardHandle>,
    driver: DriverKind,
}

impl Shards {
    /// Starts the shards, each with its subtasks built.
    pub(crate) fn start(
        deployment: &mut Deployment<'_>,
        outcome: &Outcome,
    ) -> Result<Self, JobError> {
        let count = deployment.shards.len();
        let doorbells: Vec<Arc<Doorbell>> = (0..count).map(|_| Doorbell::new()).collect();
        let meshes = Mesh::build(count, LANE_CAPACITY);
        let plans = std::mem::take(&mut deployment.shards);
        let cpus = cpus_for(deployment, count);
        let threads = deployment.configuration.get(&options::CONNECTOR_THREADS);
        let runtime = ConnectorRuntime::new(threads);
        let spill = crate::local::spill::claim(&deployment.configuration)?;
        let mut handles: Vec<ShardHandle> = Vec::with_capacity(count);
        for (index, (subtasks, mut mesh)) in plans.into_iter().zip(meshes).enumerate() {
            mesh.set_doorbells(doorbells.clone());
            let config = config_of(deployment, index, cpus[index], &doorbells[index])?;
            let plan = ShardPlan {
                subtasks,
                mesh,
                layout: deployment.layout,
                memory: deployment.memory,
                job: deployment.graph.name.clone(),
                reports: outcome.reports(),
                runtime: Some(Arc::clone(&runtime)),
                spill: spill.clone(),
            };
            match start(config, move |shard| plan.build(shard)) {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    handles.iter().for_each(ShardHandle::stop);
                    return Err(JobError::rejected(
                        ErrorKind::Resource,
                        format!("shard {index} could not start: {error}"),
                    ));
                }
            }
        }
        let driver = handles
            .first()
            .map_or(DriverKind::Epoll, |handle| handle.driver);
        Ok(Self { handles, driver })
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

    /// Stops all shards and waits for them, not longer than a patient user would. One that is
    /// stuck in a user function is left behind and told of: a thread cannot be ended from
    /// outside.
    pub(crate) fn stop(self, outcome: &mut Outcome) {
        self.handles.iter().for_each(ShardHandle::stop);
        let deadline = monotonic_ns().saturating_add(STOP_PATIENCE.as_nanos() as u64);
        for (index, handle) in self.handles.into_iter().enumerate() {
            let name = format!("shard {index}");
            let left = Duration::from_nanos(deadline.saturating_sub(monotonic_ns()));
            match handle.join_within(left) {
                Ok(true) => {}
                Ok(false) => outcome.left_behind(name),
                Err(error) => outcome.shard_failed(name, &error.to_string()),
            }
        }
    }
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

fn config_of(
    deployment: &Deployment<'_>,
    index: usize,
    cpu: Option<usize>,
    doorbell: &Arc<Doorbell>,
) -> Result<ShardConfig, JobError> {
    let configuration = &deployment.configuration;
    let required = configuration.get(&options::REQUIRE_IO_URING);
    let driver = match configuration.get(&options::IO_DRIVER) {
        IoDriver::Auto if required => DriverChoice::IoUring,
        IoDriver::Auto => DriverChoice::Auto,
        IoDriver::IoUring => DriverChoice::IoUring,
        IoDriver::Epoll if required => {
            return Err(JobError::rejected(
                ErrorKind::Invalid,
                "thalweg.io.driver is epoll and thalweg.io.require-io-uring is true: set one \
                 of them otherwise",
            ));
        }
        IoDriver::Epoll => DriverChoice::Epoll,
    };
    Ok(ShardConfig {
        id: ShardId(index as u16),
        cpu,
        driver,
        spin_ns: configuration.get(&options::SHARD_SPIN).as_nanos() as u64,
        turn_budget_ns: configuration.get(&options::TURN_BUDGET).as_nanos() as u64,
        stall_threshold_ns: configuration.get(&options::STALL_THRESHOLD).as_nanos() as u64,
        doorbell: Arc::clone(doorbell),
    })
}
