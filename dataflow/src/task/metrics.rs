//! What a task shows of itself: registered when it is built, read only when somebody asks.
//!
//! Entered by the deployer through [`BuildContext::with_metrics`]. What is shown is what the task and its
//! exchanges count anyway, in cells of their own. Invariant: nothing here keeps a part of the task alive.
//! Lives on the task's shard.

use std::cell::Cell;
use std::rc::{Rc, Weak};

use thalweg_core::event_time::Timestamp;
use thalweg_core::metrics::{Counter, MetricError, Registry, vocabulary};
use thalweg_memory::Budget;
use thalweg_network::{GateRef, PartitionProbe, Sent};
use thalweg_state::Overflow;

use super::{BuildContext, BuildError, SubtaskInfo, TaskCounters, TaskTimes};

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// A watermark as somebody else may look at it. Clones show the same.
#[derive(Clone)]
pub(crate) struct WatermarkCell(Rc<Cell<Timestamp>>);

impl Default for WatermarkCell {
    fn default() -> Self {
        Self(Rc::new(Cell::new(Timestamp::MIN)))
    }
}

impl WatermarkCell {
    pub(crate) fn set(&self, to: Timestamp) {
        self.0.set(to);
    }

    /// In ms; `None` before the first.
    pub(crate) fn shown(&self) -> Option<f64> {
        let at = self.0.get();
        (at > Timestamp::MIN).then_some(at.0 as f64)
    }
}

/// What an operator shows of state that memory does not hold, as it was at the end of its last turn.
#[derive(Clone, Default)]
pub(crate) struct OverflowCells(Rc<OnDisk>);

#[derive(Default)]
struct OnDisk {
    bytes: Cell<u64>,
    reads: Cell<u64>,
}

impl OverflowCells {
    /// Registers them among the metrics of the operator.
    fn register(&self, operator: &Registry) -> Result<(), MetricError> {
        let (bytes, reads) = (Rc::clone(&self.0), Rc::clone(&self.0));
        operator.level(vocabulary::STATE_DISK, move || {
            Some(bytes.bytes.get() as f64)
        })?;
        operator.count(vocabulary::NUM_STATE_READS, move || reads.reads.get())
    }

    /// Those of an operator, shown where its states may be on disk.
    pub(crate) fn open(
        name: &str,
        context: &BuildContext,
        may_be_on_disk: bool,
    ) -> Result<Self, BuildError> {
        let cells = Self::default();
        if may_be_on_disk {
            let registered = cells.register(&context.operator_metrics(name));
            registered.map_err(|error| context.refused(name, error))?;
        }
        Ok(cells)
    }

    /// Begins to look at the states of the operator.
    pub(crate) fn clear(&self) {
        self.0.bytes.set(0);
        self.0.reads.set(0);
    }

    /// Looks at what has so many bytes on disk.
    pub(crate) fn add_bytes(&self, bytes: u64) {
        let cells = &self.0;
        cells.bytes.set(cells.bytes.get() + bytes);
    }

    /// Looks at one of the states.
    pub(crate) fn add(&self, overflow: &Overflow) {
        let cells = &self.0;
        self.add_bytes(overflow.disk_bytes());
        cells.reads.set(cells.reads.get() + overflow.reads());
    }
}

/// The scope of a task's metrics.
pub(crate) fn scope_of(registry: &Registry, info: &SubtaskInfo) -> Registry {
    registry
        .within("vertex", info.vertex.0)
        .within("task", &info.vertex_name)
        .within("subtask", info.index)
}

/// Registers what every task shows.
pub(crate) fn register_task(
    registry: &Registry,
    counters: &TaskCounters,
    state: &Budget,
) -> Result<(), MetricError> {
    let (read, written) = (counters.records_in.clone(), counters.records_out.clone());
    registry.rate(vocabulary::NUM_RECORDS_IN_PER_SECOND, read.clone(), 1.0)?;
    registry.rate(vocabulary::NUM_RECORDS_OUT_PER_SECOND, written.clone(), 1.0)?;
    registry.count(vocabulary::NUM_RECORDS_IN, move || read.get())?;
    registry.count(vocabulary::NUM_RECORDS_OUT, move || written.get())?;
    let told = counters.output_watermark.clone();
    registry.level(vocabulary::CURRENT_OUTPUT_WATERMARK, move || told.shown())?;
    let state = state.clone();
    registry.level(vocabulary::STATE_MEMORY, move || Some(state.used() as f64))?;
    register_times(registry, &counters.times)
}

fn register_times(registry: &Registry, times: &TaskTimes) -> Result<(), MetricError> {
    let settled = times.clone();
    registry.before_snapshot(move |now| settled.settle(now));
    let per_ms = 1.0 / MS as f64;
    let longest = times.clone();
    registry.level(vocabulary::LONGEST_TURN, move || {
        Some(longest.longest() as f64 * per_ms)
    })?;
    registry.rate(vocabulary::BUSY_TIME, times.busy().clone(), per_ms)?;
    let back_pressured = times.back_pressured().clone();
    registry.rate(vocabulary::BACK_PRESSURED_TIME, back_pressured, per_ms)?;
    registry.rate(vocabulary::IDLE_TIME, times.idle().clone(), per_ms)?;
    let total = |counter: &Counter| {
        let counter = counter.clone();
        move || counter.get() / MS
    };
    registry.count(vocabulary::BUSY_TIME_TOTAL, total(times.busy()))?;
    let back_pressured = total(times.back_pressured());
    registry.count(vocabulary::BACK_PRESSURED_TIME_TOTAL, back_pressured)?;
    registry.count(vocabulary::IDLE_TIME_TOTAL, total(times.idle()))
}

/// Registers what a task shows of its input gate.
pub(crate) fn register_input(
    registry: &Registry,
    counters: &TaskCounters,
    gate: &GateRef,
) -> Result<(), MetricError> {
    let (bytes, buffers) = (counters.bytes_in.clone(), counters.buffers_in.clone());
    registry.count(vocabulary::NUM_BYTES_IN, move || bytes.get())?;
    registry.count(vocabulary::NUM_BUFFERS_IN, move || buffers.get())?;
    let queue = Rc::downgrade(gate);
    registry.level(vocabulary::INPUT_QUEUE_LENGTH, move || {
        Some(queue.upgrade()?.borrow().queued() as f64)
    })?;
    let spread = registry.histogram(vocabulary::INPUT_BUFFER_TIME)?;
    counters.input_buffer_time.replace(Some(spread));
    let combined = counters.input_watermark.clone();
    registry.level(vocabulary::CURRENT_INPUT_WATERMARK, move || {
        combined.shown()
    })?;
    let inputs = gate.borrow().inputs().max().map_or(0, |last| last + 1);
    let mut each = counters.input_watermarks.borrow_mut();
    for input in 0..inputs {
        let watermark = WatermarkCell::default();
        each.push(watermark.clone());
        registry
            .within("input", input + 1)
            .level(vocabulary::CURRENT_INPUT_N_WATERMARK, move || {
                watermark.shown()
            })?;
    }
    Ok(())
}

/// Registers what a task shows of its outgoing exchanges.
pub(crate) fn register_outputs(
    registry: &Registry,
    probes: Vec<PartitionProbe>,
) -> Result<(), MetricError> {
    if probes.is_empty() {
        return Ok(());
    }
    let probes: Rc<[PartitionProbe]> = probes.into();
    let sum = |of: fn(Sent) -> u64| {
        let probes = Rc::clone(&probes);
        move || probes.iter().map(|probe| of(probe.sent())).sum()
    };
    registry.count(vocabulary::NUM_BYTES_OUT, sum(|sent| sent.bytes))?;
    registry.count(vocabulary::NUM_BUFFERS_OUT, sum(|sent| sent.buffers))?;
    let waiting = Rc::clone(&probes);
    registry.level(vocabulary::OUTPUT_QUEUE_LENGTH, move || {
        Some(waiting.iter().map(PartitionProbe::waiting).sum::<usize>() as f64)
    })?;
    registry.level(vocabulary::OUTPUT_CREDITS, move || {
        Some(probes.iter().map(PartitionProbe::credits).sum::<u64>() as f64)
    })
}

/// Registers a level of something that may go before the task does.
pub(crate) fn register_weak<T: 'static>(
    registry: &Registry,
    definition: &'static thalweg_core::metrics::Definition,
    of: &Rc<T>,
    read: impl Fn(&T) -> f64 + 'static,
) -> Result<(), MetricError> {
    let of: Weak<T> = Rc::downgrade(of);
    registry.level(definition, move || Some(read(&*of.upgrade()?)))
}
