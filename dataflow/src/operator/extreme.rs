//! `min`, `max`, `min_by`, `max_by`: the smallest and greatest of each key.
//!
//! `min` and `max` give the value, `min_by` and `max_by` the record it was read from. Of
//! equals the first is kept. Invariant: a value that does not equal itself (NaN) is a result only where there is no
//! other, whatever the order in which they come. Lives on one shard's thread.

use std::cmp::Ordering;
use std::marker::PhantomData;

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
    /// The smallest value each key has had: rows of `(key, smallest)`.
    ///
    /// A value that does not equal itself (NaN) gives way to any that does, and replaces none: it is the smallest only of
    /// a key without others.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<(u64, u64), (u64, u64)>::new(|prices| {
    ///     prices.key_by(|row| row.0).min(|row| row.1).map(|(key, price)| (key, price))
    /// });
    /// [(1, 7), (1, 9), (1, 4)].into_iter().for_each(|row| harness.push(row));
    /// assert_eq!(harness.output(), [(1, 7), (1, 7), (1, 4)]);
    /// ```
    pub fn min<V, F>(self, value: F) -> DataStream<KeyValue<K, V>, impl Pipe<Out = KeyValue<K, V>>>
    where
        V: Record + Clone + PartialOrd,
        F: for<'a, 'b> Fn(&'b T::Of<'a>) -> V + Clone + Send + 'static,
    {
        self.aggregate_as("min", Extreme(value, Ordering::Less, PhantomData))
    }

    /// The greatest value each key has had: rows of `(key, greatest)`.
    ///
    /// A value that does not equal itself (NaN) gives way to any that does, and replaces none: it is the greatest only of
    /// a key without others.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<(u64, u64), (u64, u64)>::new(|prices| {
    ///     prices.key_by(|row| row.0).max(|row| row.1).map(|(key, price)| (key, price))
    /// });
    /// [(1, 7), (1, 4), (1, 9)].into_iter().for_each(|row| harness.push(row));
    /// assert_eq!(harness.output(), [(1, 7), (1, 7), (1, 9)]);
    /// ```
    pub fn max<V, F>(self, value: F) -> DataStream<KeyValue<K, V>, impl Pipe<Out = KeyValue<K, V>>>
    where
        V: Record + Clone + PartialOrd,
        F: for<'a, 'b> Fn(&'b T::Of<'a>) -> V + Clone + Send + 'static,
    {
        self.aggregate_as("max", Extreme(value, Ordering::Greater, PhantomData))
    }
}

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Record + Clone,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// The record with the smallest value of each key.
    ///
    /// A value that does not equal itself (NaN) gives way to any that does, and replaces none: it is the smallest only of
    /// a key without others.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<(u64, u64, u64), (u64, u64, u64)>::new(|offers| {
    ///     offers.key_by(|offer| offer.0).min_by(|offer| offer.1)
    /// });
    /// // Of item 1: the price and the shop. The first of equals is kept.
    /// [(1, 50, 7), (1, 40, 8), (1, 40, 9)].into_iter().for_each(|offer| harness.push(offer));
    /// assert_eq!(harness.output(), [(1, 50, 7), (1, 40, 8), (1, 40, 8)]);
    /// ```
    pub fn min_by<V, F>(self, value: F) -> DataStream<T, impl Pipe<Out = T>>
    where
        V: PartialOrd + 'static,
        F: for<'b> Fn(&'b T) -> V + Clone + Send + 'static,
    {
        self.aggregate_as("min_by", ExtremeBy(value, Ordering::Less, PhantomData))
    }

    /// The record with the greatest value of each key.
    ///
    /// A value that does not equal itself (NaN) gives way to any that does, and replaces none: it is the greatest only of
    /// a key without others.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<(u64, u64, u64), (u64, u64, u64)>::new(|bids| {
    ///     bids.key_by(|bid| bid.0).max_by(|bid| bid.1)
    /// });
    /// // Of auction 1: the price and the bidder. The first of equals is kept.
    /// [(1, 50, 7), (1, 80, 8), (1, 80, 9)].into_iter().for_each(|bid| harness.push(bid));
    /// assert_eq!(harness.output(), [(1, 50, 7), (1, 80, 8), (1, 80, 8)]);
    /// ```
    pub fn max_by<V, F>(self, value: F) -> DataStream<T, impl Pipe<Out = T>>
    where
        V: PartialOrd + 'static,
        F: for<'b> Fn(&'b T) -> V + Clone + Send + 'static,
    {
        self.aggregate_as("max_by", ExtremeBy(value, Ordering::Greater, PhantomData))
    }
}

struct Extreme<F, V>(F, Ordering, PhantomData<fn() -> V>);

impl<F: Clone, V> Clone for Extreme<F, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1, PhantomData)
    }
}

impl<K, T, V, F> KeyedAggregate<K, T> for Extreme<F, V>
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
    fn add(&self, best: &mut Option<V>, item: T::Of<'_>) {
        let value = (self.0)(&item);
        if (best.as_ref()).is_none_or(|best| beats(self.1, &value, best)) {
            *best = Some(value);
        }
    }
    fn row<'a>(&self, key: K::Of<'a>, best: &'a Option<V>) -> (K::Of<'a>, V) {
        (key, present(best).clone())
    }
}

struct ExtremeBy<F, V>(F, Ordering, PhantomData<fn() -> V>);

impl<F: Clone, V> Clone for ExtremeBy<F, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1, PhantomData)
    }
}

impl<K, T, V, F> KeyedAggregate<K, T> for ExtremeBy<F, V>
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
        let better = |best: &T| beats(self.1, &(self.0)(&item), &(self.0)(best));
        if best.as_ref().is_none_or(better) {
            *best = Some(item);
        }
    }
    fn row<'a>(&self, _key: K::Of<'a>, best: &'a Option<T>) -> T {
        present(best).clone()
    }
}

/// Whether `value` takes the place of `best`, which came before it, where what compares as `wanted` is better.
#[inline(always)]
pub(crate) fn beats<V: PartialOrd>(wanted: Ordering, value: &V, best: &V) -> bool {
    (value.partial_cmp(best) == Some(wanted) || !equals_itself(best)) && equals_itself(value)
}

#[inline(always)]
fn equals_itself<V: PartialOrd>(value: &V) -> bool {
    value.eq(value)
}

/// A row is asked for only after a record was added.
pub(super) fn present<V>(value: &Option<V>) -> &V {
    match value {
        Some(value) => value,
        None => unreachable!("a key is in the table because a record of it was added"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TestHarness;

    type Row = (u64, f64);

    fn last(mut harness: TestHarness<Row, Row>, numbers: &[f64]) -> Option<f64> {
        numbers.iter().for_each(|number| harness.push((0, *number)));
        harness.output().pop().map(|row| row.1)
    }

    /// What all four say of one key at the end, as `min`, `min_by`, `max`, `max_by`.
    fn extremes(numbers: &[f64]) -> [Option<f64>; 4] {
        let min = TestHarness::<Row, Row>::new(|rows| {
            let keyed = rows.key_by(|row: &Row| row.0);
            keyed.min(|row: &Row| row.1).map(|row: Row| row)
        });
        let min_by = TestHarness::<Row, Row>::new(|rows| {
            rows.key_by(|row: &Row| row.0).min_by(|row: &Row| row.1)
        });
        let max = TestHarness::<Row, Row>::new(|rows| {
            let keyed = rows.key_by(|row: &Row| row.0);
            keyed.max(|row: &Row| row.1).map(|row: Row| row)
        });
        let max_by = TestHarness::<Row, Row>::new(|rows| {
            rows.key_by(|row: &Row| row.0).max_by(|row: &Row| row.1)
        });
        [min, min_by, max, max_by].map(|harness| last(harness, numbers))
    }

    #[test]
    fn nan_loses_wherever_it_comes_and_wins_only_alone() {
        let nan = f64::NAN;
        for numbers in [
            [nan, 7.0, 3.0, 5.0],
            [3.0, nan, 5.0, 7.0],
            [5.0, 7.0, 3.0, nan],
            [nan, nan, 7.0, 3.0],
            [7.0, 3.0, nan, nan],
        ] {
            let [least, least_by, most, most_by] = extremes(&numbers);
            assert_eq!((least, least_by), (Some(3.0), Some(3.0)), "{numbers:?}");
            assert_eq!((most, most_by), (Some(7.0), Some(7.0)), "{numbers:?}");
        }
        for found in extremes(&[nan, nan]) {
            assert!(found.is_some_and(f64::is_nan), "{found:?}");
        }
    }

    #[test]
    fn a_pair_with_nan_loses_too_though_it_compares_with_others() {
        for wanted in [Ordering::Less, Ordering::Greater] {
            let (broken, sound) = ((2.0, f64::NAN), [(1.0, 0.0), (2.0, 0.0), (3.0, 0.0)]);
            for sound in sound {
                assert!(!beats(wanted, &broken, &sound), "{wanted:?} {sound:?}");
                assert!(beats(wanted, &sound, &broken), "{wanted:?} {sound:?}");
            }
            assert!(
                !beats(wanted, &broken, &broken),
                "the first of such is kept"
            );
        }
    }
}
