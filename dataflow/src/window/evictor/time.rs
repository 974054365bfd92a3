//! The time evictor: a window keeps its latest records only.

use std::time::Duration;

use thalweg_memory::record::Record;

use super::{Evictor, Moment};
use crate::window::{TimeWindow, WindowElements, milliseconds};

/// Keeps the records of a window that are less than `span` older than its latest one, before it
/// speaks or after. Keeps all where the first record has no event time.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
/// use thalweg_dataflow::window::evictor::TimeEvictor;
/// use thalweg_dataflow::window::trigger::CountTrigger;
///
/// let mut harness = TestHarness::<u64, ((), u64)>::new(|numbers| {
///     let windows = numbers.window_all(GlobalWindows::new()).trigger(CountTrigger::new(3));
///     let recent = TimeEvictor::new(Duration::from_millis(10));
///     windows.evictor(recent).sum(|number: &u64| *number).map(|row: ((), u64)| row)
/// });
/// for (number, at) in [(1, 0), (2, 10), (4, 5)] {
///     harness.push_at(number, Timestamp(at));
/// }
/// assert_eq!(harness.output(), [((), 2 + 4)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TimeEvictor {
    span: i64,
    moment: Moment,
}

impl TimeEvictor {
    /// Removes what is `span` or more older than the latest record before the window speaks.
    ///
    /// # Panics
    /// If `span` is not one or more whole milliseconds.
    #[must_use]
    pub fn new(span: Duration) -> Self {
        Self {
            span: milliseconds(span, "the span of an evictor"),
            moment: Moment::Before,
        }
    }

    /// Removes it after the window has spoken instead.
    #[must_use]
    pub fn after(mut self) -> Self {
        self.moment = Moment::After;
        self
    }

    fn evict<T: Record>(&self, elements: &mut WindowElements<T>) {
        let times = || elements.with_times().map(|(_, at)| at);
        let (Some(first), Some(latest)) = (times().next(), times().max()) else {
            return;
        };
        if !first.is_some() {
            return;
        }
        let horizon = latest.plus_ms(-self.span);
        elements.retain(|_, at| at > horizon);
    }
}

impl<T: Record> Evictor<T> for TimeEvictor {
    fn evict_before(&self, elements: &mut WindowElements<T>, _window: TimeWindow) {
        if self.moment == Moment::Before {
            self.evict(elements);
        }
    }

    fn evict_after(&self, elements: &mut WindowElements<T>, _window: TimeWindow) {
        if self.moment == Moment::After {
            self.evict(elements);
        }
    }
}
