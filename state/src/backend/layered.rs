//! States of a backend that may be larger than their memory.
//!
//! Entered by the operator for records and timers ahead while something is on disk, and once per turn. States
//! overflow where the operator asked for that before it declared them, unless they have namespaces. Invariant: with
//! nothing to overflow to, nothing here costs more than a look at an empty list. Lives on one shard's thread.

use std::ops::Range;
use std::rc::Rc;

use thalweg_core::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::{Key, Record};

use super::facade::KeyedBackend;
use crate::descriptor::StateDescriptor;
use crate::error::StateError;
use crate::keyed::SoughtState;
use crate::lsm::{LayeredTable, Overflow, Pressure, Restoring, Unit};
use crate::table::Namespace;

/// Makes what takes the entries of a state that memory does not hold, for some key groups.
pub type MakeOverflow = Box<dyn Fn(&StateDescriptor, Range<u16>) -> Box<Overflow>>;
/// Makes what takes a state of some key groups back while its operator is at work.
pub type MakeRestoring = Box<dyn Fn(Range<u16>) -> Box<Restoring>>;

impl<K: Key> KeyedBackend<K> {
    /// States declared from now on may be larger than their memory.
    #[must_use]
    pub fn overflowing(mut self, make: MakeOverflow) -> KeyedBackend<K> {
        self.make_overflow = Some(make);
        self
    }

    /// States declared from now on may be taken back while the operator is at work.
    #[must_use]
    pub fn restoring(mut self, make: MakeRestoring) -> KeyedBackend<K> {
        self.make_restoring = Some(make);
        self
    }

    /// An empty table of a state of namespaces `N`, which may overflow if there is only one, or come back late. Its
    /// entries, whose namespaces are `P`, leave by `unit`.
    pub(super) fn new_layered<V: Record, N: Namespace, P: Namespace>(
        &self,
        descriptor: &StateDescriptor,
        unit: Unit,
    ) -> Result<LayeredTable<K, V, P>, StateError> {
        let make = self.make_overflow.as_ref().filter(|_| N::ONLY.is_some());
        let overflow = make.map(|make| Box::new(make(descriptor, self.groups()).leaving_by(unit)));
        // All that a key has of many entries comes at once: not where each is sought by itself.
        let make = self.make_restoring.as_ref().filter(|_| N::ONLY.is_some());
        let make = make.filter(|_| unit == Unit::Entry && overflow.is_none());
        let restoring = make.map(|make| make(self.groups()));
        Ok(LayeredTable::new(self.new_table()?, overflow).coming_back_by(restoring))
    }

    /// A state was made that may overflow, or come back late.
    pub(super) fn seek_in(&mut self, state: Rc<dyn SoughtState<K>>) {
        if self.make_overflow.is_some() || self.make_restoring.is_some() {
            self.sought.push(state);
        }
    }

    /// Whether any state may be larger than its memory.
    #[must_use]
    pub fn may_overflow(&self) -> bool {
        self.make_overflow.is_some() && !self.sought.is_empty()
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

    /// How many of some records that have all they need may be applied at once, from the first on: as many as there is
    /// memory for by what such records have added lately, and one at least.
    #[must_use]
    pub fn let_in(&self, records: usize) -> usize {
        // One part is left to states that do not overflow.
        let parts = self.sought.len() as u64 + 1;
        let states = self.sought.iter();
        let rooms = states.map(|state| state.let_in(records, parts));
        rooms.fold(records, usize::min)
    }

    /// Seeks what a key has in all states, for the record at a place of the window or for one of the timers
    /// behind it ([`LayeredTable::seek`]). Whether all of it is there, or nowhere.
    ///
    /// First is asked for room, then what is sought next is worked on first: once that is there, without waiting for
    /// those behind it. Where memory is very little, nothing is read for others meanwhile.
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
        states.try_for_each(|state| {
            let mut begun = Ok(());
            state.with_layers(&mut |layers| begun = layers.begin_turn(context));
            begun
        })
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
            let mut ended = Ok(Pressure::None);
            state.with_layers(&mut |layers| ended = layers.end_turn(context, waiting));
            pressure = pressure.max(ended?);
        }
        Ok(pressure)
    }

    /// Shows what stands below each state.
    pub fn show_overflow(&self, mut to: impl FnMut(&Overflow)) {
        for state in &self.sought {
            state.with_layers(&mut |layers| layers.overflow().into_iter().for_each(&mut to));
        }
    }
}

#[cfg(test)]
#[path = "layered_tests.rs"]
mod tests;
