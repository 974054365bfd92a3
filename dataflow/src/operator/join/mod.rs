//! Joins: pairs of records of two streams that belong together by key and time.
//!
//! Entered by programs through their methods on the streams, one join a file. `function` is what
//! users give them, `slices` how an interval join keeps records. Invariant: a record that comes in
//! time meets every partner that comes in time, once; what the watermark has passed is forgotten.

mod function;
mod interval;
mod slices;

pub use function::JoinContext;
pub use interval::{IntervalJoin, IntervalJoinBetween};
