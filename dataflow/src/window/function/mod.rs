//! What becomes of a window's records: what is kept of them, and what the window gives out.
//!
//! `logic` is the contract between the window operator and a function. `gather` keeps what an
//! aggregate needs (its accumulator, or all records where an evictor may remove some); `rows` gives
//! out the aggregate's row, `then` hands it to a function, `process` hands all records to a function
//! or, where a function can stop on the way, to a speaker.
//! `reduce`, `sum`, `count` and `extreme` are aggregates with a name. Everything lives on the shard of
//! its subtask.

mod context;
mod count;
mod extreme;
mod gather;
mod logic;
mod process;
mod reduce;
mod rows;
mod state;
mod sum;
mod then;

pub(crate) use context::Footing;
pub use context::{WindowContext, WindowOpenContext};
pub use gather::{Eviction, Gather, NoEvictor, With};
pub(crate) use logic::{OpenLogic, Pane, Speech, WindowLogic};
pub(crate) use process::Speaker;
pub use process::WindowFunction;
pub(crate) use rows::Rows;
pub use state::WindowValueState;
