//! The kinds of state a backend makes besides values: lists, maps, aggregates; and time to live.
//!
//! Entered when an operator opens. Invariant: every state is registered once, with all its tables. Lives on
//! one shard's thread.

use std::rc::Rc;

use thalweg_core::Timestamp;
use thalweg_memory::{Key, Record, RecordKey};

use super::facade::KeyedBackend;
use crate::descriptor::{StateDescriptor, StateKind};
use crate::error::StateError;
use crate::keyed::{
    AggregatingState, Aggregation, Aging, Cells, Expiring, Held, Kept, Lasting, ListChunks,
    ListState, MapEntries, MapState, Tables,
};
use crate::lsm::Unit;
use crate::table::Namespace;
use crate::ttl::StateTtl;

/// Values with a time to live, with their name.
type HeldCells<K, V, N, A> = Rc<Held<Cells<K, V, N, A>>>;
type ExpiringCells<K, V, N> = HeldCells<K, V, N, Expiring>;
/// Lists with their name.
type HeldChunks<K, V, N, A> = Rc<Held<ListChunks<K, V, N, A>>>;
/// Maps with theirs.
type HeldEntries<K, UK, UV, N, A> = Rc<Held<MapEntries<K, UK, UV, N, A>>>;

impl<K: Key> KeyedBackend<K> {
    /// Tells the processing time, in milliseconds since 1970: to be called once per turn where a state has
    /// a time to live.
    pub fn set_processing_time(&mut self, now: Timestamp) {
        self.clock().set(now);
    }

    /// Declares a list state `name`.
    ///
    /// # Errors
    /// When the operator has a state of that name, or the state has a time to live shorter than a millisecond, or there
    /// is no memory for an empty table.
    pub fn list_state<V: Record>(
        &mut self,
        name: impl Into<String>,
    ) -> Result<ListState<K, V>, StateError> {
        self.list_state_of(StateDescriptor::new::<V>(name, StateKind::List))
    }

    /// Declares the list state that `descriptor` describes, with namespaces `N`.
    ///
    /// # Errors
    /// As [`KeyedBackend::list_state`].
    pub fn list_state_of<V: Record, N: Namespace>(
        &mut self,
        descriptor: StateDescriptor,
    ) -> Result<ListState<K, V, N>, StateError> {
        let tables = match descriptor.ttl() {
            None => Kept::Lasting(self.hold_chunks(descriptor, Lasting)?),
            Some(ttl) => {
                let aging = self.expiring(ttl);
                Kept::Expiring(self.hold_chunks(descriptor, aging)?)
            }
        };
        Ok(ListState::new(tables, Rc::clone(self.context())))
    }

    /// Declares a map state `name`.
    ///
    /// # Errors
    /// As [`KeyedBackend::list_state`].
    pub fn map_state<UK: RecordKey + Eq, UV: Record>(
        &mut self,
        name: impl Into<String>,
    ) -> Result<MapState<K, UK, UV>, StateError> {
        self.map_state_of(StateDescriptor::new::<(UK, UV)>(name, StateKind::Map))
    }

    /// Declares the map state that `descriptor` describes, with namespaces `N`.
    ///
    /// # Errors
    /// As [`KeyedBackend::list_state`].
    pub fn map_state_of<UK: RecordKey + Eq, UV: Record, N: Namespace>(
        &mut self,
        descriptor: StateDescriptor,
    ) -> Result<MapState<K, UK, UV, N>, StateError> {
        let tables = match descriptor.ttl() {
            None => Kept::Lasting(self.hold_entries(descriptor, Lasting)?),
            Some(ttl) => {
                let aging = self.expiring(ttl);
                Kept::Expiring(self.hold_entries(descriptor, aging)?)
            }
        };
        Ok(MapState::new(tables, Rc::clone(self.context())))
    }

    /// Declares an aggregating state `name`, into which values are gathered by `functions`.
    ///
    /// # Errors
    /// As [`KeyedBackend::list_state`].
    pub fn aggregating_state<IN, ACC: Record, OUT>(
        &mut self,
        name: impl Into<String>,
        functions: Aggregation<IN, ACC, OUT>,
    ) -> Result<AggregatingState<K, IN, ACC, OUT>, StateError> {
        let descriptor = StateDescriptor::new::<ACC>(name, StateKind::Aggregating);
        self.aggregating_state_of(descriptor, functions)
    }

    /// Declares the aggregating state that `descriptor` describes, with namespaces `N`.
    ///
    /// # Errors
    /// As [`KeyedBackend::list_state`].
    pub fn aggregating_state_of<IN, ACC: Record, OUT, N: Namespace>(
        &mut self,
        descriptor: StateDescriptor,
        functions: Aggregation<IN, ACC, OUT>,
    ) -> Result<AggregatingState<K, IN, ACC, OUT, N>, StateError> {
        let tables = match descriptor.ttl() {
            None => Kept::Lasting(self.hold_cells(descriptor, Lasting)?),
            Some(ttl) => Kept::Expiring(self.expiring_cells(descriptor, ttl)?),
        };
        Ok(AggregatingState::new(
            tables,
            Rc::clone(self.context()),
            functions,
        ))
    }

    /// Values with a time to live.
    pub(super) fn expiring_cells<V: Record, N: Namespace>(
        &mut self,
        descriptor: StateDescriptor,
        ttl: StateTtl,
    ) -> Result<ExpiringCells<K, V, N>, StateError> {
        let aging = self.expiring(ttl);
        self.hold_cells(descriptor, aging)
    }

    fn hold_cells<V: Record, N: Namespace, A: Aging<V>>(
        &mut self,
        descriptor: StateDescriptor,
        aging: A,
    ) -> Result<HeldCells<K, V, N, A>, StateError> {
        let descriptor = descriptor.of_values::<V>().of_keys::<K, N>();
        let cells = Cells::new(
            self.new_layered::<_, N, N>(&descriptor, Unit::Entry)?,
            aging,
        );
        let held = self.hold(descriptor, cells)?;
        self.seek_in(Rc::clone(&held) as _);
        Ok(held)
    }

    fn hold_chunks<V: Record, N: Namespace, A: Aging<V>>(
        &mut self,
        descriptor: StateDescriptor,
        aging: A,
    ) -> Result<HeldChunks<K, V, N, A>, StateError> {
        let descriptor = descriptor.of_values::<V>().of_keys::<K, N>();
        let chunks = ListChunks::new(self.new_layered::<_, N, _>(&descriptor, Unit::Part)?, aging);
        let held = self.hold(descriptor, chunks)?;
        self.seek_in(Rc::clone(&held) as _);
        Ok(held)
    }

    fn hold_entries<UK: RecordKey + Eq, UV: Record, N: Namespace, A: Aging<UV>>(
        &mut self,
        descriptor: StateDescriptor,
        aging: A,
    ) -> Result<HeldEntries<K, UK, UV, N, A>, StateError> {
        let descriptor = descriptor.of_values::<(UK, UV)>().of_keys::<K, N>();
        let table = self.new_layered::<_, N, _>(&descriptor, Unit::Key)?;
        let held = self.hold(descriptor, MapEntries::new(table, self.new_table()?, aging))?;
        self.seek_in(Rc::clone(&held) as _);
        Ok(held)
    }

    fn expiring(&self, ttl: StateTtl) -> Expiring {
        Expiring::new(ttl, Rc::clone(self.clock()))
    }

    fn hold<T: Tables + 'static>(
        &mut self,
        descriptor: StateDescriptor,
        tables: T,
    ) -> Result<Rc<Held<T>>, StateError> {
        let held = Held::new(descriptor, tables);
        self.register(Rc::clone(&held) as _)?;
        Ok(held)
    }
}

#[cfg(test)]
#[path = "kinds_tests.rs"]
mod tests;
