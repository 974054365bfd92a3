//! What is done to a job on purpose by those who test it: mistakes, and deaths at the worst of times.
//!
//! Entered where barriers, files and attempts are handled, never where records are. Invariant: a job that nobody tests
//! has nothing of it.

mod crash_point;
mod defect;

pub use crash_point::{CrashListener, CrashPoint};
pub use defect::Defect;
