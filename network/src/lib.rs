//! Floor 2: moving sealed buffers between subtasks under credit.
//!
//! A task writes records into a [`ResultPartition`]; a full or flushed buffer spends one credit of its
//! channel and passes through the shard's [`Handover`] to the [`InputGate`] of the receiving task, which
//! reads it in place and gives it back: its segment goes home to the sender's pool and its credit to the
//! sender's ledger. No credit: no progress: that is back-pressure, and the only flow control there is.
//!
//! Invariants of the floor: what is written to a channel arrives there in order, without gap or double;
//! nothing is dropped without an error; everything in flight is bounded by credits; every segment goes
//! home. Everything here lives on one shard's thread; only a [`Parcel`] moves between shards.

#![forbid(unsafe_code)]

pub mod channel;
pub mod credit;
pub mod error;
pub mod event;
pub mod input;
pub mod local;
pub mod output;
pub mod parcel;
pub mod wake;

pub use channel::{ChannelId, Sequence};
pub use credit::{GateCredits, LedgerError, ReceiverCredit, SenderCredit};
pub use error::NetworkError;
pub use event::{Barrier, BarrierKind, Event, Lap};
pub use input::gate::{Arrival, GateRef, InputGate};
pub use input::in_flight::{InWork, Overtaken};
pub use local::{Handover, HandoverRef};
pub use output::outflow::Outflow;
pub use output::partition::{
    OutputTarget, PartitionConfig, PartitionProbe, ResultPartition, Sent, segments_needed,
};
pub use parcel::Parcel;
pub use wake::WakeSlot;

/// The option that limits the size of a record.
pub(crate) const MAX_RECORD_SIZE_KEY: &str = "taskmanager.memory.max-record-size";
/// The option that sizes the segments of a process.
pub(crate) const NETWORK_MEMORY_KEY: &str = "taskmanager.memory.network.size";
/// The option that sizes what pays for segments beyond them.
pub(crate) const MANAGED_MEMORY_KEY: &str = "taskmanager.memory.managed.size";
