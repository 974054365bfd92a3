//! The delta evictor: a window keeps the records that are near its last one.

use thalweg_memory::record::Record;

use super::{Evictor, Moment};
use crate::window::{TimeWindow, WindowElements};

/// Keeps the records of a window that are nearer than `threshold` to the one that came last, before
/// it speaks or after.
///
/// ```
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
/// use thalweg_dataflow::window::evictor::DeltaEvictor;
/// use thalweg_dataflow::window::trigger::CountTrigger;
///
/// let mut harness = TestHarness::<f64, ((), u64)>::new(|readings| {
///     let windows = readings.window_all(GlobalWindows::new()).trigger(CountTrigger::new(4));
///     let near = DeltaEvictor::new(2.0, |one: &f64, last: &f64| (one - last).abs());
///     windows.evictor(near).count().map(|row: ((), u64)| row)
/// });
/// [1.0, 7.5, 5.0, 6.0].into_iter().for_each(|reading| harness.push(reading));
/// assert_eq!(harness.output(), [((), 3)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DeltaEvictor<F> {
    threshold: f64,
    delta: F,
    moment: Moment,
}

impl<F> DeltaEvictor<F> {
    /// Removes the records for which `delta(record, last record)` is `threshold` or more before the
    /// window speaks.
    #[must_use]
    pub fn new(threshold: f64, delta: F) -> Self {
        Self {
            threshold,
            delta,
            moment: Moment::Before,
        }
    }

    /// Removes them after the window has spoken instead.
    #[must_use]
    pub fn after(mut self) -> Self {
        self.moment = Moment::After;
        self
    }

    fn evict<T>(&self, elements: &mut WindowElements<T>)
    where
        T: Record + Clone,
        F: Fn(&T, &T) -> f64,
    {
        let Some(last) = elements.last().cloned() else {
            return;
        };
        elements.retain(|record, _| (self.delta)(record, &last) < self.threshold);
    }
}

impl<T, F> Evictor<T> for DeltaEvictor<F>
where
    T: Record + Clone,
    F: Fn(&T, &T) -> f64 + Clone + Send + 'static,
{
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
