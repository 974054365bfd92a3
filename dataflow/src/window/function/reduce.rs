//! `reduce` on windows: the records of a window combined into one.

use thalweg_memory::record::{Key, Record, Wire};

use super::extreme::present;
use super::gather::Eviction;
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, Pipe, WindowedStream};
use crate::window::assigner::WindowAssigner;
use crate::window::trigger::Trigger;
use crate::window::{TimeWindow, WindowAggregate};

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
    /// Combines the records of each key and window: `reduce(&mut so_far, next)`.
    ///
    /// Parts of a window may be gathered apart and combined in any order, so combining must be
    /// associative and commutative.
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
    ///     windows.reduce(|so_far: &mut (u64, i64), next: (u64, i64)| so_far.1 *= next.1)
    /// });
    /// for (factor, at) in [(2, 1), (3, 2), (7, 12)] {
    ///     harness.push_at((1, factor), Timestamp(at));
    /// }
    /// harness.finish();
    /// assert_eq!(harness.output(), [(1, 6), (1, 7)]);
    /// ```
    pub fn reduce<F>(self, reduce: F) -> DataStream<T, impl Pipe<Out = T>>
    where
        F: for<'b> Fn(&'b mut T, T) + Clone + Send + 'static,
    {
        self.aggregate_as("window reduce", Reduce(reduce))
    }
}

#[derive(Clone)]
pub(super) struct Reduce<F>(pub(super) F);

impl<K, T, F> WindowAggregate<K, T> for Reduce<F>
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

    #[inline]
    fn add(&self, so_far: &mut Option<T>, item: T) {
        match so_far {
            Some(so_far) => (self.0)(so_far, item),
            None => *so_far = Some(item),
        }
    }

    fn merge(&self, into: &mut Option<T>, other: &Option<T>) {
        if let Some(other) = other {
            WindowAggregate::<K, T>::add(self, into, other.clone());
        }
    }

    fn row<'a>(&self, _key: K::Of<'a>, _window: TimeWindow, so_far: &'a Option<T>) -> T {
        present(so_far).clone()
    }
}
