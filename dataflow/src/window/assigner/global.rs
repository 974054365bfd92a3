//! The global window: all of time.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::WindowAssigner;
use crate::function::FunctionError;
use crate::window::TimeWindow;
use crate::window::trigger::NeverTrigger;

/// All records of a key in one window without an end: it speaks when its trigger does, and its
/// state stays until it is purged. Without a trigger it never speaks.
///
/// With [`EventTimeTrigger`](crate::window::trigger::EventTimeTrigger) it speaks once, when the
/// input ends.
///
/// ```
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
/// use thalweg_dataflow::window::trigger::EventTimeTrigger;
///
/// let mut harness = TestHarness::<u64, (u64, u64)>::new(|records| {
///     let keyed = records.key_by(|record: &u64| record % 2);
///     let rows = keyed.window(GlobalWindows::new()).trigger(EventTimeTrigger::new()).count();
///     rows.map(|row: (u64, u64)| row)
/// });
/// (0..5).for_each(|number| harness.push(number));
/// harness.finish();
/// let mut counts = harness.output();
/// counts.sort();
/// assert_eq!(counts, [(0, 3), (1, 2)]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalWindows;

impl GlobalWindows {
    /// The global window.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<T: Item> WindowAssigner<T> for GlobalWindows {
    type DefaultTrigger = NeverTrigger;

    #[inline]
    fn assign(
        &self,
        _item: &T::Of<'_>,
        _at: Timestamp,
        _processing_time: Timestamp,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<(), FunctionError> {
        windows.push(TimeWindow::GLOBAL);
        Ok(())
    }

    fn default_trigger(&self) -> NeverTrigger {
        NeverTrigger
    }

    fn is_event_time(&self) -> bool {
        false
    }
}
