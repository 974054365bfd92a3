//! A task: one subtask's chain under the shard's loop.
//!
//! The task names itself for logs and the stall detector, counts, and at its end tells the
//! deployer once what it did. It lives on its shard from the first turn to the last.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::metrics::{MetricSnapshot, Registry};
use thalweg_core::shard::in_work::InWork;
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};
use thalweg_state::OperatorPart;

use super::build::TaskCounters;
use super::{Between, BuildContext, Head, SubtaskInfo, TaskState};
use crate::sink::Committable;

/// How far a task came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// All input read, all output delivered.
    Finished,
    /// It failed or was stopped before its end.
    Stopped,
}

/// What a task did, told when it has finished or is stopped.
#[derive(Clone, Debug)]
pub struct TaskReport {
    /// The vertex it belongs to.
    pub vertex: thalweg_core::ids::VertexId,
    /// Which subtask.
    pub subtask: u32,
    /// Whether it came to its end.
    pub end: TaskEnd,
    /// Records that entered the chain at its head.
    pub records_in: u64,
    /// Records that left the chain at its border.
    pub records_out: u64,
    /// The user's accumulators.
    pub accumulators: BTreeMap<String, i64>,
    /// The last values of its metrics.
    pub metrics: Vec<MetricSnapshot>,
    /// What its sink prepared and the job's end must commit.
    pub committables: Vec<Committable>,
    /// What operators remember beyond the end, by their place in the chain: part of later checkpoints.
    pub remembered: Vec<(usize, OperatorPart)>,
}

/// One subtask at work.
pub struct Task {
    name: String,
    in_work: Arc<InWork>,
    info: SubtaskInfo,
    state: TaskState,
    head: Box<dyn Head>,
    counters: TaskCounters,
    metrics: Registry,
    /// Whether the last turn asked for another.
    again: bool,
    /// The newest moment this task knows of, monotonic ns.
    now: u64,
    on_end: Option<Box<dyn FnOnce(TaskReport)>>,
}

impl Task {
    /// A task over a built chain. `on_end` is called once: after the last record has been
    /// delivered, or when the task is dropped before that. Why it failed is told by its shard.
    pub fn new(
        head: Box<dyn Head>,
        context: &BuildContext,
        on_end: impl FnOnce(TaskReport) + 'static,
    ) -> Self {
        let info = context.info().clone();
        Self {
            name: info.task_name(),
            in_work: context.in_work(),
            info,
            state: TaskState::Deploying,
            head,
            counters: context.counters(),
            metrics: context.metrics().clone(),
            again: false,
            now: 0,
            on_end: Some(Box::new(on_end)),
        }
    }

    /// Where the task is in its life.
    pub fn state(&self) -> TaskState {
        self.state
    }

    fn become_state(&mut self, next: TaskState) {
        debug_assert!(
            self.state.may_become(next),
            "{}: {} may not become {next}",
            self.name,
            self.state
        );
        self.state = next;
    }

    fn tell(&mut self, end: TaskEnd) {
        if let Some(tell) = self.on_end.take() {
            self.head.settle();
            tell(self.report(end));
        }
    }

    fn report(&self, end: TaskEnd) -> TaskReport {
        let accumulators = self.counters.accumulators.borrow();
        TaskReport {
            vertex: self.info.vertex,
            subtask: self.info.index,
            end,
            records_in: self.counters.records_in.get(),
            records_out: self.counters.records_out.get(),
            accumulators: accumulators
                .iter()
                .map(|(name, value)| (name.clone(), value.get()))
                .collect(),
            metrics: self.metrics.end_scope(self.now),
            committables: self.counters.committables.borrow().clone(),
            remembered: self.counters.remembered.borrow().clone(),
        }
    }
}

impl Step for Task {
    fn name(&self) -> &str {
        &self.name
    }

    fn in_work(&self) -> Option<Arc<InWork>> {
        Some(Arc::clone(&self.in_work))
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        if self.state == TaskState::Deploying {
            self.become_state(TaskState::Running);
        }
        match self.head.turn(context) {
            Ok(progress) => {
                self.again = progress.made;
                if progress.done {
                    let (started, ended) = (context.now(), context.reactor().now());
                    self.turn_took(started, ended);
                    self.become_state(TaskState::Finished);
                    self.tell(TaskEnd::Finished);
                }
                Ok(progress)
            }
            Err(error) => {
                self.become_state(TaskState::Failed);
                Err(error)
            }
        }
    }

    fn turn_took(&mut self, started: u64, ended: u64) {
        let then = match (self.again, self.counters.no_room.get()) {
            (true, _) => Between::Ready,
            (false, true) => Between::NoRoom,
            (false, false) => Between::Nothing,
        };
        self.counters.times.turn(started, ended, then);
        self.now = ended;
    }
}

impl Drop for Task {
    /// A task that is taken off its shard before its end still says what it did.
    fn drop(&mut self) {
        self.tell(TaskEnd::Stopped);
    }
}
