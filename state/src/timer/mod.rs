//! Timers: who wants to be woken when, by key group.
//!
//! Entered through [`LayeredTimers`] by keyed operators and windows. `order` says which timer fires first,
//! `stretch` keeps a part of that order unsorted, `due` sorted, `queue` brings a timer to where it
//! belongs, `scan` walks over all of them by key group, `cut` writes those of one moment, `part` takes those of a
//! part of the order out; `layered` is a queue larger than memory.
//!
//! Invariant: a timer registered and not deleted is given back exactly once. Lives on one shard's thread.

mod cut;
mod due;
mod layered;
mod order;
mod part;
mod queue;
mod scan;
mod stretch;

pub use layered::{LayeredTimers, MakePiles};
pub use order::Timer;
pub use queue::TimerQueue;
pub use scan::TimerCursor;
