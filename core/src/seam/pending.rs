//! The table of operations in flight, the same for all drivers.
//!
//! Entered by the drivers. Invariant: an operation's outcome is stored once and taken once; a cancelled
//! one is forgotten and its late outcome dropped; so is the outcome of a task that has gone. Lives on the
//! shard's thread.

use hashbrown::HashMap;

use crate::seam::reactor::{OpId, OpResult};
use crate::shard::step::TaskWaker;

enum Entry {
    Flying(TaskWaker),
    Landed(TaskWaker, OpResult),
}

/// Fewer entries than this are not worth a sweep.
const SWEEP_FROM: usize = 64;

/// Operations in flight and outcomes not yet taken.
pub(crate) struct Pending {
    entries: HashMap<OpId, Entry, foldhash::fast::FixedState>,
    next: u64,
    flying: usize,
    landed: usize,
    /// So many entries, and those of tasks that have gone are looked for.
    sweep_at: usize,
}

impl Pending {
    pub(crate) fn new() -> Pending {
        let hasher = foldhash::fast::FixedState::with_seed(0);
        Pending {
            entries: HashMap::with_hasher(hasher),
            next: 0,
            flying: 0,
            landed: 0,
            sweep_at: SWEEP_FROM,
        }
    }

    /// Notes a new operation.
    pub(crate) fn begin(&mut self, waker: TaskWaker) -> OpId {
        if self.entries.len() >= self.sweep_at {
            self.entries
                .retain(|_, entry| !matches!(entry, Entry::Landed(waker, _) if waker.is_gone()));
            self.sweep_at = SWEEP_FROM.max(2 * self.entries.len());
        }
        self.next += 1;
        let id = OpId(self.next);
        self.entries.insert(id, Entry::Flying(waker));
        self.flying += 1;
        id
    }

    /// Notes the outcome and wakes the task. A cancelled operation's outcome is dropped.
    pub(crate) fn finish(&mut self, id: OpId, result: OpResult) {
        let waker = match self.entries.get(&id) {
            None => return,
            Some(Entry::Flying(waker)) => waker.clone(),
            Some(Entry::Landed(..)) => unreachable!("operation {id:?} has completed twice"),
        };
        self.flying -= 1;
        self.landed += 1;
        if waker.is_gone() {
            self.entries.remove(&id);
            return;
        }
        waker.wake();
        self.entries.insert(id, Entry::Landed(waker, result));
    }

    /// The outcome, once.
    pub(crate) fn take(&mut self, id: OpId) -> Option<OpResult> {
        if !matches!(self.entries.get(&id), Some(Entry::Landed(..))) {
            return None;
        }
        match self.entries.remove(&id) {
            Some(Entry::Landed(_, result)) => Some(result),
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

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::seam::reactor::Outcome;
    use crate::shard::step::{RunQueue, TaskIndex};

    #[test]
    fn an_outcome_is_taken_once_and_a_cancelled_one_never() {
        let queue = Rc::new(RunQueue::default());
        let waker = TaskWaker::new(TaskIndex(1), Rc::clone(&queue));
        let mut pending = Pending::new();
        let (kept, cancelled) = (pending.begin(waker.clone()), pending.begin(waker));
        assert_eq!(pending.flying(), 2);
        assert!(pending.take(kept).is_none());
        assert!(pending.cancel(cancelled));
        pending.finish(cancelled, Ok(Outcome::Done));
        assert_eq!(queue.len(), 0);
        pending.finish(kept, Ok(Outcome::Done));
        assert_eq!((queue.pop(), pending.flying()), (Some(TaskIndex(1)), 0));
        assert!(matches!(pending.take(kept), Some(Ok(Outcome::Done))));
        assert!(pending.take(kept).is_none());
    }

    #[test]
    fn outcomes_of_a_task_that_has_gone_are_dropped() {
        let waker = TaskWaker::new(TaskIndex(1), Rc::new(RunQueue::default()));
        let mut pending = Pending::new();
        let landed: Vec<OpId> = (0..100).map(|_| pending.begin(waker.clone())).collect();
        for id in &landed {
            pending.finish(*id, Ok(Outcome::Done));
        }
        let late = pending.begin(waker.clone());
        waker.retire();
        pending.finish(late, Ok(Outcome::Done));
        assert!(pending.take(late).is_none());
        for _ in 0..200 {
            let id = pending.begin(TaskWaker::noop());
            pending.cancel(id);
            pending.begin(TaskWaker::noop());
        }
        assert!(pending.take(landed[0]).is_none(), "swept");
    }
}
