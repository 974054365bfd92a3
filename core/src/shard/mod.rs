//! One CPU core with all it owns: its thread, its tasks, and the queues that reach it.
//!
//! Data enters a shard only through [`lane`]s, commands only through its mailbox, and a doorbell wakes
//! it when it sleeps. Everything else in these rooms lives and dies on the shard's own thread.

pub(crate) mod catch;
pub mod doorbell;
pub mod executor;
pub mod in_work;
pub mod lane;
pub mod mailbox;
pub mod mesh;
pub mod panic;
pub mod placement;
#[allow(
    clippy::disallowed_methods,
    reason = "the watchdog is a thread beside the shards"
)]
pub mod stall;
#[allow(
    clippy::disallowed_methods,
    reason = "here the threads of shards are started"
)]
pub mod start;
pub mod step;
pub mod timer;
