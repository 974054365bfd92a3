//! Runs a piece of a program in a test: feed records, advance event time, read output.
//!
//! The operators under test are the real ones, deployed as one subtask per vertex on one
//! simulated shard: time is virtual, the order of events follows from a seed, and nothing
//! touches the outside. No thread is started.
//!
//! ```
//! use thalweg_dataflow::harness::TestHarness;
//!
//! let mut harness = TestHarness::<u64, u64>::new(|numbers| numbers.map(|n| n * 2));
//! harness.push(1);
//! harness.push(2);
//! assert_eq!(harness.output(), vec![2, 4]);
//! ```
//!
//! [`TwoInputHarness`] does the same for what reads two streams.

mod two_inputs;

pub use two_inputs::TwoInputHarness;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::config::{Configuration, options};
use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::ids::ShardId;
use thalweg_core::seam::simulated::{SimOptions, Simulation};
use thalweg_core::shard::executor::{Shard, TaskExit};
use thalweg_core::shard::mailbox::MailboxSender;
use thalweg_core::shard::mesh::Mesh;
use thalweg_core::shard::step::{TaskIndex, TurnContext};
use thalweg_memory::record::Record;
use thalweg_memory::{Budget, EntryLayout, Mark, SegmentPool};
use thalweg_network::{
    Blocked, ChannelId, Handover, InputGate, OutputTarget, PartitionConfig, ResultPartition,
    WakeSlot,
};

use crate::executor::{Executor, JobError, JobResult};
use crate::graph::{Job, JobVertex};
use crate::sink::{Sink, SinkError, SinkStatus, SinkWriter};
use crate::source::{Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus};
use crate::stream::{DataStream, Environment, Pipe, RuntimeMode, SourcePipe};
use crate::task::{BuildContext, InputStatus, SubtaskInfo, Task};

/// Rounds the shard may take for one feeding; more means that it does not come to rest.
const MAX_ROUNDS: u64 = 10_000_000;
const SEGMENT_BYTES: usize = 4096;

/// A piece of a program under test.
pub struct TestHarness<T, U> {
    stage: Stage<U>,
    input: Feed<T>,
}

impl<T: Record, U: Record> TestHarness<T, U> {
    /// Builds the piece under test, in STREAMING mode.
    ///
    /// # Panics
    /// If the program is not valid; the message says why.
    pub fn new<P: Pipe<Out = U>>(
        build: impl FnOnce(DataStream<T, SourcePipe<HarnessSource<T>>>) -> DataStream<U, P>,
    ) -> Self {
        Self::with_mode(RuntimeMode::Streaming, build)
    }

    /// Builds the piece under test in the given mode.
    ///
    /// # Panics
    /// If the program is not valid; the message says why.
    pub fn with_mode<P: Pipe<Out = U>>(
        mode: RuntimeMode,
        build: impl FnOnce(DataStream<T, SourcePipe<HarnessSource<T>>>) -> DataStream<U, P>,
    ) -> Self {
        let input = Feed(Arc::default());
        let stage = Stage::new(mode, |environment| {
            build(environment.source(HarnessSource(input.clone())))
        });
        Self { stage, input }
    }

    /// Feeds one record without an event time and runs until nothing moves.
    pub fn push(&mut self, record: T) {
        self.push_at(record, Timestamp::NONE);
    }

    /// Feeds one record with its event time and runs until nothing moves.
    pub fn push_at(&mut self, record: T, at: Timestamp) {
        self.feed(Fed::Record(record, at));
    }

    /// Promises that no record at or before `to` follows, and runs until nothing moves.
    pub fn advance_watermark(&mut self, to: Timestamp) {
        self.feed(Fed::Mark(Mark::Watermark(Watermark(to))));
    }

    /// Ends the input and runs until everything has finished.
    pub fn finish(&mut self) {
        self.feed(Fed::End);
    }

    /// What came out since the last call.
    pub fn output(&mut self) -> Vec<U> {
        self.stage.output()
    }

    /// The message of the first failed task, if one failed.
    pub fn failure(&self) -> Option<String> {
        self.stage.failure()
    }

    fn feed(&mut self, fed: Fed<T>) {
        self.stage.feed(&self.input, SOURCE, fed);
    }
}

/// The task of a harness' first source.
const SOURCE: TaskIndex = TaskIndex(0);

/// A program at work on the simulated shard, and what comes out of it.
struct Stage<U> {
    simulation: Simulation,
    mailbox: MailboxSender,
    output: Arc<Mutex<Vec<U>>>,
    failures: Rc<RefCell<Vec<TaskExit>>>,
}

impl<U: Record> Stage<U> {
    /// Deploys the program that `build` writes; its sources come first.
    fn new<P: Pipe<Out = U>>(
        mode: RuntimeMode,
        build: impl FnOnce(&Environment) -> DataStream<U, P>,
    ) -> Self {
        let environment = Environment::with_executor(Arc::new(Unused), Configuration::new());
        environment.configure(|c| c.set(&options::RUNTIME_MODE, mode));
        let output: Arc<Mutex<Vec<U>>> = Arc::default();
        let _ = build(&environment).sink(HarnessSink(Arc::clone(&output)));
        let job = match environment.job("test") {
            Ok(job) => job,
            Err(error) => panic!("the program under test is not valid: {error}"),
        };
        let mut simulation = Simulation::new(1, SimOptions::default());
        let failures: Rc<RefCell<Vec<TaskExit>>> = Rc::default();
        let told = Rc::clone(&failures);
        let mailbox = simulation.add_shard(|shard| {
            shard.on_exit(move |exit| told.borrow_mut().push(exit));
            deploy(job, shard);
            shard.mailbox()
        });
        Self {
            simulation,
            mailbox,
            output,
            failures,
        }
    }

    /// What came out since the last call.
    fn output(&mut self) -> Vec<U> {
        std::mem::take(&mut *locked(&self.output))
    }

    /// The message of the first failed task, if one failed.
    fn failure(&self) -> Option<String> {
        let exits = self.failures.borrow();
        exits.iter().find_map(|exit| match exit {
            TaskExit::Failed { message, .. } => Some(message.clone()),
            TaskExit::Done { .. } => None,
        })
    }

    /// Gives the source at task `source` something to read and runs until nothing moves.
    fn feed<T>(&mut self, input: &Feed<T>, source: TaskIndex, fed: Fed<T>) {
        locked(&input.0).push_back(fed);
        let wake = move |shard: &mut Shard| {
            if let Some(source) = shard.waker_of(source) {
                source.wake();
            }
        };
        // A shard whose tasks have all ended takes no more commands, and needs none.
        let _ = self.mailbox.send(Box::new(wake));
        self.simulation.run(MAX_ROUNDS);
    }
}

/// Builds every vertex as one subtask on the shard; vertex 0, the source, is task 0.
fn deploy(job: Job, shard: &mut Shard) {
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
    for place in 0..job.vertices.len() {
        build_vertex(&job, place, &handover, &budget, shard);
    }
    shard.add_pump(Box::new(handover));
}

fn build_vertex(job: &Job, place: usize, post: &Handover, budget: &Budget, shard: &mut Shard) {
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
        let gate = InputGate::new(channels, 2, 2, wake.clone());
        (Rc::new(RefCell::new(gate)), layouts)
    });
    let blocked = Blocked::new();
    let outgoing = job.graph.edges.iter().filter(|e| e.from == description.id);
    let partitions = outgoing
        .map(|edge| {
            let target = OutputTarget {
                channel: ChannelId(edge.id.0),
                shard: ShardId(0),
            };
            let config = PartitionConfig {
                layout: layout_of(edge.keyed, edge.to),
                exclusive: 2,
                max_record_size: 64 << 20,
            };
            let (blocked, wake) = (blocked.clone(), wake.clone());
            let partition = ResultPartition::new(post.clone(), &[target], config, blocked, wake);
            (edge.id, partition)
        })
        .collect();
    let registered = gate.as_ref().map(|(gate, _)| Rc::clone(gate));
    let splits = splits_of(&job.vertices[place]);
    let info = info_of(job, place);
    let mut context = BuildContext::new(info, gate, partitions, splits, budget.clone());
    let head = match (job.vertices[place].instantiate())(&mut context) {
        Ok(head) => head,
        Err(error) => panic!("the program under test cannot be built: {error}"),
    };
    let task = Task::new(head, &context, |_report| {});
    wake.set(shard.add_step(Box::new(task)));
    if let Some(gate) = registered {
        post.register_gate(&gate);
    }
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

enum Fed<T> {
    Record(T, Timestamp),
    Mark(Mark),
    End,
}

/// What is fed and not yet read. Locked only to hand over, on one thread.
struct Feed<T>(Arc<Mutex<VecDeque<Fed<T>>>>);

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

fn locked<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The source of a harness: what the test feeds.
pub struct HarnessSource<T>(Feed<T>);

impl<T> Clone for HarnessSource<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Record> Source for HarnessSource<T> {
    type Item = T;
    type Split = ();
    type Reader = HarnessReader<T>;

    fn name(&self) -> String {
        "harness".to_owned()
    }
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }
    fn parallelism(&self) -> Option<u32> {
        Some(1)
    }
    fn timestamps(&self) -> bool {
        true
    }
    fn splits(&self, _parallelism: u32) -> Result<Vec<()>, SourceError> {
        Ok(vec![()])
    }
    fn open(&self, _: Vec<()>, _: &SubtaskInfo) -> Result<HarnessReader<T>, SourceError> {
        Ok(HarnessReader(self.0.clone()))
    }
}

/// Reads what the test feeds.
pub struct HarnessReader<T>(Feed<T>);

impl<T: Record> SourceReader for HarnessReader<T> {
    type Item = T;
    type Split = ();

    fn poll<O: SourceOutput<T>>(
        &mut self,
        out: &mut O,
        _context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        while out.wanted() {
            let fed = locked(&self.0.0).pop_front();
            match fed {
                Some(Fed::Record(record, at)) => out.emit(record, at),
                Some(Fed::Mark(mark)) => out.mark(mark),
                Some(Fed::End) => return Ok(SourceStatus::Finished),
                None => return Ok(SourceStatus::Waiting),
            }
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<()> {
        vec![()]
    }
}

/// The sink of a harness: keeps what comes out.
struct HarnessSink<U>(Arc<Mutex<Vec<U>>>);

impl<U> Clone for HarnessSink<U> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<U: Record> Sink<U> for HarnessSink<U> {
    type Writer = Self;

    fn name(&self) -> String {
        "harness".to_owned()
    }
    fn open(&self, _subtask: &SubtaskInfo) -> Result<Self, SinkError> {
        Ok(self.clone())
    }
}

impl<U: Record> SinkWriter<U> for HarnessSink<U> {
    fn write(&mut self, item: U, _at: Timestamp) -> Result<(), SinkError> {
        locked(&self.0).push(item);
        Ok(())
    }
    fn end_turn(
        &mut self,
        _context: &mut TurnContext<'_>,
        _input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        Ok(SinkStatus::Done)
    }
}
