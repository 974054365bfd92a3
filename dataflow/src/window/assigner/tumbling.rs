//! Tumbling windows: end to end, of one length.

use std::marker::PhantomData;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{EventTime, ProcessingTime, WindowAssigner, WindowTime};
use crate::function::FunctionError;
use crate::window::slice::AlignedWindows;
use crate::window::{TimeWindow, milliseconds, window_start};

/// Windows of one length that stand end to end; each record is in one of them.
///
/// They begin at multiples of their length from 1970-01-01T00:00:00Z on (and before it), or
/// [`offset`](TumblingWindows::offset_ms) from there.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::TumblingWindows;
///
/// let mut harness = TestHarness::<(u64, i64), (u64, i64)>::new(|records| {
///     let keyed = records.key_by(|record: &(u64, i64)| record.0);
///     let seconds = keyed.window(TumblingWindows::event_time(Duration::from_secs(1)));
///     seconds.sum(|record: &(u64, i64)| record.1).map(|row: (u64, i64)| row)
/// });
/// harness.push_at((1, 10), Timestamp(100));
/// harness.push_at((1, 20), Timestamp(1_000));
/// harness.push_at((1, 30), Timestamp(999));
/// harness.advance_watermark(Timestamp(1_999));
/// assert_eq!(harness.output(), [(1, 40), (1, 20)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TumblingWindows<W = EventTime> {
    size: i64,
    offset: i64,
    time: PhantomData<fn() -> W>,
}

impl TumblingWindows<EventTime> {
    /// Windows of `size` in event time.
    ///
    /// # Panics
    /// If `size` is not one or more whole milliseconds.
    #[must_use]
    pub fn event_time(size: Duration) -> Self {
        Self::new(size)
    }
}

impl TumblingWindows<ProcessingTime> {
    /// Windows of `size` in processing time.
    ///
    /// # Panics
    /// If `size` is not one or more whole milliseconds.
    #[must_use]
    pub fn processing_time(size: Duration) -> Self {
        Self::new(size)
    }
}

impl<W> TumblingWindows<W> {
    fn new(size: Duration) -> Self {
        Self {
            size: milliseconds(size, "the size of a window"),
            offset: 0,
            time: PhantomData,
        }
    }

    /// Moves the beginnings of all windows by so many milliseconds: with an hour's size and an
    /// offset of 15 minutes windows begin at 0:15, 1:15 and so on. May be negative.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<u64, ((), u64)>::new(|records| {
    ///     let windows = TumblingWindows::event_time(Duration::from_millis(10)).offset_ms(3);
    ///     records.window_all(windows).count().map(|row: ((), u64)| row)
    /// });
    /// [-8, -7, 2, 3].into_iter().for_each(|at| harness.push_at(0, Timestamp(at)));
    /// harness.finish();
    /// let (ends, counts): (Vec<_>, Vec<_>) = harness.output_at().into_iter().map(|(row, at)| (at.0, row.1)).unzip();
    /// assert_eq!(ends, [-8, 2, 12]);
    /// assert_eq!(counts, [1, 2, 1]);
    /// ```
    #[must_use]
    pub fn offset_ms(mut self, offset: i64) -> Self {
        self.offset = offset % self.size;
        self
    }
}

impl<T: Item, W: WindowTime<T>> WindowAssigner<T> for TumblingWindows<W> {
    type DefaultTrigger = W::Trigger;

    #[inline]
    fn assign(
        &self,
        _item: &T::Of<'_>,
        at: Timestamp,
        processing_time: Timestamp,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<(), FunctionError> {
        let start = window_start(W::time(at, processing_time)?, self.offset, self.size);
        windows.push(TimeWindow::new(start, start.plus_ms(self.size)));
        Ok(())
    }

    fn default_trigger(&self) -> W::Trigger {
        W::trigger()
    }

    fn is_event_time(&self) -> bool {
        W::EVENT_TIME
    }

    fn aligned(&self) -> Option<AlignedWindows> {
        W::EVENT_TIME.then(|| AlignedWindows::tumbling(self.size, self.offset))
    }
}
