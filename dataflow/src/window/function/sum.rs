//! `sum` and `avg` on windows: totals of a number read from each record.

use std::marker::PhantomData;
use std::ops::AddAssign;

use thalweg_memory::record::{Item, Key, KeyValue, Record, Wire};

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
    /// Sums what `number` reads from the records of each key and window: rows of `(key, sum)`.
    ///
    /// Integers overflow as `+=` does. Sums of floating-point numbers may differ in their last
    /// digits from run to run, with the order in which parts of a window are added up.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<(u64, u64), (u64, u64)>::new(|payments| {
    ///     let accounts = payments.key_by(|payment: &(u64, u64)| payment.0);
    ///     let windows = accounts.window(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     windows.sum(|payment: &(u64, u64)| payment.1).map(|row: (u64, u64)| row)
    /// });
    /// for (cents, at) in [(100, 1), (250, 2), (75, 12)] {
    ///     harness.push_at((7, cents), Timestamp(at));
    /// }
    /// harness.finish();
    /// assert_eq!(harness.output(), [(7, 350), (7, 75)]);
    /// ```
    pub fn sum<V, F>(self, number: F) -> DataStream<KeyValue<K, V>, impl Pipe<Out = KeyValue<K, V>>>
    where
        V: Record + Copy + Default + AddAssign,
        F: for<'a, 'b> Fn(&'b T::Of<'a>) -> V + Clone + Send + 'static,
    {
        self.aggregate_as("window sum", Sum(number, PhantomData))
    }

    /// Averages what `number` reads from the records of each key and window: rows of
    /// `(key, average)`.
    ///
    /// It may differ in its last digits from run to run, with the order in which parts of a window are added up.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<f64, ((), f64)>::new(|readings| {
    ///     let windows = readings.window_all(TumblingWindows::event_time(Duration::from_secs(1)));
    ///     windows.avg(|reading: &f64| *reading).map(|row: ((), f64)| row)
    /// });
    /// harness.push_at(1.0, Timestamp(0));
    /// harness.push_at(4.0, Timestamp(1));
    /// harness.finish();
    /// assert_eq!(harness.output(), [((), 2.5)]);
    /// ```
    pub fn avg<F>(
        self,
        number: F,
    ) -> DataStream<KeyValue<K, f64>, impl Pipe<Out = KeyValue<K, f64>>>
    where
        F: for<'a, 'b> Fn(&'b T::Of<'a>) -> f64 + Clone + Send + 'static,
    {
        self.aggregate_as("window avg", Average(number))
    }
}

struct Sum<F, V>(F, PhantomData<fn() -> V>);

impl<F: Clone, V> Clone for Sum<F, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<K, T, V, F> WindowAggregate<K, T> for Sum<F, V>
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
    fn merge(&self, into: &mut V, other: &V) {
        *into += *other;
    }
    #[inline(always)]
    fn row<'a>(&self, key: K::Of<'a>, _window: TimeWindow, sum: &'a V) -> (K::Of<'a>, V) {
        (key, *sum)
    }
}

#[derive(Clone)]
struct Average<F>(F);

impl<K, T, F> WindowAggregate<K, T> for Average<F>
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
    fn merge(&self, into: &mut (f64, u64), other: &(f64, u64)) {
        into.0 += other.0;
        into.1 += other.1;
    }
    fn row<'a>(
        &self,
        key: K::Of<'a>,
        _window: TimeWindow,
        (sum, count): &'a (f64, u64),
    ) -> (K::Of<'a>, f64) {
        (key, *sum / *count as f64)
    }
}
