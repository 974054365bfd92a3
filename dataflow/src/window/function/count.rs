//! `count` on windows: how many records each key has in each window.

use thalweg_memory::record::{Item, Key, KeyValue, Wire};

use super::gather::Eviction;
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, Pipe, WindowedStream};
use crate::window::assigner::WindowAssigner;
use crate::window::trigger::Trigger;
use crate::window::{TimeWindow, WindowAggregate};

impl<K, T, S, I, A, G, E> WindowedStream<K, T, S, I, A, G, E>
where
    K: Key + Wire,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    E: Eviction<K, T>,
{
    /// Counts the records of each key and window: rows of `(key, count)`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<String, (String, u64)>::new(|words| {
    ///     let keyed = words.key_by(|word: &String| word.clone());
    ///     let rows = keyed.window(TumblingWindows::event_time(Duration::from_millis(10))).count();
    ///     rows.map(|row: (String, u64)| row)
    /// });
    /// for (word, at) in [("be", 1), ("be", 2), ("be", 12)] {
    ///     harness.push_at(word.to_owned(), Timestamp(at));
    /// }
    /// harness.finish();
    /// assert_eq!(harness.output(), [("be".to_owned(), 2), ("be".to_owned(), 1)]);
    /// ```
    pub fn count(self) -> DataStream<KeyValue<K, u64>, impl Pipe<Out = KeyValue<K, u64>>> {
        self.aggregate_as("window count", Count)
    }
}

#[derive(Clone)]
struct Count;

impl<K: Key, T: Item> WindowAggregate<K, T> for Count {
    type Accumulator = u64;
    type Row = KeyValue<K, u64>;

    fn create(&self) -> u64 {
        0
    }
    #[inline(always)]
    fn add(&self, count: &mut u64, _item: T::Of<'_>) {
        *count += 1;
    }
    #[inline(always)]
    fn merge(&self, into: &mut u64, other: &u64) {
        *into += other;
    }
    #[inline(always)]
    fn subtract(&self, from: &mut u64, other: &u64) -> bool {
        *from -= other;
        true
    }
    #[inline(always)]
    fn row<'a>(&self, key: K::Of<'a>, _window: TimeWindow, count: &'a u64) -> (K::Of<'a>, u64) {
        (key, *count)
    }
}
