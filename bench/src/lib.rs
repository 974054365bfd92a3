//! The load generator: workloads defined to the bit, the same work done by hand, and the text to
//! count words in.
//!
//! Entered by the binary `thalweg-bench` and by the micro benches. Nothing depends on this crate. The
//! invariant of the whole: any two programs that do a workload print the same `rows_out` and
//! `checksum`, so a throughput figure is only ever compared between runs that did the same work.
//!
//! `unsafe` lives in [`limit`] alone.
#![deny(unsafe_code)]

pub mod comparison;
pub mod disk;
pub mod engine;
#[allow(
    unsafe_code,
    reason = "vector instructions and boxes in rings; see the folder's head"
)]
pub mod limit;
pub mod recovery;
pub mod report;
pub mod spread;
pub mod text;
pub mod workload;
