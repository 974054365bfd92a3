//! Jobs that fail, are stopped and begin again, proved from outside on real shards.
//!
//! A test program of its own beside `engine`, so that the two are compiled at the same time. `recovery`
//! holds the tests; `stage` sets up and runs one job.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "recovery/mod.rs"]
mod recovery;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "stage/mod.rs"]
mod stage;
