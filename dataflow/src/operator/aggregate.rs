//! Keyed aggregates: one accumulator per key, one row per record or per key.
//!
//! `count`, `sum`, `min`, `reduce`, `fold` and their kin are all this operator with another
//! [`KeyedAggregate`]. STREAMING: every record yields its key's new row. BATCH: rows are
//! given out once per key, after the last record, in key-group order.

use std::ops::ControlFlow;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key, Record, Wire};
use thalweg_state::{
    KeyedTable, LayeredTable, Pressure, Scan, ScanCursor, StateDescriptor, StateError, StateVisitor,
};

use super::frame::Lifecycle;
use super::{KeyedOperator, OpenKeyed};
use crate::checkpoint::Remembers;
use crate::function::FunctionError;
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, KeyedStream, Pipe, RuntimeMode};
use crate::task::{BuildContext, BuildError, ChainTurn, OverflowCells, Push, Stage};

/// How the records of one key become a row.
///
/// The functions of an aggregate are shared by all keys of a subtask and see no other
/// record's effect but through the accumulator.
pub trait KeyedAggregate<K: Key, T: Item>: Clone + Send + 'static {
    /// What is kept per key.
    type Accumulator: Record;
    /// What is emitted.
    type Row: Item;

    /// The accumulator of a new key.
    fn create(&self) -> Self::Accumulator;

    /// Takes one record into the accumulator.
    fn add(&self, accumulator: &mut Self::Accumulator, item: T::Of<'_>);

    /// The key's row now.
    fn row<'a>(
        &self,
        key: K::Of<'a>,
        accumulator: &'a Self::Accumulator,
    ) -> <Self::Row as Item>::Of<'a>;
}

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// Aggregates the records of each key.
    pub fn aggregate<A>(self, aggregate: A) -> DataStream<A::Row, impl Pipe<Out = A::Row>>
    where
        A: KeyedAggregate<K, T>,
    {
        self.aggregate_as("aggregate", aggregate)
    }

    /// The same, under the name of a shortcut.
    pub(crate) fn aggregate_as<A>(
        self,
        kind: &'static str,
        aggregate: A,
    ) -> DataStream<A::Row, impl Pipe<Out = A::Row> + use<K, T, S, I, A>>
    where
        A: KeyedAggregate<K, T>,
    {
        self.operate(kind, OpenAggregate(aggregate))
    }
}

#[derive(Clone)]
struct OpenAggregate<A>(A);

impl<K: Key, T: Item, A: KeyedAggregate<K, T>> OpenKeyed<K, T> for OpenAggregate<A> {
    type Out = A::Row;
    type Operator = Aggregate<K, T, A>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let info = context.info();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let final_only = info.mode == RuntimeMode::Batch;
        let budget = context.budget().clone();
        let table = KeyedTable::new(groups.clone(), info.max_parallelism, budget)
            .map_err(|error| context.refused(name, error))?;
        let descriptor = StateDescriptor::aggregating::<A::Accumulator>("thalweg.accumulator");
        let descriptor = descriptor.of_keys::<K, ()>();
        // Final results are given out by a walk over the table, which does not see what is on disk.
        let overflow = match final_only {
            true => None,
            false => context
                .overflows()
                .map(|make| make(&descriptor, groups.clone())),
        };
        let shown = OverflowCells::open(name, context, overflow.is_some())?;
        let restoring = match final_only {
            true => None,
            false => context.restores_late().map(|make| make(groups)),
        };
        Ok(Aggregate {
            table: LayeredTable::new(table, overflow).coming_back_by(restoring),
            shown,
            descriptor,
            final_only,
            aggregate: self.0,
            scan: ScanCursor::new(),
        })
    }
}

struct Aggregate<K: Key, T: Item, A: KeyedAggregate<K, T>> {
    table: LayeredTable<K, A::Accumulator>,
    shown: OverflowCells,
    descriptor: StateDescriptor,
    final_only: bool,
    aggregate: A,
    scan: ScanCursor,
}

impl<K: Key, T: Item, A: KeyedAggregate<K, T>> Remembers for Aggregate<K, T, A> {
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        visitor.visit(&self.descriptor, &mut self.table)
    }
}

impl<K: Key, T: Item, A: KeyedAggregate<K, T>> Lifecycle<A::Row> for Aggregate<K, T, A> {
    fn approach(&mut self, _input: u32, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        self.table.hot_mut().approach(from, hashes);
        Ok(())
    }

    fn locate(&mut self, _input: u32, from: u8, records: usize) {
        self.table.hot_mut().locate(from, records);
    }

    #[inline(always)]
    fn turn_to(&mut self, _input: u32, at: u8) {
        self.table.hot_mut().turn_to(at);
    }

    fn begin_state_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), FunctionError> {
        Ok(self.table.begin_turn(context)?)
    }

    fn end_state_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, FunctionError> {
        let pressure = self.table.end_turn(context, waiting)?;
        if let Some(overflow) = self.table.overflow() {
            self.shown.clear();
            self.shown.add(overflow);
        }
        Ok(pressure)
    }

    fn finish<N: Push<A::Row>>(
        &mut self,
        next: &mut N,
        turn: &mut ChainTurn<'_, '_>,
    ) -> Result<Stage, FunctionError> {
        /// Entries looked at between two looks at the clock.
        const SLICE: usize = 256;
        if !self.final_only {
            return Ok(Stage::Done);
        }
        while next.ready() {
            let aggregate = &self.aggregate;
            let scanned = self.table.hot_mut().scan(&mut self.scan, SLICE, |entry| {
                next.push(aggregate.row(entry.key, entry.value), Timestamp::NONE);
                if next.ready() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            if scanned == Scan::Done {
                return Ok(Stage::Done);
            }
            if turn.expired() {
                return Ok(Stage::Unfinished);
            }
        }
        Ok(Stage::Waiting)
    }
}

impl<K: Key, T: Item, A: KeyedAggregate<K, T>> KeyedOperator<K, T, A::Row> for Aggregate<K, T, A> {
    #[inline(always)]
    fn overflows(&self) -> bool {
        self.table.is_active()
    }

    fn seek(
        &mut self,
        place: u8,
        (hash, _): (KeyHash, Timestamp),
        item: &T::Of<'_>,
        selector: &impl Select<T, K>,
    ) -> bool {
        self.table.hot_mut().turn_to(place);
        (self.table).seek(usize::from(place), hash, &selector.select(item), &())
    }

    fn has_room(&mut self, records: usize) -> bool {
        self.table.has_room(records)
    }

    #[inline(always)]
    fn apply<N: Push<A::Row>>(
        &mut self,
        hash: KeyHash,
        item: T::Of<'_>,
        at: Timestamp,
        selector: &impl Select<T, K>,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let aggregate = &self.aggregate;
        let entry = self
            .table
            .hot_mut()
            .open(hash, &selector.select(&item), || aggregate.create())?;
        let (key, accumulator) = entry.change(|accumulator| aggregate.add(accumulator, item))?;
        if !self.final_only {
            next.push(aggregate.row(key, accumulator), at);
        }
        Ok(())
    }
}
