//! One value per key.
//!
//! Entered by user functions while a key is current. Invariant: there is no value until one is set.
//! Lives on one shard's thread.

use std::rc::Rc;

use thalweg_memory::{Key, Record};

use super::context::KeyedContext;
use super::shared::SharedTable;
use crate::error::StateError;

/// A value of the current key.
pub struct ValueState<K: Key, V: Record> {
    shared: Rc<SharedTable<K, V>>,
    context: Rc<KeyedContext<K>>,
}

impl<K: Key, V: Record> ValueState<K, V> {
    pub(crate) fn new(shared: Rc<SharedTable<K, V>>, context: Rc<KeyedContext<K>>) -> Self {
        ValueState { shared, context }
    }

    /// A copy of the value, if there is one.
    ///
    /// # Errors
    /// Without a current key, and inside a closure that works on this state.
    #[inline]
    pub fn get(&self) -> Result<Option<V>, StateError>
    where
        V: Clone,
    {
        self.with(|value| value.cloned())
    }

    /// Calls `read` with the value, if there is one.
    ///
    /// # Errors
    /// As [`ValueState::get`].
    #[inline]
    pub fn with<R>(&self, read: impl FnOnce(Option<&V>) -> R) -> Result<R, StateError> {
        self.shared
            .with(&self.context, |table, hash, key| read(table.get(hash, key)))
    }

    /// Changes the value, starting from the default where there is none.
    ///
    /// # Errors
    /// As [`ValueState::get`], and when there is no memory for it.
    #[inline]
    pub fn update<F: FnOnce(&mut V)>(&mut self, change: F) -> Result<(), StateError>
    where
        V: Default,
    {
        self.shared.with(&self.context, |table, hash, key| {
            // The closure is the item: whichever path is taken calls it once.
            let create = |change: F| {
                let mut value = V::default();
                change(&mut value);
                value
            };
            table
                .fold(hash, key, change, create, |value, change| change(value))
                .map(|_| ())
        })?
    }

    /// Sets the value to `init()` where there is none, else changes it by `change`.
    ///
    /// # Errors
    /// As [`ValueState::update`].
    #[inline]
    pub fn upsert(
        &mut self,
        init: impl FnOnce() -> V,
        change: impl FnOnce(&mut V),
    ) -> Result<(), StateError> {
        self.shared.with(&self.context, |table, hash, key| {
            table.upsert(hash, key, init, change).map(|_| ())
        })?
    }

    /// Makes `value` the value.
    ///
    /// # Errors
    /// As [`ValueState::update`].
    #[inline]
    pub fn set(&mut self, value: V) -> Result<(), StateError> {
        self.shared.with(&self.context, |table, hash, key| {
            table
                .fold(hash, key, value, |value| value, |old, value| *old = value)
                .map(|_| ())
        })?
    }

    /// Forgets the value, if there is one.
    ///
    /// # Errors
    /// As [`ValueState::get`].
    #[inline]
    pub fn clear(&mut self) -> Result<(), StateError> {
        self.shared.with(&self.context, |table, hash, key| {
            table.remove(hash, key);
        })
    }
}
