//! One value per key into which every added value is folded.
//!
//! Entered by user functions while a key is current. Invariant: the first value added is kept as it is,
//! each later one goes through the reducer. Lives on one shard's thread.

use std::rc::Rc;

use thalweg_memory::{Key, Record};

use super::context::KeyedContext;
use super::values::Values;
use crate::error::StateError;

/// A folded value of the current key. `F` makes the second value part of the first; a function pointer
/// unless named otherwise, so that the type can be written in a struct.
pub struct ReducingState<K: Key, V: Record, F: Fn(&mut V, V) = fn(&mut V, V)> {
    pub(super) values: Values<K, V>,
    context: Rc<KeyedContext<K>>,
    reduce: F,
}

impl<K: Key, V: Record, F: Fn(&mut V, V)> ReducingState<K, V, F> {
    pub(crate) fn new(values: Values<K, V>, context: Rc<KeyedContext<K>>, reduce: F) -> Self {
        ReducingState {
            values,
            context,
            reduce,
        }
    }

    /// Folds `value` in.
    ///
    /// # Errors
    /// Without a current key, inside the reducer of this state, and when there is no memory for it.
    #[inline]
    pub fn add(&mut self, value: V) -> Result<(), StateError> {
        let reduce = &self.reduce;
        self.values
            .fold(&self.context, value, |value| value, reduce)
    }

    /// A copy of the folded value, if anything was added.
    ///
    /// # Errors
    /// Without a current key, and inside the reducer of this state.
    #[inline]
    pub fn get(&self) -> Result<Option<V>, StateError>
    where
        V: Clone,
    {
        self.values.read(&self.context, |value| value.cloned())
    }

    /// Forgets what was added.
    ///
    /// # Errors
    /// As [`ReducingState::get`].
    #[inline]
    pub fn clear(&mut self) -> Result<(), StateError> {
        self.values.clear(&self.context)
    }
}
