//! Window assigners: which windows a record belongs to.
//!
//! A [`WindowAssigner`] names the windows of each record; it holds settings only. Entered by the
//! window operator for every record, on the shard of its subtask. Invariant: an assigner answers
//! the same windows for the same record, event time and processing time.

mod count;
mod cumulate;
mod day;
mod global;
#[cfg(feature = "time-zones")]
mod named_zone;
mod session;
mod sliding;
mod tumbling;

pub use cumulate::CumulateWindows;
pub use day::{DayWindows, FixedOffset, TimeZone};
pub use global::GlobalWindows;
#[cfg(feature = "time-zones")]
pub use named_zone::{NamedZone, UnknownTimeZone};
pub use session::{DynamicSessionWindows, SessionWindows};
pub use sliding::SlidingWindows;
pub use tumbling::TumblingWindows;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::TimeWindow;
use super::slice::AlignedWindows;
use super::trigger::{EventTimeTrigger, ProcessingTimeTrigger, Trigger};
use crate::function::FunctionError;

/// Says which windows a record belongs to.
///
/// Windows that last ten events' worth of their key, whatever that may mean to you:
///
/// ```
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::FunctionError;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::TimeWindow;
/// use thalweg_dataflow::window::assigner::WindowAssigner;
/// use thalweg_dataflow::window::trigger::EventTimeTrigger;
///
/// /// Each record in a window of as many milliseconds as it says.
/// #[derive(Clone)]
/// struct AsLongAsItSays;
///
/// impl WindowAssigner<i64> for AsLongAsItSays {
///     type DefaultTrigger = EventTimeTrigger;
///     fn assign(
///         &self,
///         length: &i64,
///         at: Timestamp,
///         _processing_time: Timestamp,
///         windows: &mut Vec<TimeWindow>,
///     ) -> Result<(), FunctionError> {
///         windows.push(TimeWindow::new(at, at.plus_ms(*length)));
///         Ok(())
///     }
///     fn default_trigger(&self) -> EventTimeTrigger {
///         EventTimeTrigger::new()
///     }
///     fn is_event_time(&self) -> bool {
///         true
///     }
/// }
///
/// let mut harness = TestHarness::<i64, ((), u64)>::new(|lengths| {
///     lengths.window_all(AsLongAsItSays).count().map(|row: ((), u64)| row)
/// });
/// harness.push_at(10, Timestamp(5));
/// harness.push_at(20, Timestamp(5));
/// harness.advance_watermark(Timestamp(14));
/// assert_eq!(harness.output(), [((), 1)]);
/// ```
pub trait WindowAssigner<T: Item>: Clone + Send + 'static {
    /// The trigger of windows that are given no other.
    type DefaultTrigger: Trigger<T>;

    /// Adds the windows of a record with event time `at` to `windows`.
    ///
    /// Must answer the same for the same record and times whenever it is asked: where state is on disk, a record's is
    /// read before its turn comes. An answer that differs then fails the job.
    ///
    /// # Errors
    /// A record that cannot be in any window: it fails the job. A record that shall be in none is no
    /// error: nothing is added.
    fn assign(
        &self,
        item: &T::Of<'_>,
        at: Timestamp,
        processing_time: Timestamp,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<(), FunctionError>;

    /// The trigger of windows that are given no other.
    fn default_trigger(&self) -> Self::DefaultTrigger;

    /// Whether its windows are spans of event time, else of processing time (or of no time).
    fn is_event_time(&self) -> bool;

    /// Whether its windows become one where they meet (overlap or touch). Such an assigner answers
    /// one window per record.
    fn is_merging(&self) -> bool {
        false
    }

    /// Where its windows stand, if that does not depend on the records: such windows are put
    /// together from slices.
    #[doc(hidden)]
    fn aligned(&self) -> Option<AlignedWindows> {
        None
    }
}

/// A kind of time by which windows are made.
pub trait WindowTime<T: Item>: Clone + Send + 'static {
    /// The trigger that fires at the end of a window.
    type Trigger: Trigger<T>;
    /// Whether it is event time.
    const EVENT_TIME: bool;

    /// The trigger that fires at the end of a window.
    fn trigger() -> Self::Trigger;

    /// The time by which a record's windows are found.
    ///
    /// # Errors
    /// For a record without event time, where that is asked for.
    fn time(at: Timestamp, processing_time: Timestamp) -> Result<Timestamp, FunctionError>;
}

/// Windows by the time when things happened. What is late is seen to be late.
#[derive(Clone, Copy, Debug)]
pub struct EventTime;

/// Windows by the clock of the machine that handles the records. Nothing is ever late; results
/// depend on when records arrive, and windows that have not ended when the input ends give nothing
/// out.
#[derive(Clone, Copy, Debug)]
pub struct ProcessingTime;

impl<T: Item> WindowTime<T> for EventTime {
    type Trigger = EventTimeTrigger;
    const EVENT_TIME: bool = true;

    fn trigger() -> EventTimeTrigger {
        EventTimeTrigger
    }

    #[inline]
    fn time(at: Timestamp, _processing_time: Timestamp) -> Result<Timestamp, FunctionError> {
        if at.is_some() {
            return Ok(at);
        }
        Err(FunctionError::new(
            "a record without event time belongs to no event-time window: assign timestamps before \
             the window, or use windows of processing time",
        ))
    }
}

impl<T: Item> WindowTime<T> for ProcessingTime {
    type Trigger = ProcessingTimeTrigger;
    const EVENT_TIME: bool = false;

    fn trigger() -> ProcessingTimeTrigger {
        ProcessingTimeTrigger
    }

    #[inline]
    fn time(_at: Timestamp, processing_time: Timestamp) -> Result<Timestamp, FunctionError> {
        Ok(processing_time)
    }
}
