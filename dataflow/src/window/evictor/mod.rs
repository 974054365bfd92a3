//! Evictors: what a window forgets before or after it speaks.
//!
//! A window with an [`Evictor`] keeps its records whole, and whatever is asked of it (a sum, a
//! function over all) is worked out from what the evictor leaves, whenever it fires. Entered by the
//! window operator, on the shard of its subtask.

mod count;
mod delta;
mod time;

pub use count::CountEvictor;
pub use delta::DeltaEvictor;
pub use time::TimeEvictor;

use thalweg_memory::record::Record;

use super::{TimeWindow, WindowElements};

/// Removes records from a window that fires.
///
/// What is removed is gone for the firings that follow too. The window function is called also
/// where nothing is left; an aggregate of nothing gives no row.
///
/// One that keeps the even numbers:
///
/// ```
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
/// use thalweg_dataflow::window::evictor::Evictor;
/// use thalweg_dataflow::window::trigger::CountTrigger;
/// use thalweg_dataflow::window::{TimeWindow, WindowElements};
///
/// #[derive(Clone)]
/// struct Even;
///
/// impl Evictor<u64> for Even {
///     fn evict_before(&self, elements: &mut WindowElements<u64>, _window: TimeWindow) {
///         elements.retain(|number, _at| number % 2 == 0);
///     }
/// }
///
/// let mut harness = TestHarness::<u64, ((), u64)>::new(|numbers| {
///     let windows = numbers.window_all(GlobalWindows::new());
///     let rows = windows.trigger(CountTrigger::new(4)).evictor(Even).sum(|number: &u64| *number);
///     rows.map(|row: ((), u64)| row)
/// });
/// (1..=4).for_each(|number| harness.push(number));
/// assert_eq!(harness.output(), [((), 6)]);
/// ```
pub trait Evictor<T: Record>: Clone + Send + 'static {
    /// Removes records before the window function sees them.
    fn evict_before(&self, elements: &mut WindowElements<T>, window: TimeWindow) {
        let _ = (elements, window);
    }

    /// Removes records after the window function has seen them.
    fn evict_after(&self, elements: &mut WindowElements<T>, window: TimeWindow) {
        let _ = (elements, window);
    }
}

/// The two moments at which an evictor may work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}
