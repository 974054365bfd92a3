//! What earlier releases wrote is read as it was meant: one fixture for each version of each stored format.
//!
//! Fixtures are never changed. While a version is the one that is written, the same contents give the same
//! bytes. A new version of a format brings a new fixture; the old one stays and must still be read.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking and may say what it saw"
)]

mod checkpoints;
mod descriptors;
mod run;
