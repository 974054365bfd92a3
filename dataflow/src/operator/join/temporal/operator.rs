//! The temporal join in a subtask.
//!
//! Rows wait until the watermark says that the versions of their time are complete. Invariant: of the
//! versions of a key, the one valid at the time reached and all newer ones are kept, so every row that
//! comes in time finds its version. Lives on one shard.

use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{
    KeyedTable, LayeredTable, LayeredTimers, Pressure, StateDescriptor, StateError, StateVisitor,
};

use super::row::{OpenRow, RowFunction};
use super::versions::Versions;
use super::{Deletion, LateOutputs};
use crate::checkpoint::Remembers;
use crate::function::FunctionError;
use crate::operator::frame::{Firing, Lifecycle};
use crate::operator::join::held_key::HeldKey;
use crate::operator::two_inputs::{OpenTwoInputs, TwoInputOperator};
use crate::partition::Select;
use crate::stream::KeyedBoth;
use crate::task::{BuildContext, BuildError, OverflowCells, Push, SideOutputs};
use crate::time::LateRecords;

/// Opens the join in a subtask.
pub(super) struct OpenTemporal<K, A: Item, B: Item, S, R, O> {
    pub(super) keys: KeyedBoth<K, S, R>,
    pub(super) function: O,
    pub(super) deletion: Deletion<B>,
    pub(super) late: LateOutputs<A, B>,
}

impl<K, A: Item, B: Item, S: Clone, R: Clone, O: Clone> Clone for OpenTemporal<K, A, B, S, R, O> {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            function: self.function.clone(),
            deletion: self.deletion,
            late: self.late.clone(),
        }
    }
}

impl<K, A, B, S, R, O> OpenTwoInputs<A, B> for OpenTemporal<K, A, B, S, R, O>
where
    K: Key,
    A: Record,
    B: Record,
    S: Select<A, K>,
    R: Select<B, K>,
    O: OpenRow<A, B>,
{
    type Out = O::Out;
    type Operator = Temporal<K, A, B, S, R, O::Function>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let info = context.info();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let (max, budget) = (info.max_parallelism, context.budget());
        let refused = |error| context.refused(name, error);
        let of_rows = StateDescriptor::list::<A>("thalweg.rows").of_keys::<K, Timestamp>();
        let of_due = StateDescriptor::timers("thalweg.due-rows").of_keys::<K, ()>();
        let overflow = context.overflows();
        let overflow = overflow.map(|make| make(&of_rows, groups.clone()));
        let rows = KeyedTable::new(groups.clone(), max, budget.clone()).map_err(refused)?;
        let versions = Versions::new(context, self.deletion.kept).map_err(refused)?;
        Ok(Temporal {
            keys: self.keys,
            rows: LayeredTable::new(rows, overflow),
            of_rows,
            versions,
            shown: OverflowCells::open(name, context, context.may_spill())?,
            due: context.timers(&of_due),
            of_due,
            function: self.function.open(name, context)?,
            deleted: self.deletion.is_one,
            late: LateRecords::open_two(self.late, name, context)?,
            side: context.side(),
            watermark: Timestamp::MIN,
            key: HeldKey::new(),
            joining: None,
        })
    }
}

/// The join in one subtask.
pub(super) struct Temporal<K: Key, A: Record, B: Record, S, R, G> {
    pub(super) keys: KeyedBoth<K, S, R>,
    /// Rows that wait, by key and time.
    pub(super) rows: LayeredTable<K, Vec<A>, Timestamp>,
    of_rows: StateDescriptor,
    pub(super) versions: Versions<K, B>,
    /// What is shown of state on disk.
    pub(super) shown: OverflowCells,
    /// When rows wait no more.
    pub(super) due: LayeredTimers<K>,
    of_due: StateDescriptor,
    function: G,
    deleted: fn(&B) -> bool,
    late: (LateRecords<A>, LateRecords<B>),
    side: Rc<SideOutputs>,
    pub(super) watermark: Timestamp,
    key: HeldKey<K>,
    pub(super) joining: Option<Joining<K, A>>,
}

/// The rows of one key and time, while they are joined.
pub(super) struct Joining<K: Key, A> {
    pub(super) hash: KeyHash,
    pub(super) key: K::Stored,
    at: Timestamp,
    rows: Vec<A>,
    joined: usize,
}

/// The parts into which the memory that is left is cut: one for rows, one for versions, and one for all else that grows.
const PARTS: u64 = 3;

fn without_time() -> FunctionError {
    FunctionError::new(
        "a record without event time reached a temporal join: give rows and versions timestamps and \
         watermarks",
    )
}

impl<K, A, B, S, R, G> Temporal<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    S: Select<A, K>,
    R: Select<B, K>,
{
    /// Joins rows of one key and time while there is room; whether all are joined.
    fn join<U, N>(
        &mut self,
        joining: &mut Joining<K, A>,
        next: &mut N,
    ) -> Result<bool, FunctionError>
    where
        U: Item,
        G: RowFunction<A, B, U>,
        N: Push<U>,
    {
        let version = self
            .versions
            .at(joining.hash, &K::lend(&joining.key), joining.at);
        while let Some(row) = joining.rows.get(joining.joined) {
            if !next.ready() {
                return Ok(false);
            }
            let row = (row, joining.at);
            self.function.call(row, version, next, &self.side)?;
            joining.joined += 1;
        }
        Ok(true)
    }

    /// The next rows that wait no more.
    fn next_rows(&mut self) -> Option<Joining<K, A>> {
        let timer = self.due.pop_due(self.watermark)?;
        let rows = self
            .rows
            .remove_in(timer.hash, &K::lend(&timer.key), &timer.at);
        debug_assert!(rows.is_some(), "rows wait for each timer");
        Some(Joining {
            hash: timer.hash,
            key: timer.key,
            at: timer.at,
            rows: rows.unwrap_or_default(),
            joined: 0,
        })
    }
}

impl<K, A, B, S, R, G> Remembers for Temporal<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    S: 'static,
    R: 'static,
    G: 'static,
{
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        visitor.visit(&self.of_rows, &mut self.rows)?;
        visitor.visit(&self.of_due, &mut self.due)?;
        self.versions.visit_states(visitor)
    }
}

impl<K, A, B, U, S, R, G> Lifecycle<U> for Temporal<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    U: Item,
    S: Select<A, K>,
    R: Select<B, K>,
    G: RowFunction<A, B, U>,
{
    fn prepare(&mut self, input: u32, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        if input == 1 {
            self.versions.prefetch(hashes);
        }
        Ok(())
    }

    fn watermark(&mut self, to: Timestamp) {
        self.watermark = to;
    }

    fn fire<N: Push<U>>(&mut self, next: &mut N, limit: usize) -> Result<Firing, FunctionError> {
        for _ in 0..limit {
            if self.is_active() && !self.seek_due() {
                return Ok(Firing::Waiting);
            }
            let Some(mut joining) = self.joining.take().or_else(|| self.next_rows()) else {
                return Ok(self.versions.forget(self.watermark, limit)?);
            };
            if !self.join(&mut joining, next)? {
                self.joining = Some(joining);
                return Ok(Firing::More);
            }
        }
        Ok(Firing::More)
    }

    fn begin_state_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), FunctionError> {
        Ok(self.begin_on_disk(context)?)
    }

    fn end_state_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, FunctionError> {
        Ok(self.end_on_disk(context, waiting)?)
    }

    fn may_be_cut(&self) -> bool {
        !self.due.is_moving() && !self.versions.replaced.is_moving()
    }
}

impl<K, A, B, U, S, R, G> TwoInputOperator<A, B, U> for Temporal<K, A, B, S, R, G>
where
    K: Key,
    A: Record,
    B: Record,
    U: Item,
    S: Select<A, K>,
    R: Select<B, K>,
    G: RowFunction<A, B, U>,
{
    #[inline(always)]
    fn overflows(&self) -> bool {
        self.is_active()
    }

    fn has_room(&mut self, input: u32, records: usize) -> bool {
        // Table and timers are asked: each makes room for itself.
        match input {
            0 => self.due.has_room(records) & self.rows.has_room(records),
            _ => {
                let versions = &mut self.versions;
                versions.replaced.has_room(records) & versions.table.has_room(records)
            }
        }
    }

    fn let_in(&mut self, input: u32, records: usize) -> usize {
        match input {
            0 => self.rows.let_in(records, PARTS),
            _ => self.versions.table.let_in(records, PARTS),
        }
    }

    fn seek_first(&mut self, place: u8, of: (KeyHash, Timestamp), item: &A) -> bool {
        self.seek_row(place, of, item)
    }

    fn seek_second(&mut self, place: u8, (hash, _): (KeyHash, Timestamp), item: &B) -> bool {
        let key = self.keys.second.select(item);
        self.versions
            .table
            .seek(usize::from(place), hash, &key, &())
    }

    fn first<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: A,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let key = self.key.hold(&self.keys.first.select(&item));
        if at <= self.watermark {
            if !at.is_some() {
                return Err(without_time());
            }
            match self.versions.at(hash, &key, at) {
                None => self.late.0.take(item, at),
                version => self.function.call((&item, at), version, next, &self.side)?,
            }
            return Ok(());
        }
        let rows = self.rows.hot_mut().fold_in(
            hash,
            &key,
            &at,
            item,
            |row| vec![row],
            |rows, row| rows.push(row),
        )?;
        if rows.len() == 1 {
            self.due.register(hash, &key, &(), at)?;
        }
        Ok(())
    }

    fn second<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: B,
        at: Timestamp,
        _next: &mut N,
    ) -> Result<(), FunctionError> {
        if !at.is_some() {
            return Err(without_time());
        }
        let key = self.key.hold(&self.keys.second.select(&item));
        if at < self.watermark && self.versions.is_replaced(hash, &key, at, self.watermark) {
            self.late.1.take(item, at);
            return Ok(());
        }
        let version = (!(self.deleted)(&item)).then_some(item);
        self.versions.insert(hash, &key, at, version)?;
        Ok(())
    }
}
