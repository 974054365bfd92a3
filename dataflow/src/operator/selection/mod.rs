//! Operators that choose among records: which of them go on, which parts, and where to.

mod deduplicate;
mod project;
mod sample;
mod split;
mod top_n;

pub use project::{F0, F1, F2, F3, F4, F5, F6, F7, Field, Projection};
pub use split::SplitStream;
