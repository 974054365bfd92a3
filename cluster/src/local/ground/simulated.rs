//! The same deployment on simulated shards: one thread, virtual time, an order drawn from a seed.
//!
//! The control thread is a step of the simulation: between rounds of shards it takes in what tasks said and does
//! what is due. A process can be killed at any round, and at any operation of the disk, which it shares with the
//! processes before and after it. Invariant: the same seed, job, disk and kill give the same run.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use thalweg_core::config::Configuration;
use thalweg_core::ids::JobId;
use thalweg_core::seam::reactor::DriverKind;
use thalweg_core::seam::simulated::{SimDisk, SimOptions, SimOutcome, Simulation};
use thalweg_core::shard::doorbell::Doorbell;
use thalweg_core::shard::mesh::Mesh;
use thalweg_dataflow::checkpoint::{Defect, RunFiles};
use thalweg_dataflow::executor::{Answered, Executor, JobControl, JobError, JobResult, JobWish};
use thalweg_dataflow::graph::Job;
use thalweg_memory::SpillSpace;

use super::{Ground, Surroundings};
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::storage::simulated::SimulatedRuns;
use crate::checkpoint::storage::{CheckpointStorage, DirectoryStorage, Location};
use crate::local::attempts::Attempts;
use crate::local::cancel::CancelToken;
use crate::local::deploy::ShardPlan;
use crate::local::metrics::JobFigures;
use crate::local::outcome::Outcome;
use crate::local::plan::Deployment;
use crate::local::planted::Unsynced;
use crate::local::recovery::no_path;
use crate::local::spill;

/// Rounds a simulated job may take; more means that it does not come to its end.
const MAX_ROUNDS: u64 = 200_000_000;
/// Rounds between two looks at the reports, while nothing is due.
const ROUNDS_PER_LOOK: u64 = 10_000;
/// The most rounds between two looks, while checkpoints are taken.
const ROUNDS_PER_STEP: u64 = 32;
/// Time that passes when the control thread waits for what is due at once.
const MOMENT_NS: u64 = 1_000;
/// Small lanes, so that full ones are met.
const LANE_CAPACITY: usize = 4;

/// Runs jobs in simulation, each execution a process of its own. The same seed and the same job give the same
/// trace.
#[derive(Clone)]
pub struct SimulatedExecutor {
    seed: u64,
    options: SimOptions,
    disk: SimDisk,
    kill_at: u64,
    asks: Option<(u64, JobWish)>,
    defect: Option<Defect>,
    seen: Arc<Seen>,
}

/// What is told of the last execution.
#[derive(Default)]
struct Seen {
    trace: AtomicU64,
    rounds: AtomicU64,
    killed: AtomicBool,
}

impl SimulatedExecutor {
    /// An executor, with a disk of its own, whose every drawn number follows from the seed.
    pub fn new(seed: u64, options: SimOptions) -> Self {
        Self::on(SimDisk::with_faults(seed, options.disk), seed, options)
    }

    /// The same on a disk that is there already, which keeps its faults.
    pub fn on(disk: SimDisk, seed: u64, options: SimOptions) -> Self {
        Self {
            seed,
            options,
            disk,
            kill_at: u64::MAX,
            asks: None,
            defect: None,
            seen: Arc::default(),
        }
    }

    /// Kills the process before this round of its shards. It is killed too when the power of its disk is cut.
    /// What is to become of the disk is for the caller to say, before anybody else uses it.
    #[must_use]
    pub fn kill_at(mut self, round: u64) -> Self {
        self.kill_at = round;
        self
    }

    /// Asks this of the job before this round of its shards.
    #[must_use]
    pub fn ask_at(mut self, round: u64, wish: JobWish) -> Self {
        self.asks = Some((round, wish));
        self
    }

    /// Plants a bug in the engine.
    #[doc(hidden)]
    #[must_use]
    pub fn with_defect(mut self, defect: Defect) -> Self {
        self.defect = Some(defect);
        self
    }

    /// The disk.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// A number that is the same for two runs only if they did the same, of the last job.
    pub fn trace_hash(&self) -> u64 {
        self.seen.trace.load(Ordering::Relaxed)
    }

    /// How many rounds the shards of the last job took.
    pub fn rounds(&self) -> u64 {
        self.seen.rounds.load(Ordering::Relaxed)
    }

    /// Whether the last execution was killed before it was over.
    pub fn was_killed(&self) -> bool {
        self.seen.killed.load(Ordering::Relaxed)
    }
}

impl Executor for SimulatedExecutor {
    fn execute(&self, job: Job) -> Result<JobResult, JobError> {
        let simulation = Simulation::on(self.disk.clone(), self.seed, self.options);
        let ground = Simulated {
            simulation: RefCell::new(simulation),
            seed: self.seed,
            kill_at: self.kill_at,
            asks: RefCell::new(self.asks.clone()),
            asked: RefCell::new(None),
            control: OnceCell::new(),
            defect: self.defect,
            gone: Cell::new(false),
        };
        let result = {
            let id = JobId(u128::from(ground.draw()) << 64 | u128::from(ground.draw()));
            let control = ground
                .control
                .get_or_init(|| JobControl::new(id, &*job.graph.name));
            let figures = JobFigures::of(&job.graph.name);
            let attempts = Attempts::of(&job, CancelToken::new(), &ground, control, figures);
            attempts.and_then(Attempts::run)
        };
        let killed = ground.gone.get() || (result.is_err() && self.disk.is_off());
        let simulation = ground.simulation.into_inner();
        let seen = &self.seen;
        seen.trace.store(simulation.trace_hash(), Ordering::Relaxed);
        seen.rounds.store(simulation.steps(), Ordering::Relaxed);
        seen.killed.store(killed, Ordering::Relaxed);
        result
    }
}

/// One simulated process.
struct Simulated {
    simulation: RefCell<Simulation>,
    seed: u64,
    kill_at: u64,
    /// What is still to be asked of the job, and before which round.
    asks: RefCell<Option<(u64, JobWish)>>,
    /// Whoever asked waits for the answer.
    asked: RefCell<Option<Answered>>,
    control: OnceCell<JobControl>,
    defect: Option<Defect>,
    gone: Cell<bool>,
}

impl Simulated {
    /// Ends the process if its time has come: it cannot even touch its disk any more.
    fn dies(&self) -> bool {
        let simulation = self.simulation.borrow();
        let disk = simulation.disk();
        if simulation.steps() >= self.kill_at {
            disk.cut_before(0);
        }
        if disk.is_off() {
            self.gone.set(true);
        }
        self.gone.get()
    }

    /// Asks what is to be asked, if its time has come. What is answered shows in how the job ends.
    fn ask(&self) {
        let steps = self.simulation.borrow().steps();
        let due = self.asks.borrow_mut().take_if(|(round, _)| steps >= *round);
        if let (Some((_, wish)), Some(control)) = (due, self.control.get()) {
            self.asked.replace(control.put(wish).ok());
        }
    }

    /// A few rounds, until `latest` (ns).
    fn run(&self, latest: Option<u64>, outcome: &mut Outcome) {
        let mut simulation = self.simulation.borrow_mut();
        let rounds = match latest {
            None => ROUNDS_PER_LOOK,
            Some(_) => 1 + simulation.draw() % ROUNDS_PER_STEP,
        };
        let before = simulation.steps();
        let left = self.kill_at.saturating_sub(before);
        let asks = self.asks.borrow();
        let left = (asks.as_ref()).map_or(left, |(round, _)| {
            left.min(round.saturating_sub(before).max(1))
        });
        drop(asks);
        let ended = simulation.run_until(latest.unwrap_or(u64::MAX), rounds.min(left));
        let seed = self.seed;
        match (ended, latest) {
            (SimOutcome::OutOfSteps, _) if simulation.steps() < MAX_ROUNDS => {}
            (SimOutcome::OutOfSteps, _) => {
                outcome.stuck(&format!("seed {seed}: not over after {MAX_ROUNDS} rounds"));
            }
            // What these rounds have told is heard before time passes.
            (_, Some(_)) if simulation.steps() > before => {}
            (_, Some(latest)) => {
                let moment = simulation.now() + MOMENT_NS;
                simulation.advance_to(latest.max(moment));
            }
            (_, None) => {
                if !outcome.poll() && !outcome.has_news() {
                    let message = "every shard sleeps and the job is not over";
                    outcome.stuck(&format!("seed {seed}: {message}"));
                }
            }
        }
    }
}

impl Surroundings for Simulated {
    fn now_ns(&self) -> u64 {
        self.simulation.borrow().now()
    }

    fn wall_ms(&self) -> i64 {
        self.simulation.borrow().wall_ms()
    }

    fn draw(&self) -> u64 {
        self.simulation.borrow().draw()
    }

    fn storage(&self) -> Box<dyn CheckpointStorage> {
        let disk = self.simulation.borrow().disk().clone();
        match self.defect {
            Some(Defect::MetadataNotSynced) => Box::new(DirectoryStorage::on(Unsynced(disk))),
            _ => Box::new(DirectoryStorage::on(disk)),
        }
    }

    fn defect(&self) -> Option<Defect> {
        self.defect
    }

    fn runs_in(
        &self,
        directory: &Location,
        _files: &BTreeMap<&str, FileFacts>,
        _configuration: &Configuration,
    ) -> Result<Arc<dyn RunFiles + Send + Sync>, JobError> {
        let path = directory.path().ok_or_else(|| no_path(directory))?;
        Ok(Arc::new(SimulatedRuns {
            disk: self.simulation.borrow().disk().clone(),
            directory: path.to_owned(),
        }))
    }
}

impl Ground for Simulated {
    /// They are the simulation's.
    type Shards = ();

    fn start(
        &self,
        deployment: &mut Deployment<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), JobError> {
        outcome.note_driver(DriverKind::Simulated);
        let mut simulation = self.simulation.borrow_mut();
        let drawn = simulation.draw();
        let spill = spill::simulated(&deployment.configuration, simulation.disk(), drawn)?;
        add_shards(&mut simulation, deployment, outcome, spill.as_ref());
        Ok(())
    }

    fn wait(
        &self,
        (): &mut (),
        outcome: &mut Outcome,
        _cancel: &CancelToken,
        attend: &mut dyn FnMut(&mut Outcome) -> Duration,
    ) {
        while !outcome.poll() && !self.dies() {
            self.ask();
            let patience = attend(outcome);
            if outcome.poll() || self.dies() {
                return;
            }
            let patience = u64::try_from(patience.as_nanos()).ok();
            let latest = patience.and_then(|patience| self.now_ns().checked_add(patience));
            self.run(latest, outcome);
        }
    }

    fn stop(&self, (): (), _outcome: &mut Outcome, _others_follow: &dyn Fn() -> bool) {
        self.simulation.borrow_mut().end_shards();
    }

    fn pause(&self, delay: Duration, _stops: &dyn Fn() -> bool) -> bool {
        let mut simulation = self.simulation.borrow_mut();
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let end = simulation.now().saturating_add(delay);
        simulation.advance_to(end);
        true
    }

    fn is_gone(&self) -> bool {
        self.dies()
    }
}

fn add_shards(
    simulation: &mut Simulation,
    deployment: &mut Deployment<'_>,
    outcome: &Outcome,
    spill: Option<&SpillSpace>,
) {
    let count = deployment.shards.len();
    let doorbells: Vec<Arc<Doorbell>> = (0..count).map(|_| Doorbell::new()).collect();
    let meshes = Mesh::build(count, LANE_CAPACITY);
    let plans = std::mem::take(&mut deployment.shards);
    for ((subtasks, mut mesh), doorbell) in plans.into_iter().zip(meshes).zip(&doorbells) {
        mesh.set_doorbells(doorbells.clone());
        let (reports, spill) = (outcome.reports(), spill.cloned());
        let plan = ShardPlan::of(deployment, (subtasks, mesh), reports, None, spill);
        simulation.add_shard_with(Arc::clone(doorbell), |shard| plan.build(shard));
    }
}
