//! Early and late firings around the end of an event-time window.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{Trigger, TriggerContext, TriggerResult};

/// Fires when `early` does until the watermark has passed the window's end, then once at the end,
/// and from then on, within the allowed lateness, when `late` does.
///
/// Made by [`EventTimeTrigger::with_early`](super::EventTimeTrigger::with_early) and
/// [`EventTimeTrigger::with_late`](super::EventTimeTrigger::with_late). At the end what `early`
/// remembers is forgotten, and what `late` does where a merge moves the end of a session beyond the
/// watermark again: what it has not told yet is told at that end.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::TumblingWindows;
/// use thalweg_dataflow::window::trigger::{CountTrigger, EventTimeTrigger};
///
/// let mut harness = TestHarness::<u64, ((), u64)>::new(|records| {
///     let windows = records.window_all(TumblingWindows::event_time(Duration::from_millis(10)));
///     let trigger = EventTimeTrigger::new()
///         .with_early(CountTrigger::new(2))
///         .with_late(CountTrigger::new(3));
///     let windows = windows.trigger(trigger).allowed_lateness(Duration::from_secs(1));
///     windows.count().map(|row: ((), u64)| row)
/// });
/// (0..5).for_each(|at| harness.push_at(0, Timestamp(at)));
/// assert_eq!(harness.output(), [((), 2), ((), 4)]);
/// harness.advance_watermark(Timestamp(9));
/// assert_eq!(harness.output(), [((), 5)]);
/// (0..5).for_each(|at| harness.push_at(0, Timestamp(at)));
/// assert_eq!(harness.output(), [((), 8)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EarlyLateTrigger<E, L> {
    early: E,
    late: L,
}

impl<E, L> EarlyLateTrigger<E, L> {
    pub(super) fn new(early: E, late: L) -> Self {
        Self { early, late }
    }

    /// Lets `late` speak after the end of the window, instead of every late record.
    #[must_use]
    pub fn with_late<M>(self, late: M) -> EarlyLateTrigger<E, M> {
        EarlyLateTrigger::new(self.early, late)
    }
}

/// Whether the timer of the end was registered, and what the two remember.
type State<E, L> = (bool, E, L);

/// Whether the watermark has passed the end of the window.
fn ended<S>(context: &TriggerContext<'_, S>) -> bool {
    context.window().max_timestamp() <= context.watermark()
}

impl<T: Item, E: Trigger<T>, L: Trigger<T>> Trigger<T> for EarlyLateTrigger<E, L> {
    type State = State<E::State, L::State>;

    fn on_element(
        &self,
        item: &T::Of<'_>,
        at: Timestamp,
        context: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult {
        if ended(context) {
            let late = &mut context.part(|state| &mut state.2);
            return self.late.on_element(item, at, late);
        }
        if !context.state().0 {
            context.state().0 = true;
            let end = context.window().max_timestamp();
            context.register_event_time(end);
        }
        let early = &mut context.part(|state| &mut state.1);
        self.early.on_element(item, at, early)
    }

    fn on_event_time(
        &self,
        time: Timestamp,
        context: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult {
        let end = context.window().max_timestamp();
        if time == end {
            self.early.clear(&mut context.part(|state| &mut state.1));
            context.state().1 = E::State::default();
            TriggerResult::Fire
        } else if time < end {
            let early = &mut context.part(|state| &mut state.1);
            self.early.on_event_time(time, early)
        } else {
            let late = &mut context.part(|state| &mut state.2);
            self.late.on_event_time(time, late)
        }
    }

    fn on_processing_time(
        &self,
        time: Timestamp,
        context: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult {
        if ended(context) {
            let late = &mut context.part(|state| &mut state.2);
            self.late.on_processing_time(time, late)
        } else {
            let early = &mut context.part(|state| &mut state.1);
            self.early.on_processing_time(time, early)
        }
    }

    fn can_merge(&self) -> bool {
        self.early.can_merge() && self.late.can_merge()
    }

    fn merge(&self, into: &mut Self::State, from: &Self::State) {
        self.early.merge(&mut into.1, &from.1);
        self.late.merge(&mut into.2, &from.2);
    }

    fn on_merge(&self, context: &mut TriggerContext<'_, Self::State>) {
        context.state().0 = !ended(context);
        if ended(context) {
            self.late.on_merge(&mut context.part(|state| &mut state.2));
        } else {
            // What came late to a part of it is told with the whole.
            context.state().2 = L::State::default();
            let end = context.window().max_timestamp();
            context.register_event_time(end);
            self.early.on_merge(&mut context.part(|state| &mut state.1));
        }
    }

    fn clear(&self, context: &mut TriggerContext<'_, Self::State>) {
        let end = context.window().max_timestamp();
        context.delete_event_time(end);
        self.early.clear(&mut context.part(|state| &mut state.1));
        self.late.clear(&mut context.part(|state| &mut state.2));
    }

    fn is_blank(&self, (registered, early, late): &Self::State) -> bool {
        !registered && self.early.is_blank(early) && self.late.is_blank(late)
    }
}
