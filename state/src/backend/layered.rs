//! States of a backend that may be larger than their memory.
//!
//! Entered by the operator for records and timers ahead while something is on disk, and once per turn. Values,
//! reducing and aggregating states overflow, where the operator asked for that before it declared them; lists
//! and maps stay in memory. Invariant: with nothing to overflow to, nothing here costs more than a look at an
//! empty list. Lives on one shard's thread.

use std::ops::Range;
use std::rc::Rc;

use thalweg_core::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::{Key, Record};

use super::facade::KeyedBackend;
use crate::descriptor::StateDescriptor;
use crate::error::StateError;
use crate::keyed::SoughtState;
use crate::lsm::{LayeredTable, Overflow, Pressure};
use crate::table::Namespace;

/// Makes what takes the entries of a state that memory does not hold, for some key groups.
pub type MakeOverflow = Box<dyn Fn(&StateDescriptor, Range<u16>) -> Box<Overflow>>;

impl<K: Key> KeyedBackend<K> {
    /// States declared from now on may be larger than their memory.
    #[must_use]
    pub fn overflowing(mut self, make: MakeOverflow) -> KeyedBackend<K> {
        self.make_overflow = Some(make);
        self
    }

    /// An empty table of a state, which may overflow if its entries have nothing but a key.
    pub(super) fn new_layered<V: Record, N: Namespace>(
        &self,
        descriptor: &StateDescriptor,
    ) -> Result<LayeredTable<K, V, N>, StateError> {
        let make = self.make_overflow.as_ref().filter(|_| N::ONLY.is_some());
        let overflow = make.map(|make| make(descriptor, self.groups()));
        Ok(LayeredTable::new(self.new_table()?, overflow))
    }

    /// A state was made that may overflow.
    pub(super) fn seek_in(&mut self, state: Rc<dyn SoughtState<K>>) {
        if self.make_overflow.is_some() {
            self.sought.push(state);
        }
    }

    /// Whether any state may be larger than its memory.
    #[must_use]
    pub fn may_overflow(&self) -> bool {
        !self.sought.is_empty()
    }

    /// Whether the entries of records and timers have to be sought before a function is called for them.
    #[inline]
    #[must_use]
    pub fn overflows(&self) -> bool {
        self.sought.iter().any(|state| state.is_active())
    }

    /// Whether there is room for what so many records may add to each state.
    #[must_use]
    pub fn has_room(&self, records: usize) -> bool {
        // All are asked: each makes room for itself.
        let short = self.sought.iter().filter(|state| !state.has_room(records));
        short.count() == 0
    }

    /// Seeks what a key has in all states, for the record at a place of the window or for one of the timers
    /// behind it ([`LayeredTable::seek`]). Whether all of it is there, or nowhere.
    #[must_use]
    pub fn seek(&self, place: usize, hash: KeyHash, key: &K::Of<'_>) -> bool {
        let missing = self
            .sought
            .iter()
            .filter(|state| !state.seek(place, hash, key));
        missing.count() == 0
    }

    /// A turn begins: takes in what the disk has read and written.
    ///
    /// # Errors
    /// What the disk could not do, and damage.
    pub fn begin_turn(&self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        let mut states = self.sought.iter();
        states.try_for_each(|state| state.begin_turn(context))
    }

    /// A turn ends: hands requests to the disk, makes room; `waiting`: a record or timer waits for that.
    ///
    /// # Errors
    /// What the disk could not do; memory that is too little for the records in work.
    pub fn end_turn(
        &self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let mut pressure = Pressure::None;
        for state in &self.sought {
            pressure = pressure.max(state.end_turn(context, waiting)?);
        }
        Ok(pressure)
    }

    /// Shows what stands below each state.
    pub fn show_overflow(&self, mut to: impl FnMut(&Overflow)) {
        for state in &self.sought {
            state.show(&mut to);
        }
    }
}

#[cfg(test)]
#[path = "layered_tests.rs"]
mod tests;
