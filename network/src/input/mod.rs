//! The receiving end: arrivals of each channel, sequence-checked, and the fair choice among channels.
//!
//! Entered from `local/` with parcels, left to the task with buffers. Lives on the shard's thread.

pub mod gate;
pub mod in_flight;
mod overtaking;
mod queue;
