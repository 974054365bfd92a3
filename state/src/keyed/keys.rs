//! The keys that have something in a state, gathered in slices.
//!
//! Entered by operators that let a function visit every key of a state, whichever kind of state it is.
//! Invariant: every key that has something in the state all the time is given out exactly once, in about
//! the order of key groups. The keys are copies, so the state may change while they are visited; their
//! memory counts in the slot's budget. Lives on one shard's thread.

use std::ops::ControlFlow;
use std::rc::Rc;

use thalweg_core::KeyHash;
use thalweg_memory::{Budget, Key, Record, RecordKey};

use super::aging::Aging;
use super::cells::Cells;
use super::held::{Held, Kept};
use super::list::ListChunks;
use super::map::MapEntries;
use super::shared::SharedTable;
use super::values::Values;
use super::{AggregatingState, ListState, MapState, ReducingState, ValueState};
use crate::backend::StateTable;
use crate::error::StateError;
use crate::lsm::LayeredTable;
use crate::table::{Account, KeyedTable, Namespace, Scan, ScanCursor};

/// A key as tables keep it, and its hash.
pub type FoundKey<K> = (KeyHash, <K as Key>::Stored);

/// A state of any kind, for those who visit its keys.
pub trait KeyedState<K: Key> {
    /// What its keys are found by.
    #[doc(hidden)]
    fn walk(&self) -> Rc<dyn KeyWalk<K>>;
}

/// Tables whose keys can be found.
#[doc(hidden)]
pub trait KeyWalk<K: Key>: StateTable {
    /// Adds the keys of the next `budget` entries to `found`.
    ///
    /// # Errors
    /// When entries moved since the cursor's last slice.
    fn find(
        &self,
        cursor: &mut ScanCursor,
        budget: usize,
        found: &mut Vec<FoundKey<K>>,
    ) -> Result<Scan, StateError>;
}

/// The keys of one state.
pub struct KeysOfState<K: Key> {
    state: Rc<dyn KeyWalk<K>>,
    cursor: ScanCursor,
    gathered: bool,
    /// The last is given out next.
    found: Vec<FoundKey<K>>,
    account: Account,
}

impl<K: Key> KeysOfState<K> {
    /// The keys of `state`, whose copies count in `budget`.
    #[must_use]
    pub fn new(state: &impl KeyedState<K>, budget: Budget) -> Self {
        Self {
            state: state.walk(),
            cursor: ScanCursor::new(),
            gathered: false,
            found: Vec::new(),
            account: Account::new(budget),
        }
    }

    /// The name of the state.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.descriptor().name()
    }

    /// Looks at the next `limit` entries of the state; whether all have been looked at.
    ///
    /// # Errors
    /// When the budget has no room for the keys.
    pub fn gather(&mut self, limit: usize) -> Result<bool, StateError> {
        if self.gathered {
            return Ok(true);
        }
        let before = self.found.len();
        match self.state.find(&mut self.cursor, limit, &mut self.found) {
            Ok(scanned) => self.gathered = scanned == Scan::Done,
            Err(StateError::ScanOvertaken) => {
                self.cursor = ScanCursor::new();
                self.found.clear();
                self.account.release(self.account.bytes());
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        let new = self.found[before..].iter();
        let bytes = new.map(|key| bytes::<K>(key)).sum();
        self.account.reserve(bytes)?;
        if self.gathered {
            self.found.reverse();
        }
        Ok(self.gathered)
    }

    /// The next key, once all are gathered.
    pub fn next_key(&mut self) -> Option<FoundKey<K>> {
        debug_assert!(self.gathered, "keys are visited when all are known");
        let key = self.found.pop()?;
        self.account.release(bytes::<K>(&key));
        Some(key)
    }
}

fn bytes<K: Key>((_, key): &FoundKey<K>) -> u64 {
    (size_of::<FoundKey<K>>() + K::stored_heap_bytes(key)) as u64
}

/// Adds the keys of the entries in the next slice whose namespace is wanted.
pub(super) fn find_in<K: Key, V: Record, N: Namespace>(
    table: &mut KeyedTable<K, V, N>,
    cursor: &mut ScanCursor,
    budget: usize,
    found: &mut Vec<FoundKey<K>>,
    wanted: impl Fn(&N) -> bool,
) -> Result<Scan, StateError> {
    table.scan(cursor, budget, |entry| {
        if wanted(entry.namespace) {
            found.push((K::hash(&entry.key), K::store(&entry.key)));
        }
        ControlFlow::Continue(())
    })
}

/// The same, of a table all of which is in memory.
fn find_in_layers<K: Key, V: Record, N: Namespace>(
    table: &mut LayeredTable<K, V, N>,
    cursor: &mut ScanCursor,
    budget: usize,
    found: &mut Vec<FoundKey<K>>,
    wanted: impl Fn(&N) -> bool,
) -> Result<Scan, StateError> {
    match table.has_spilled() {
        true => Err(StateError::WalkedOnDisk),
        false => find_in(table.hot_mut(), cursor, budget, found, wanted),
    }
}

/// Tables behind one handle that can find their keys.
pub(super) trait FindKeys<K: Key> {
    /// As [`KeyWalk::find`].
    fn find_keys(
        &mut self,
        cursor: &mut ScanCursor,
        budget: usize,
        found: &mut Vec<FoundKey<K>>,
    ) -> Result<Scan, StateError>;
}

impl<K: Key, V: Record> KeyWalk<K> for SharedTable<K, V> {
    fn find(
        &self,
        cursor: &mut ScanCursor,
        budget: usize,
        found: &mut Vec<FoundKey<K>>,
    ) -> Result<Scan, StateError> {
        let mut table = self.table.borrow_mut();
        find_in_layers(&mut table, cursor, budget, found, |()| true)
    }
}

impl<K: Key, T: super::held::Tables + FindKeys<K>> KeyWalk<K> for Held<T> {
    fn find(
        &self,
        cursor: &mut ScanCursor,
        budget: usize,
        found: &mut Vec<FoundKey<K>>,
    ) -> Result<Scan, StateError> {
        self.with_tables(|tables| tables.find_keys(cursor, budget, found))
    }
}

impl<K: Key, V: Record> Values<K, V> {
    fn walk(&self) -> Rc<dyn KeyWalk<K>> {
        match self {
            Values::Lasting(shared) => Rc::clone(shared) as _,
            Values::Expiring(held) => Rc::clone(held) as _,
        }
    }
}

impl<L, E> Kept<L, E> {
    fn walk<K: Key>(&self) -> Rc<dyn KeyWalk<K>>
    where
        L: super::held::Tables + FindKeys<K> + 'static,
        E: super::held::Tables + FindKeys<K> + 'static,
    {
        match self {
            Kept::Lasting(held) => Rc::clone(held) as _,
            Kept::Expiring(held) => Rc::clone(held) as _,
        }
    }
}

impl<K: Key, V: Record> KeyedState<K> for ValueState<K, V> {
    fn walk(&self) -> Rc<dyn KeyWalk<K>> {
        self.values.walk()
    }
}

impl<K: Key, V: Record, F: Fn(&mut V, V)> KeyedState<K> for ReducingState<K, V, F> {
    fn walk(&self) -> Rc<dyn KeyWalk<K>> {
        self.values.walk()
    }
}

impl<K: Key, IN, ACC: Record, OUT> KeyedState<K> for AggregatingState<K, IN, ACC, OUT> {
    fn walk(&self) -> Rc<dyn KeyWalk<K>> {
        self.tables.walk()
    }
}

impl<K: Key, V: Record> KeyedState<K> for ListState<K, V> {
    fn walk(&self) -> Rc<dyn KeyWalk<K>> {
        self.tables.walk()
    }
}

impl<K: Key, UK: RecordKey + Eq, UV: Record> KeyedState<K> for MapState<K, UK, UV> {
    fn walk(&self) -> Rc<dyn KeyWalk<K>> {
        self.tables.walk()
    }
}

impl<K: Key, V: Record, A: Aging<V>> FindKeys<K> for Cells<K, V, (), A> {
    fn find_keys(
        &mut self,
        cursor: &mut ScanCursor,
        budget: usize,
        found: &mut Vec<FoundKey<K>>,
    ) -> Result<Scan, StateError> {
        find_in_layers(self.table_mut(), cursor, budget, found, |()| true)
    }
}

impl<K: Key, V: Record, A: Aging<V>> FindKeys<K> for ListChunks<K, V, (), A> {
    fn find_keys(
        &mut self,
        cursor: &mut ScanCursor,
        budget: usize,
        found: &mut Vec<FoundKey<K>>,
    ) -> Result<Scan, StateError> {
        let first = |chunk: &super::chunk::Chunk<()>| chunk.number == 0;
        find_in_layers(self.table_mut(), cursor, budget, found, first)
    }
}

impl<K, UK, UV, A> FindKeys<K> for MapEntries<K, UK, UV, (), A>
where
    K: Key,
    UK: RecordKey + Eq,
    UV: Record,
    A: Aging<UV>,
{
    fn find_keys(
        &mut self,
        cursor: &mut ScanCursor,
        budget: usize,
        found: &mut Vec<FoundKey<K>>,
    ) -> Result<Scan, StateError> {
        if self.has_spilled() {
            return Err(StateError::WalkedOnDisk);
        }
        let first = |chunk: &super::chunk::Chunk<()>| chunk.number == 0;
        find_in(self.index_mut(), cursor, budget, found, first)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::MaxParallelism;

    use super::*;
    use crate::KeyedBackend;

    fn visited(budget: &Budget, state: &impl KeyedState<u64>) -> Vec<u64> {
        let mut keys = KeysOfState::<u64>::new(state, budget.clone());
        while !keys.gather(7).unwrap() {}
        let mut all = Vec::new();
        while let Some((hash, key)) = keys.next_key() {
            assert_eq!(hash, u64::hash(&key));
            all.push(key);
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn each_key_of_every_kind_of_state_is_found_once() {
        let budget = Budget::new("slot", 1 << 28);
        let max = MaxParallelism::default();
        let mut backend = KeyedBackend::<u64>::in_memory(0..128, max, budget.clone());
        let mut value = backend.value_state::<String>("value").unwrap();
        let mut list = backend.list_state::<String>("list").unwrap();
        let mut map = backend.map_state::<u64, u64>("map").unwrap();
        for key in 0..500_u64 {
            backend.context().set_current(u64::hash(&key), &key);
            value.set(key.to_string()).unwrap();
            for element in 0..key % 400 {
                list.add(element.to_string()).unwrap();
                map.put(element, key).unwrap();
            }
        }
        let some: Vec<u64> = (0..500).filter(|key| key % 400 > 0).collect();
        assert_eq!(visited(&budget, &value), (0..500).collect::<Vec<_>>());
        assert_eq!(visited(&budget, &list), some);
        assert_eq!(visited(&budget, &map), some);
        // The first walk ended the tables' growth.
        let held = budget.used();
        assert_eq!(visited(&budget, &map), some);
        assert_eq!(budget.used(), held, "the copies are given back");
    }
}
