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
