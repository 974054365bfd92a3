//! The shard of a harness: the job deployed on it, its clock, its failures.
//!
//! Entered by the harnesses, on the test's thread, where the simulated shard runs too. Invariants: one
//! subtask per vertex; time stands still while nothing is fed, and moves only as far as the test says.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::config::Configuration;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::ShardId;
use thalweg_core::metrics::{MetricSnapshot, Registry, Scope};
use thalweg_core::seam::simulated::{SimOptions, SimOutcome, Simulation};
use thalweg_core::shard::executor::{Shard, TaskExit};
use thalweg_core::shard::mailbox::MailboxSender;
use thalweg_core::shard::mesh::Mesh;
use thalweg_core::shard::step::TaskIndex;
use thalweg_memory::{Budget, EntryLayout, SegmentPool};
use thalweg_network::{
    ChannelId, GateCredits, Handover, InputGate, Outflow, OutputTarget, PartitionConfig,
    ResultPartition, WakeSlot,
};

use crate::executor::{Executor, JobError, JobResult};
use crate::graph::{EdgeRole, Job, JobVertex};
use crate::stream::Environment;
use crate::task::{BuildContext, SubtaskInfo, Task, TaskCounters};

/// Rounds the shard may take for one feeding; more means that it does not come to rest.
const MAX_ROUNDS: u64 = 10_000_000;
const SEGMENT_BYTES: usize = 4096;
/// Of every channel; each gate has one from every edge.
const CREDITS: GateCredits = GateCredits {
    exclusive: 2,
    floating: 2,
};
const NS_PER_MS: u64 = 1_000_000;

/// A deployed program on a simulated shard.
pub(super) struct Rig {
    simulation: Simulation,
    mailbox: MailboxSender,
    failures: Rc<RefCell<Vec<TaskExit>>>,
    /// What each task counts.
    counters: Vec<TaskCounters>,
    metrics: Registry,
    /// The wall clock less the monotonic clock, ms.
    wall_offset: i64,
}

impl Rig {
    /// An environment whose program is deployed on a rig.
    pub(super) fn environment(configuration: Configuration) -> Environment {
        Environment::with_executor(Arc::new(Unused), configuration)
    }

    /// Deploys the environment's program.
    pub(super) fn deploy(environment: &Environment) -> Self {
        let job = match environment.job("test") {
            Ok(job) => job,
            Err(error) => panic!("the program under test is not valid: {error}"),
        };
        let options = SimOptions {
            // Reading the clock does not move it on to speak of: the test does.
            max_tick_ns: 0,
            ..SimOptions::default()
        };
        let mut simulation = Simulation::new(1, options);
        let failures: Rc<RefCell<Vec<TaskExit>>> = Rc::default();
        let told = Rc::clone(&failures);
        let mut wall_offset = 0;
        let mut counters = Vec::new();
        let mut metrics = Registry::new(Scope::root());
        let mailbox = simulation.add_shard(|shard| {
            wall_offset = shard.reactor().wall_ms();
            shard.on_exit(move |exit| told.borrow_mut().push(exit));
            metrics = shard.metrics();
            counters = deploy(job, shard);
            shard.mailbox()
        });
        wall_offset -= ms(simulation.now());
        Self {
            simulation,
            mailbox,
            failures,
            counters,
            metrics,
            wall_offset,
        }
    }

    /// Wakes the task of this place and runs until nothing moves, within this millisecond.
    pub(super) fn wake(&mut self, task: u32) {
        let wake = move |shard: &mut Shard| {
            if let Some(task) = shard.waker_of(TaskIndex(task)) {
                task.wake();
            }
        };
        // A shard whose tasks have all ended takes no more commands, and needs none.
        let _ = self.mailbox.send(Box::new(wake));
        self.run_to_the_end_of(ms(self.simulation.now()));
    }

    /// All metrics of the program.
    pub(super) fn metrics(&self) -> Vec<MetricSnapshot> {
        self.metrics.snapshot(self.simulation.now())
    }

    /// The number of a metric, over all that have it.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.metrics();
        let named = metrics.iter().filter(|metric| metric.name == name);
        named
            .map(MetricSnapshot::number)
            .reduce(|sum, next| sum + next)
    }

    /// The wall clock.
    pub(super) fn processing_time(&self) -> Timestamp {
        Timestamp(ms(self.simulation.now()) + self.wall_offset)
    }

    /// Moves the clock on and runs what falls due, in its order.
    pub(super) fn advance_processing_time(&mut self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let to = ms(self.simulation.now()).saturating_add(by);
        self.run_to_the_end_of(to);
        let to_ns = u64::try_from(to).unwrap_or(0).saturating_mul(NS_PER_MS);
        self.simulation.advance_to(to_ns);
        self.run_to_the_end_of(to);
    }

    fn run_to_the_end_of(&mut self, millisecond: i64) {
        let begin = u64::try_from(millisecond).unwrap_or(0);
        let latest = begin
            .saturating_mul(NS_PER_MS)
            .saturating_add(NS_PER_MS - 1);
        let outcome = self.simulation.run_until(latest, MAX_ROUNDS);
        assert!(
            outcome != SimOutcome::OutOfSteps,
            "the program under test does not come to rest: a task asks for turns without end"
        );
    }

    /// The user's accumulator of this name, summed over the tasks.
    pub(super) fn accumulator(&self, name: &str) -> i64 {
        let of_task = |task: &TaskCounters| task.accumulators.borrow().get(name).map(|a| a.get());
        self.counters.iter().filter_map(of_task).sum()
    }

    /// The message of the first failed task, if one failed.
    pub(super) fn failure(&self) -> Option<String> {
        let exits = self.failures.borrow();
        exits.iter().find_map(|exit| match exit {
            TaskExit::Failed { message, .. } => Some(message.clone()),
            TaskExit::Done { .. } => None,
        })
    }
}

fn ms(ns: u64) -> i64 {
    (ns / NS_PER_MS) as i64
}

/// Builds every vertex as one subtask on the shard, in order: the sources come first. Answers what
/// they count.
fn deploy(job: Job, shard: &mut Shard) -> Vec<TaskCounters> {
    let mut meshes = Mesh::build(1, 4);
    let Some(mut mesh) = meshes.pop() else {
        unreachable!("a mesh of one shard has one end");
    };
    mesh.set_doorbells(vec![shard.doorbell()]);
    let pool = match SegmentPool::with_own_arena(ShardId(0), SEGMENT_BYTES, 4096) {
        Ok(pool) => pool,
        Err(error) => panic!("no memory for a test: {error}"),
    };
    let budget = Budget::new("test", 1 << 30);
    let handover = Handover::new(mesh, pool, budget.clone());
    let counters = (0..job.vertices.len())
        .map(|place| build_vertex(&job, place, &handover, &budget, shard))
        .collect();
    shard.add_pump(Box::new(handover));
    counters
}

fn build_vertex(
    job: &Job,
    place: usize,
    post: &Handover,
    budget: &Budget,
    shard: &mut Shard,
) -> TaskCounters {
    let description = &job.graph.vertices[place];
    let layout_of = |keyed: bool, to: u32| EntryLayout {
        hash: keyed,
        timestamp: job.graph.vertices[to as usize].timestamps,
    };
    let wake = WakeSlot::new();
    let incoming = || job.graph.edges.iter().filter(|e| e.to == description.id);
    let inputs = incoming().map(|edge| edge.input + 1).max();
    let gate = inputs.map(|inputs| {
        let mut channels = vec![Vec::new(); inputs as usize];
        let mut layouts = vec![EntryLayout::default(); inputs as usize];
        for edge in incoming() {
            channels[edge.input as usize].push(ChannelId(edge.id.0));
            layouts[edge.input as usize] = layout_of(edge.keyed, description.id);
        }
        let gate = InputGate::new(channels, CREDITS, wake.clone());
        (Rc::new(RefCell::new(gate)), layouts)
    });
    let outflow = Outflow::new();
    let outgoing = job.graph.edges.iter().filter(|e| e.from == description.id);
    let partitions = outgoing
        .map(|edge| {
            let target = OutputTarget {
                channel: ChannelId(edge.id.0),
                shard: ShardId(0),
            };
            let config = PartitionConfig {
                layout: layout_of(edge.keyed, edge.to),
                exclusive: CREDITS.exclusive,
                max_record_size: 64 << 20,
                flush_interval_ns: 0,
            };
            let (outflow, wake) = (outflow.clone(), wake.clone());
            let partition = ResultPartition::new(post.clone(), &[target], config, outflow, wake);
            let partition = match edge.role {
                EdgeRole::Feedback => partition.without_back_pressure(),
                EdgeRole::Onward | EdgeRole::Votes => partition,
            };
            (edge.id, partition)
        })
        .collect();
    let registered = gate.as_ref().map(|(gate, _)| Rc::clone(gate));
    let splits = splits_of(&job.vertices[place]);
    let info = info_of(job, place);
    let context = BuildContext::new(info, gate, partitions, splits, budget.clone());
    let mut context = match context.with_metrics(&shard.metrics()) {
        Ok(context) => context.shown_after_every_turn(),
        Err(error) => panic!("the program under test cannot be shown: {error}"),
    };
    let head = match (job.vertices[place].instantiate())(&mut context) {
        Ok(head) => head,
        Err(error) => panic!("the program under test cannot be built: {error}"),
    };
    let task = Task::new(head, &context, |_report| {});
    wake.set(shard.add_step(Box::new(task)));
    if let Some(gate) = registered {
        post.register_gate(&gate);
    }
    context.counters()
}

fn splits_of(vertex: &JobVertex) -> Option<Box<dyn std::any::Any + Send>> {
    let dealt = vertex.source.as_ref()?.deal(1);
    match dealt {
        Ok(splits) => splits.into_iter().next(),
        Err(error) => panic!("the harness' source has no splits: {error}"),
    }
}

fn info_of(job: &Job, place: usize) -> SubtaskInfo {
    let description = &job.graph.vertices[place];
    let names = description.operators.iter().map(|o| o.name.clone());
    SubtaskInfo {
        vertex: thalweg_core::ids::VertexId(description.id),
        vertex_name: description.name.as_str().into(),
        index: 0,
        parallelism: 1,
        max_parallelism: job.max_parallelism,
        operators: names.collect(),
        mode: job.mode,
        configuration: Arc::clone(&job.configuration),
    }
}

/// The harness runs the job itself.
struct Unused;

impl Executor for Unused {
    fn execute(&self, _job: Job) -> Result<JobResult, JobError> {
        unreachable!("a harness never executes its environment")
    }
}
