//! Timers: who wants to be woken when, by key group.
//!
//! Entered through [`TimerQueue`] by keyed operators and windows. `order` says which timer fires first,
//! `stretch` keeps a part of that order unsorted, `due` sorted, `queue` brings a timer to where it
//! belongs, `scan` walks over all of them by key group, `cut` writes those of one moment.
//!
//! Invariant: a timer registered and not deleted is given back exactly once. Lives on one shard's thread.

mod cut;
mod due;
mod order;
mod queue;
mod scan;
mod stretch;

pub use order::Timer;
pub use queue::TimerQueue;
pub use scan::TimerCursor;
