//! Session windows: they last as long as records keep coming.

use std::marker::PhantomData;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{EventTime, ProcessingTime, WindowAssigner, WindowTime};
use crate::function::FunctionError;
use crate::window::{TimeWindow, milliseconds};

/// Windows that end when for `gap` no record of their key has come.
///
/// Each record begins as a window of its own, as long as the gap; windows of one key that overlap or
/// touch become one. So two records exactly `gap` apart are in one session.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::SessionWindows;
///
/// let mut harness = TestHarness::<u64, (u64, u64)>::new(|clicks| {
///     let users = clicks.key_by(|user: &u64| *user);
///     let rows = users.window(SessionWindows::event_time(Duration::from_millis(10))).count();
///     rows.map(|row: (u64, u64)| row)
/// });
/// for (user, at) in [(1, 0), (1, 20), (2, 3), (1, 8), (1, 12)] {
///     harness.push_at(user, Timestamp(at));
/// }
/// harness.advance_watermark(Timestamp(100));
/// assert_eq!(harness.output(), [(2, 1), (1, 4)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SessionWindows<W = EventTime> {
    gap: i64,
    time: PhantomData<fn() -> W>,
}

impl SessionWindows<EventTime> {
    /// Sessions with a gap of `gap` in event time.
    ///
    /// # Panics
    /// If `gap` is not one or more whole milliseconds.
    #[must_use]
    pub fn event_time(gap: Duration) -> Self {
        Self::new(gap)
    }

    /// Sessions in event time whose gap each record says, in milliseconds: see
    /// [`DynamicSessionWindows`].
    #[must_use]
    pub fn event_time_dynamic<F>(gap_ms: F) -> DynamicSessionWindows<F, EventTime> {
        DynamicSessionWindows::new(gap_ms)
    }
}

impl SessionWindows<ProcessingTime> {
    /// Sessions with a gap of `gap` in processing time.
    ///
    /// # Panics
    /// If `gap` is not one or more whole milliseconds.
    #[must_use]
    pub fn processing_time(gap: Duration) -> Self {
        Self::new(gap)
    }

    /// Sessions in processing time whose gap each record says, in milliseconds: see
    /// [`DynamicSessionWindows`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::SessionWindows;
    ///
    /// let mut harness = TestHarness::<(u64, i64), (u64, u64)>::new(|clicks| {
    ///     let users = clicks.key_by(|click: &(u64, i64)| click.0);
    ///     let gap = |click: &(u64, i64)| click.1;
    ///     let sessions = users.window(SessionWindows::processing_time_dynamic(gap));
    ///     sessions.count().map(|row: (u64, u64)| row)
    /// });
    /// harness.push((7, 10_000));
    /// harness.advance_processing_time(Duration::from_secs(9));
    /// harness.push((7, 60_000));
    /// harness.advance_processing_time(Duration::from_secs(59));
    /// assert!(harness.output().is_empty());
    /// harness.advance_processing_time(Duration::from_secs(2));
    /// assert_eq!(harness.output(), [(7, 2)]);
    /// ```
    #[must_use]
    pub fn processing_time_dynamic<F>(gap_ms: F) -> DynamicSessionWindows<F, ProcessingTime> {
        DynamicSessionWindows::new(gap_ms)
    }
}

impl<W> SessionWindows<W> {
    fn new(gap: Duration) -> Self {
        Self {
            gap: milliseconds(gap, "the gap of sessions"),
            time: PhantomData,
        }
    }
}

impl<T: Item, W: WindowTime<T>> WindowAssigner<T> for SessionWindows<W> {
    type DefaultTrigger = W::Trigger;

    #[inline]
    fn assign(
        &self,
        _item: &T::Of<'_>,
        at: Timestamp,
        processing_time: Timestamp,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<(), FunctionError> {
        let start = W::time(at, processing_time)?;
        windows.push(TimeWindow::new(start, start.plus_ms(self.gap)));
        Ok(())
    }

    fn default_trigger(&self) -> W::Trigger {
        W::trigger()
    }

    fn is_event_time(&self) -> bool {
        W::EVENT_TIME
    }

    fn is_merging(&self) -> bool {
        true
    }
}

/// Sessions whose gap is said by each record: made by [`SessionWindows::event_time_dynamic`] and
/// [`SessionWindows::processing_time_dynamic`]. A gap that is not above 0 fails the job.
///
/// ```
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::SessionWindows;
///
/// let mut harness = TestHarness::<(u64, i64), (u64, u64)>::new(|clicks| {
///     let users = clicks.key_by(|click: &(u64, i64)| click.0);
///     let rows = users.window(SessionWindows::event_time_dynamic(|click: &(u64, i64)| click.1)).count();
///     rows.map(|row: (u64, u64)| row)
/// });
/// harness.push_at((1, 100), Timestamp(0));
/// harness.push_at((1, 5), Timestamp(50));
/// harness.push_at((1, 5), Timestamp(101));
/// harness.advance_watermark(Timestamp(200));
/// assert_eq!(harness.output(), [(1, 2), (1, 1)]);
/// ```
#[derive(Clone, Debug)]
pub struct DynamicSessionWindows<F, W = EventTime> {
    gap_ms: F,
    time: PhantomData<fn() -> W>,
}

impl<F, W> DynamicSessionWindows<F, W> {
    fn new(gap_ms: F) -> Self {
        Self {
            gap_ms,
            time: PhantomData,
        }
    }
}

impl<T, F, W> WindowAssigner<T> for DynamicSessionWindows<F, W>
where
    T: Item,
    F: for<'a, 'b> Fn(&'b T::Of<'a>) -> i64 + Clone + Send + 'static,
    W: WindowTime<T>,
{
    type DefaultTrigger = W::Trigger;

    fn assign(
        &self,
        item: &T::Of<'_>,
        at: Timestamp,
        processing_time: Timestamp,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<(), FunctionError> {
        let start = W::time(at, processing_time)?;
        let gap = (self.gap_ms)(item);
        if gap <= 0 {
            return Err(FunctionError::new(format!(
                "a record says that the gap of its session is {gap} ms: it must be above 0"
            )));
        }
        windows.push(TimeWindow::new(start, start.plus_ms(gap)));
        Ok(())
    }

    fn default_trigger(&self) -> W::Trigger {
        W::trigger()
    }

    fn is_event_time(&self) -> bool {
        W::EVENT_TIME
    }

    fn is_merging(&self) -> bool {
        true
    }
}
