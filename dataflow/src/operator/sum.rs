//! `sum` and `avg`: totals of a number read from each record.

use std::marker::PhantomData;
use std::ops::AddAssign;

use thalweg_memory::record::{Item, Key, KeyValue, Record, Wire};

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
    /// Sums what `number` reads from the records of each key: rows of `(key, sum)`.
    ///
    /// Integers overflow as `+=` does: a panic in debug builds, wrapping in release builds.
    /// Sum [`std::num::Wrapping`]-like types of your own where that matters. Sums of floating-point numbers may
    /// differ in their last digits from run to run, with the order in which records arrive.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// STREAMING gives a row for every record, BATCH one for every key at the end:
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// # use thalweg_dataflow::stream::RuntimeMode::{Batch, Streaming};
    /// for (mode, rows) in [(Streaming, vec![1, 4, 9]), (Batch, vec![9])] {
    ///     let mut harness = TestHarness::<u64, u64>::with_mode(mode, |numbers| {
    ///         numbers.key_by(|n| n % 2).sum(|n| *n).map(|(_, sum)| sum)
    ///     });
    ///     [1, 3, 5].into_iter().for_each(|n| harness.push(n));
    ///     harness.finish();
    ///     assert_eq!(harness.output(), rows);
    /// }
    /// ```
    pub fn sum<V, F>(self, number: F) -> DataStream<KeyValue<K, V>, impl Pipe<Out = KeyValue<K, V>>>
    where
        V: Record + Copy + Default + AddAssign,
        F: for<'a, 'b> Fn(&'b T::Of<'a>) -> V + Clone + Send + 'static,
    {
        self.aggregate_as("sum", Sum(number, PhantomData))
    }

    /// Averages what `number` reads from the records of each key: rows of `(key, average)`.
    ///
    /// It may differ in its last digits from run to run, with the order in which records arrive.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, f64>::new(|numbers| {
    ///     numbers.key_by(|n| n % 2).avg(|n| *n as f64).map(|(_, average)| average)
    /// });
    /// [1, 3, 8].into_iter().for_each(|n| harness.push(n));
    /// assert_eq!(harness.output(), [1.0, 2.0, 8.0]);
    /// ```
    pub fn avg<F>(
        self,
        number: F,
    ) -> DataStream<KeyValue<K, f64>, impl Pipe<Out = KeyValue<K, f64>>>
    where
        F: for<'a, 'b> Fn(&'b T::Of<'a>) -> f64 + Clone + Send + 'static,
    {
        self.aggregate_as("avg", Average(number))
    }
}

struct Sum<F, V>(F, PhantomData<fn() -> V>);

impl<F: Clone, V> Clone for Sum<F, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<K, T, V, F> KeyedAggregate<K, T> for Sum<F, V>
where
    K: Key,
    T: Item,
    V: Record + Copy + Default + AddAssign,
    F: for<'a, 'b> Fn(&'b T::Of<'a>) -> V + Clone + Send + 'static,
{
    type Accumulator = V;
    type Row = KeyValue<K, V>;

    fn create(&self) -> V {
        V::default()
    }
    #[inline(always)]
    fn add(&self, sum: &mut V, item: T::Of<'_>) {
        *sum += (self.0)(&item);
    }
    #[inline(always)]
    fn row<'a>(&self, key: K::Of<'a>, sum: &'a V) -> (K::Of<'a>, V) {
        (key, *sum)
    }
}

#[derive(Clone)]
struct Average<F>(F);

impl<K, T, F> KeyedAggregate<K, T> for Average<F>
where
    K: Key,
    T: Item,
    F: for<'a, 'b> Fn(&'b T::Of<'a>) -> f64 + Clone + Send + 'static,
{
    type Accumulator = (f64, u64);
    type Row = KeyValue<K, f64>;

    fn create(&self) -> (f64, u64) {
        (0.0, 0)
    }
    fn add(&self, (sum, count): &mut (f64, u64), item: T::Of<'_>) {
        *sum += (self.0)(&item);
        *count += 1;
    }
    fn row<'a>(&self, key: K::Of<'a>, (sum, count): &'a (f64, u64)) -> (K::Of<'a>, f64) {
        (key, *sum / *count as f64)
    }
}
