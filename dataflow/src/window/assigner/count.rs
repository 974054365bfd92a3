//! Count windows: so many records each, or the last so many.
//!
//! They are global windows with a counting trigger, as in Flink: what is new here are the names.

use thalweg_memory::record::{Key, Record, Wire};

use super::GlobalWindows;
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, KeyedStream, Pipe, WindowedStream};
use crate::stream::{Everything, Grouping};
use crate::window::evictor::CountEvictor;
use crate::window::function::{NoEvictor, With};
use crate::window::trigger::{CountTrigger, PurgingTrigger};

/// Windows of so many records each.
type Tumbling<K, T, S, I> =
    WindowedStream<K, T, S, I, GlobalWindows, PurgingTrigger<CountTrigger>, NoEvictor>;
/// Windows of the last so many records.
type Sliding<K, T, S, I> =
    WindowedStream<K, T, S, I, GlobalWindows, CountTrigger, With<CountEvictor>>;

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// Windows of `size` records of a key each. A window that is not full when the input ends gives
    /// nothing out.
    ///
    /// # Panics
    /// If `size` is 0.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<(u64, u64), (u64, u64)>::new(|records| {
    ///     let keyed = records.key_by(|record: &(u64, u64)| record.0);
    ///     keyed.count_window(3).sum(|record: &(u64, u64)| record.1).map(|row: (u64, u64)| row)
    /// });
    /// (1..=7).for_each(|number| harness.push((0, number)));
    /// assert_eq!(harness.output(), [(0, 1 + 2 + 3), (0, 4 + 5 + 6)]);
    /// ```
    pub fn count_window(self, size: u64) -> Tumbling<K, T, S, I> {
        let trigger = PurgingTrigger::new(CountTrigger::new(size));
        self.window(GlobalWindows).trigger(trigger)
    }
}

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Record + Clone,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// The last `size` records of a key, told at every `slide`-th record of it. The first windows
    /// hold fewer.
    ///
    /// # Panics
    /// If `slide` is 0.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<(u64, u64), (u64, u64)>::new(|records| {
    ///     let keyed = records.key_by(|record: &(u64, u64)| record.0);
    ///     let rows = keyed.count_window_sliding(3, 2).sum(|record: &(u64, u64)| record.1);
    ///     rows.map(|row: (u64, u64)| row)
    /// });
    /// (1..=6).for_each(|number| harness.push((0, number)));
    /// assert_eq!(harness.output(), [(0, 1 + 2), (0, 2 + 3 + 4), (0, 4 + 5 + 6)]);
    /// ```
    pub fn count_window_sliding(self, size: usize, slide: u64) -> Sliding<K, T, S, I> {
        let windows = self.window(GlobalWindows).trigger(CountTrigger::new(slide));
        windows.evictor(CountEvictor::new(size))
    }
}

impl<T: Wire, P: Pipe<Out = T>> DataStream<T, P> {
    /// Windows of `size` records of the whole stream each; see [`KeyedStream::count_window`] and
    /// [`DataStream::window_all`].
    ///
    /// # Panics
    /// If `size` is 0.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<u64, ((), u64)>::new(|numbers| {
    ///     numbers.count_window_all(2).sum(|number: &u64| *number).map(|row: ((), u64)| row)
    /// });
    /// (1..=5).for_each(|number| harness.push(number));
    /// harness.finish();
    /// assert_eq!(harness.output(), [((), 1 + 2), ((), 3 + 4)]);
    /// ```
    pub fn count_window_all(self, size: u64) -> Tumbling<(), T, Everything, Grouping<T, P>> {
        self.keyed_as_one().count_window(size)
    }
}

impl<T: Record + Clone, P: Pipe<Out = T>> DataStream<T, P> {
    /// The last `size` records of the whole stream, told at every `slide`-th; see
    /// [`KeyedStream::count_window_sliding`] and [`DataStream::window_all`].
    ///
    /// # Panics
    /// If `slide` is 0.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<u64, ((), u64)>::new(|numbers| {
    ///     let windows = numbers.count_window_all_sliding(3, 1);
    ///     windows.sum(|number: &u64| *number).map(|row: ((), u64)| row)
    /// });
    /// (1..=4).for_each(|number| harness.push(number));
    /// assert_eq!(harness.output(), [((), 1), ((), 1 + 2), ((), 1 + 2 + 3), ((), 2 + 3 + 4)]);
    /// ```
    pub fn count_window_all_sliding(
        self,
        size: usize,
        slide: u64,
    ) -> Sliding<(), T, Everything, Grouping<T, P>> {
        self.keyed_as_one().count_window_sliding(size, slide)
    }
}
