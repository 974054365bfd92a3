//! `count`: how many records each key has.

use thalweg_memory::record::{Item, Key, KeyValue, Wire};

use super::KeyedAggregate;
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, KeyedStream, Pipe};

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// Counts the records of each key: rows of `(key, count)`.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<String, (String, u64)>::new(|words| {
    ///     let counts = words.key_by_str(|word| word.as_str()).count();
    ///     counts.map(|(word, count)| (word.to_owned(), count))
    /// });
    /// ["to", "be", "to"].into_iter().for_each(|word| harness.push(word.to_owned()));
    /// let rows = [("to", 1), ("be", 1), ("to", 2)].map(|(word, count)| (word.to_owned(), count));
    /// assert_eq!(harness.output(), rows);
    /// ```
    pub fn count(self) -> DataStream<KeyValue<K, u64>, impl Pipe<Out = KeyValue<K, u64>>> {
        self.aggregate_as("count", Count)
    }
}

#[derive(Clone)]
struct Count;

impl<K: Key, T: Item> KeyedAggregate<K, T> for Count {
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
    fn row<'a>(&self, key: K::Of<'a>, count: &'a u64) -> (K::Of<'a>, u64) {
        (key, *count)
    }
}
