//! Joins: pairs of records of two streams that belong together by key and time.
//!
//! Entered by programs through their methods on the streams, one join a file. `function` is what
//! users give them, `pairs` how a window join gives out what meets in a window. Invariant: a record that comes in time
//! meets every partner that comes in time, once; what the watermark has passed is forgotten.

mod either;
mod function;
mod held_key;
mod interval;
mod pairs;
mod temporal;
#[cfg(test)]
mod testing;
mod window;

pub use either::{Either, EitherStream, SelectEither};
pub use function::JoinContext;
pub use interval::{IntervalJoin, IntervalJoinBetween};
pub use temporal::TemporalJoin;
pub use window::{JoinStreams, JoinWhere, JoinedStreams, WindowJoin};
