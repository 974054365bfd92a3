//! Within one process: passing buffers from shard to shard through lanes, and to the own shard without.

mod delivery;
pub mod handover;
mod post;

pub use handover::{Handover, HandoverRef};
