//! What a user function may see and do: its context, its output, its tags.

mod collector;
mod context;
mod error;

pub use collector::{Collector, OutputTag};
pub use context::{Accumulator, OpenContext, ProcessContext};
pub use error::FunctionError;
/// What functions remember.
pub use thalweg_state::{BroadcastState, ReducingState, StateError, ValueState};
