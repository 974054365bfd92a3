//! `fold`: records of each key folded into a value of another type.

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
    /// Folds the records of each key into `initial`: rows of `(key, folded)`.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, (u64, String)>::new(|numbers| {
    ///     let lists = numbers.key_by(|n| n % 2).fold(String::new(), |list, n| *list += &format!(" {n}"));
    ///     lists.map(|(key, list)| (key, list))
    /// });
    /// (1..=3).for_each(|n| harness.push(n));
    /// let rows = [(1, " 1"), (0, " 2"), (1, " 1 3")].map(|(key, list)| (key, list.to_owned()));
    /// assert_eq!(harness.output(), rows);
    /// ```
    pub fn fold<A, F>(
        self,
        initial: A,
        fold: F,
    ) -> DataStream<KeyValue<K, A>, impl Pipe<Out = KeyValue<K, A>>>
    where
        A: Record + Clone,
        F: for<'a, 'b> Fn(&'b mut A, T::Of<'a>) + Clone + Send + 'static,
    {
        let types = PhantomData;
        self.aggregate_as(
            "fold",
            Fold {
                initial,
                fold,
                types,
            },
        )
    }
}

struct Fold<A, F, T> {
    initial: A,
    fold: F,
    types: PhantomData<fn(T)>,
}

impl<A: Clone, F: Clone, T> Clone for Fold<A, F, T> {
    fn clone(&self) -> Self {
        Self {
            initial: self.initial.clone(),
            fold: self.fold.clone(),
            types: PhantomData,
        }
    }
}

impl<K, T, A, F> KeyedAggregate<K, T> for Fold<A, F, T>
where
    K: Key,
    T: Item,
    A: Record + Clone,
    F: for<'a, 'b> Fn(&'b mut A, T::Of<'a>) + Clone + Send + 'static,
{
    type Accumulator = A;
    type Row = KeyValue<K, A>;

    fn create(&self) -> A {
        self.initial.clone()
    }
    fn add(&self, folded: &mut A, item: T::Of<'_>) {
        (self.fold)(folded, item);
    }
    fn row<'a>(&self, key: K::Of<'a>, folded: &'a A) -> (K::Of<'a>, A) {
        (key, folded.clone())
    }
}
