//! What earlier releases wrote is read as it was meant: one fixture for each version of each stored format.
//!
//! Fixtures are never changed. A new version of a format brings a new fixture; the old one stays and must
//! still be read.
#![forbid(unsafe_code)]

mod checkpoints;
