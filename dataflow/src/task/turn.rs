//! A task: one subtask's chain under the shard's loop.
//!
//! The task names itself for logs and the stall detector, counts, and at its end tells the
//! deployer once what it did. It lives on its shard from the first turn to the last.

use std::collections::BTreeMap;

use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};

use super::build::TaskCounters;
use super::{BuildContext, Head, SubtaskInfo, TaskState};
use crate::sink::Committable;

/// What a task did, told when it has finished.
#[derive(Clone, Debug)]
pub struct TaskReport {
    /// The vertex it belongs to.
    pub vertex: thalweg_core::ids::VertexId,
    /// Which subtask.
    pub subtask: u32,
    /// Records that entered the chain at its head.
    pub records_in: u64,
    /// Records that left the chain at its border.
    pub records_out: u64,
    /// The user's accumulators.
    pub accumulators: BTreeMap<String, i64>,
    /// What its sink prepared and the job's end must commit.
    pub committables: Vec<Committable>,
}

/// One subtask at work.
pub struct Task {
    name: String,
    info: SubtaskInfo,
    state: TaskState,
    head: Box<dyn Head>,
    counters: TaskCounters,
    on_finished: Option<Box<dyn FnOnce(TaskReport)>>,
}

impl Task {
    /// A task over a built chain. `on_finished` is called once, after the last record has
    /// been delivered; a failed task is told about by its shard instead.
    pub fn new(
        head: Box<dyn Head>,
        context: &BuildContext,
        on_finished: impl FnOnce(TaskReport) + 'static,
    ) -> Self {
        let info = context.info().clone();
        Self {
            name: info.task_name(),
            info,
            state: TaskState::Deploying,
            head,
            counters: context.counters(),
            on_finished: Some(Box::new(on_finished)),
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

    fn report(&self) -> TaskReport {
        let accumulators = self.counters.accumulators.borrow();
        TaskReport {
            vertex: self.info.vertex,
            subtask: self.info.index,
            records_in: self.counters.records_in.get(),
            records_out: self.counters.records_out.get(),
            accumulators: accumulators
                .iter()
                .map(|(name, value)| (name.clone(), value.get()))
                .collect(),
            committables: self.counters.committables.borrow().clone(),
        }
    }
}

impl Step for Task {
    fn name(&self) -> &str {
        &self.name
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        if self.state == TaskState::Deploying {
            self.become_state(TaskState::Running);
        }
        match self.head.turn(context) {
            Ok(progress) => {
                if progress.done {
                    self.become_state(TaskState::Finished);
                    if let Some(tell) = self.on_finished.take() {
                        tell(self.report());
                    }
                }
                Ok(progress)
            }
            Err(error) => {
                self.become_state(TaskState::Failed);
                Err(error)
            }
        }
    }
}
