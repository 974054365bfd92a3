//! States by key alone that may be larger than their memory, as their operator sees them.
//!
//! Entered per record and timer while something is on disk, and once per turn. Invariant: a user function is
//! called only once all that its key has in these states is in memory, or nowhere. Lives on one shard's
//! thread.

use thalweg_core::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::{Key, Record, RecordKey};

use super::aging::Aging;
use super::cells::Cells;
use super::held::Held;
use super::list::ListChunks;
use super::map::MapEntries;
use super::shared::SharedTable;
use crate::error::StateError;
use crate::lsm::{LayeredTable, Overflow, Pressure};
use crate::table::Namespace;

/// A state whose entries are sought before they are used.
pub(crate) trait SoughtState<K: Key> {
    /// Seeks what a key has at a place; whether it is there, or nowhere.
    fn seek(&self, place: usize, hash: KeyHash, key: &K::Of<'_>) -> bool;

    /// Works on what is in memory and what takes what it does not hold.
    fn with_layers(&self, work: &mut dyn FnMut(&mut dyn Layers));

    /// Whether entries have to be sought now.
    fn is_active(&self) -> bool {
        let mut active = false;
        self.with_layers(&mut |layers| active = layers.is_active());
        active
    }

    /// Whether there is room for so many more entries.
    fn has_room(&self, records: usize) -> bool {
        let mut room = true;
        self.with_layers(&mut |layers| room = layers.has_room(records));
        room
    }

    /// How many of some records may be applied at once, in one part in `parts` of what is left of the memory.
    fn let_in(&self, records: usize, parts: u64) -> usize {
        let mut room = records;
        self.with_layers(&mut |layers| room = layers.let_in(records, parts));
        room
    }
}

/// What is in memory of a state, over what is not. Its calls are those of [`LayeredTable`].
pub(crate) trait Layers {
    /// Whether entries have to be sought now.
    fn is_active(&mut self) -> bool;
    /// Whether there is room for so many more entries.
    fn has_room(&mut self, records: usize) -> bool;
    /// How many of some records may be applied at once.
    fn let_in(&mut self, records: usize, parts: u64) -> usize;
    /// A turn begins.
    fn begin_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), StateError>;
    /// A turn ends.
    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError>;
    /// What takes what memory does not hold.
    fn overflow(&self) -> Option<&Overflow>;
}

impl<K: Key, V: Record, N: Namespace> Layers for LayeredTable<K, V, N> {
    fn is_active(&mut self) -> bool {
        LayeredTable::is_active(self)
    }

    fn has_room(&mut self, records: usize) -> bool {
        LayeredTable::has_room(self, records)
    }

    fn let_in(&mut self, records: usize, parts: u64) -> usize {
        LayeredTable::let_in(self, records, parts)
    }

    fn begin_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        LayeredTable::begin_turn(self, context)
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        LayeredTable::end_turn(self, context, waiting)
    }

    fn overflow(&self) -> Option<&Overflow> {
        LayeredTable::overflow(self)
    }
}

impl<K: Key, V: Record> SoughtState<K> for SharedTable<K, V> {
    fn seek(&self, place: usize, hash: KeyHash, key: &K::Of<'_>) -> bool {
        self.table.borrow_mut().seek(place, hash, key, &())
    }

    fn with_layers(&self, work: &mut dyn FnMut(&mut dyn Layers)) {
        work(&mut *self.table.borrow_mut());
    }
}

// States with namespaces do not overflow, and all of theirs is in memory.

impl<K: Key, V: Record, N: Namespace, A: Aging<V>> SoughtState<K> for Held<Cells<K, V, N, A>> {
    fn seek(&self, place: usize, hash: KeyHash, key: &K::Of<'_>) -> bool {
        let seek = |only| self.with_tables(|it| it.table_mut().seek(place, hash, key, &only));
        N::ONLY.is_none_or(seek)
    }

    fn with_layers(&self, work: &mut dyn FnMut(&mut dyn Layers)) {
        self.with_tables(|cells| work(cells.table_mut()));
    }
}

impl<K: Key, V: Record, N: Namespace, A: Aging<V>> SoughtState<K> for Held<ListChunks<K, V, N, A>> {
    fn seek(&self, place: usize, hash: KeyHash, key: &K::Of<'_>) -> bool {
        let seek = |only| self.with_tables(|lists| lists.seek(place, hash, key, &only));
        N::ONLY.is_none_or(seek)
    }

    fn with_layers(&self, work: &mut dyn FnMut(&mut dyn Layers)) {
        self.with_tables(|lists| work(lists.table_mut()));
    }
}

impl<K, UK, UV, N, A> SoughtState<K> for Held<MapEntries<K, UK, UV, N, A>>
where
    K: Key,
    UK: RecordKey + Eq,
    UV: Record,
    N: Namespace,
    A: Aging<UV>,
{
    fn seek(&self, place: usize, hash: KeyHash, key: &K::Of<'_>) -> bool {
        let seek = |only| self.with_tables(|maps| maps.seek(place, hash, key, &only));
        N::ONLY.is_none_or(seek)
    }

    fn with_layers(&self, work: &mut dyn FnMut(&mut dyn Layers)) {
        self.with_tables(|maps| work(maps));
    }
}
