//! The states of a task and the moves allowed between them.

use std::fmt;

/// Where a task is in its life.
///
/// ```
/// use thalweg_dataflow::task::TaskState;
/// assert!(TaskState::Running.may_become(TaskState::Finished));
/// assert!(!TaskState::Finished.may_become(TaskState::Running));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Known, not yet on a shard.
    Created,
    /// On its shard, its chain built, no turn taken.
    Deploying,
    /// Taking turns.
    Running,
    /// Told to stop; its next turn is its last.
    Canceling,
    /// All input read, all output delivered.
    Finished,
    /// Stopped because it was told to.
    Canceled,
    /// Stopped by an error or a panic.
    Failed,
}

impl TaskState {
    /// Whether the life of the task is over.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Canceled | Self::Failed)
    }

    /// Whether the move is allowed.
    pub fn may_become(self, next: TaskState) -> bool {
        use TaskState::{Canceled, Canceling, Created, Deploying, Failed, Finished, Running};
        match self {
            Created => matches!(next, Deploying | Canceled | Failed),
            Deploying => matches!(next, Running | Canceling | Canceled | Failed),
            Running => matches!(next, Canceling | Finished | Failed),
            Canceling => matches!(next, Canceled | Failed),
            Finished | Canceled | Failed => false,
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "CREATED",
            Self::Deploying => "DEPLOYING",
            Self::Running => "RUNNING",
            Self::Canceling => "CANCELING",
            Self::Finished => "FINISHED",
            Self::Canceled => "CANCELED",
            Self::Failed => "FAILED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::TaskState::{self, *};

    #[test]
    fn terminal_states_have_no_way_out() {
        let all = [
            Created, Deploying, Running, Canceling, Finished, Canceled, Failed,
        ];
        for from in all {
            let moves = all.iter().filter(|to| from.may_become(**to)).count();
            assert_eq!(from.is_terminal(), moves == 0, "{from}");
        }
        assert!(!TaskState::Created.may_become(Running));
    }
}
