//! Sliding windows: of one length, a new one every so often.

use std::marker::PhantomData;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{EventTime, ProcessingTime, WindowAssigner, WindowTime};
use crate::function::FunctionError;
use crate::window::slice::AlignedWindows;
use crate::window::{TimeWindow, milliseconds, window_start};

/// Windows of one length of which a new one begins every `slide`: with a slide shorter than the size
/// a record is in several of them, with a longer one in one or none.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::SlidingWindows;
///
/// let mut harness = TestHarness::<u64, ((), u64)>::new(|records| {
///     let (size, slide) = (Duration::from_millis(10), Duration::from_millis(5));
///     let rows = records.window_all(SlidingWindows::event_time(size, slide)).count();
///     rows.map(|row: ((), u64)| row)
/// });
/// harness.push_at(1, Timestamp(3)); // in [-5, 5) and [0, 10)
/// harness.push_at(2, Timestamp(7)); // in [0, 10) and [5, 15)
/// harness.advance_watermark(Timestamp(20));
/// assert_eq!(harness.output(), [((), 1), ((), 2), ((), 1)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SlidingWindows<W = EventTime> {
    size: i64,
    slide: i64,
    offset: i64,
    time: PhantomData<fn() -> W>,
}

impl SlidingWindows<EventTime> {
    /// Windows of `size`, one every `slide`, in event time.
    ///
    /// # Panics
    /// If `size` or `slide` is not one or more whole milliseconds.
    #[must_use]
    pub fn event_time(size: Duration, slide: Duration) -> Self {
        Self::new(size, slide)
    }
}

impl SlidingWindows<ProcessingTime> {
    /// Windows of `size`, one every `slide`, in processing time.
    ///
    /// # Panics
    /// If `size` or `slide` is not one or more whole milliseconds.
    #[must_use]
    pub fn processing_time(size: Duration, slide: Duration) -> Self {
        Self::new(size, slide)
    }
}

impl<W> SlidingWindows<W> {
    fn new(size: Duration, slide: Duration) -> Self {
        Self {
            size: milliseconds(size, "the size of a window"),
            slide: milliseconds(slide, "the slide of windows"),
            offset: 0,
            time: PhantomData,
        }
    }

    /// Moves the beginnings of all windows by so many milliseconds. May be negative.
    #[must_use]
    pub fn offset_ms(mut self, offset: i64) -> Self {
        self.offset = offset % self.slide;
        self
    }
}

impl<T: Item, W: WindowTime<T>> WindowAssigner<T> for SlidingWindows<W> {
    type DefaultTrigger = W::Trigger;

    fn assign(
        &self,
        _item: &T::Of<'_>,
        at: Timestamp,
        processing_time: Timestamp,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<(), FunctionError> {
        let at = W::time(at, processing_time)?;
        let mut start = window_start(at, self.offset, self.slide);
        while at < start.plus_ms(self.size) {
            windows.push(TimeWindow::new(start, start.plus_ms(self.size)));
            let earlier = start.plus_ms(-self.slide);
            if earlier == start {
                break; // The beginning of time.
            }
            start = earlier;
        }
        Ok(())
    }

    fn default_trigger(&self) -> W::Trigger {
        W::trigger()
    }

    fn is_event_time(&self) -> bool {
        W::EVENT_TIME
    }

    fn aligned(&self) -> Option<AlignedWindows> {
        W::EVENT_TIME.then(|| AlignedWindows::sliding(self.size, self.slide, self.offset))
    }
}
