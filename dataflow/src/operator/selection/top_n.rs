//! `top_n`: the greatest records of each key, in order.

use std::marker::PhantomData;

use thalweg_memory::record::{Key, KeyValue, Record};

use crate::operator::KeyedAggregate;
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, KeyedStream, Pipe};

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Record + Clone,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// The `n` records with the greatest values of each key, greatest first: rows of
    /// `(key, records)`. Of equals the one that came first stands first.
    ///
    /// STREAMING: a row per record, with the records that are on top then. BATCH: one row per
    /// key, at the end. Values that do not compare (NaN) are never on top.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<u64, (u64, Vec<u64>)>::new(|numbers| {
    ///     numbers.key_by(|n| n % 2).top_n(2, |n| *n).map(|row| row)
    /// });
    /// for number in [4, 8, 6, 2] {
    ///     harness.push(number);
    /// }
    /// assert_eq!(harness.output().last(), Some(&(0, vec![8, 6])));
    /// ```
    pub fn top_n<V, F>(
        self,
        n: usize,
        value: F,
    ) -> DataStream<KeyValue<K, Vec<T>>, impl Pipe<Out = KeyValue<K, Vec<T>>>>
    where
        V: PartialOrd + 'static,
        F: for<'b> Fn(&'b T) -> V + Clone + Send + 'static,
    {
        let types = PhantomData;
        self.aggregate_as("top_n", TopN { n, value, types })
    }
}

struct TopN<F, V> {
    n: usize,
    value: F,
    types: PhantomData<fn() -> V>,
}

impl<F: Clone, V> Clone for TopN<F, V> {
    fn clone(&self) -> Self {
        Self {
            n: self.n,
            value: self.value.clone(),
            types: PhantomData,
        }
    }
}

impl<K, T, V, F> KeyedAggregate<K, T> for TopN<F, V>
where
    K: Key,
    T: Record + Clone,
    V: PartialOrd + 'static,
    F: for<'b> Fn(&'b T) -> V + Clone + Send + 'static,
{
    type Accumulator = Vec<T>;
    type Row = KeyValue<K, Vec<T>>;

    fn create(&self) -> Vec<T> {
        Vec::new()
    }

    fn add(&self, top: &mut Vec<T>, item: T) {
        let value = (self.value)(&item);
        if value.partial_cmp(&value).is_none() {
            return;
        }
        let place = top.partition_point(|there| (self.value)(there) >= value);
        if place < self.n {
            if top.len() == self.n {
                top.pop();
            }
            top.insert(place, item);
        }
    }

    fn row<'a>(&self, key: K::Of<'a>, top: &'a Vec<T>) -> (K::Of<'a>, Vec<T>) {
        (key, top.clone())
    }
}

#[cfg(test)]
mod tests {
    use crate::harness::TestHarness;
    use proptest::prelude::*;

    /// The stable sort of what came so far.
    fn model(records: &[(u8, u32)], n: usize) -> Vec<(u8, u32)> {
        let mut sorted = records.to_vec();
        sorted.sort_by_key(|record| std::cmp::Reverse(record.0));
        sorted.truncate(n);
        sorted
    }

    proptest! {
        #[test]
        fn the_top_is_the_head_of_a_stable_sort(
            values in proptest::collection::vec(0_u8..6, 1..40),
            n in 0_usize..5,
        ) {
            let mut harness = TestHarness::<(u8, u32), ((), Vec<(u8, u32)>)>::new(|records| {
                records.key_by(|_| ()).top_n(n, |record| record.0).map(|row| row)
            });
            let records: Vec<(u8, u32)> = values.into_iter().zip(0..).collect();
            for (index, record) in records.iter().enumerate() {
                harness.push(*record);
                let expected = vec![((), model(&records[..=index], n))];
                prop_assert_eq!(harness.output(), expected);
            }
        }
    }
}
