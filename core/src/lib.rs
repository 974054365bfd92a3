//! Floor 0: the ground every other crate stands on.
//!
//! The words ([`ids`], [`event_time`], [`key_group`], [`error`], [`slot`]), the typed settings
//! ([`config`]), the counting ([`metrics`]), and the runtime of one CPU core ([`shard`]) with its
//! ways out to clock, disk and socket (`seam`). Nothing here knows of records, operators or jobs.
//!
//! Invariant of the floor: a shard is one thread on one core, and only lanes, mailboxes and doorbells
//! cross between shards. Every type says in its module head on which thread it lives.

pub mod config;
pub mod error;
pub mod event_time;
pub mod ids;
pub mod key_group;
pub mod metrics;
pub mod seam;
pub mod shard;
pub mod simd;
pub mod slot;

pub use error::ErrorKind;
pub use event_time::{Timestamp, Watermark};
pub use ids::{
    AttemptId, CheckpointId, Epoch, JobId, OperatorId, ShardId, SlotId, SubtaskId, VertexId,
};
pub use key_group::{KeyGroup, KeyHash, MaxParallelism};
pub use slot::Slot;
