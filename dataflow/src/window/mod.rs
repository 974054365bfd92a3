//! Windows: finite pieces of an endless stream.
//!
//! A window is a span of time ([`TimeWindow`]). An [`assigner`] says which windows a record is in, a
//! [`trigger`] when a window speaks, an [`evictor`] what it forgets first, and what becomes of its
//! records is an aggregate ([`WindowAggregate`]) or a function ([`WindowFunction`]). `operator` is the
//! way of all of them; `merging` keeps sessions that meet, `panes` what is kept of open windows,
//! `resident` seeks what of it is on disk, `speaking` gives out in parts what is too much at once.
//! `slice/` is the way of aligned windows (tumbling, sliding, cumulating) with an incremental
//! aggregate: records are gathered per slice, and windows are put together from slices. Entered by
//! the methods of the streams; everything lives on the shard of its subtask.

mod aggregate;
pub mod assigner;
mod elements;
pub mod evictor;
pub(crate) mod function;
mod merging;
pub(crate) mod operator;
mod panes;
pub(crate) mod pipe;
mod resident;
pub(crate) mod slice;
mod speaking;
mod time_window;
pub mod trigger;

pub use aggregate::WindowAggregate;
pub use elements::WindowElements;
pub use function::{
    Eviction, Gather, NoEvictor, WindowContext, WindowFunction, WindowOpenContext,
    WindowValueState, With,
};
pub(crate) use time_window::milliseconds;
pub use time_window::{TimeWindow, window_start};

#[cfg(test)]
mod tests;
