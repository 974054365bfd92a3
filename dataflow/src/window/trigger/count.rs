//! The count trigger: a window speaks when so many records have come.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{Trigger, TriggerContext, TriggerResult};

/// Fires when `count` records have been added since it fired last. It does not fire at the end of
/// the window: what came after the last firing is then forgotten unheard.
///
/// ```
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
/// use thalweg_dataflow::window::trigger::CountTrigger;
///
/// let mut harness = TestHarness::<u64, (u64, u64)>::new(|records| {
///     let keyed = records.key_by(|record: &u64| record % 2);
///     let rows = keyed.window(GlobalWindows::new()).trigger(CountTrigger::new(2)).count();
///     rows.map(|row: (u64, u64)| row)
/// });
/// (1..=10).for_each(|number| harness.push(number * 2 + 1));
/// assert_eq!(harness.output(), [(1, 2), (1, 4), (1, 6), (1, 8), (1, 10)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CountTrigger {
    count: u64,
}

impl CountTrigger {
    /// Fires at every `count` records.
    ///
    /// # Panics
    /// If `count` is 0.
    #[must_use]
    pub fn new(count: u64) -> Self {
        assert!(count > 0, "a window fires after one record or more");
        Self { count }
    }
}

impl<T: Item> Trigger<T> for CountTrigger {
    /// Records since it fired last.
    type State = u64;

    #[inline]
    fn on_element(
        &self,
        _item: &T::Of<'_>,
        _at: Timestamp,
        context: &mut TriggerContext<'_, u64>,
    ) -> TriggerResult {
        let seen = context.state();
        *seen += 1;
        if *seen < self.count {
            return TriggerResult::Continue;
        }
        *seen = 0;
        TriggerResult::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    /// Counts add up; should they reach the count, the next record fires.
    fn merge(&self, into: &mut u64, from: &u64) {
        *into += from;
    }

    fn is_blank(&self, seen: &u64) -> bool {
        *seen == 0
    }
}
