//! A subtask at work on a shard: the chain it pushes through and the turns it takes.
//!
//! Entered by a deployer, which builds a [`Task`] from a vertex of a [`crate::Job`] and
//! hands it to a shard; left through the border at the chain's end (an exchange or a
//! sink). Everything here lives on one shard thread.

mod async_runtime;
mod border;
mod build;
mod chain;
mod failure;
mod input_turn;
mod looks;
mod metrics;
mod overtake;
mod side;
mod sink_border;
mod source_turn;
mod states;
mod times;
mod turn;

pub use async_runtime::{AsyncRuntime, AsyncWork, InlineRuntime, RemoteWaker};
pub(crate) use border::{Border, EdgeOutput, EdgeWriter, FanoutBorder, RoutedPartition, TOGETHER};
pub(crate) use build::TaskCounters;
pub use build::{BuildContext, BuildError, SubtaskInfo};
pub use chain::{ChainTurn, Head, InputStatus, Push, Stage};
pub use failure::{Failure, TaskFailure};
pub(crate) use input_turn::{Consume, InputHead, PlainConsume};
pub(crate) use metrics::{OverflowCells, WatermarkCell, register_weak};
pub(crate) use side::{SideOutputs, SideWriter};
pub(crate) use sink_border::SinkBorder;
pub(crate) use source_turn::{Emit, Origin, SourceHead, Untimed};
pub use states::TaskState;
pub(crate) use times::{Between, TaskTimes};
pub use turn::{Task, TaskEnd, TaskReport};
