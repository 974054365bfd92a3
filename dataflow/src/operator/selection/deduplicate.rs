//! `deduplicate`: the first record of each key goes on, the others do not.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key, Wire};
use thalweg_state::{
    KeyedTable, LayeredTable, Pressure, StateDescriptor, StateError, StateVisitor,
};

use crate::checkpoint::Remembers;
use crate::function::FunctionError;
use crate::operator::frame::Lifecycle;
use crate::operator::{KeyedOperator, OpenKeyed};
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, KeyedStream, Pipe};
use crate::task::{BuildContext, BuildError, OverflowCells, Push};

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// Keeps the first record of each key, in the order in which they arrive.
    ///
    /// Every key is remembered until the job ends, on disk too under `state.backend.type: lsm`: of keys without end,
    /// group by a window.
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
        let budget = context.budget().clone();
        let seen = KeyedTable::new(groups.clone(), info.max_parallelism, budget)
            .map_err(|error| context.refused(name, error))?;
        let descriptor = StateDescriptor::value::<()>("thalweg.seen").of_keys::<K, ()>();
        let overflow = context.overflows().map(|make| make(&descriptor, groups));
        let shown = OverflowCells::open(name, context, overflow.is_some())?;
        Ok(Deduplicate {
            seen: LayeredTable::new(seen, overflow),
            shown,
            descriptor,
        })
    }
}

struct Deduplicate<K: Key> {
    seen: LayeredTable<K, ()>,
    /// How much of it is on disk, for metrics.
    shown: OverflowCells,
    descriptor: StateDescriptor,
}

impl<K: Key> Remembers for Deduplicate<K> {
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        visitor.visit(&self.descriptor, &mut self.seen)
    }
}

impl<K: Key, T: Item> Lifecycle<T> for Deduplicate<K> {
    fn approach(&mut self, _input: u32, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        self.seen.hot_mut().approach(from, hashes);
        Ok(())
    }

    fn locate(&mut self, _input: u32, from: u8, records: usize) {
        self.seen.hot_mut().locate(from, records);
    }

    #[inline(always)]
    fn turn_to(&mut self, _input: u32, at: u8) {
        self.seen.hot_mut().turn_to(at);
    }

    fn begin_state_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), FunctionError> {
        Ok(self.seen.begin_turn(context)?)
    }

    fn end_state_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, FunctionError> {
        let pressure = self.seen.end_turn(context, waiting)?;
        if let Some(overflow) = self.seen.overflow() {
            self.shown.clear();
            self.shown.add(overflow);
        }
        Ok(pressure)
    }
}

impl<K: Key, T: Item> KeyedOperator<K, T, T> for Deduplicate<K> {
    #[inline(always)]
    fn overflows(&self) -> bool {
        self.seen.is_active()
    }

    fn seek(
        &mut self,
        place: u8,
        (hash, _): (KeyHash, Timestamp),
        item: &T::Of<'_>,
        selector: &impl Select<T, K>,
    ) -> bool {
        self.seen.hot_mut().turn_to(place);
        (self.seen).seek(usize::from(place), hash, &selector.select(item), &())
    }

    fn has_room(&mut self, records: usize) -> bool {
        self.seen.has_room(records)
    }

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
        self.seen
            .hot_mut()
            .upsert(hash, &key, || first = true, |()| {})?;
        drop(key);
        if first {
            next.push(item, at);
        }
        Ok(())
    }
}
