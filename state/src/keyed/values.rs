//! One value per key, in a table of values that last or of values that expire.
//!
//! Entered by value and reducing state. Invariant: which of the two it is was decided when the state was
//! declared, so a state without a time to live pays a branch that is always taken. Lives on one shard's
//! thread.

use std::rc::Rc;

use thalweg_memory::{Key, Record};

use super::aging::Expiring;
use super::cells::Cells;
use super::context::KeyedContext;
use super::held::Held;
use super::shared::SharedTable;
use crate::error::StateError;

/// The values of one state.
pub(crate) enum Values<K: Key, V: Record> {
    /// Without a time to live.
    Lasting(Rc<SharedTable<K, V>>),
    /// With one.
    Expiring(Rc<Held<Cells<K, V, (), Expiring>>>),
}

impl<K: Key, V: Record> Values<K, V> {
    /// Reads the value of the current key.
    #[inline(always)]
    pub(crate) fn read<R>(
        &self,
        context: &KeyedContext<K>,
        read: impl FnOnce(Option<&V>) -> R,
    ) -> Result<R, StateError> {
        match self {
            Values::Lasting(shared) => shared.with(context, |table, hash, key| {
                Ok(read(table.hot().get(hash, key)))
            }),
            Values::Expiring(held) => {
                held.with(context, |cells, hash, key| cells.read(hash, key, &(), read))?
            }
        }
    }

    /// Makes `item` part of the value of the current key: by `insert` where there is none, by `update` where
    /// there is one.
    #[inline(always)]
    pub(crate) fn fold<T>(
        &self,
        context: &KeyedContext<K>,
        item: T,
        insert: impl FnOnce(T) -> V,
        update: impl FnOnce(&mut V, T),
    ) -> Result<(), StateError> {
        match self {
            Values::Lasting(shared) => shared.fold(context, item, insert, update),
            Values::Expiring(held) => held.with(context, |cells, hash, key| {
                cells.fold(hash, key, &(), item, insert, update)
            })?,
        }
    }

    /// Forgets the value of the current key.
    #[inline(always)]
    pub(crate) fn clear(&self, context: &KeyedContext<K>) -> Result<(), StateError> {
        match self {
            Values::Lasting(shared) => shared.with(context, |table, hash, key| {
                table.remove_in(hash, key, &());
                Ok(())
            }),
            Values::Expiring(held) => held.with(context, |cells, hash, key| {
                cells.take(hash, key, &());
            }),
        }
    }
}
