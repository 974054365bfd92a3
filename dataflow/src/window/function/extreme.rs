//! `min`, `max`, `min_by`, `max_by` on windows: the smallest and greatest of each.
//!
//! `min` and `max` give the value, `min_by` and `max_by` the record it was read from. Of equals the
//! first is kept; where records of one key come from several producers, the first of one of them. Invariant: a value
//! that does not equal itself (NaN) is a result only where there is no other, in whatever order records come and parts
//! of windows are merged. Lives on one shard's thread.

use std::cmp::Ordering;
use std::marker::PhantomData;

use thalweg_memory::record::{Item, Key, KeyValue, Record, Wire};

use super::gather::Eviction;
use crate::operator::extreme::beats;
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
    /// The smallest value of each key and window: rows of `(key, smallest)`.
    ///
    /// A value that does not equal itself (NaN) gives way to any that does, and replaces none: it is the smallest only of
    /// a key and window without others.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<(u64, i64), (u64, i64)>::new(|records| {
    ///     let keyed = records.key_by(|record: &(u64, i64)| record.0);
    ///     let windows = keyed.window(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     windows.min(|record: &(u64, i64)| record.1).map(|row: (u64, i64)| row)
    /// });
    /// for (value, at) in [(5, 1), (-2, 2), (7, 12)] {
    ///     harness.push_at((1, value), Timestamp(at));
    /// }
    /// harness.finish();
    /// assert_eq!(harness.output(), [(1, -2), (1, 7)]);
    /// ```
    pub fn min<V, F>(self, value: F) -> DataStream<KeyValue<K, V>, impl Pipe<Out = KeyValue<K, V>>>
    where
        V: Record + Clone + PartialOrd,
        F: for<'a, 'b> Fn(&'b T::Of<'a>) -> V + Clone + Send + 'static,
    {
        self.aggregate_as("window min", Extreme(value, Ordering::Less, PhantomData))
    }

    /// The greatest value of each key and window: rows of `(key, greatest)`.
    ///
    /// A value that does not equal itself (NaN) gives way to any that does, and replaces none: it is the greatest only of
    /// a key and window without others.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<(u64, i64), (u64, i64)>::new(|records| {
    ///     let keyed = records.key_by(|record: &(u64, i64)| record.0);
    ///     let windows = keyed.window(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     windows.max(|record: &(u64, i64)| record.1).map(|row: (u64, i64)| row)
    /// });
    /// for (value, at) in [(5, 1), (-2, 2), (-7, 12)] {
    ///     harness.push_at((1, value), Timestamp(at));
    /// }
    /// harness.finish();
    /// assert_eq!(harness.output(), [(1, 5), (1, -7)]);
    /// ```
    pub fn max<V, F>(self, value: F) -> DataStream<KeyValue<K, V>, impl Pipe<Out = KeyValue<K, V>>>
    where
        V: Record + Clone + PartialOrd,
        F: for<'a, 'b> Fn(&'b T::Of<'a>) -> V + Clone + Send + 'static,
    {
        let greater = Ordering::Greater;
        self.aggregate_as("window max", Extreme(value, greater, PhantomData))
    }
}

impl<K, T, S, I, A, G, E> WindowedStream<K, T, S, I, A, G, E>
where
    K: Key + Wire,
    T: Record + Clone,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    E: Eviction<K, T>,
{
    /// The record with the smallest value of each key and window.
    ///
    /// A value that does not equal itself (NaN) gives way to any that does, and replaces none: it is the smallest only of
    /// a key and window without others.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<(u64, String), (u64, String)>::new(|offers| {
    ///     let windows = offers.window_all(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     windows.min_by(|offer: &(u64, String)| offer.0)
    /// });
    /// for (price, shop) in [(5, "Ada"), (3, "Ben"), (3, "Cem")] {
    ///     harness.push_at((price, shop.to_owned()), Timestamp(3));
    /// }
    /// harness.finish();
    /// assert_eq!(harness.output(), [(3, "Ben".to_owned())]);
    /// ```
    pub fn min_by<V, F>(self, value: F) -> DataStream<T, impl Pipe<Out = T>>
    where
        V: PartialOrd + 'static,
        F: for<'b> Fn(&'b T) -> V + Clone + Send + 'static,
    {
        let less = Ordering::Less;
        self.aggregate_as("window min_by", ExtremeBy(value, less, PhantomData))
    }

    /// The record with the greatest value of each key and window.
    ///
    /// A value that does not equal itself (NaN) gives way to any that does, and replaces none: it is the greatest only of
    /// a key and window without others.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    ///
    /// let mut harness = TestHarness::<(u64, String), (u64, String)>::new(|bids| {
    ///     let windows = bids.window_all(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     windows.max_by(|bid: &(u64, String)| bid.0)
    /// });
    /// for (price, bidder) in [(5, "Ada"), (9, "Ben"), (9, "Cem")] {
    ///     harness.push_at((price, bidder.to_owned()), Timestamp(3));
    /// }
    /// harness.finish();
    /// assert_eq!(harness.output(), [(9, "Ben".to_owned())]);
    /// ```
    pub fn max_by<V, F>(self, value: F) -> DataStream<T, impl Pipe<Out = T>>
    where
        V: PartialOrd + 'static,
        F: for<'b> Fn(&'b T) -> V + Clone + Send + 'static,
    {
        let greater = Ordering::Greater;
        self.aggregate_as("window max_by", ExtremeBy(value, greater, PhantomData))
    }
}

struct Extreme<F, V>(F, Ordering, PhantomData<fn() -> V>);

impl<F: Clone, V> Clone for Extreme<F, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1, PhantomData)
    }
}

impl<F, V: PartialOrd> Extreme<F, V> {
    #[inline(always)]
    fn beats(&self, value: &V, best: &Option<V>) -> bool {
        (best.as_ref()).is_none_or(|best| beats(self.1, value, best))
    }
}

impl<K, T, V, F> WindowAggregate<K, T> for Extreme<F, V>
where
    K: Key,
    T: Item,
    V: Record + Clone + PartialOrd,
    F: for<'a, 'b> Fn(&'b T::Of<'a>) -> V + Clone + Send + 'static,
{
    type Accumulator = Option<V>;
    type Row = KeyValue<K, V>;

    fn create(&self) -> Option<V> {
        None
    }
    #[inline]
    fn add(&self, best: &mut Option<V>, item: T::Of<'_>) {
        let value = (self.0)(&item);
        if self.beats(&value, best) {
            *best = Some(value);
        }
    }
    #[inline]
    fn merge(&self, into: &mut Option<V>, other: &Option<V>) {
        if let Some(value) = other
            && self.beats(value, into)
        {
            *into = Some(value.clone());
        }
    }
    fn row<'a>(&self, key: K::Of<'a>, _: TimeWindow, best: &'a Option<V>) -> (K::Of<'a>, V) {
        (key, present(best).clone())
    }
}

struct ExtremeBy<F, V>(F, Ordering, PhantomData<fn() -> V>);

impl<F: Clone, V> Clone for ExtremeBy<F, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1, PhantomData)
    }
}

impl<F, V: PartialOrd> ExtremeBy<F, V> {
    fn beats<T>(&self, item: &T, best: &Option<T>) -> bool
    where
        F: Fn(&T) -> V,
    {
        let better = |best: &T| beats(self.1, &(self.0)(item), &(self.0)(best));
        best.as_ref().is_none_or(better)
    }
}

impl<K, T, V, F> WindowAggregate<K, T> for ExtremeBy<F, V>
where
    K: Key,
    T: Record + Clone,
    V: PartialOrd + 'static,
    F: for<'b> Fn(&'b T) -> V + Clone + Send + 'static,
{
    type Accumulator = Option<T>;
    type Row = T;

    fn create(&self) -> Option<T> {
        None
    }
    fn add(&self, best: &mut Option<T>, item: T) {
        if self.beats(&item, best) {
            *best = Some(item);
        }
    }
    fn merge(&self, into: &mut Option<T>, other: &Option<T>) {
        if let Some(item) = other
            && self.beats(item, into)
        {
            *into = Some(item.clone());
        }
    }
    fn row<'a>(&self, _key: K::Of<'a>, _window: TimeWindow, best: &'a Option<T>) -> T {
        present(best).clone()
    }
}

/// A row is asked for only after a record was added.
pub(super) fn present<V>(value: &Option<V>) -> &V {
    match value {
        Some(value) => value,
        None => unreachable!("a window has contents because a record was added"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All rows of so many of these numbers.
    fn every_order(numbers: &[f64], length: usize) -> Vec<Vec<f64>> {
        (0..length).fold(vec![Vec::new()], |rows, _| {
            let longer = |row: Vec<f64>| {
                numbers.iter().map(move |number| {
                    let mut row = row.clone();
                    row.push(*number);
                    row
                })
            };
            rows.into_iter().flat_map(longer).collect()
        })
    }

    /// What `aggregate` keeps of two parts that are added up apart and merged.
    fn merged<A>(aggregate: &A, parts: [&[f64]; 2]) -> Option<f64>
    where
        A: WindowAggregate<u64, f64, Accumulator = Option<f64>>,
    {
        let [mut into, other] = parts.map(|part| {
            let mut best = aggregate.create();
            part.iter()
                .for_each(|number| aggregate.add(&mut best, *number));
            best
        });
        aggregate.merge(&mut into, &other);
        into
    }

    #[test]
    fn nan_is_the_extreme_of_no_window_with_other_values_however_it_is_added_up() {
        let value: fn(&f64) -> f64 = |number| *number;
        for numbers in every_order(&[f64::NAN, 1.0, 2.0], 4) {
            let sound = || numbers.iter().copied().filter(|number| !number.is_nan());
            let least = sound().reduce(f64::min).unwrap_or(f64::NAN).to_bits();
            let most = sound().reduce(f64::max).unwrap_or(f64::NAN).to_bits();
            for (wanted, expected) in [(Ordering::Less, least), (Ordering::Greater, most)] {
                for cut in 0..=numbers.len() {
                    let (front, back) = numbers.split_at(cut);
                    for parts in [[front, back], [back, front]] {
                        let plain = merged(&Extreme(value, wanted, PhantomData), parts);
                        let by = merged(&ExtremeBy(value, wanted, PhantomData), parts);
                        let found = [plain, by].map(|found| found.map(f64::to_bits));
                        assert_eq!(found, [Some(expected); 2], "{wanted:?} of {parts:?}");
                    }
                }
            }
        }
    }
}
