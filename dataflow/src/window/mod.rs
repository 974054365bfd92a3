//! Windows: finite pieces of an endless stream, by event time.
//!
//! A window is a span of time ([`TimeWindow`]); what becomes of its records is a
//! [`WindowAggregate`]. `slice/` is the way of aligned windows (tumbling, sliding, cumulating)
//! with an incremental aggregate: records are gathered per slice, and windows are put together
//! from slices. Entered by the methods of the streams; everything lives on the shard of its
//! subtask.

mod aggregate;
pub(crate) mod slice;
mod time_window;

pub use aggregate::WindowAggregate;
pub use time_window::{TimeWindow, window_start};
