//! The event-time trigger: a window speaks when the watermark passes its end.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{CountTrigger, EarlyLateTrigger, NeverTrigger};
use super::{Trigger, TriggerContext, TriggerResult};

/// Fires when the watermark reaches the window's last time; from then on, within the allowed
/// lateness, at every late record. The default of event-time windows.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::TumblingWindows;
///
/// let mut harness = TestHarness::<(u64, u64), (u64, u64)>::new(|records| {
///     let keyed = records.key_by(|record: &(u64, u64)| record.0);
///     let windows = keyed.window(TumblingWindows::event_time(Duration::from_millis(10)));
///     windows
///         .allowed_lateness(Duration::from_millis(5))
///         .sum(|record: &(u64, u64)| record.1).map(|row: (u64, u64)| row)
/// });
/// harness.push_at((1, 7), Timestamp(3));
/// harness.advance_watermark(Timestamp(8));
/// assert_eq!(harness.output(), []);
/// harness.advance_watermark(Timestamp(9));
/// assert_eq!(harness.output(), [(1, 7)]);
/// harness.push_at((1, 1), Timestamp(4)); // late, but not too late
/// assert_eq!(harness.output(), [(1, 8)]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct EventTimeTrigger;

impl EventTimeTrigger {
    /// The trigger.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// Also lets `early` speak before the end of the window.
    #[must_use]
    pub fn with_early<E>(self, early: E) -> EarlyLateTrigger<E, CountTrigger> {
        EarlyLateTrigger::new(early, CountTrigger::new(1))
    }

    /// Lets `late` speak after the end of the window, instead of every late record.
    #[must_use]
    pub fn with_late<L>(self, late: L) -> EarlyLateTrigger<NeverTrigger, L> {
        EarlyLateTrigger::new(NeverTrigger, late)
    }
}

impl<T: Item> Trigger<T> for EventTimeTrigger {
    /// Whether the timer of the window's end was registered.
    type State = bool;

    #[inline]
    fn on_element(
        &self,
        _item: &T::Of<'_>,
        _at: Timestamp,
        context: &mut TriggerContext<'_, bool>,
    ) -> TriggerResult {
        let end = context.window().max_timestamp();
        if end <= context.watermark() {
            return TriggerResult::Fire;
        }
        if !*context.state() {
            *context.state() = true;
            context.register_event_time(end);
        }
        TriggerResult::Continue
    }

    fn on_event_time(
        &self,
        time: Timestamp,
        context: &mut TriggerContext<'_, bool>,
    ) -> TriggerResult {
        if time == context.window().max_timestamp() {
            TriggerResult::Fire
        } else {
            TriggerResult::Continue
        }
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&self, context: &mut TriggerContext<'_, bool>) {
        // Where the watermark has passed the end, the record that caused the merge fires.
        let end = context.window().max_timestamp();
        *context.state() = end > context.watermark();
        if *context.state() {
            context.register_event_time(end);
        }
    }

    fn clear(&self, context: &mut TriggerContext<'_, bool>) {
        let end = context.window().max_timestamp();
        context.delete_event_time(end);
    }

    fn is_blank(&self, registered: &bool) -> bool {
        !registered
    }
}
