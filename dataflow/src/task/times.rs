//! Where a task's time goes: at work, without room, without anything to do.
//!
//! Fed once per turn with the times the shard reads anyway; what lies between two turns is named by how
//! the first of them ended. Invariant: from the first turn on, the three together are the time that has
//! passed. Lives on the task's shard.

use std::cell::Cell;
use std::rc::Rc;

use thalweg_core::metrics::Counter;

/// What a task does between two turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Between {
    /// It is ready and waits for its core.
    #[default]
    Ready,
    /// It has no room for results.
    NoRoom,
    /// It has nothing to do.
    Nothing,
}

/// The times of one task, in ns. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct TaskTimes(Rc<Times>);

#[derive(Default)]
struct Times {
    busy: Counter,
    back_pressured: Counter,
    idle: Counter,
    /// The longest turn.
    longest: Cell<u64>,
    between: Cell<Between>,
    /// Until when the time is accounted for; `None` before the first turn.
    until: Cell<Option<u64>>,
}

impl TaskTimes {
    /// A turn took from `started` to `ended`, and the task waits like this from there on.
    #[inline]
    pub(crate) fn turn(&self, started: u64, ended: u64, then: Between) {
        self.settle(started);
        let took = ended.saturating_sub(started);
        self.0.busy.add(took);
        self.0.longest.set(self.0.longest.get().max(took));
        self.0.between.set(then);
        self.0.until.set(Some(ended));
    }

    /// Accounts for the time up to `now`, between two turns.
    #[inline]
    pub(crate) fn settle(&self, now: u64) {
        if let Some(until) = self.0.until.get() {
            let counter = match self.0.between.get() {
                Between::Ready => &self.0.busy,
                Between::NoRoom => &self.0.back_pressured,
                Between::Nothing => &self.0.idle,
            };
            counter.add(now.saturating_sub(until));
            self.0.until.set(Some(now.max(until)));
        }
    }

    /// Time at work or ready to be.
    pub(crate) fn busy(&self) -> &Counter {
        &self.0.busy
    }

    /// The longest turn.
    pub(crate) fn longest(&self) -> u64 {
        self.0.longest.get()
    }

    /// Time without room.
    pub(crate) fn back_pressured(&self) -> &Counter {
        &self.0.back_pressured
    }

    /// Time without anything to do.
    pub(crate) fn idle(&self) -> &Counter {
        &self.0.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_time_is_accounted_for_by_what_the_task_waited_for() {
        let times = TaskTimes::default();
        let all = || {
            let counters = [times.busy(), times.back_pressured(), times.idle()];
            counters.map(Counter::get)
        };
        times.settle(50);
        assert_eq!(all(), [0, 0, 0], "nothing before the first turn");
        times.turn(100, 110, Between::Nothing);
        times.turn(200, 230, Between::NoRoom);
        assert_eq!(all(), [40, 0, 90]);
        times.settle(235);
        times.turn(240, 241, Between::Ready);
        assert_eq!(all(), [41, 10, 90]);
        times.turn(245, 250, Between::Nothing);
        assert_eq!(all(), [50, 10, 90]);
        assert_eq!(times.longest(), 30);
        assert_eq!(all().iter().sum::<u64>(), 250 - 100);
        times.settle(7);
        assert_eq!(all(), [50, 10, 90], "a clock that goes back counts nothing");
    }
}
