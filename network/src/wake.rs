//! How the network tells a task that there is something to do, before and after the task is known.
//!
//! Entered by gates, partitions and the handover of the same shard. Invariant: a wake is never lost: one
//! that comes before the task's waker is known is kept and delivered when it becomes known. Lives on the
//! shard's thread.

use std::cell::RefCell;
use std::rc::Rc;

use thalweg_core::shard::step::TaskWaker;

#[derive(Default)]
struct Slot {
    waker: Option<TaskWaker>,
    missed: bool,
}

/// The place where a task's waker will be. A task makes one, gives clones to its gates and partitions
/// while it is being built, and fills it once its shard has given it a waker.
#[derive(Clone, Default)]
pub struct WakeSlot(Rc<RefCell<Slot>>);

impl WakeSlot {
    /// An empty slot.
    pub fn new() -> WakeSlot {
        WakeSlot::default()
    }

    /// Sets (or replaces) the waker; wakes at once if a wake came before.
    pub fn set(&self, waker: TaskWaker) {
        let mut slot = self.0.borrow_mut();
        if std::mem::take(&mut slot.missed) {
            waker.wake();
        }
        slot.waker = Some(waker);
    }

    /// Wakes the task.
    #[inline]
    pub fn wake(&self) {
        let mut slot = self.0.borrow_mut();
        match &slot.waker {
            Some(waker) => waker.wake(),
            None => slot.missed = true,
        }
    }

    /// Takes a wake that came while no waker was set: for a harness that steps tasks itself.
    pub fn take_missed(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().missed)
    }
}

impl std::fmt::Debug for WakeSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slot = self.0.borrow();
        write!(
            f,
            "WakeSlot {{ set: {}, missed: {} }}",
            slot.waker.is_some(),
            slot.missed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_wake_is_kept_once() {
        let slot = WakeSlot::new();
        assert!(!slot.take_missed());
        slot.wake();
        slot.wake();
        assert!(slot.take_missed());
        assert!(!slot.take_missed());
    }

    #[test]
    fn setting_delivers_the_missed_wake() {
        let slot = WakeSlot::new();
        slot.wake();
        slot.set(TaskWaker::noop());
        slot.wake();
        assert!(!slot.take_missed());
    }
}
