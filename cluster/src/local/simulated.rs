//! The same deployment on simulated shards: one thread, virtual time, an order drawn from a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_core::seam::reactor::DriverKind;
use thalweg_core::seam::simulated::{SimOptions, SimOutcome, Simulation};
use thalweg_core::shard::doorbell::Doorbell;
use thalweg_core::shard::mesh::Mesh;
use thalweg_dataflow::executor::{Executor, JobError, JobResult};
use thalweg_dataflow::graph::Job;

use super::deploy::ShardPlan;
use super::outcome::Outcome;
use super::plan::Deployment;

/// Rounds a simulated job may take; more means that it does not come to its end.
const MAX_ROUNDS: u64 = 200_000_000;
/// Rounds between two looks at the reports.
const ROUNDS_PER_LOOK: u64 = 10_000;
/// Small lanes, so that full ones are met.
const LANE_CAPACITY: usize = 4;

/// Runs jobs in simulation. The same seed and the same job give the same trace.
#[derive(Clone)]
pub struct SimulatedExecutor {
    seed: u64,
    options: SimOptions,
    trace: Arc<AtomicU64>,
}

impl SimulatedExecutor {
    /// An executor whose every drawn number follows from the seed.
    pub fn new(seed: u64, options: SimOptions) -> Self {
        Self {
            seed,
            options,
            trace: Arc::default(),
        }
    }

    /// A number that is the same for two runs only if they did the same, of the last job.
    pub fn trace_hash(&self) -> u64 {
        self.trace.load(Ordering::Relaxed)
    }
}

impl Executor for SimulatedExecutor {
    fn execute(&self, job: Job) -> Result<JobResult, JobError> {
        let mut deployment = Deployment::of(&job, None)?;
        let mut outcome = Outcome::expecting(&deployment);
        outcome.note_driver(DriverKind::Simulated);
        let mut simulation = Simulation::new(self.seed, self.options);
        add_shards(&mut simulation, &mut deployment, &outcome);
        let mut rounds = 0;
        while !outcome.poll() {
            let ended = simulation.run(ROUNDS_PER_LOOK);
            rounds += ROUNDS_PER_LOOK;
            if outcome.poll() {
                break;
            }
            if ended != SimOutcome::OutOfSteps {
                outcome.stuck(&format!(
                    "seed {}: every shard sleeps and the job is not over",
                    self.seed
                ));
            } else if rounds >= MAX_ROUNDS {
                outcome.stuck(&format!(
                    "seed {}: not over after {rounds} rounds",
                    self.seed
                ));
            }
        }
        self.trace.store(simulation.trace_hash(), Ordering::Relaxed);
        drop(simulation);
        outcome.conclude(&deployment)
    }
}

fn add_shards(simulation: &mut Simulation, deployment: &mut Deployment<'_>, outcome: &Outcome) {
    let count = deployment.shards.len();
    let doorbells: Vec<Arc<Doorbell>> = (0..count).map(|_| Doorbell::new()).collect();
    let meshes = Mesh::build(count, LANE_CAPACITY);
    let plans = std::mem::take(&mut deployment.shards);
    for ((subtasks, mut mesh), doorbell) in plans.into_iter().zip(meshes).zip(&doorbells) {
        mesh.set_doorbells(doorbells.clone());
        let plan = ShardPlan {
            subtasks,
            mesh,
            layout: deployment.layout,
            memory: deployment.memory,
            job: deployment.graph.name.clone(),
            reports: outcome.reports(),
            runtime: None,
        };
        simulation.add_shard_with(Arc::clone(doorbell), |shard| plan.build(shard));
    }
}
