//! A map per key.
//!
//! Entered by user functions while a key is current. `entries` keeps each user key apart, so that a map of
//! millions costs no more per access than a small one; `index` is what makes it possible to walk over one;
//! `copies` writes the entries into copies of the state, and makes the index anew of what comes back; `paged` lets maps
//! leave memory, and `whole` makes their index anew.
//! Invariant: a user key has at most one value. Lives on one shard's thread.

#[cfg(test)]
mod colliding;
mod copies;
mod entries;
mod index;
mod paged;
#[cfg(test)]
mod tests;
mod whole;

use std::rc::Rc;

use thalweg_memory::{Key, Record, RecordKey};

use super::aging::{Expiring, Lasting};
use super::context::KeyedContext;
use super::held::{Kept, on_tables};
use crate::error::StateError;
use crate::table::Namespace;

#[cfg(test)]
pub(crate) use colliding::user_key;
pub(crate) use entries::MapEntries;

type Tables<K, UK, UV, N> =
    Kept<MapEntries<K, UK, UV, N, Lasting>, MapEntries<K, UK, UV, N, Expiring>>;

/// A map of the current key; of each namespace, where it has namespaces `N`.
///
/// Walks go over entries in the order in which they came, except that the last takes the place of one that
/// is removed: an order that depends on the changes alone.
///
/// ```
/// use thalweg_core::MaxParallelism;
/// use thalweg_memory::{Budget, Key, Str};
/// use thalweg_state::KeyedBackend;
///
/// let slot = Budget::new("slot-0", 1 << 20);
/// let mut backend = KeyedBackend::<Str>::in_memory(0..128, MaxParallelism::default(), slot);
/// let mut pages = backend.map_state::<String, u64>("visits by page")?;
/// backend.context().set_current(Str::hash(&"ann"), &"ann");
/// for page in ["home", "shop", "home"] {
///     pages.update(page.to_owned(), |visits| *visits += 1)?;
/// }
/// assert_eq!(pages.get(&"home".to_owned())?, Some(2));
/// assert_eq!(pages.entries()?, [("home".to_owned(), 2), ("shop".to_owned(), 1)]);
/// # Ok::<(), thalweg_state::StateError>(())
/// ```
pub struct MapState<K: Key, UK: RecordKey + Eq, UV: Record, N: Namespace = ()> {
    pub(in crate::keyed) tables: Tables<K, UK, UV, N>,
    context: Rc<KeyedContext<K>>,
}

impl<K: Key, UK: RecordKey + Eq, UV: Record, N: Namespace> MapState<K, UK, UV, N> {
    pub(crate) fn new(tables: Tables<K, UK, UV, N>, context: Rc<KeyedContext<K>>) -> Self {
        MapState { tables, context }
    }

    /// Calls `read` with the value of `user_key`, if there is one.
    ///
    /// # Errors
    /// Without a current key, and inside a closure that works on this state.
    #[inline]
    pub fn with_in<R>(
        &self,
        namespace: &N,
        user_key: &UK,
        read: impl FnOnce(Option<&UV>) -> R,
    ) -> Result<R, StateError> {
        on_tables!(self.tables, self.context, |maps, hash, key| maps
            .read(hash, key, namespace, user_key, read))?
    }

    /// A copy of the value of `user_key`, if there is one.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    #[inline]
    pub fn get_in(&self, namespace: &N, user_key: &UK) -> Result<Option<UV>, StateError>
    where
        UV: Clone,
    {
        self.with_in(namespace, user_key, |value| value.cloned())
    }

    /// Whether `user_key` has a value.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn contains_in(&self, namespace: &N, user_key: &UK) -> Result<bool, StateError> {
        self.with_in(namespace, user_key, |value| value.is_some())
    }

    /// Makes `value` the value of `user_key`.
    ///
    /// # Errors
    /// As [`MapState::with_in`], and when there is no memory for it.
    #[inline]
    pub fn put_in(&mut self, namespace: &N, user_key: UK, value: UV) -> Result<(), StateError> {
        on_tables!(self.tables, self.context, |maps, hash, key| maps.fold(
            hash,
            key,
            namespace,
            (user_key, value),
            |value| value,
            |old, value| *old = value
        ))?
    }

    /// Sets the value of `user_key` to `init()` where there is none, else changes it by `change`.
    ///
    /// # Errors
    /// As [`MapState::put_in`].
    #[inline]
    pub fn upsert_in(
        &mut self,
        namespace: &N,
        user_key: UK,
        init: impl FnOnce() -> UV,
        change: impl FnOnce(&mut UV),
    ) -> Result<(), StateError> {
        on_tables!(self.tables, self.context, |maps, hash, key| maps.fold(
            hash,
            key,
            namespace,
            (user_key, ()),
            |()| init(),
            |value, ()| change(value)
        ))?
    }

    /// Changes the value of `user_key`, starting from the default where there is none.
    ///
    /// # Errors
    /// As [`MapState::put_in`].
    #[inline]
    pub fn update_in<F: FnOnce(&mut UV)>(
        &mut self,
        namespace: &N,
        user_key: UK,
        change: F,
    ) -> Result<(), StateError>
    where
        UV: Default,
    {
        // The closure is the item: whichever path is taken calls it once.
        let create = |change: F| {
            let mut value = UV::default();
            change(&mut value);
            value
        };
        on_tables!(self.tables, self.context, |maps, hash, key| maps.fold(
            hash,
            key,
            namespace,
            (user_key, change),
            create,
            |value, change| change(value)
        ))?
    }

    /// Removes `user_key`; answers the value it had.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn remove_in(&mut self, namespace: &N, user_key: &UK) -> Result<Option<UV>, StateError> {
        on_tables!(self.tables, self.context, |maps, hash, key| maps
            .remove(hash, key, namespace, user_key))?
    }

    /// Calls `visit` with every user key and its value.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn for_each_in(
        &self,
        namespace: &N,
        visit: impl FnMut(&UK, &UV),
    ) -> Result<(), StateError> {
        on_tables!(self.tables, self.context, |maps, hash, key| maps
            .for_each(hash, key, namespace, visit))?
    }

    /// Copies of all user keys.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn keys_in(&self, namespace: &N) -> Result<Vec<UK>, StateError>
    where
        UK: Clone,
    {
        let mut keys = Vec::new();
        self.for_each_in(namespace, |user_key, _| keys.push(user_key.clone()))?;
        Ok(keys)
    }

    /// Copies of all values.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn values_in(&self, namespace: &N) -> Result<Vec<UV>, StateError>
    where
        UV: Clone,
    {
        let mut values = Vec::new();
        self.for_each_in(namespace, |_, value| values.push(value.clone()))?;
        Ok(values)
    }

    /// Copies of all user keys and values.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn entries_in(&self, namespace: &N) -> Result<Vec<(UK, UV)>, StateError>
    where
        UK: Clone,
        UV: Clone,
    {
        let mut entries = Vec::new();
        self.for_each_in(namespace, |user_key, value| {
            entries.push((user_key.clone(), value.clone()));
        })?;
        Ok(entries)
    }

    /// The number of entries.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn len_in(&self, namespace: &N) -> Result<u64, StateError> {
        on_tables!(self.tables, self.context, |maps, hash, key| maps
            .len(hash, key, namespace))?
    }

    /// Whether there is no entry.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn is_empty_in(&self, namespace: &N) -> Result<bool, StateError> {
        Ok(self.len_in(namespace)? == 0)
    }

    /// Forgets all entries.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn clear_in(&mut self, namespace: &N) -> Result<(), StateError> {
        on_tables!(self.tables, self.context, |maps, hash, key| maps
            .clear(hash, key, namespace))
    }
}

impl<K: Key, UK: RecordKey + Eq, UV: Record> MapState<K, UK, UV> {
    /// Calls `read` with the value of `user_key`, if there is one.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    #[inline]
    pub fn with<R>(
        &self,
        user_key: &UK,
        read: impl FnOnce(Option<&UV>) -> R,
    ) -> Result<R, StateError> {
        self.with_in(&(), user_key, read)
    }

    /// A copy of the value of `user_key`, if there is one.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    #[inline]
    pub fn get(&self, user_key: &UK) -> Result<Option<UV>, StateError>
    where
        UV: Clone,
    {
        self.get_in(&(), user_key)
    }

    /// Whether `user_key` has a value.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn contains(&self, user_key: &UK) -> Result<bool, StateError> {
        self.contains_in(&(), user_key)
    }

    /// Makes `value` the value of `user_key`.
    ///
    /// # Errors
    /// As [`MapState::put_in`].
    #[inline]
    pub fn put(&mut self, user_key: UK, value: UV) -> Result<(), StateError> {
        self.put_in(&(), user_key, value)
    }

    /// Sets the value of `user_key` to `init()` where there is none, else changes it by `change`.
    ///
    /// # Errors
    /// As [`MapState::put_in`].
    #[inline]
    pub fn upsert(
        &mut self,
        user_key: UK,
        init: impl FnOnce() -> UV,
        change: impl FnOnce(&mut UV),
    ) -> Result<(), StateError> {
        self.upsert_in(&(), user_key, init, change)
    }

    /// Changes the value of `user_key`, starting from the default where there is none.
    ///
    /// # Errors
    /// As [`MapState::put_in`].
    #[inline]
    pub fn update(&mut self, user_key: UK, change: impl FnOnce(&mut UV)) -> Result<(), StateError>
    where
        UV: Default,
    {
        self.update_in(&(), user_key, change)
    }

    /// Removes `user_key`; answers the value it had.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn remove(&mut self, user_key: &UK) -> Result<Option<UV>, StateError> {
        self.remove_in(&(), user_key)
    }

    /// Calls `visit` with every user key and its value.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn for_each(&self, visit: impl FnMut(&UK, &UV)) -> Result<(), StateError> {
        self.for_each_in(&(), visit)
    }

    /// Copies of all user keys.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn keys(&self) -> Result<Vec<UK>, StateError>
    where
        UK: Clone,
    {
        self.keys_in(&())
    }

    /// Copies of all values.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn values(&self) -> Result<Vec<UV>, StateError>
    where
        UV: Clone,
    {
        self.values_in(&())
    }

    /// Copies of all user keys and values.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn entries(&self) -> Result<Vec<(UK, UV)>, StateError>
    where
        UK: Clone,
        UV: Clone,
    {
        self.entries_in(&())
    }

    /// The number of entries.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn len(&self) -> Result<u64, StateError> {
        self.len_in(&())
    }

    /// Whether there is no entry.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn is_empty(&self) -> Result<bool, StateError> {
        self.is_empty_in(&())
    }

    /// Forgets all entries.
    ///
    /// # Errors
    /// As [`MapState::with_in`].
    pub fn clear(&mut self) -> Result<(), StateError> {
        self.clear_in(&())
    }
}
