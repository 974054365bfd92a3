//! What a user function holds: the current key and the states kept under it.
//!
//! The operator calls [`KeyedContext::set_current`] before each record or timer; the function then uses
//! its handles. Invariant: a handle reads and changes only what belongs to the current key. A call costs
//! one lookup: no dynamic dispatch and no count of references per record. Lives on one shard's thread.

mod aggregating;
mod aging;
mod cells;
mod chunk;
mod context;
mod held;
mod keys;
mod list;
mod map;
mod reducing;
mod shared;
mod sought;
mod value;
mod values;

pub use aggregating::{AggregatingState, Aggregation};
pub use context::KeyedContext;
pub use keys::{FoundKey, Gathered, KeyWalk, KeyedState, KeysOfState};
pub use list::{ListElements, ListState};
pub use map::MapState;
pub use reducing::ReducingState;
pub use value::ValueState;

pub(crate) use aging::{Aging, Expiring, Lasting, ProcessingClock};
pub(crate) use cells::Cells;
pub(crate) use held::{Held, Kept, Tables};
pub(crate) use list::{ListChunks, elements_of_part};
pub(crate) use map::MapEntries;
#[cfg(test)]
pub(crate) use map::user_key;
pub(crate) use shared::SharedTable;
pub(crate) use sought::SoughtState;
pub(crate) use values::Values;
