//! What is told of a job over HTTP.
//!
//! | room | what it is |
//! |---|---|
//! | [`server`] | listens, bounded, on a thread of its own |
//! | [`metrics`] | `/metrics`: all metrics as Prometheus reads them |
//!
//! Invariant: nothing here waits on a shard's thread, and no request takes more than a share of what the
//! server may: connections, their life and the requests at work are bounded.

pub mod metrics;
pub mod server;

pub use server::{MetricsServer, ServerError};
