//! Cumulating windows: they begin together and each ends a step later than the one before.

use std::marker::PhantomData;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{EventTime, ProcessingTime, WindowAssigner, WindowTime};
use crate::function::FunctionError;
use crate::window::slice::AlignedWindows;
use crate::window::{TimeWindow, milliseconds, window_start};

/// Windows that begin every `size` and end `step`, twice `step`, up to `size` later: a day's total,
/// told every hour, is `CumulateWindows::event_time(day, hour)`.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::CumulateWindows;
///
/// let mut harness = TestHarness::<u64, ((), u64)>::new(|records| {
///     let (size, step) = (Duration::from_millis(30), Duration::from_millis(10));
///     let rows = records.window_all(CumulateWindows::event_time(size, step)).count();
///     rows.map(|row: ((), u64)| row)
/// });
/// harness.push_at(1, Timestamp(5));
/// harness.push_at(2, Timestamp(25));
/// harness.push_at(3, Timestamp(35));
/// harness.advance_watermark(Timestamp(39));
/// assert_eq!(harness.output(), [((), 1), ((), 1), ((), 2), ((), 1)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CumulateWindows<W = EventTime> {
    size: i64,
    step: i64,
    offset: i64,
    time: PhantomData<fn() -> W>,
}

impl CumulateWindows<EventTime> {
    /// Windows that grow by `step` up to `size`, in event time.
    ///
    /// # Panics
    /// If `step` is not one or more whole milliseconds, or `size` is no multiple of it.
    #[must_use]
    pub fn event_time(size: Duration, step: Duration) -> Self {
        Self::new(size, step)
    }
}

impl CumulateWindows<ProcessingTime> {
    /// Windows that grow by `step` up to `size`, in processing time.
    ///
    /// # Panics
    /// If `step` is not one or more whole milliseconds, or `size` is no multiple of it.
    #[must_use]
    pub fn processing_time(size: Duration, step: Duration) -> Self {
        Self::new(size, step)
    }
}

impl<W> CumulateWindows<W> {
    fn new(size: Duration, step: Duration) -> Self {
        let size = milliseconds(size, "the size of the largest window");
        let step = milliseconds(step, "the step by which windows grow");
        assert!(
            size % step == 0,
            "the largest window is made of whole steps"
        );
        Self {
            size,
            step,
            offset: 0,
            time: PhantomData,
        }
    }

    /// Moves the beginnings of all windows by so many milliseconds. May be negative.
    #[must_use]
    pub fn offset_ms(mut self, offset: i64) -> Self {
        self.offset = offset % self.size;
        self
    }
}

impl<T: Item, W: WindowTime<T>> WindowAssigner<T> for CumulateWindows<W> {
    type DefaultTrigger = W::Trigger;

    fn assign(
        &self,
        _item: &T::Of<'_>,
        at: Timestamp,
        processing_time: Timestamp,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<(), FunctionError> {
        let at = W::time(at, processing_time)?;
        let start = window_start(at, self.offset, self.size);
        let steps = self.size / self.step;
        let ends = (1..=steps).map(|step| start.plus_ms(step * self.step));
        let ends = ends.filter(|end| at < *end);
        windows.extend(ends.map(|end| TimeWindow::new(start, end)));
        Ok(())
    }

    fn default_trigger(&self) -> W::Trigger {
        W::trigger()
    }

    fn is_event_time(&self) -> bool {
        W::EVENT_TIME
    }

    fn aligned(&self) -> Option<AlignedWindows> {
        W::EVENT_TIME.then(|| AlignedWindows::cumulating(self.size, self.step, self.offset))
    }
}
