//! The processing-time trigger: a window speaks when the clock passes its end.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{Trigger, TriggerContext, TriggerResult};

/// Fires when the processing time has passed the window's last millisecond. The default of
/// processing-time windows. A window of event time, which may last longer, then fires again, as soon
/// as the clock moves on, after each record.
///
/// ```
/// use std::time::Duration;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::TumblingWindows;
///
/// let mut harness = TestHarness::<u64, (u64, u64)>::new(|records| {
///     let keyed = records.key_by(|record: &u64| record % 2);
///     let rows = keyed.window(TumblingWindows::processing_time(Duration::from_secs(60))).count();
///     rows.map(|row: (u64, u64)| row)
/// });
/// harness.push(3);
/// harness.push(5);
/// assert_eq!(harness.output(), []);
/// harness.advance_processing_time(Duration::from_secs(60));
/// assert_eq!(harness.output(), [(1, 2)]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessingTimeTrigger;

impl ProcessingTimeTrigger {
    /// The trigger.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<T: Item> Trigger<T> for ProcessingTimeTrigger {
    /// Whether the timer of the window's end was registered.
    type State = bool;

    #[inline]
    fn on_element(
        &self,
        _item: &T::Of<'_>,
        _at: Timestamp,
        context: &mut TriggerContext<'_, bool>,
    ) -> TriggerResult {
        if !*context.state() {
            *context.state() = true;
            let end = context.window().max_timestamp();
            context.register_processing_time(end);
        }
        TriggerResult::Continue
    }

    fn on_processing_time(
        &self,
        time: Timestamp,
        context: &mut TriggerContext<'_, bool>,
    ) -> TriggerResult {
        if time == context.window().max_timestamp() {
            // A window of event time may go on: its next record fires too.
            *context.state() = false;
            TriggerResult::Fire
        } else {
            TriggerResult::Continue
        }
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&self, context: &mut TriggerContext<'_, bool>) {
        let end = context.window().max_timestamp();
        *context.state() = true;
        context.register_processing_time(end);
    }

    fn clear(&self, context: &mut TriggerContext<'_, bool>) {
        let end = context.window().max_timestamp();
        context.delete_processing_time(end);
    }

    fn is_blank(&self, registered: &bool) -> bool {
        !registered
    }
}
