//! `map_partition`, `sort_partition`, `reduce_partition` on what each key got.

use std::cmp::Reverse;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{KeyedTable, Scan, ScanCursor, StateDescriptor, StateError, StateVisitor};

use super::Order;
use crate::checkpoint::Remembers;
use crate::function::FunctionError;
use crate::operator::frame::Lifecycle;
use crate::operator::{KeyedOperator, OpenKeyed};
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, KeyedStream, Pipe};
use crate::task::{BuildContext, BuildError, ChainTurn, Push, Stage};

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Record + Clone,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// At the end of input, turns all records of a key into what `map` answers for them.
    ///
    /// Keys come in the order of their groups, records of a key in the order in which they came.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.key_by(|n| n % 2).map_partition(|all: Vec<u64>| [all.len() as u64])
    /// });
    /// [5, 6, 7].into_iter().for_each(|number| harness.push(number));
    /// harness.finish();
    /// let mut sizes = harness.output();
    /// sizes.sort_unstable();
    /// assert_eq!(sizes, [1, 2]);
    /// ```
    pub fn map_partition<U, R, F>(self, map: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Record,
        R: IntoIterator<Item = U, IntoIter: 'static>,
        F: FnMut(Vec<T>) -> R + Clone + Send + 'static,
    {
        let mut map = map;
        let answer = move |records| map(records).into_iter();
        self.operate(
            "map_partition",
            OpenPartition {
                answer,
                types: PhantomData::<fn(T) -> U>,
            },
        )
    }

    /// At the end of input, gives out the records of each key in the order of `value`. Of equals
    /// the one that came first is first.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::operator::Order;
    ///
    /// let mut harness = TestHarness::<(u64, u64), (u64, u64)>::new(|rows| {
    ///     let keyed = rows.key_by(|row: &(u64, u64)| row.0);
    ///     keyed.sort_partition(|row: &(u64, u64)| row.1, Order::Descending)
    /// });
    /// [(1, 5), (1, 9), (1, 7)].into_iter().for_each(|row| harness.push(row));
    /// assert!(harness.output().is_empty(), "more may come");
    /// harness.finish();
    /// assert_eq!(harness.output(), [(1, 9), (1, 7), (1, 5)]);
    /// ```
    pub fn sort_partition<V, F>(self, value: F, order: Order) -> DataStream<T, impl Pipe<Out = T>>
    where
        V: Ord,
        F: FnMut(&T) -> V + Clone + Send + 'static,
    {
        let mut value = value;
        let sort = move |mut records: Vec<T>| {
            match order {
                Order::Ascending => records.sort_by_cached_key(&mut value),
                Order::Descending => records.sort_by_cached_key(|record| Reverse(value(record))),
            }
            records
        };
        self.map_partition(sort).name("sort_partition")
    }

    /// At the end of input, reduces the records of each key to one.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<(u64, u64), (u64, u64)>::new(|rows| {
    ///     let keyed = rows.key_by(|row: &(u64, u64)| row.0);
    ///     keyed.reduce_partition(|one: (u64, u64), other: (u64, u64)| (one.0, one.1 * other.1))
    /// });
    /// [(1, 5), (1, 9), (1, 7)].into_iter().for_each(|row| harness.push(row));
    /// harness.finish();
    /// assert_eq!(harness.output(), [(1, 315)]);
    /// ```
    pub fn reduce_partition<F>(self, reduce: F) -> DataStream<T, impl Pipe<Out = T>>
    where
        F: FnMut(T, T) -> T + Clone + Send + 'static,
    {
        let mut reduce = reduce;
        self.map_partition(move |records: Vec<T>| records.into_iter().reduce(&mut reduce))
            .name("reduce_partition")
    }
}

struct OpenPartition<T, U, F> {
    answer: F,
    types: PhantomData<fn(T) -> U>,
}

impl<T, U, F: Clone> Clone for OpenPartition<T, U, F> {
    fn clone(&self) -> Self {
        Self {
            answer: self.answer.clone(),
            types: PhantomData,
        }
    }
}

impl<K, T, U, R, F> OpenKeyed<K, T> for OpenPartition<T, U, F>
where
    K: Key,
    T: Record + Clone,
    U: Record,
    R: Iterator<Item = U> + 'static,
    F: FnMut(Vec<T>) -> R + Clone + Send + 'static,
{
    type Out = U;
    type Operator = Partitions<K, T, R, F>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let info = context.info();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let kept = KeyedTable::new(groups, info.max_parallelism, context.budget().clone())
            .map_err(|error| context.refused(name, error))?;
        Ok(Partitions {
            kept,
            descriptor: StateDescriptor::list::<T>("thalweg.kept").of_keys::<K, ()>(),
            answer: self.answer,
            scan: ScanCursor::new(),
            results: None,
            scanned: false,
        })
    }
}

struct Partitions<K: Key, T: Record, R, F> {
    kept: KeyedTable<K, Vec<T>>,
    descriptor: StateDescriptor,
    answer: F,
    scan: ScanCursor,
    /// What is left of the results of the key scanned last.
    results: Option<R>,
    scanned: bool,
}

/// Entries looked at, or results given out, between two looks at the clock.
const SLICE: usize = 256;

impl<K, T, U, R, F> Partitions<K, T, R, F>
where
    K: Key,
    T: Record + Clone,
    U: Item,
    R: Iterator<Item = U>,
    F: FnMut(Vec<T>) -> R,
{
    /// Looks for the next key and what is to be given out for it.
    fn next_key(&mut self) -> Result<(), FunctionError> {
        let (answer, results) = (&mut self.answer, &mut self.results);
        let scanned = self.kept.scan(&mut self.scan, SLICE, |entry| {
            *results = Some(answer(entry.value.clone()));
            ControlFlow::Break(())
        })?;
        self.scanned = scanned == Scan::Done;
        Ok(())
    }
}

impl<K, T, R, F> Remembers for Partitions<K, T, R, F>
where
    K: Key,
    T: Record,
    R: 'static,
    F: 'static,
{
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        visitor.visit(&self.descriptor, &mut self.kept)
    }
}

impl<K, T, U, R, F> Lifecycle<U> for Partitions<K, T, R, F>
where
    K: Key,
    T: Record + Clone,
    U: Record,
    R: Iterator<Item = U> + 'static,
    F: FnMut(Vec<T>) -> R + 'static,
{
    fn approach(&mut self, _input: u32, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        self.kept.approach(from, hashes);
        Ok(())
    }

    fn locate(&mut self, _input: u32, from: u8, records: usize) {
        self.kept.locate(from, records);
    }

    #[inline(always)]
    fn turn_to(&mut self, _input: u32, at: u8) {
        self.kept.turn_to(at);
    }

    fn finish<N: Push<U>>(
        &mut self,
        next: &mut N,
        turn: &mut ChainTurn<'_, '_>,
    ) -> Result<Stage, FunctionError> {
        let mut given = 0;
        while next.ready() {
            match self.results.as_mut().map(Iterator::next) {
                Some(Some(result)) => next.push(result, Timestamp::NONE),
                Some(None) => self.results = None,
                None if self.scanned => return Ok(Stage::Done),
                None => self.next_key()?,
            }
            given += 1;
            if given % SLICE == 0 && turn.expired() {
                return Ok(Stage::Unfinished);
            }
        }
        Ok(Stage::Waiting)
    }
}

impl<K, T, U, R, F> KeyedOperator<K, T, U> for Partitions<K, T, R, F>
where
    K: Key,
    T: Record + Clone,
    U: Record,
    R: Iterator<Item = U> + 'static,
    F: FnMut(Vec<T>) -> R + 'static,
{
    fn apply<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: T,
        _at: Timestamp,
        selector: &impl Select<T, K>,
        _next: &mut N,
    ) -> Result<(), FunctionError> {
        let entry = self.kept.open(hash, &selector.select(&item), Vec::new)?;
        entry.change(|records| records.push(item))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TestHarness;

    #[test]
    fn each_key_is_answered_once_with_its_own_records() {
        let mut harness = TestHarness::<u64, (u64, u64)>::new(|numbers| {
            numbers
                .key_by(|n| n % 7)
                .map_partition(|all: Vec<u64>| all.into_iter().zip(0..))
                .rebalance()
        });
        (0..50_000).for_each(|number| harness.push(number));
        harness.finish();
        let mut rows = harness.output();
        rows.sort_unstable();
        let expected: Vec<_> = (0..50_000).map(|number| (number, number / 7)).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_key_is_sorted_and_reduced() {
        let sorted = |order| {
            let mut harness = TestHarness::<i64, i64>::new(|numbers| {
                numbers.key_by(|_| ()).sort_partition(|n| *n, order)
            });
            [3, -1, 2]
                .into_iter()
                .for_each(|number| harness.push(number));
            harness.finish();
            harness.output()
        };
        assert_eq!(sorted(Order::Ascending), [-1, 2, 3]);
        assert_eq!(sorted(Order::Descending), [3, 2, -1]);
        let mut harness = TestHarness::<i64, i64>::new(|numbers| {
            numbers.key_by(|_| ()).reduce_partition(|a, b| a * 10 + b)
        });
        [3, 1, 2]
            .into_iter()
            .for_each(|number| harness.push(number));
        harness.finish();
        assert_eq!(harness.output(), [312]);
    }
}
