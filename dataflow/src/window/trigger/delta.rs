//! The delta trigger: a window speaks when its records have moved far enough.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Record;

use super::{Trigger, TriggerContext, TriggerResult};

/// Fires when a record is more than `threshold` away from the one at which it fired last (from the
/// first one of the window, before it has fired). Does not work on windows that merge.
///
/// ```
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
/// use thalweg_dataflow::window::trigger::DeltaTrigger;
///
/// let mut harness = TestHarness::<f64, ((), f64)>::new(|readings| {
///     let moved = DeltaTrigger::new(10.0, |old: &f64, new: &f64| new - old);
///     let windows = readings.window_all(GlobalWindows::new()).trigger(moved);
///     windows.max(|reading: &f64| *reading).map(|row: ((), f64)| row)
/// });
/// for reading in [1.0, 8.0, 11.0, 11.5, 20.0, 22.0] {
///     harness.push(reading);
/// }
/// assert_eq!(harness.output(), [((), 11.5), ((), 22.0)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DeltaTrigger<F> {
    threshold: f64,
    delta: F,
}

impl<F> DeltaTrigger<F> {
    /// Fires when `delta(record of the last firing, this record)` is above `threshold`.
    #[must_use]
    pub fn new(threshold: f64, delta: F) -> Self {
        Self { threshold, delta }
    }
}

impl<T, F> Trigger<T> for DeltaTrigger<F>
where
    T: Record + Clone,
    F: Fn(&T, &T) -> f64 + Clone + Send + 'static,
{
    /// The record of the last firing.
    type State = Option<T>;

    fn on_element(
        &self,
        item: &T,
        _at: Timestamp,
        context: &mut TriggerContext<'_, Option<T>>,
    ) -> TriggerResult {
        let result = match context.state() {
            None => TriggerResult::Continue,
            Some(last) if (self.delta)(last, item) > self.threshold => TriggerResult::Fire,
            Some(_) => return TriggerResult::Continue,
        };
        *context.state() = Some(item.clone());
        result
    }

    fn is_blank(&self, last: &Option<T>) -> bool {
        last.is_none()
    }
}
