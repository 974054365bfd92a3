//! A table with its name, held by a handle and by the backend at once.
//!
//! Invariant: borrowed for the length of one call; a second call from inside the first is an error that
//! names the state. Lives on one shard's thread.

use std::cell::RefCell;

use thalweg_core::KeyHash;
use thalweg_memory::{Key, Record};

use super::context::KeyedContext;
use crate::backend::{SnapshotWork, StateTable};
use crate::descriptor::StateDescriptor;
use crate::error::StateError;
use crate::lsm::LayeredTable;

/// A table under a descriptor.
pub(crate) struct SharedTable<K: Key, V: Record> {
    pub(crate) descriptor: StateDescriptor,
    pub(crate) table: RefCell<LayeredTable<K, V>>,
}

impl<K: Key, V: Record> SharedTable<K, V> {
    /// Works on the table with the current key. What `work` answers goes straight to the caller, once per record:
    /// an answer wrapped in another is copied.
    #[inline(always)]
    pub(crate) fn with<R>(
        &self,
        context: &KeyedContext<K>,
        work: impl FnOnce(&mut LayeredTable<K, V>, KeyHash, &K::Of<'_>) -> Result<R, StateError>,
    ) -> Result<R, StateError> {
        let Ok(mut table) = self.table.try_borrow_mut() else {
            return Err(StateError::Reentered {
                state: self.descriptor.name().to_owned(),
            });
        };
        let Some(current) = context.current() else {
            return Err(StateError::NoCurrentKey {
                state: self.descriptor.name().to_owned(),
            });
        };
        table.hot_mut().turn_to(context.turn());
        work(&mut table, current.hash, &K::lend(&current.key))
    }

    /// Makes `item` part of the value of the current key: by `insert` where there is none, by `update` where there is
    /// one.
    #[inline(always)]
    pub(crate) fn fold<T>(
        &self,
        context: &KeyedContext<K>,
        item: T,
        insert: impl FnOnce(T) -> V,
        update: impl FnOnce(&mut V, T),
    ) -> Result<(), StateError> {
        if let Ok(mut table) = self.table.try_borrow_mut()
            && let Some(Some(entry)) = context.with_current(|_, key| {
                let table = table.hot_mut();
                table.open_ahead(context.turn(), key)
            })
        {
            entry.change(|value| update(value, item))?;
            return Ok(());
        }
        self.fold_sought(context, item, insert, update)
    }

    /// The same where the entry was not found ahead. Out of line, so that the way that is nearly always taken is
    /// short.
    #[inline(never)]
    fn fold_sought<T>(
        &self,
        context: &KeyedContext<K>,
        item: T,
        insert: impl FnOnce(T) -> V,
        update: impl FnOnce(&mut V, T),
    ) -> Result<(), StateError> {
        self.with(context, |table, hash, key| {
            let folded = table.hot_mut().fold(hash, key, item, insert, update);
            folded.map(drop)
        })
    }
}

impl<K: Key, V: Record> StateTable for SharedTable<K, V> {
    fn descriptor(&self) -> &StateDescriptor {
        &self.descriptor
    }

    fn prefetch_batch(&self, hashes: &[KeyHash]) {
        self.table.borrow().hot().prefetch_batch(hashes);
    }

    fn approach(&self, from: u8, hashes: &[KeyHash]) {
        self.table.borrow_mut().hot_mut().approach(from, hashes);
    }

    fn locate(&self, from: u8, records: usize) {
        self.table.borrow_mut().hot_mut().locate(from, records);
    }

    fn snapshot(&self, work: &mut SnapshotWork<'_>) -> Result<(), StateError> {
        work(&mut *self.table.borrow_mut())
    }

    fn entries(&self) -> usize {
        self.table.borrow().hot().len()
    }

    fn memory_bytes(&self) -> u64 {
        self.table.borrow().memory_bytes()
    }
}
