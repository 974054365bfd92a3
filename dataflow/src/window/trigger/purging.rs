//! The purging trigger: another one whose windows forget what they have said.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{Trigger, TriggerContext, TriggerResult};

/// Fires when the trigger within does, and then forgets the window's contents: each result holds
/// only what came since the one before it (*discarding* instead of *accumulating*).
///
/// ```
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
/// use thalweg_dataflow::window::trigger::{CountTrigger, PurgingTrigger};
///
/// let mut harness = TestHarness::<u64, (u64, u64)>::new(|records| {
///     let keyed = records.key_by(|_: &u64| 0_u64);
///     let purging = PurgingTrigger::new(CountTrigger::new(2));
///     let rows = keyed.window(GlobalWindows::new()).trigger(purging).sum(|number: &u64| *number);
///     rows.map(|row: (u64, u64)| row)
/// });
/// (1..=5).for_each(|number| harness.push(number));
/// assert_eq!(harness.output(), [(0, 1 + 2), (0, 3 + 4)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PurgingTrigger<G> {
    within: G,
}

impl<G> PurgingTrigger<G> {
    /// Makes `within` a purging one.
    #[must_use]
    pub fn new(within: G) -> Self {
        Self { within }
    }
}

fn purging(result: TriggerResult) -> TriggerResult {
    match result {
        TriggerResult::Fire => TriggerResult::FireAndPurge,
        other => other,
    }
}

impl<T: Item, G: Trigger<T>> Trigger<T> for PurgingTrigger<G> {
    type State = G::State;

    #[inline]
    fn on_element(
        &self,
        item: &T::Of<'_>,
        at: Timestamp,
        context: &mut TriggerContext<'_, G::State>,
    ) -> TriggerResult {
        purging(self.within.on_element(item, at, context))
    }

    fn on_event_time(
        &self,
        time: Timestamp,
        context: &mut TriggerContext<'_, G::State>,
    ) -> TriggerResult {
        purging(self.within.on_event_time(time, context))
    }

    fn on_processing_time(
        &self,
        time: Timestamp,
        context: &mut TriggerContext<'_, G::State>,
    ) -> TriggerResult {
        purging(self.within.on_processing_time(time, context))
    }

    fn can_merge(&self) -> bool {
        self.within.can_merge()
    }

    fn merge(&self, into: &mut G::State, from: &G::State) {
        self.within.merge(into, from);
    }

    fn on_merge(&self, context: &mut TriggerContext<'_, G::State>) {
        self.within.on_merge(context);
    }

    fn clear(&self, context: &mut TriggerContext<'_, G::State>) {
        self.within.clear(context);
    }

    fn is_blank(&self, state: &G::State) -> bool {
        self.within.is_blank(state)
    }
}
