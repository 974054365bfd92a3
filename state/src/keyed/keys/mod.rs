//! The keys that have something in a state, wherever it is, given out one after the other.
//!
//! Entered by operators that let a function visit every key of a state, whichever kind of state it is. Of a state that
//! is all in memory all keys are gathered first, in slices. Of one that is partly on disk they are gathered some key
//! groups at a time (`groups`): first those in memory, then, while these are visited, those that only runs know; whoever
//! visits one asks when all it has is there whether that is anything. `find` is where each kind of state has them.
//!
//! Invariants: every key that has something in the state all the time is given out exactly once, in about the order of
//! key groups, as long as nothing but what the visited key has is changed meanwhile. The keys are copies, so what a key
//! has may change while it is visited; their memory counts in the slot's budget. Lives on one shard's thread.

mod find;
mod groups;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::rc::Rc;

use thalweg_core::KeyHash;
use thalweg_memory::{Budget, Key, Record, RecordKey};

use self::find::FindKeys;
use self::groups::ByGroups;
use super::held::{Held, Kept, Tables};
use super::shared::SharedTable;
use super::values::Values;
use super::{AggregatingState, ListState, MapState, ReducingState, ValueState};
use crate::backend::StateTable;
use crate::error::StateError;
use crate::table::{Account, Scan, ScanCursor};

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
    /// Works on what finds them.
    fn with_keys(&self, work: &mut dyn FnMut(&mut dyn FindKeys<K>));
}

/// Works on what finds the keys of a state.
fn with_keys<K: Key, R>(state: &dyn KeyWalk<K>, work: impl FnOnce(&mut dyn FindKeys<K>) -> R) -> R {
    let (mut work, mut answer) = (Some(work), None);
    state.with_keys(&mut |keys| answer = work.take().map(|work| work(keys)));
    match answer {
        Some(answer) => answer,
        None => unreachable!("a state has what finds its keys"),
    }
}

/// How far the gathering of keys is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// The next key is there, or there is none.
    Next,
    /// More can be gathered at once.
    More,
    /// The disk is at work.
    Waiting,
}

/// The keys of one state.
pub struct KeysOfState<K: Key> {
    state: Rc<dyn KeyWalk<K>>,
    way: Way<K>,
    /// Those that were gathered; the first is given out next.
    found: VecDeque<FoundKey<K>>,
    account: Account,
}

/// How keys are gathered.
enum Way<K: Key> {
    /// All of them, from memory.
    AtOnce(ScanCursor, Vec<FoundKey<K>>),
    /// All were, and they stand in line.
    InLine,
    /// Some key groups at a time, from memory and disk.
    ByGroups(ByGroups<K>),
}

impl<K: Key> KeysOfState<K> {
    /// The keys of `state`, whose copies count in `budget`.
    #[must_use]
    pub fn new(state: &impl KeyedState<K>, budget: Budget) -> Self {
        Self {
            state: state.walk(),
            way: Way::AtOnce(ScanCursor::new(), Vec::new()),
            found: VecDeque::new(),
            account: Account::new(budget),
        }
    }

    /// The name of the state.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.descriptor().name()
    }

    /// Looks at the next `limit` entries of the state, unless enough keys are there. Where it answers that it waits, the
    /// state's end of the turn has to follow.
    ///
    /// # Errors
    /// When the budget has no room for the keys, and none of the state can leave memory; what could not be read.
    pub fn gather(&mut self, limit: usize) -> Result<Gathered, StateError> {
        match &mut self.way {
            Way::AtOnce(..) => self.gather_at_once(limit),
            Way::InLine => Ok(Gathered::Next),
            Way::ByGroups(groups) => groups.gather(&*self.state, limit, &mut self.found),
        }
    }

    fn gather_at_once(&mut self, limit: usize) -> Result<Gathered, StateError> {
        let Way::AtOnce(cursor, gathered) = &mut self.way else {
            return Ok(Gathered::Next);
        };
        let before = gathered.len();
        let (may_spill, scanned) = with_keys(&*self.state, |keys| {
            let scanned = match keys.below().has_spilled() {
                true => Err(StateError::WalkedOnDisk),
                false => keys.above().find(cursor, limit, gathered),
            };
            (keys.below().may_spill(), scanned)
        });
        match scanned {
            Ok(scanned) => {
                let bytes = gathered[before..].iter().map(bytes::<K>).sum();
                let refused = self.account.reserve(bytes).err();
                match refused {
                    Some(refused) if !may_spill => return Err(refused.into()),
                    Some(_) => self.go_by_groups(),
                    None if scanned == Scan::Done => {
                        self.found = std::mem::take(gathered).into();
                        self.way = Way::InLine;
                        return Ok(Gathered::Next);
                    }
                    None => {}
                }
            }
            Err(StateError::ScanOvertaken) => {
                (*cursor, *gathered) = (ScanCursor::new(), Vec::new());
                self.account.release(self.account.bytes());
            }
            Err(StateError::WalkedOnDisk) => self.go_by_groups(),
            Err(error) => return Err(error),
        }
        Ok(Gathered::More)
    }

    /// Begins anew, with some key groups at a time: something is on disk, or will be. No key was given out yet.
    fn go_by_groups(&mut self) {
        self.account.release(self.account.bytes());
        let groups = with_keys(&*self.state, |keys| keys.above().groups());
        self.way = Way::ByGroups(ByGroups::new(groups));
    }

    /// The keys that come next, in order, as far as they are gathered.
    pub fn coming(&self) -> impl Iterator<Item = &FoundKey<K>> {
        self.found.iter()
    }

    /// The next key, once [`KeysOfState::gather`] says that it is there; none behind the last.
    pub fn next_key(&mut self) -> Option<FoundKey<K>> {
        debug_assert!(
            !matches!(self.way, Way::AtOnce(..)),
            "keys are visited when all are known"
        );
        let key = self.found.pop_front()?;
        match &mut self.way {
            Way::ByGroups(groups) => groups.give_out(&key),
            Way::AtOnce(..) | Way::InLine => self.account.release(bytes::<K>(&key)),
        }
        Some(key)
    }

    /// Whether a key that was given out has something: to be asked when all it has in the state is in memory, or
    /// nowhere.
    #[must_use]
    pub fn has(&self, (hash, key): &FoundKey<K>) -> bool {
        match self.way {
            Way::ByGroups(_) => with_keys(&*self.state, |keys| keys.has(*hash, &K::lend(key))),
            Way::AtOnce(..) | Way::InLine => true,
        }
    }
}

/// Bytes of a copy.
fn bytes<K: Key>((_, key): &FoundKey<K>) -> u64 {
    (size_of::<FoundKey<K>>() + K::stored_heap_bytes(key)) as u64
}

impl<K: Key, V: Record> KeyWalk<K> for SharedTable<K, V> {
    fn with_keys(&self, work: &mut dyn FnMut(&mut dyn FindKeys<K>)) {
        work(&mut *self.table.borrow_mut());
    }
}

impl<K: Key, T: Tables + FindKeys<K>> KeyWalk<K> for Held<T> {
    fn with_keys(&self, work: &mut dyn FnMut(&mut dyn FindKeys<K>)) {
        self.with_tables(|tables| work(tables));
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
        L: Tables + FindKeys<K> + 'static,
        E: Tables + FindKeys<K> + 'static,
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
