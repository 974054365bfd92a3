//! Process functions: a user's object with calls for records, timers and the end.
//!
//! `keyed` runs one behind a key, `unkeyed` one in the middle of a chain; `state` is what stands around
//! every keyed function, also around those with two inputs, `backend` its states in memory and on disk.

mod backend;
mod keyed;
pub(crate) mod state;
#[cfg(test)]
mod tests;
mod unkeyed;

pub(crate) use backend::FunctionBackend;
pub use keyed::KeyedProcessFunction;
pub(crate) use state::KeyedFunctionState;
pub use unkeyed::ProcessFunction;
