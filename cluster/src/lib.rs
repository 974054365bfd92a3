//! Who runs what where.
//!
//! Local mode is the same deployment as on many hosts, in one process: the plan of a job is
//! laid out over slots and channels, each shard builds its subtasks, a control thread waits
//! for their reports and publishes what their sinks prepared. What must outlive a failure is
//! decided by plain state machines: checkpoints in [`checkpoint`], restarts in [`job_manager`].
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod job_manager;
pub mod local;
pub mod rest;

pub use local::{
    CancelToken, CrashPoint, LocalExecutor, MetricsReader, MetricsSnapshot, SimulatedExecutor,
    beside, control_of,
};
