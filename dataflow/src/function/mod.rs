//! What a user function may see and do: its context, its output, its tags.

mod collector;
mod context;
mod error;
mod states;
mod subtask_list;

pub use collector::{Collector, OutputTag};
pub use context::{Accumulator, OpenContext, ProcessContext};
pub use error::FunctionError;
pub(crate) use subtask_list::ListsOfStage;
pub use subtask_list::{SubtaskList, shown_part};
/// What functions remember.
pub use thalweg_state::{
    AggregatingState, Aggregation, BroadcastState, ListElements, ListState, MapState,
    ReducingState, StateDescriptor, StateError, StateTtl, TtlUpdate, TtlVisibility, ValueState,
};
