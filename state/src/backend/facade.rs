//! The door of an operator to its keyed state: makes handles, knows the current key.
//!
//! Entered when an operator opens (states are declared) and per record (the key is set). Invariant: all
//! handles of one facade share its current key. Lives on one shard's thread.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use thalweg_core::{KeyHash, MaxParallelism, Timestamp};
use thalweg_memory::{Budget, Key, Record};

use super::contract::{Backend, Residency, StateTable};
use super::hashmap::HashMapBackend;
use super::layered::{MakeOverflow, MakeRestoring};
use crate::descriptor::{StateDescriptor, StateKind};
use crate::error::StateError;
use crate::keyed::{
    KeyedContext, ProcessingClock, ReducingState, SharedTable, SoughtState, ValueState, Values,
};
use crate::lsm::Unit;
use crate::snapshot::StateVisitor;
use crate::table::{KeyedTable, Namespace};

/// The keyed states of one operator of one subtask.
///
/// ```
/// use thalweg_core::MaxParallelism;
/// use thalweg_memory::{Budget, Key, Str};
/// use thalweg_state::KeyedBackend;
///
/// let slot = Budget::new("slot-0", 1 << 20);
/// let mut backend = KeyedBackend::<Str>::in_memory(0..128, MaxParallelism::default(), slot);
/// let mut seen = backend.value_state::<u64>("seen")?;
/// for word in ["a", "b", "a"] {
///     backend.context().set_current(Str::hash(&word), &word);
///     seen.update(|count| *count += 1)?;
/// }
/// assert_eq!(seen.get()?, Some(2));
/// # Ok::<(), thalweg_state::StateError>(())
/// ```
pub struct KeyedBackend<K: Key> {
    context: Rc<KeyedContext<K>>,
    backend: Box<dyn Backend>,
    groups: Range<u16>,
    max: MaxParallelism,
    budget: Budget,
    clock: ProcessingClock,
    /// Whether any state has a time to live.
    expires: bool,
    /// Makes what states overflow to.
    pub(super) make_overflow: Option<MakeOverflow>,
    /// Makes what takes states back while the operator is at work.
    pub(super) make_restoring: Option<MakeRestoring>,
    /// States that may be larger than their memory.
    pub(super) sought: Vec<Rc<dyn SoughtState<K>>>,
}

impl<K: Key> KeyedBackend<K> {
    /// States for `groups` of `max` key groups, kept by `backend` within `budget`.
    #[must_use]
    pub fn new(
        groups: Range<u16>,
        max: MaxParallelism,
        budget: Budget,
        backend: Box<dyn Backend>,
    ) -> KeyedBackend<K> {
        let context = Rc::new(KeyedContext::new());
        KeyedBackend {
            context,
            backend,
            groups,
            max,
            budget,
            clock: Rc::new(Cell::new(Timestamp(0))),
            expires: false,
            make_overflow: None,
            make_restoring: None,
            sought: Vec::new(),
        }
    }

    /// The same, all in memory.
    #[must_use]
    pub fn in_memory(groups: Range<u16>, max: MaxParallelism, budget: Budget) -> KeyedBackend<K> {
        KeyedBackend::new(groups, max, budget, Box::new(HashMapBackend::new()))
    }

    /// The current key, to be set before each record.
    #[must_use]
    pub fn context(&self) -> &Rc<KeyedContext<K>> {
        &self.context
    }

    /// Declares a value state `name`.
    ///
    /// # Errors
    /// When the operator has a state of that name, or there is no memory for an empty table.
    pub fn value_state<V: Record>(
        &mut self,
        name: impl Into<String>,
    ) -> Result<ValueState<K, V>, StateError> {
        self.value_state_of(StateDescriptor::new::<V>(name, StateKind::Value))
    }

    /// Declares the value state that `descriptor` describes.
    ///
    /// # Errors
    /// As [`KeyedBackend::value_state`].
    pub fn value_state_of<V: Record>(
        &mut self,
        descriptor: StateDescriptor,
    ) -> Result<ValueState<K, V>, StateError> {
        let values = self.values(descriptor)?;
        Ok(ValueState::new(values, Rc::clone(&self.context)))
    }

    /// Declares a reducing state `name`; `reduce` makes its second argument part of its first.
    ///
    /// # Errors
    /// As [`KeyedBackend::value_state`].
    pub fn reducing_state<V: Record, F: Fn(&mut V, V)>(
        &mut self,
        name: impl Into<String>,
        reduce: F,
    ) -> Result<ReducingState<K, V, F>, StateError> {
        self.reducing_state_of(StateDescriptor::new::<V>(name, StateKind::Reducing), reduce)
    }

    /// Declares the reducing state that `descriptor` describes.
    ///
    /// # Errors
    /// As [`KeyedBackend::value_state`].
    pub fn reducing_state_of<V: Record, F: Fn(&mut V, V)>(
        &mut self,
        descriptor: StateDescriptor,
        reduce: F,
    ) -> Result<ReducingState<K, V, F>, StateError> {
        let values = self.values(descriptor)?;
        Ok(ReducingState::new(values, Rc::clone(&self.context), reduce))
    }

    fn values<V: Record>(
        &mut self,
        descriptor: StateDescriptor,
    ) -> Result<Values<K, V>, StateError> {
        if let Some(ttl) = descriptor.ttl() {
            return Ok(Values::Expiring(self.expiring_cells(descriptor, ttl)?));
        }
        let descriptor = descriptor.of_values::<V>().of_keys::<K, ()>();
        let table = RefCell::new(self.new_layered::<V, (), ()>(&descriptor, Unit::Entry)?);
        let shared = Rc::new(SharedTable { descriptor, table });
        self.register(Rc::clone(&shared) as _)?;
        self.seek_in(Rc::clone(&shared) as _);
        Ok(Values::Lasting(shared))
    }

    pub(super) fn groups(&self) -> Range<u16> {
        self.groups.clone()
    }

    /// An empty table for the key groups of this backend.
    pub(super) fn new_table<V: Record, N: Namespace>(
        &self,
    ) -> Result<KeyedTable<K, V, N>, StateError> {
        KeyedTable::new(self.groups.clone(), self.max, self.budget.clone())
    }

    /// Gives a state into the backend's care.
    pub(super) fn register(&mut self, table: Rc<dyn StateTable>) -> Result<(), StateError> {
        let ttl = table.descriptor().ttl();
        if ttl.is_some_and(|ttl| !ttl.is_positive()) {
            let state = table.descriptor().name().to_owned();
            return Err(StateError::NoTimeToLive { state });
        }
        self.expires |= ttl.is_some();
        self.backend.register(table)
    }

    /// The processing time, shared with the states that have a time to live.
    pub(super) fn clock(&self) -> &ProcessingClock {
        &self.clock
    }

    /// Removes what has expired among the next `budget` entries of each state that has a time to live;
    /// answers how much that was. Each call goes on where the last one ended.
    ///
    /// # Errors
    /// When a change does not fit the memory.
    pub fn clean_expired(&mut self, budget: usize) -> Result<usize, StateError> {
        if !self.expires {
            return Ok(0);
        }
        self.backend.clean_expired(budget)
    }

    /// Makes the entries of the records ahead resident and near: the first of `hashes` is that of the
    /// record at the place `from` of the window, the others stand behind it.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn residency(&mut self, from: u8, hashes: &[KeyHash]) -> Result<Residency, StateError> {
        self.backend.residency(from, hashes)
    }

    /// Finds the entries of so many records that are resident, some records before each is applied.
    pub fn locate(&mut self, from: u8, records: usize) {
        self.backend.locate(from, records);
    }

    /// Shows every state, in the order of declaration, to what cuts, copies or restores them.
    ///
    /// # Errors
    /// That of the visitor; no further state is shown.
    ///
    /// ```
    /// use thalweg_core::{Epoch, MaxParallelism};
    /// use thalweg_memory::{Budget, Key};
    /// use thalweg_state::{CutKind, KeyedBackend, Row, Scan, Snapshot, StateDescriptor};
    ///
    /// let slot = Budget::new("slot-0", 1 << 20);
    /// let max = MaxParallelism::default();
    /// let mut backend = KeyedBackend::<u64>::in_memory(0..128, max, slot);
    /// let mut seen = backend.value_state::<u64>("seen")?;
    /// backend.context().set_current(u64::hash(&7), &7);
    /// seen.set(1)?;
    /// let mut rows = 0;
    /// backend.visit_states(&mut |state: &StateDescriptor, snapshot: &mut dyn Snapshot| {
    ///     assert_eq!((state.name(), state.key_type()), ("seen", "u64"));
    ///     let kind = snapshot.freeze(Epoch(1), CutKind::Changes);
    ///     assert_eq!(kind, CutKind::Everything, "the first cut writes all");
    ///     while snapshot.emit(100, &mut |_: Row<'_>| rows += 1)? == Scan::More {}
    ///     Ok(())
    /// })?;
    /// assert_eq!(rows, 1);
    /// # Ok::<(), thalweg_state::StateError>(())
    /// ```
    pub fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.backend.visit(visitor)
    }

    /// Bytes held by all states.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.backend.memory_bytes()
    }

    /// The descriptions of all states, in the order of declaration.
    #[must_use]
    pub fn states(&self) -> Vec<StateDescriptor> {
        self.backend.states()
    }
}

#[cfg(test)]
#[path = "facade_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "copies_tests.rs"]
mod copies_tests;
