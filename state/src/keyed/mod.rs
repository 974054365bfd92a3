//! What a user function holds: the current key and the states kept under it.
//!
//! The operator calls [`KeyedContext::set_current`] before each record or timer; the function then uses
//! its handles. Invariant: a handle reads and changes only what belongs to the current key. A call costs
//! one lookup: no dynamic dispatch and no count of references per record. Lives on one shard's thread.

mod context;
mod reducing;
mod shared;
mod value;

pub use context::KeyedContext;
pub use reducing::ReducingState;
pub use value::ValueState;

pub(crate) use shared::SharedTable;
