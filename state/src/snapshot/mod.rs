//! Copies of the state that survive: what goes into them and comes out again.
//!
//! Entered at a barrier, when the state is cut, and when a job is restored. Invariant: a copy holds the
//! state as it was at its barrier, whatever changes while it is written. Lives on one shard's thread, but
//! for the plain data that crosses to the coordinator.

mod contract;
mod declared;
mod handle;
mod in_flight;
mod log;
#[cfg(test)]
pub(crate) mod planted;
#[cfg(test)]
pub(crate) mod reading;
mod row;
mod size;

pub use contract::{Adopts, CutKind, Snapshot, StateVisitor};
pub use declared::DamagedDescriptor;
pub use handle::{
    OperatorPart, OperatorSnapshot, Redistribution, RunHandle, SnapshotEffort, TaskSnapshot,
};
pub use in_flight::{ChannelPath, InFlightFile, InFlightSection};
pub(crate) use log::{LogCursor, RowLog};
pub use row::{Row, RowSink};
pub use size::StateSize;
