//! A list of values per key.
//!
//! Entered by user functions while a key is current, and by windows that keep their records. `chunks`
//! keeps lists in parts, so that one of any size is added to at the cost of an element; `elements` lends
//! them. Invariant: elements stay in the order in which they were added. Lives on one shard's thread.

mod chunks;
mod elements;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use thalweg_memory::{Key, Record};

use super::aging::{Aging, Expiring, Lasting};
use super::context::KeyedContext;
use super::held::{Kept, on_tables};
use crate::error::StateError;
use crate::table::Namespace;

pub(crate) use chunks::{ListChunks, elements_of_part};
pub use elements::ListElements;
use elements::Part;

type Tables<K, V, N> = Kept<ListChunks<K, V, N, Lasting>, ListChunks<K, V, N, Expiring>>;

/// A list of the current key; of each namespace, where it has namespaces `N`.
///
/// ```
/// use thalweg_core::MaxParallelism;
/// use thalweg_memory::{Budget, Key, Str};
/// use thalweg_state::KeyedBackend;
///
/// let slot = Budget::new("slot-0", 1 << 20);
/// let mut backend = KeyedBackend::<Str>::in_memory(0..128, MaxParallelism::default(), slot);
/// let mut visits = backend.list_state::<u64>("visits")?;
/// for (user, page) in [("ann", 3), ("bob", 9), ("ann", 4)] {
///     backend.context().set_current(Str::hash(&user), &user);
///     visits.add(page)?;
/// }
/// assert_eq!(visits.get()?, [3, 4]);
/// assert_eq!(visits.with(|pages| pages.sum::<u64>())?, 7);
/// # Ok::<(), thalweg_state::StateError>(())
/// ```
pub struct ListState<K: Key, V: Record, N: Namespace = ()> {
    pub(in crate::keyed) tables: Tables<K, V, N>,
    context: Rc<KeyedContext<K>>,
}

impl<K: Key, V: Record, N: Namespace> ListState<K, V, N> {
    pub(crate) fn new(tables: Tables<K, V, N>, context: Rc<KeyedContext<K>>) -> Self {
        ListState { tables, context }
    }

    /// Adds `value` at the end.
    ///
    /// # Errors
    /// Without a current key, inside a closure that reads this state, and when there is no memory for it.
    #[inline]
    pub fn add_in(&mut self, namespace: &N, value: V) -> Result<(), StateError> {
        on_tables!(self.tables, self.context, |lists, hash, key| lists
            .add(hash, key, namespace, value))?
    }

    /// Adds all `values` at the end, in their order.
    ///
    /// # Errors
    /// As [`ListState::add_in`]; then the first of them may have been added.
    pub fn add_all_in(
        &mut self,
        namespace: &N,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), StateError> {
        on_tables!(self.tables, self.context, |lists, hash, key| values
            .into_iter()
            .try_for_each(|value| lists.add(hash, key, namespace, value)))?
    }

    /// Calls `read` with the elements, in the order in which they were added.
    ///
    /// # Errors
    /// Without a current key, and inside a closure that reads this state.
    pub fn with_in<R>(
        &self,
        namespace: &N,
        read: impl FnOnce(ListElements<'_, V>) -> R,
    ) -> Result<R, StateError> {
        match &self.tables {
            Kept::Lasting(held) => held.with(&self.context, |lists, hash, key| {
                let parts = lists.parts(hash, key, namespace);
                read(ListElements::new(
                    parts.map(|part| Part::Lasting(part.iter())),
                ))
            }),
            Kept::Expiring(held) => held.with(&self.context, |lists, hash, key| {
                if !Aging::<V>::shows_expired(&lists.aging) {
                    lists.remove_expired(hash, key, namespace)?;
                }
                let from = lists.aging.oldest_shown();
                let parts = lists.parts(hash, key, namespace);
                let answer = read(ListElements::new(
                    parts.map(|part| Part::Expiring(part.iter(), from)),
                ));
                lists.remove_expired(hash, key, namespace)?;
                if Aging::<V>::refreshes_on_read(&lists.aging) {
                    lists.refresh(hash, key, namespace)?;
                }
                Ok(answer)
            })?,
        }
    }

    /// A copy of all elements.
    ///
    /// # Errors
    /// As [`ListState::with_in`].
    pub fn get_in(&self, namespace: &N) -> Result<Vec<V>, StateError>
    where
        V: Clone,
    {
        self.with_in(namespace, |elements| elements.cloned().collect())
    }

    /// Makes `values` the list.
    ///
    /// # Errors
    /// As [`ListState::add_in`]; then the old elements are gone and the first of the new may be there.
    pub fn update_in(
        &mut self,
        namespace: &N,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), StateError> {
        self.clear_in(namespace)?;
        self.add_all_in(namespace, values)
    }

    /// The number of elements.
    ///
    /// # Errors
    /// As [`ListState::with_in`].
    pub fn len_in(&self, namespace: &N) -> Result<u64, StateError> {
        on_tables!(self.tables, self.context, |lists, hash, key| {
            lists.remove_expired(hash, key, namespace)?;
            Ok(lists.len(hash, key, namespace))
        })?
    }

    /// Whether there is no element.
    ///
    /// # Errors
    /// As [`ListState::with_in`].
    pub fn is_empty_in(&self, namespace: &N) -> Result<bool, StateError> {
        Ok(self.len_in(namespace)? == 0)
    }

    /// Removes the first `count` elements, or all where there are fewer; answers how many that was.
    ///
    /// # Errors
    /// As [`ListState::with_in`].
    pub fn remove_first_in(&mut self, namespace: &N, count: u64) -> Result<u64, StateError> {
        on_tables!(self.tables, self.context, |lists, hash, key| lists
            .remove_first(hash, key, namespace, count))?
    }

    /// Forgets all elements.
    ///
    /// # Errors
    /// As [`ListState::with_in`].
    pub fn clear_in(&mut self, namespace: &N) -> Result<(), StateError> {
        on_tables!(self.tables, self.context, |lists, hash, key| lists
            .clear(hash, key, namespace))?
    }

    /// Moves the elements of the namespaces `from` behind those of `into`, as when windows are merged.
    ///
    /// # Errors
    /// As [`ListState::add_in`]; then elements that were being moved are gone.
    pub fn merge_in(&mut self, into: &N, from: &[N]) -> Result<(), StateError> {
        on_tables!(self.tables, self.context, |lists, hash, key| from
            .iter()
            .try_for_each(|from| lists.merge(hash, key, into, from)))?
    }
}

impl<K: Key, V: Record> ListState<K, V> {
    /// Adds `value` at the end.
    ///
    /// # Errors
    /// As [`ListState::add_in`].
    #[inline]
    pub fn add(&mut self, value: V) -> Result<(), StateError> {
        self.add_in(&(), value)
    }

    /// Adds all `values` at the end, in their order.
    ///
    /// # Errors
    /// As [`ListState::add_all_in`].
    pub fn add_all(&mut self, values: impl IntoIterator<Item = V>) -> Result<(), StateError> {
        self.add_all_in(&(), values)
    }

    /// Calls `read` with the elements, in the order in which they were added.
    ///
    /// # Errors
    /// As [`ListState::with_in`].
    pub fn with<R>(&self, read: impl FnOnce(ListElements<'_, V>) -> R) -> Result<R, StateError> {
        self.with_in(&(), read)
    }

    /// A copy of all elements.
    ///
    /// # Errors
    /// As [`ListState::with_in`].
    pub fn get(&self) -> Result<Vec<V>, StateError>
    where
        V: Clone,
    {
        self.get_in(&())
    }

    /// Makes `values` the list.
    ///
    /// # Errors
    /// As [`ListState::update_in`].
    pub fn update(&mut self, values: impl IntoIterator<Item = V>) -> Result<(), StateError> {
        self.update_in(&(), values)
    }

    /// The number of elements.
    ///
    /// # Errors
    /// As [`ListState::with_in`].
    pub fn len(&self) -> Result<u64, StateError> {
        self.len_in(&())
    }

    /// Whether there is no element.
    ///
    /// # Errors
    /// As [`ListState::with_in`].
    pub fn is_empty(&self) -> Result<bool, StateError> {
        self.is_empty_in(&())
    }

    /// Removes the first `count` elements, or all where there are fewer; answers how many that was.
    ///
    /// # Errors
    /// As [`ListState::with_in`].
    pub fn remove_first(&mut self, count: u64) -> Result<u64, StateError> {
        self.remove_first_in(&(), count)
    }

    /// Forgets all elements.
    ///
    /// # Errors
    /// As [`ListState::with_in`].
    pub fn clear(&mut self) -> Result<(), StateError> {
        self.clear_in(&())
    }
}
