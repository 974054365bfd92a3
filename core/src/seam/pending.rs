//! The table of operations in flight, the same for all drivers.
//!
//! Entered by the drivers. Invariant: an operation's outcome is stored once and taken once; a cancelled
//! one is forgotten and its late outcome dropped. Lives on the shard's thread.

use hashbrown::HashMap;

use crate::seam::reactor::{OpId, OpResult};
use crate::shard::step::TaskWaker;

enum Entry {
    Flying(TaskWaker),
    Landed(OpResult),
}

/// Operations in flight and outcomes not yet taken.
pub(crate) struct Pending {
    entries: HashMap<OpId, Entry, foldhash::fast::FixedState>,
    next: u64,
    flying: usize,
    landed: usize,
}

impl Pending {
    pub(crate) fn new() -> Pending {
        let hasher = foldhash::fast::FixedState::with_seed(0);
        Pending {
            entries: HashMap::with_hasher(hasher),
            next: 0,
            flying: 0,
            landed: 0,
        }
    }

    /// Notes a new operation.
    pub(crate) fn begin(&mut self, waker: TaskWaker) -> OpId {
        self.next += 1;
        let id = OpId(self.next);
        self.entries.insert(id, Entry::Flying(waker));
        self.flying += 1;
        id
    }

    /// Notes the outcome and wakes the task. A cancelled operation's outcome is dropped.
    pub(crate) fn finish(&mut self, id: OpId, result: OpResult) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let Entry::Flying(waker) = std::mem::replace(entry, Entry::Landed(result)) else {
            unreachable!("operation {id:?} has completed twice");
        };
        self.flying -= 1;
        self.landed += 1;
        waker.wake();
    }

    /// The outcome, once.
    pub(crate) fn take(&mut self, id: OpId) -> Option<OpResult> {
        if !matches!(self.entries.get(&id), Some(Entry::Landed(_))) {
            return None;
        }
        match self.entries.remove(&id) {
            Some(Entry::Landed(result)) => Some(result),
            _ => unreachable!("looked at just above"),
        }
    }

    /// Forgets an operation; true if it was in flight.
    pub(crate) fn cancel(&mut self, id: OpId) -> bool {
        let flying = matches!(self.entries.remove(&id), Some(Entry::Flying(_)));
        self.flying -= usize::from(flying);
        flying
    }

    /// Whether an operation is still in flight: neither answered nor cancelled.
    pub(crate) fn is_flying(&self, id: OpId) -> bool {
        matches!(self.entries.get(&id), Some(Entry::Flying(_)))
    }

    /// How many operations are in flight.
    pub(crate) fn flying(&self) -> usize {
        self.flying
    }

    /// How many operations landed since the last call.
    pub(crate) fn count_landed(&mut self) -> usize {
        std::mem::take(&mut self.landed)
    }
}
