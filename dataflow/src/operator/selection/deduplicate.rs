//! `deduplicate`: the first record of each key goes on, the others do not.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Key, Wire};
use thalweg_state::{KeyedTable, StateDescriptor, StateError, StateVisitor};

use crate::checkpoint::Remembers;
use crate::function::FunctionError;
use crate::operator::frame::Lifecycle;
use crate::operator::{KeyedOperator, OpenKeyed};
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, KeyedStream, Pipe};
use crate::task::{BuildContext, BuildError, Push};

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// Keeps the first record of each key, in the order in which they arrive.
    ///
    /// Every key is remembered until the job ends: of keys without end, group by a window.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// let mut harness = TestHarness::<(u64, u64), (u64, u64)>::new(|records| {
    ///     records.key_by(|record| record.0).deduplicate()
    /// });
    /// for record in [(1, 10), (2, 20), (1, 11)] {
    ///     harness.push(record);
    /// }
    /// assert_eq!(harness.output(), [(1, 10), (2, 20)]);
    /// ```
    pub fn deduplicate(self) -> DataStream<T, impl Pipe<Out = T>> {
        self.operate("deduplicate", OpenDeduplicate)
    }
}

#[derive(Clone)]
struct OpenDeduplicate;

impl<K: Key, T: Item> OpenKeyed<K, T> for OpenDeduplicate {
    type Out = T;
    type Operator = Deduplicate<K>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let info = context.info();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let seen = KeyedTable::new(groups, info.max_parallelism, context.budget().clone())
            .map_err(|error| context.refused(name, error))?;
        Ok(Deduplicate { seen })
    }
}

struct Deduplicate<K: Key> {
    seen: KeyedTable<K, ()>,
}

impl<K: Key> Remembers for Deduplicate<K> {
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        let descriptor = StateDescriptor::value::<()>("thalweg.seen").of_keys::<K, ()>();
        visitor.visit(&descriptor, &mut self.seen)
    }
}

impl<K: Key, T: Item> Lifecycle<T> for Deduplicate<K> {
    fn approach(&mut self, _input: u32, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        self.seen.approach(from, hashes);
        Ok(())
    }

    fn locate(&mut self, _input: u32, from: u8, records: usize) {
        self.seen.locate(from, records);
    }

    #[inline(always)]
    fn turn_to(&mut self, _input: u32, at: u8) {
        self.seen.turn_to(at);
    }
}

impl<K: Key, T: Item> KeyedOperator<K, T, T> for Deduplicate<K> {
    fn apply<N: Push<T>>(
        &mut self,
        hash: KeyHash,
        item: T::Of<'_>,
        at: Timestamp,
        selector: &impl Select<T, K>,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let mut first = false;
        let key = selector.select(&item);
        self.seen.upsert(hash, &key, || first = true, |()| {})?;
        drop(key);
        if first {
            next.push(item, at);
        }
        Ok(())
    }
}
