//! The tables of one state with its name, held by a handle and by the backend at once.
//!
//! Invariant: borrowed for the length of one call; a second call from inside the first is an error that
//! names the state. Lives on one shard's thread.

use std::cell::RefCell;
use std::rc::Rc;

use thalweg_core::KeyHash;
use thalweg_memory::Key;

use super::context::KeyedContext;
use crate::backend::{SnapshotWork, StateTable};
use crate::descriptor::StateDescriptor;
use crate::error::StateError;
use crate::snapshot::Snapshot;

/// One table or several that make up a state.
pub(crate) trait Tables: Snapshot {
    /// Brings near what is touched first for each of `hashes`.
    fn prefetch_batch(&self, hashes: &[KeyHash]);
    /// Entries of all tables.
    fn entries(&self) -> usize;
    /// Bytes held by all tables.
    fn memory_bytes(&self) -> u64;
    /// Removes what has expired among the next `budget` entries; answers how much that was.
    fn clean_expired(&mut self, budget: usize) -> Result<usize, StateError>;
}

/// Tables under a descriptor.
pub(crate) struct Held<T> {
    descriptor: StateDescriptor,
    tables: RefCell<T>,
}

impl<T: Tables> Held<T> {
    pub(crate) fn new(descriptor: StateDescriptor, tables: T) -> Rc<Held<T>> {
        let tables = RefCell::new(tables);
        Rc::new(Held { descriptor, tables })
    }

    /// Works on the tables with the current key.
    #[inline]
    pub(crate) fn with<K: Key, R>(
        &self,
        context: &KeyedContext<K>,
        work: impl FnOnce(&mut T, KeyHash, &K::Of<'_>) -> R,
    ) -> Result<R, StateError> {
        let Ok(mut tables) = self.tables.try_borrow_mut() else {
            return Err(StateError::Reentered {
                state: self.descriptor.name().to_owned(),
            });
        };
        let answer = context.with_current(|hash, key| work(&mut tables, hash, key));
        answer.ok_or_else(|| StateError::NoCurrentKey {
            state: self.descriptor.name().to_owned(),
        })
    }
}

impl<T> Held<T> {
    /// Works on the tables whichever key is current.
    pub(crate) fn with_tables<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.tables.borrow_mut())
    }
}

impl<T: Tables> StateTable for Held<T> {
    fn descriptor(&self) -> &StateDescriptor {
        &self.descriptor
    }

    fn prefetch_batch(&self, hashes: &[KeyHash]) {
        self.tables.borrow().prefetch_batch(hashes);
    }

    fn snapshot(&self, work: &mut SnapshotWork<'_>) -> Result<(), StateError> {
        work(&mut *self.tables.borrow_mut())
    }

    fn entries(&self) -> usize {
        self.tables.borrow().entries()
    }

    fn memory_bytes(&self) -> u64 {
        self.tables.borrow().memory_bytes()
    }

    fn clean_expired(&self, budget: usize) -> Result<usize, StateError> {
        self.tables.borrow_mut().clean_expired(budget)
    }
}

/// The tables of a state that lasts or expires.
pub(crate) enum Kept<L, E> {
    /// Without a time to live.
    Lasting(Rc<Held<L>>),
    /// With one.
    Expiring(Rc<Held<E>>),
}

/// Works on the tables of a [`Kept`] with the current key.
macro_rules! on_tables {
    ($kept:expr, $context:expr, |$tables:ident, $hash:ident, $key:ident| $work:expr) => {
        match &$kept {
            $crate::keyed::held::Kept::Lasting(held) => {
                held.with(&$context, |$tables, $hash, $key| $work)
            }
            $crate::keyed::held::Kept::Expiring(held) => {
                held.with(&$context, |$tables, $hash, $key| $work)
            }
        }
    };
}

pub(crate) use on_tables;
