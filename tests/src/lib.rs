//! The tests that need more than one crate, or the whole house, and the simulator and the oracle they and
//! their commands share.
//!
//! Nothing depends on this package: the tests are its `[[test]]` targets.
#![forbid(unsafe_code)]

#[path = "../oracle/mod.rs"]
pub mod oracle;
#[path = "../sim/mod.rs"]
pub mod sim;
