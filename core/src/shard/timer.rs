//! Wake-ups of a shard: which task is to be woken when.
//!
//! Entered by tasks (through the context of their turn) and by the executor, which expires them once a
//! round. Invariant: timers fire in order of deadline, then of insertion, and never before their
//! deadline. Lives on the shard's thread.

use std::collections::BTreeMap;

use crate::shard::step::TaskWaker;

/// Names one timer for [`TimerQueue::cancel`].
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TimerId {
    deadline: u64,
    sequence: u64,
}

/// Deadlines (monotonic ns, the reactor's clock) and the tasks they wake.
#[derive(Default, Debug)]
pub struct TimerQueue {
    waiting: BTreeMap<TimerId, TaskWaker>,
    sequence: u64,
}

impl TimerQueue {
    /// An empty queue.
    pub fn new() -> TimerQueue {
        TimerQueue::default()
    }

    /// Wakes `waker` once the clock has reached `deadline`.
    pub fn insert(&mut self, deadline: u64, waker: TaskWaker) -> TimerId {
        self.sequence += 1;
        let id = TimerId {
            deadline,
            sequence: self.sequence,
        };
        self.waiting.insert(id, waker);
        id
    }

    /// Forgets a timer; false if it has fired already.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        self.waiting.remove(&id).is_some()
    }

    /// The earliest deadline.
    #[inline]
    pub fn next_deadline(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|(id, _)| id.deadline)
    }

    /// Wakes every task whose deadline is `now` or earlier; answers how many timers fired.
    pub fn expire(&mut self, now: u64) -> usize {
        let mut fired = 0;
        while let Some(first) = self.waiting.first_entry() {
            if first.key().deadline > now {
                break;
            }
            first.remove().wake();
            fired += 1;
        }
        fired
    }

    /// How many timers wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no timer waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets every timer.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::shard::step::{RunQueue, TaskIndex};

    fn waker(task: u32, queue: &Rc<RunQueue>) -> TaskWaker {
        TaskWaker::new(TaskIndex(task), Rc::clone(queue))
    }

    #[test]
    fn fires_in_order_of_deadline_and_not_early() {
        let queue = Rc::new(RunQueue::default());
        let mut timers = TimerQueue::new();
        timers.insert(30, waker(3, &queue));
        timers.insert(10, waker(1, &queue));
        timers.insert(10, waker(2, &queue));
        assert_eq!(timers.next_deadline(), Some(10));
        assert_eq!(timers.expire(9), 0);
        assert_eq!(queue.len(), 0);
        assert_eq!(timers.expire(29), 2);
        assert_eq!(queue.pop(), Some(TaskIndex(1)));
        assert_eq!(queue.pop(), Some(TaskIndex(2)));
        assert_eq!(timers.expire(30), 1);
        assert!(timers.is_empty());
    }

    #[test]
    fn a_cancelled_timer_does_not_fire() {
        let queue = Rc::new(RunQueue::default());
        let mut timers = TimerQueue::new();
        let id = timers.insert(10, waker(1, &queue));
        assert!(timers.cancel(id));
        assert!(!timers.cancel(id));
        assert_eq!(timers.expire(100), 0);
        assert_eq!(queue.len(), 0);
    }
}
