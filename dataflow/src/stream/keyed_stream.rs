//! A stream grouped by key: the records of one key are together in one subtask.
//!
//! Its operators add their methods in their own files under [`crate::operator`].

use std::marker::PhantomData;

use thalweg_memory::record::{Item, Key, Record, View};

use super::Draft;
use crate::partition::SelectOwned;

/// A stream of `T` grouped by keys of `K`, which `S` reads from each record.
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct KeyedStream<K: Item, T: Item, S> {
    pub(crate) draft: Draft,
    pub(crate) selector: S,
    types: PhantomData<fn(K, T)>,
}

impl<K: Key, T: Item, S> KeyedStream<K, T, S> {
    pub(crate) fn new(draft: Draft, selector: S) -> Self {
        Self {
            draft,
            selector,
            types: PhantomData,
        }
    }

    /// How many subtasks the keyed operator has.
    pub fn parallelism(self, parallelism: u32) -> Self {
        self.draft.set_parallelism(parallelism);
        self
    }
}

impl<K: Key + Record, T: Record, S> KeyedStream<K, T, S> {
    /// Reads the records in place instead of as owned values; `selector` reads the same key
    /// from the record's view.
    pub fn view<F>(self, selector: F) -> KeyedStream<K, View<T>, SelectOwned<F>>
    where
        F: for<'a, 'b> Fn(&'b &'a T::Archived) -> K + Clone + Send + 'static,
    {
        KeyedStream::new(self.draft, SelectOwned(selector))
    }
}
