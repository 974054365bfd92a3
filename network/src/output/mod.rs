//! The sending end: record → open buffer of a channel, the subtask's channels, and when a half-full
//! buffer leaves.
//!
//! Entered by the task with records, left to `local/` with sealed buffers. Lives on the shard's thread.

mod flush;
pub(crate) mod outflow;
pub(crate) mod outlet;
mod overtaking;
pub mod partition;
mod writer;
