//! The tests that need more than one crate, or the whole house, and the simulator they and its command share.
//!
//! Nothing depends on this package: the tests are its `[[test]]` targets.
#![forbid(unsafe_code)]

#[path = "../sim/mod.rs"]
pub mod sim;
