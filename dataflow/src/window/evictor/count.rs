//! The count evictor: a window keeps its last records only.

use thalweg_memory::record::Record;

use super::{Evictor, Moment};
use crate::window::{TimeWindow, WindowElements};

/// Keeps the last `count` records of a window, before it speaks or after.
///
/// ```
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
/// use thalweg_dataflow::window::evictor::CountEvictor;
/// use thalweg_dataflow::window::trigger::CountTrigger;
///
/// let mut harness = TestHarness::<u64, ((), u64)>::new(|numbers| {
///     let windows = numbers.window_all(GlobalWindows::new()).trigger(CountTrigger::new(1));
///     windows.evictor(CountEvictor::new(2)).sum(|number: &u64| *number).map(|row: ((), u64)| row)
/// });
/// (1..=4).for_each(|number| harness.push(number));
/// assert_eq!(harness.output(), [((), 1), ((), 1 + 2), ((), 2 + 3), ((), 3 + 4)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CountEvictor {
    count: usize,
    moment: Moment,
}

impl CountEvictor {
    /// Keeps the last `count` records and removes the others before the window speaks.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            count,
            moment: Moment::Before,
        }
    }

    /// Removes them after the window has spoken instead.
    #[must_use]
    pub fn after(mut self) -> Self {
        self.moment = Moment::After;
        self
    }

    fn evict<T: Record>(&self, elements: &mut WindowElements<T>) {
        elements.remove_first(elements.len().saturating_sub(self.count));
    }
}

impl<T: Record> Evictor<T> for CountEvictor {
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
