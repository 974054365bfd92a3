//! States by key alone that may be larger than their memory, as their operator sees them.
//!
//! Entered per record and timer while something is on disk, and once per turn. Invariant: a user function is
//! called only once all that its key has in these states is in memory, or nowhere. Lives on one shard's
//! thread.

use thalweg_core::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::{Key, Record};

use super::aging::Aging;
use super::cells::Cells;
use super::held::Held;
use super::shared::SharedTable;
use crate::error::StateError;
use crate::lsm::{LayeredTable, Overflow, Pressure};
use crate::table::Namespace;

/// A state whose entries are sought before they are used. Its calls are those of [`LayeredTable`].
pub(crate) trait SoughtState<K: Key> {
    /// Whether entries have to be sought now.
    fn is_active(&self) -> bool;
    /// Whether there is room for so many more entries.
    fn has_room(&self, records: usize) -> bool;
    /// Seeks the entry of a key at a place; whether it is there, or nowhere.
    fn seek(&self, place: usize, hash: KeyHash, key: &K::Of<'_>) -> bool;
    /// A turn begins.
    fn begin_turn(&self, context: &mut TurnContext<'_>) -> Result<(), StateError>;
    /// A turn ends.
    fn end_turn(
        &self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError>;
    /// Shows what stands below.
    fn show(&self, to: &mut dyn FnMut(&Overflow));
}

/// Something that lends one layered table.
trait LendsTable<K: Key> {
    type Value: Record;
    type Namespace: Namespace;

    fn lend<R>(
        &self,
        work: impl FnOnce(&mut LayeredTable<K, Self::Value, Self::Namespace>) -> R,
    ) -> R;
}

impl<K: Key, V: Record> LendsTable<K> for SharedTable<K, V> {
    type Value = V;
    type Namespace = ();

    fn lend<R>(&self, work: impl FnOnce(&mut LayeredTable<K, V>) -> R) -> R {
        work(&mut self.table.borrow_mut())
    }
}

impl<K: Key, V: Record, N: Namespace, A: Aging<V>> LendsTable<K> for Held<Cells<K, V, N, A>> {
    type Value = A::Kept;
    type Namespace = N;

    fn lend<R>(&self, work: impl FnOnce(&mut LayeredTable<K, A::Kept, N>) -> R) -> R {
        self.with_tables(|cells| work(cells.table_mut()))
    }
}

impl<K: Key, T: LendsTable<K>> SoughtState<K> for T {
    fn is_active(&self) -> bool {
        self.lend(|table| table.is_active())
    }

    fn has_room(&self, records: usize) -> bool {
        self.lend(|table| table.has_room(records))
    }

    fn seek(&self, place: usize, hash: KeyHash, key: &K::Of<'_>) -> bool {
        // States with namespaces do not overflow, and all of theirs is in memory.
        let only = T::Namespace::ONLY;
        only.is_none_or(|only| self.lend(|table| table.seek(place, hash, key, &only)))
    }

    fn begin_turn(&self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        self.lend(|table| table.begin_turn(context))
    }

    fn end_turn(
        &self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        self.lend(|table| table.end_turn(context, waiting))
    }

    fn show(&self, to: &mut dyn FnMut(&Overflow)) {
        self.lend(|table| table.overflow().map(to));
    }
}
