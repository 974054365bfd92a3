//! What a task is told by its coordinator, from another thread, between two turns.
//!
//! Invariant: what was sent is taken once, in order, by the task's next turn, or dropped with the task. A
//! turn that has been told nothing reads one flag. Sent from any thread, taken on the task's shard.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_core::ids::CheckpointId;
use thalweg_network::Barrier;

/// One command to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskCommand {
    /// To a source: note the position and send this barrier. To a task all of whose inputs have ended: take
    /// the barrier as come from them. Others get it through their inputs.
    Trigger {
        /// The barrier.
        barrier: Barrier,
        /// Whether a source stops reading behind it, and says before it that nothing older will come.
        stop: Option<Drain>,
    },
    /// The checkpoint will not be completed: stop waiting for its barriers.
    Abort(CheckpointId),
}

/// How a job is stopped by a savepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Windows and timers stay as they are, to go on when the job is started again.
    Nothing,
    /// The last watermark is sent before the barrier: all windows and timers fire.
    Everything,
}

/// The commands of one task. Clones are the same inbox.
#[derive(Clone, Default, Debug)]
pub struct TaskInbox(Arc<Shared>);

#[derive(Default, Debug)]
struct Shared {
    waiting: AtomicBool,
    commands: Mutex<VecDeque<TaskCommand>>,
}

impl TaskInbox {
    /// An empty inbox.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a command. The task must then be woken.
    pub fn send(&self, command: TaskCommand) {
        let mut commands = self
            .0
            .commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        commands.push_back(command);
        self.0.waiting.store(true, Ordering::Release);
    }

    /// Takes the next command, if there is one.
    #[inline]
    #[must_use]
    pub fn take(&self) -> Option<TaskCommand> {
        if !self.0.waiting.load(Ordering::Acquire) {
            return None;
        }
        let mut commands = self
            .0
            .commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let command = commands.pop_front();
        self.0
            .waiting
            .store(!commands.is_empty(), Ordering::Release);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_once_and_in_order() {
        let inbox = TaskInbox::new();
        assert_eq!(inbox.take(), None);
        inbox.clone().send(TaskCommand::Abort(CheckpointId(1)));
        inbox.send(TaskCommand::Abort(CheckpointId(2)));
        assert_eq!(inbox.take(), Some(TaskCommand::Abort(CheckpointId(1))));
        assert_eq!(inbox.take(), Some(TaskCommand::Abort(CheckpointId(2))));
        assert_eq!(inbox.take(), None);
    }
}
