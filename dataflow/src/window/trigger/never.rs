//! The trigger that never fires.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{Trigger, TriggerContext, TriggerResult};

/// Never fires: the default of global windows, which have no end. Give them another trigger.
///
/// ```
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
///
/// let mut harness = TestHarness::<u64, (u64, u64)>::new(|records| {
///     let keyed = records.key_by(|record: &u64| record % 2);
///     keyed.window(GlobalWindows::new()).count().map(|row: (u64, u64)| row)
/// });
/// harness.push(3);
/// harness.finish();
/// assert_eq!(harness.output(), []);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NeverTrigger;

impl<T: Item> Trigger<T> for NeverTrigger {
    type State = ();

    fn on_element(
        &self,
        _item: &T::Of<'_>,
        _at: Timestamp,
        _context: &mut TriggerContext<'_, ()>,
    ) -> TriggerResult {
        TriggerResult::Continue
    }

    fn can_merge(&self) -> bool {
        true
    }
}
