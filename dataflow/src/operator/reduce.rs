//! `reduce`: records of each key combined into one.

use thalweg_memory::record::{Key, Record};

use super::KeyedAggregate;
use super::extreme::present;
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, KeyedStream, Pipe};

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Record + Clone,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// Combines the records of each key: `reduce(&mut so_far, next)`. The first record of a
    /// key is its first result.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<(u64, String), (u64, String)>::new(|parts| {
    ///     parts.key_by(|part| part.0).reduce(|so_far, next| so_far.1.push_str(&next.1))
    /// });
    /// for (key, part) in [(1, "str"), (2, "da"), (1, "eam")] {
    ///     harness.push((key, part.to_owned()));
    /// }
    /// let rows: Vec<String> = harness.output().into_iter().map(|row| row.1).collect();
    /// assert_eq!(rows, ["str", "da", "stream"]);
    /// ```
    pub fn reduce<F>(self, reduce: F) -> DataStream<T, impl Pipe<Out = T>>
    where
        F: for<'b> Fn(&'b mut T, T) + Clone + Send + 'static,
    {
        self.aggregate_as("reduce", Reduce(reduce))
    }
}

#[derive(Clone)]
struct Reduce<F>(F);

impl<K, T, F> KeyedAggregate<K, T> for Reduce<F>
where
    K: Key,
    T: Record + Clone,
    F: for<'b> Fn(&'b mut T, T) + Clone + Send + 'static,
{
    type Accumulator = Option<T>;
    type Row = T;

    fn create(&self) -> Option<T> {
        None
    }
    #[inline(always)]
    fn add(&self, so_far: &mut Option<T>, item: T) {
        match so_far {
            Some(so_far) => (self.0)(so_far, item),
            None => *so_far = Some(item),
        }
    }
    #[inline(always)]
    fn row<'a>(&self, _key: K::Of<'a>, so_far: &'a Option<T>) -> T {
        present(so_far).clone()
    }
}
