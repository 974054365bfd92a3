//! The contracts of sources and sinks, held against every connector.
//!
//! Readers and writers are driven over a reactor that completes operations late and in part, cut into
//! turns by seeded dice, so that every place where they may be interrupted is met. One thread, no shard.

mod drive;
mod files;
mod pace;
mod programs;
mod reactor;
mod sinks;
mod sockets;
mod sources;
