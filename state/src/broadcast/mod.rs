//! A map that is the same in every subtask of an operator: rules, settings, small tables.
//!
//! Entered by functions that read one stream record by record and another that reaches every subtask.
//! Invariant: only what reaches every subtask changes the map (a writer shows that it [`MayWrite`]), so
//! that all subtasks that have seen the same changes have the same map. Entries are ordered by key, so
//! walking over them gives the same order everywhere. Memory is reserved from the slot's budget before
//! it is taken. `cut` writes the map of one moment while it changes. Lives on one shard's thread.

mod cut;

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use thalweg_memory::{Budget, Record};

use crate::error::StateError;
use crate::snapshot::Snapshot;
use crate::table::Account;
use cut::BroadcastCut;

/// Bytes of a node of the map for each entry beside key and value: nodes of eleven places are on average
/// two thirds full, and point to each other.
const BYTES_OF_ENTRY: usize = 16;

/// What may change broadcast state: a context that exists only while a record is in work which reaches
/// every subtask.
pub trait MayWrite {}

/// A map that is the same in every subtask.
///
/// ```
/// use thalweg_memory::Budget;
/// use thalweg_state::{BroadcastState, MayWrite};
///
/// struct Rule;
/// impl MayWrite for Rule {}
///
/// let mut limits = BroadcastState::<u64, String>::new(Budget::new("slot-0", 1 << 20));
/// limits.put(&Rule, 7, "seven".to_owned())?;
/// limits.put(&Rule, 3, "three".to_owned())?;
/// assert_eq!(limits.get(&7), Some("seven".to_owned()));
/// assert_eq!(limits.with(&3, |limit| limit.map(String::len)), Some(5));
/// assert!(limits.entries().keys().eq(&[3, 7]));
/// # Ok::<(), thalweg_state::StateError>(())
/// ```
pub struct BroadcastState<K: Record + Ord, V: Record> {
    map: Rc<RefCell<BroadcastMap<K, V>>>,
}

/// The map, held by the function that uses it and by the operator that copies it.
struct BroadcastMap<K: Record + Ord, V: Record> {
    entries: BTreeMap<K, V>,
    account: Account,
    /// The cut that is being written.
    cut: Option<Box<BroadcastCut<K, V>>>,
}

impl<K: Record + Ord, V: Record> BroadcastState<K, V> {
    /// An empty map whose memory counts in `budget`.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        let map = BroadcastMap {
            entries: BTreeMap::new(),
            account: Account::new(budget),
            cut: None,
        };
        Self {
            map: Rc::new(RefCell::new(map)),
        }
    }

    /// The same map, for what copies it: to be used between records only.
    #[must_use]
    pub fn snapshot(&self) -> Rc<RefCell<dyn Snapshot>> {
        Rc::clone(&self.map) as _
    }

    /// A copy of the value of a key, if there is one.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        self.map.borrow().entries.get(key).cloned()
    }

    /// Calls `read` with the value of a key, if there is one.
    pub fn with<R>(&self, key: &K, read: impl FnOnce(Option<&V>) -> R) -> R {
        read(self.map.borrow().entries.get(key))
    }

    /// Whether the key has a value.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.map.borrow().entries.contains_key(key)
    }

    /// All entries, in the order of their keys.
    pub fn entries(&self) -> impl Deref<Target = BTreeMap<K, V>> {
        Ref::map(self.map.borrow(), |map| &map.entries)
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.borrow().entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes `value` the value of `key`; answers the one before.
    ///
    /// # Errors
    /// When the budget has no room for it: the map stays as it was.
    pub fn put(
        &mut self,
        writer: &impl MayWrite,
        key: K,
        value: V,
    ) -> Result<Option<V>, StateError> {
        let _shown = writer;
        self.map.borrow_mut().put(key, value)
    }

    /// Changes the value of `key`, starting from the default where there is none.
    ///
    /// # Errors
    /// When the budget has no room for a new entry: the map stays as it was. When the value became
    /// larger than the budget allows: the change stays.
    pub fn update(
        &mut self,
        writer: &impl MayWrite,
        key: K,
        change: impl FnOnce(&mut V),
    ) -> Result<(), StateError>
    where
        V: Default,
    {
        if !self.contains(&key) {
            let mut value = V::default();
            change(&mut value);
            self.put(writer, key, value)?;
            return Ok(());
        }
        let map = &mut *self.map.borrow_mut();
        map.before_change(&key);
        if let Some(value) = map.entries.get_mut(&key) {
            let before = value.heap_bytes();
            change(value);
            map.account.follow(before, value.heap_bytes())?;
        }
        Ok(())
    }

    /// Takes out the value of `key`.
    pub fn remove(&mut self, writer: &impl MayWrite, key: &K) -> Option<V> {
        let _shown = writer;
        self.map.borrow_mut().remove(key)
    }

    /// Forgets all entries.
    pub fn clear(&mut self, writer: &impl MayWrite) {
        let _shown = writer;
        self.map.borrow_mut().clear();
    }
}

impl<K: Record + Ord, V: Record> BroadcastMap<K, V> {
    fn put(&mut self, key: K, value: V) -> Result<Option<V>, StateError> {
        self.account.reserve(bytes(&key, &value))?;
        self.before_change(&key);
        let Some((old_key, old)) = self.entries.remove_entry(&key) else {
            self.entries.insert(key, value);
            return Ok(None);
        };
        self.account.release(bytes(&old_key, &old));
        self.entries.insert(key, value);
        Ok(Some(old))
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        self.before_change(key);
        let (key, value) = self.entries.remove_entry(key)?;
        self.account.release(bytes(&key, &value));
        Some(value)
    }

    fn clear(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        match &mut self.cut {
            Some(cut) => cut.cleared(entries, &mut self.account),
            None => self.account.release(self.account.bytes()),
        }
    }

    /// To be called before an entry comes, changes or goes: a cut may need it as it is.
    fn before_change(&mut self, key: &K) {
        if let Some(cut) = &mut self.cut {
            cut.before_change(key, self.entries.get(key));
        }
    }
}

/// Bytes of an entry.
fn bytes<K: Record, V: Record>(key: &K, value: &V) -> u64 {
    let places = 3 * (size_of::<K>() + size_of::<V>()) / 2 + BYTES_OF_ENTRY;
    (places + key.heap_bytes() + value.heap_bytes()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broadcast;
    impl MayWrite for Broadcast {}

    #[test]
    fn memory_is_counted_as_entries_come_change_and_go() -> Result<(), StateError> {
        let budget = Budget::new("slot", 10_000);
        let mut state = BroadcastState::<String, Vec<u8>>::new(budget.clone());
        state.put(&Broadcast, "one".to_owned(), vec![0; 100])?;
        let one = budget.used();
        assert!(one >= 103);
        state.put(&Broadcast, "one".to_owned(), vec![0; 300])?;
        assert_eq!(budget.used(), one + 200);
        state.update(&Broadcast, "one".to_owned(), |value| *value = vec![0; 100])?;
        state.update(&Broadcast, "two".to_owned(), |value| value.push(1))?;
        assert_eq!(state.len(), 2);
        assert_eq!(state.remove(&Broadcast, &"two".to_owned()), Some(vec![1]));
        assert_eq!(budget.used(), one);
        let refused = state.put(&Broadcast, "large".to_owned(), vec![0; 20_000]);
        assert!(refused.is_err() && !state.contains(&"large".to_owned()));
        state.clear(&Broadcast);
        assert_eq!((budget.used(), state.is_empty()), (0, true));
        Ok(())
    }
}
