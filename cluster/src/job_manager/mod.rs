//! Who decides about a job: today, whether and when it starts again after a failure.
//!
//! Plain state machines without I/O, driven by the control thread.

pub mod restart;

pub use restart::{RestartDecision, RestartStrategy};
