//! One value per key.
//!
//! Entered by user functions while a key is current. Invariant: there is no value until one is set.
//! Lives on one shard's thread.

use std::rc::Rc;

use thalweg_memory::{Key, Record};

use super::context::KeyedContext;
use super::values::Values;
use crate::error::StateError;

/// A value of the current key.
pub struct ValueState<K: Key, V: Record> {
    pub(super) values: Values<K, V>,
    context: Rc<KeyedContext<K>>,
}

impl<K: Key, V: Record> ValueState<K, V> {
    pub(crate) fn new(values: Values<K, V>, context: Rc<KeyedContext<K>>) -> Self {
        ValueState { values, context }
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
        self.values.read(&self.context, read)
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
        // The closure is the item: whichever path is taken calls it once.
        let create = |change: F| {
            let mut value = V::default();
            change(&mut value);
            value
        };
        self.values
            .fold(&self.context, change, create, |value, change| change(value))
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
        self.values
            .fold(&self.context, (), |()| init(), |value, ()| change(value))
    }

    /// Makes `value` the value.
    ///
    /// # Errors
    /// As [`ValueState::update`].
    #[inline]
    pub fn set(&mut self, value: V) -> Result<(), StateError> {
        let replace = |old: &mut V, value| *old = value;
        self.values
            .fold(&self.context, value, |value| value, replace)
    }

    /// Forgets the value, if there is one.
    ///
    /// # Errors
    /// As [`ValueState::get`].
    #[inline]
    pub fn clear(&mut self) -> Result<(), StateError> {
        self.values.clear(&self.context)
    }
}
