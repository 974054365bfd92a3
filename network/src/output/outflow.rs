//! What the partitions of one task have in common: who waits for credit, and how much the turn has written.
//!
//! Entered by a task before each record and by its partitions when they seal. Invariant: a channel is counted
//! from when its first buffer waits until none does. Lives on the shard's thread.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes after which a turn has written enough: so few that they are still in the caches of the core when the next
/// task of the shard reads them, and so many that turns cost nothing beside them.
const TURN_BYTES: u64 = 64 << 10;

/// The outflow of one task, over all its partitions.
#[derive(Clone, Debug, Default)]
pub struct Outflow(Rc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Channels that wait for credit, and partitions that have failed.
    blocked: Cell<u32>,
    /// Bytes sealed since the turn began.
    sealed: Cell<u64>,
}

impl Outflow {
    /// Nothing waits, nothing was written.
    pub fn new() -> Outflow {
        Outflow::default()
    }

    /// Whether nothing waits, so the task may go on: one load.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.0.blocked.get() == 0
    }

    /// The number of channels that wait (and partitions that have failed).
    pub fn blocked(&self) -> u32 {
        self.0.blocked.get()
    }

    /// To be called when a turn of the task begins.
    #[inline]
    pub fn begin_turn(&self) {
        self.0.sealed.set(0);
    }

    /// Whether the turn has written enough: the task should let those go on that read it. Nothing is refused.
    #[inline]
    pub fn is_turns_worth(&self) -> bool {
        self.0.sealed.get() >= TURN_BYTES
    }

    /// So many bytes were sealed.
    #[inline]
    pub(super) fn sealed(&self, bytes: u64) {
        self.0.sealed.set(self.0.sealed.get() + bytes);
    }

    pub(super) fn block(&self) {
        self.0.blocked.set(self.0.blocked.get() + 1);
    }

    /// True if this was the last.
    pub(super) fn unblock(&self) -> bool {
        let blocked = self.0.blocked.get();
        debug_assert!(blocked > 0, "a channel is unblocked once");
        self.0.blocked.set(blocked - 1);
        blocked == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_written_enough_after_so_many_bytes_and_the_next_begins_at_none() {
        let outflow = Outflow::new();
        let partition = outflow.clone();
        partition.sealed(TURN_BYTES - 1);
        assert!(!outflow.is_turns_worth());
        partition.sealed(1);
        assert!(outflow.is_turns_worth() && outflow.is_ready());
        outflow.begin_turn();
        assert!(!outflow.is_turns_worth());
    }
}
