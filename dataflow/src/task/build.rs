//! What a subtask is built from: its place in the job, its gate, its partitions, its splits.
//!
//! A deployer fills a [`BuildContext`] on the shard the subtask will live on; the chain's
//! template takes from it what each stage needs. It never leaves that shard.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_core::config::{Configuration, options};
use thalweg_core::ids::VertexId;
use thalweg_core::key_group::MaxParallelism;
use thalweg_core::metrics::{Counter, Histogram, MetricError, MetricGroup, Registry, Scope};
use thalweg_core::shard::in_work::{InWork, OperatorName};
use thalweg_memory::Budget;
use thalweg_memory::EntryLayout;
use thalweg_memory::IoManager;
use thalweg_memory::SavedRecord;
use thalweg_memory::record::{Key, Record};
use thalweg_network::GateRef;
use thalweg_network::Outflow;
use thalweg_network::ResultPartition;
use thalweg_state::{
    LayeredTimers, MakeOverflow, MakeRestoring, Namespace, OperatorPart, Overflow, Piles,
    Restoring, StateDescriptor, TimerQueue,
};

use super::metrics::{register_input, register_outputs, register_task, scope_of};
use super::{AsyncRuntime, Failure, InlineRuntime, SideOutputs, TaskTimes, WatermarkCell};
use crate::checkpoint::{
    CheckpointSetup, LOOK_NS, RestoredOperator, RestoredState, SPLITS, TaskAnswers,
};
use crate::graph::EdgeId;
use crate::operator::{Circuit, IterationPlan};
use crate::sink::Committable;
use crate::stream::RuntimeMode;
use crate::time::{TaskClock, Telling, Told};

/// A subtask that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A source, sink or state of the chain refused.
    #[error("{operator}: {message}")]
    Operator {
        /// The operator that refused.
        operator: String,
        /// What, where and how to mend it.
        message: String,
    },
    /// What the job is restored from does not fit the program: another attempt would be refused too.
    #[error("{operator}: {message}")]
    State {
        /// The operator whose state does not fit.
        operator: String,
        /// What, where and how to mend it.
        message: String,
    },
    /// The deployer did not provide what the plan names: a defect of the engine.
    #[error("the deployer of {vertex} left out {what}; this is a defect of the engine")]
    Missing {
        /// The vertex being built.
        vertex: String,
        /// What is missing.
        what: String,
    },
}

/// A subtask's place in its job.
#[derive(Clone)]
pub struct SubtaskInfo {
    /// The vertex it is an instance of.
    pub vertex: VertexId,
    /// The vertex' name: its operators, joined by arrows.
    pub vertex_name: Arc<str>,
    /// Which of the parallel instances, from 0.
    pub index: u32,
    /// How many there are.
    pub parallelism: u32,
    /// How many key groups there are.
    pub max_parallelism: MaxParallelism,
    /// The operators of the vertex, by name, in chain order.
    pub operators: Arc<[String]>,
    /// Streaming (every change is emitted) or batch (final results only).
    pub mode: RuntimeMode,
    /// The job's configuration.
    pub configuration: Arc<Configuration>,
}

impl SubtaskInfo {
    /// `name (2/4)`: the vertex' name and which subtask of how many, from 1.
    pub fn task_name(&self) -> String {
        format!(
            "{} ({}/{})",
            self.vertex_name,
            self.index + 1,
            self.parallelism
        )
    }
}

/// Counts of one task, read when it is asked to report.
#[derive(Clone, Default)]
pub(crate) struct TaskCounters {
    pub(crate) records_in: Counter,
    pub(crate) records_out: Counter,
    /// Buffers read, and the bytes of their records.
    pub(crate) buffers_in: Counter,
    pub(crate) bytes_in: Counter,
    /// How long buffers were in work, ns, where somebody looks at it.
    pub(crate) input_buffer_time: Rc<RefCell<Option<Histogram>>>,
    /// What all inputs together have promised, what each has, and what the task has.
    pub(crate) input_watermark: WatermarkCell,
    pub(crate) input_watermarks: Rc<RefCell<Vec<WatermarkCell>>>,
    pub(crate) output_watermark: WatermarkCell,
    /// What its operators have, where that is something else.
    pub(crate) told: Told,
    /// Whether the last turn ended without room for results.
    pub(crate) no_room: Rc<Cell<bool>>,
    pub(crate) times: TaskTimes,
    pub(crate) accumulators: Rc<RefCell<BTreeMap<String, Rc<Cell<i64>>>>>,
    pub(crate) committables: Rc<RefCell<Vec<Committable>>>,
    /// What operators remember beyond the end, by their place in the chain.
    pub(crate) remembered: Rc<RefCell<Vec<(usize, OperatorPart)>>>,
}

/// The operators of a subtask, and what chooses channels behind them.
fn in_work_of(info: &SubtaskInfo) -> Arc<InWork> {
    let exchange = match info.operators.last() {
        Some(last) => format!("exchange behind {last}"),
        None => "exchange".to_owned(),
    };
    InWork::new(info.operators.iter().cloned().chain([exchange]))
}

/// Everything the stages of one subtask's chain are built from.
pub struct BuildContext {
    info: SubtaskInfo,
    in_work: Arc<InWork>,
    gate: Option<GateRef>,
    input_layouts: Vec<EntryLayout>,
    partitions: Vec<(EdgeId, ResultPartition)>,
    outflow: Outflow,
    splits: Option<Box<dyn Any + Send>>,
    budget: Budget,
    failure: Failure,
    counters: TaskCounters,
    side: Rc<SideOutputs>,
    circuit: RefCell<Option<Circuit>>,
    clock: TaskClock,
    async_runtime: Rc<dyn AsyncRuntime>,
    answers: TaskAnswers,
    metrics: Registry,
    spill: Option<IoManager>,
    /// Reads the files of the copy the task is restored from.
    copies: Option<IoManager>,
    /// The place of the operator that is being opened.
    opening: Cell<Option<usize>>,
    /// Time between two looks at the sizes of states, ns.
    look_ns: u64,
}

/// Operations of one state that are at the disk at once.
const STATE_QUEUE_DEPTH: usize = 128;

impl BuildContext {
    /// The parts a deployer provides: the subtask's input gate with what stands beside the
    /// records of each of its inputs (none for sources), one partition per outgoing edge, the splits of its
    /// source, the slot's managed memory.
    pub fn new(
        info: SubtaskInfo,
        gate: Option<(GateRef, Vec<EntryLayout>)>,
        partitions: Vec<(EdgeId, ResultPartition)>,
        splits: Option<Box<dyn Any + Send>>,
        budget: Budget,
    ) -> Self {
        let (gate, input_layouts) = gate.unzip();
        let outflow = partitions.first().map(|(_, first)| first.outflow());
        Self {
            outflow: outflow.unwrap_or_default(),
            answers: TaskAnswers::new(&info, None),
            in_work: in_work_of(&info),
            info,
            gate,
            input_layouts: input_layouts.unwrap_or_default(),
            partitions,
            splits,
            budget,
            failure: Failure::default(),
            counters: TaskCounters::default(),
            side: Rc::default(),
            circuit: RefCell::default(),
            clock: TaskClock::default(),
            async_runtime: Rc::new(InlineRuntime::default()),
            metrics: Registry::new(Scope::root()),
            spill: None,
            copies: None,
            opening: Cell::new(None),
            look_ns: LOOK_NS,
        }
    }

    /// The same, shown in the list of its shard. Must come before the chain is built.
    ///
    /// # Errors
    /// When the list is full, or has a subtask of this vertex and number already.
    pub fn with_metrics(mut self, registry: &Registry) -> Result<Self, BuildError> {
        let registry = scope_of(registry, &self.info);
        let name = format!("state of {}", self.info.task_name());
        // The slot's limit is the one that counts.
        self.budget = self.budget.child(name, u64::MAX);
        let probes = self
            .partitions
            .iter()
            .map(|(_, partition)| partition.probe());
        let registered = register_task(&registry, &self.counters, &self.budget)
            .and_then(|()| register_outputs(&registry, probes.collect()))
            .and_then(|()| self.register_told(&registry))
            .and_then(|()| match &self.gate {
                Some(gate) => register_input(&registry, &self.counters, gate),
                None => Ok(()),
            });
        registered.map_err(|error| self.refused("metrics", error))?;
        self.metrics = registry;
        Ok(self)
    }

    fn register_told(&self, registry: &Registry) -> Result<(), MetricError> {
        let (told, inputs) = (&self.counters.told, &self.counters.input_watermark);
        told.register(registry, &self.info.operators, inputs)
    }

    /// Where the operator at this place shows the last watermark it told, if it tells others than it is told.
    pub(crate) fn told(&self, place: usize) -> WatermarkCell {
        self.counters.told.cell(place)
    }

    /// The stage behind the operator at this place, which tells watermarks of its own.
    pub(crate) fn telling<N>(&self, place: usize, next: N) -> Telling<N> {
        Telling::new(next, self.told(place))
    }

    /// What the task's outgoing edges have in common.
    pub(crate) fn outflow(&self) -> Outflow {
        self.outflow.clone()
    }

    /// The task's metrics.
    pub(crate) fn metrics(&self) -> &Registry {
        &self.metrics
    }

    /// The metrics of an operator of the chain.
    pub(crate) fn operator_metrics(&self, operator: &str) -> Registry {
        self.metrics.within("operator", operator)
    }

    /// The metrics of the user's function in an operator.
    pub(crate) fn user_metrics(&self, operator: &str) -> MetricGroup {
        MetricGroup::new(&self.operator_metrics(operator))
    }

    /// The same, shown as it is after every turn: where time stands still unless it is moved.
    pub(crate) fn shown_after_every_turn(mut self) -> Self {
        self.look_ns = 0;
        self
    }

    /// Time between two looks at the sizes of its states, ns.
    pub(crate) fn looks_at_states_every(&self) -> u64 {
        self.look_ns
    }

    /// The same, with files for state that memory does not hold. Without them state stays in memory.
    pub fn with_spill(mut self, files: IoManager) -> Self {
        self.spill = Some(files);
        self
    }

    /// Whether state may be kept on disk.
    pub(crate) fn may_spill(&self) -> bool {
        self.spill.is_some()
    }

    /// What makes that which takes the entries of a state that memory does not hold, where that is configured.
    pub(crate) fn overflows(&self) -> Option<MakeOverflow> {
        let files = self.spill.clone()?;
        let rate = self.info.configuration.get(&options::STATE_MERGE_RATE).0;
        let budget = self.budget.clone();
        Some(Box::new(move |descriptor, groups| {
            let (share, queue) = (budget.share(), files.queue(STATE_QUEUE_DEPTH));
            let overflow = Overflow::new(descriptor.clone(), groups, share, queue, rate);
            Box::new(overflow)
        }))
    }

    /// The same, with a way to read the files of the copy it is restored from, for state that comes back while its
    /// operators work.
    pub fn with_late_restore(mut self, files: IoManager) -> Self {
        self.copies = Some(files);
        self
    }

    /// From here on state is taken back before operators work.
    pub(crate) fn restores_first(&mut self) {
        self.copies = None;
    }

    /// What makes that which takes a state back while its operator works, if it is to be in memory as a whole and is
    /// restored.
    pub(crate) fn restores_late(&self) -> Option<MakeRestoring> {
        let files = self.copies.clone().filter(|_| self.spill.is_none())?;
        self.answers.setup()?.restored.as_ref()?;
        let configuration = &self.info.configuration;
        let from_bytes = configuration.get(&options::RESTORE_LATE_FROM).0;
        let budget = self.budget.clone();
        Some(Box::new(move |groups| {
            let queue = files.queue(STATE_QUEUE_DEPTH);
            Box::new(Restoring::new(groups, from_bytes, budget.clone(), queue))
        }))
    }

    /// Timers of the operator's key groups, kept as the state so described, on disk too where that is configured.
    pub(crate) fn timers<K: Key, N: Namespace>(
        &self,
        descriptor: &StateDescriptor,
    ) -> LayeredTimers<K, N> {
        let info = &self.info;
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let budget = self.budget.clone();
        let queue = TimerQueue::new(groups.clone(), info.max_parallelism, budget.clone());
        let Some(files) = self.spill.clone() else {
            return LayeredTimers::in_memory(queue);
        };
        let piles = move || {
            let queue = files.queue(STATE_QUEUE_DEPTH);
            Piles::new(groups.clone(), budget.modest_share(), queue)
        };
        LayeredTimers::on_disk(queue, descriptor.clone(), Box::new(piles))
    }

    /// The way of an operator's own tables to the disk, where that is configured.
    pub(crate) fn piles(&self) -> Option<Piles> {
        let files = self.spill.as_ref()?;
        let info = &self.info;
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let queue = files.queue(STATE_QUEUE_DEPTH);
        Some(Piles::new(groups, self.budget.share(), queue))
    }

    /// The same, with a runtime for the futures of user functions. Without one they are polled on
    /// the shard.
    pub fn with_async_runtime(mut self, runtime: Rc<dyn AsyncRuntime>) -> Self {
        self.async_runtime = runtime;
        self
    }

    /// The same, with a part in checkpoints.
    pub fn with_checkpoints(mut self, setup: CheckpointSetup) -> Self {
        self.answers = TaskAnswers::new(&self.info, Some(setup));
        self
    }

    /// Where the stages of the chain answer checkpoints.
    pub(crate) fn answers(&self) -> TaskAnswers {
        self.answers.clone()
    }

    /// What the operator at this place was restored from, if it was.
    pub(crate) fn restored(&self, place: usize) -> Option<(Rc<RestoredState>, RestoredOperator)> {
        let restored = self.answers.setup()?.restored.as_ref()?;
        let operator = restored.operator(self.answers.operator(place)?)?;
        Some((Rc::clone(restored), operator.clone()))
    }

    pub(crate) fn async_runtime(&self) -> Rc<dyn AsyncRuntime> {
        Rc::clone(&self.async_runtime)
    }

    /// The subtask's place in its job.
    pub fn info(&self) -> &SubtaskInfo {
        &self.info
    }

    /// What stands beside each record of the gate's input number `input`.
    pub(crate) fn input_layout(&self, input: usize) -> EntryLayout {
        self.input_layouts.get(input).copied().unwrap_or_default()
    }

    /// The name of the chain's operator at this place, which is to be opened next.
    pub(crate) fn operator_name(&self, place: usize) -> OperatorName {
        self.opening.set(Some(place));
        self.in_work.name(place, &self.info.vertex_name)
    }

    /// The name of the chain's operator at this place, which is to be opened next, and runs in the loop of one before.
    pub(crate) fn fused_name(&self, place: usize) -> Rc<str> {
        self.opening.set(Some(place));
        self.in_work.fused(place, &self.info.vertex_name)
    }

    /// The name of what chooses channels behind the chain.
    pub(crate) fn exchange_name(&self) -> OperatorName {
        self.in_work.name(self.info.operators.len(), "exchange")
    }

    /// What chooses channels behind the chain runs in the loop of an operator before it.
    pub(crate) fn fuse_exchange(&self) {
        self.in_work.fused(self.info.operators.len(), "exchange");
    }

    /// Where the operators of the chain say that they are in work.
    pub(crate) fn in_work(&self) -> Arc<InWork> {
        Arc::clone(&self.in_work)
    }

    /// The operator that was being opened, where building the chain ended in a panic.
    pub fn opening(&self) -> Option<String> {
        self.opening.get().map(|place| self.name_of(place))
    }

    fn name_of(&self, place: usize) -> String {
        let name = self.info.operators.get(place);
        name.map_or_else(|| self.info.vertex_name.to_string(), Clone::clone)
    }

    /// The slot's managed memory.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(crate) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    pub(crate) fn counters(&self) -> TaskCounters {
        self.counters.clone()
    }

    pub(crate) fn side(&self) -> Rc<SideOutputs> {
        Rc::clone(&self.side)
    }

    /// The wall clock of the task's turns.
    pub(crate) fn clock(&self) -> &TaskClock {
        &self.clock
    }

    /// Makes the subtask the head of a loop.
    pub(crate) fn begin_iteration(&mut self, plan: IterationPlan) -> Result<(), BuildError> {
        let gate = self
            .gate
            .clone()
            .ok_or_else(|| self.missing("input gate"))?;
        let circuit = Circuit::open(plan, &gate.borrow(), self)?;
        self.circuit = RefCell::new(Some(circuit));
        Ok(())
    }

    /// What the head of the chain does besides reading, if it is the head of a loop.
    pub(crate) fn take_circuit(&self) -> Option<Circuit> {
        self.circuit.take()
    }

    pub(crate) fn take_gate(&mut self) -> Result<GateRef, BuildError> {
        self.gate.take().ok_or_else(|| self.missing("input gate"))
    }

    /// The splits that the operator at this place still had to read, if it was restored.
    pub(crate) fn restored_splits<S: Record>(
        &self,
        place: usize,
    ) -> Result<Option<Vec<S>>, BuildError> {
        let restored = self.restored(place);
        let Some(items) = restored.and_then(|(_, from)| from.items(SPLITS)) else {
            return Ok(None);
        };
        let mut saved = SavedRecord::new();
        let splits = items.iter().map(|item| saved.revive(item)).collect();
        let splits: Result<Vec<S>, _> = splits;
        splits
            .map(Some)
            .map_err(|error| self.state_refused(place, format!("a restored position: {error}")))
    }

    /// The splits of the source at the head: those it still had to read, if the job is restored.
    pub(crate) fn take_splits<S: Record>(&mut self) -> Result<Vec<S>, BuildError> {
        if let Some(splits) = self.restored_splits(0)? {
            return Ok(splits);
        }
        let splits = self.splits.take().and_then(|any| any.downcast().ok());
        match splits {
            Some(splits) => Ok(*splits),
            // Other subtasks have got what there was left to read.
            None if self
                .answers
                .setup()
                .is_some_and(|setup| setup.restored.is_some()) =>
            {
                Ok(vec![])
            }
            None => Err(self.missing("source splits")),
        }
    }

    pub(crate) fn take_partition(&mut self, edge: EdgeId) -> Result<ResultPartition, BuildError> {
        match self.partitions.iter().position(|(id, _)| *id == edge) {
            Some(at) => Ok(self.partitions.swap_remove(at).1),
            None => Err(self.missing(&format!("the partition of edge {edge}"))),
        }
    }

    /// An operator's refusal, as a build error.
    pub(crate) fn refused(&self, operator: &str, error: impl ToString) -> BuildError {
        BuildError::Operator {
            operator: format!("{operator} in {}", self.info.task_name()),
            message: error.to_string(),
        }
    }

    /// A restored state that does not fit the operator at this place, as a build error.
    pub(crate) fn state_refused(&self, place: usize, refusal: impl ToString) -> BuildError {
        BuildError::State {
            operator: format!("{} in {}", self.name_of(place), self.info.task_name()),
            message: refusal.to_string(),
        }
    }

    fn missing(&self, what: &str) -> BuildError {
        BuildError::Missing {
            vertex: self.info.task_name(),
            what: what.to_owned(),
        }
    }
}
