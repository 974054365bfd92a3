//! A table with what lies below it: the hot layer in memory, and runs on disk where it may overflow.
//!
//! Entered by who owns it as a [`KeyedTable`] is, once what is asked for is there: it *seeks* the entries of
//! records ahead and of timers that are due, and works on none before. Invariants: without an overflow it is
//! a table and no more; what is removed here is removed in the runs below too. Lives on one shard's thread.

use std::rc::Rc;

use thalweg_core::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::{Key, Record};

use super::overflow::{Overflow, Pressure};
use super::restoring::Restoring;
use crate::error::StateError;
use crate::table::{KeyedTable, Namespace, OverflowRows};

/// What stands below a table, and whether something is wanting of it.
pub(crate) type Below<'a> = (&'a mut Overflow, &'a mut bool);

/// A keyed table that may be larger than its memory.
///
/// The names of its calls are those of [`Overflow`], which says what they are for.
pub struct LayeredTable<K: Key, V: Record, N: Namespace = ()> {
    pub(super) table: KeyedTable<K, V, N>,
    pub(super) overflow: Option<Box<Overflow>>,
    /// What is not in memory yet, of a table that will be as a whole.
    pub(super) restoring: Option<Box<Restoring>>,
    /// Something was sought in vain in this turn, or there was no room.
    pub(super) wanting: bool,
}

impl<K: Key, V: Record, N: Namespace> LayeredTable<K, V, N> {
    /// A table that overflows there, or that is all in memory.
    #[must_use]
    pub fn new(table: KeyedTable<K, V, N>, overflow: Option<Box<Overflow>>) -> Self {
        LayeredTable {
            table,
            overflow,
            restoring: None,
            wanting: false,
        }
    }

    /// The same, which may be taken back from a copy while it is at work.
    #[must_use]
    pub fn coming_back_by(self, restoring: Option<Box<Restoring>>) -> Self {
        debug_assert!(
            restoring.is_none() || self.overflow.is_none(),
            "what overflows stays on disk"
        );
        LayeredTable { restoring, ..self }
    }

    /// What is in memory. A walk over it does not see what is on disk.
    #[inline(always)]
    pub fn hot(&self) -> &KeyedTable<K, V, N> {
        &self.table
    }

    /// The same, to work on entries that are there. To remove some there is [`LayeredTable::remove_in`].
    #[inline(always)]
    pub fn hot_mut(&mut self) -> &mut KeyedTable<K, V, N> {
        &mut self.table
    }

    /// Runs are merged without the values that are over by then; `as_of_now` answers at the start of each merge
    /// which those are. What is over must stay so until it is changed, and be shown to nobody who must see it.
    pub(crate) fn leave_out<F: Fn(&V) -> bool + 'static>(
        &mut self,
        as_of_now: impl Fn() -> F + 'static,
    ) {
        if let Some(overflow) = &mut self.overflow {
            let as_of_now = Rc::new(as_of_now);
            let over_by_now = Rc::clone(&as_of_now);
            self.table
                .leave_out(Box::new(move || Box::new(over_by_now())));
            overflow.leave_out(Box::new(move || {
                let (is_over, mut rows) = (as_of_now(), OverflowRows::new());
                Box::new(move |value| Ok(is_over(&rows.value(value)?)))
            }));
        }
    }

    /// What takes what memory does not hold.
    #[must_use]
    pub fn overflow(&self) -> Option<&Overflow> {
        self.overflow.as_deref()
    }

    /// Whether entries may be on disk, so that a walk would miss some.
    pub(crate) fn has_spilled(&self) -> bool {
        let overflow = self.overflow.as_ref();
        overflow.is_some_and(|overflow| overflow.has_spilled())
    }

    /// Bytes of memory, with those of what stands beside the table.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        match (&self.overflow, &self.restoring) {
            (Some(overflow), _) => overflow.memory_bytes(&self.table),
            (None, Some(restoring)) => self.table.memory_bytes() + restoring.memory_bytes(),
            (None, None) => self.table.memory_bytes(),
        }
    }

    /// Takes out the value of `key` in `namespace`, which is in memory or nowhere.
    pub fn remove_in(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> Option<V> {
        let (value, held) = self.table.remove_told(hash, key, namespace)?;
        if held && let Some(restoring) = &mut self.restoring {
            restoring.remove::<K, N>(self.table.group_of(hash), key, namespace);
        }
        if held
            && let Some(overflow) = &mut self.overflow
            && overflow.has_spilled()
        {
            let group = self.table.group_of(hash);
            overflow.bury::<K, N>((hash, group), key, namespace);
        }
        Some(value)
    }

    /// Removes the entry of `key` in `namespace` wherever it is, without reading it. Whoever removes many asks
    /// [`LayeredTable::may_forget`] before each.
    pub fn forget_in(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) {
        debug_assert!(
            self.restoring.as_ref().is_none_or(|it| !it.is_active()),
            "what comes back late is sought before it is removed"
        );
        if self.remove_in(hash, key, namespace).is_none()
            && let Some(overflow) = &mut self.overflow
        {
            let group = self.table.group_of(hash);
            overflow.forget::<K, N>((hash, group), key, namespace);
        }
    }

    /// Whether more may be forgotten: not while the disk is far behind with writing down what was.
    pub fn may_forget(&mut self) -> bool {
        let overflow = self.overflow.as_ref();
        let may = overflow.is_none_or(|overflow| overflow.may_forget());
        self.wanting |= !may;
        may
    }

    /// The table, and what takes what memory does not hold: for whoever keeps more than the table in memory.
    pub(crate) fn split(&mut self) -> (&mut KeyedTable<K, V, N>, Option<Below<'_>>) {
        let (overflow, wanting) = (self.overflow.as_deref_mut(), &mut self.wanting);
        (
            &mut self.table,
            overflow.map(|overflow| (overflow, wanting)),
        )
    }

    /// Whether entries have to be sought before they are worked on. Cheap.
    #[inline(always)]
    #[must_use]
    pub fn is_active(&self) -> bool {
        let overflow = self.overflow.as_ref();
        let restoring = self.restoring.as_ref();
        overflow.is_some_and(|overflow| overflow.is_active(&self.table))
            || restoring.is_some_and(|restoring| restoring.is_active())
    }

    /// Whether there is room for so many more entries. Without an overflow that shows when they come.
    pub fn has_room(&mut self, records: usize) -> bool {
        let Some(overflow) = &mut self.overflow else {
            return true;
        };
        overflow.first_comes();
        let room = overflow.has_room(&self.table, records);
        self.wanting |= !room;
        room
    }

    /// How many of some records that have all they need may be applied at once, from the first on: one at least, and
    /// no more than there is memory for by what such records have added lately. They may take one part in `parts` of
    /// what the slot has left, as other states grow too.
    pub fn let_in(&mut self, records: usize, parts: u64) -> usize {
        let Some(overflow) = &mut self.overflow else {
            return records;
        };
        let room = overflow.let_in(&self.table, records, parts);
        self.wanting |= room < records;
        room
    }

    /// Seeks an entry for what is ahead at a place: a record's in the window, or that of one of
    /// [`DUE`](super::DUE) timers behind it. Whether it is there, or nowhere.
    #[inline]
    pub fn seek(&mut self, place: usize, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> bool {
        let table = &mut self.table;
        let found = match (&mut self.overflow, &mut self.restoring) {
            (Some(overflow), _) => overflow.seek(table, place, hash, key, namespace),
            (None, Some(restoring)) => restoring.seek(table, hash, key, namespace),
            (None, None) => true,
        };
        self.wanting |= !found;
        found
    }

    /// The same for several entries of a key.
    pub fn seek_each(
        &mut self,
        place: usize,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespaces: &[N],
    ) -> bool {
        let Some(overflow) = &mut self.overflow else {
            return true;
        };
        let found = overflow.seek_each(&mut self.table, place, (hash, key), namespaces);
        self.wanting |= !found;
        found
    }

    /// A turn begins.
    ///
    /// # Errors
    /// What the disk could not do, and damage.
    pub fn begin_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        self.wanting = false;
        if let Some(restoring) = &mut self.restoring {
            restoring.begin_turn(&mut self.table, context)?;
            if restoring.is_over() {
                self.restoring = None;
            }
        }
        match &mut self.overflow {
            Some(overflow) => overflow.begin_turn(&mut self.table, context),
            None => Ok(()),
        }
    }

    /// A turn ends; `waiting`: something waits for what was sought, or for room.
    ///
    /// # Errors
    /// What the disk could not do; memory that is too little for the records in work.
    pub fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        if let Some(restoring) = &mut self.restoring {
            return restoring.end_turn(&mut self.table, context, waiting && self.wanting);
        }
        let Some(overflow) = &mut self.overflow else {
            return Ok(Pressure::None);
        };
        if waiting && self.wanting {
            overflow.stall();
        }
        overflow.end_turn(&mut self.table, context)
    }
}
