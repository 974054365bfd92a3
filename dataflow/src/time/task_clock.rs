//! The wall clock as a task sees it: read once at the beginning of each turn.
//!
//! Entered by the heads of chains, which set it, and by every stage behind them, which may have it
//! without being handed the turn's context. Invariants: it is not read where no stage wants it, and
//! it does not move within a turn. Lives on one shard's thread.

use std::cell::Cell;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;

/// The processing time of one task. Clones show the same.
#[derive(Clone, Default)]
pub(crate) struct TaskClock(Rc<Reading>);

#[derive(Default)]
struct Reading {
    wall_ms: Cell<i64>,
    wanted: Cell<bool>,
}

impl TaskClock {
    /// The same clock, for a stage that will read it.
    pub(crate) fn wanted(&self) -> Self {
        self.0.wanted.set(true);
        self.clone()
    }

    /// A turn begins.
    #[inline]
    pub(crate) fn begin_turn(&self, context: &mut TurnContext<'_>) {
        if self.0.wanted.get() {
            self.0.wall_ms.set(context.reactor().wall_ms());
        }
    }

    /// The same, for one that has not said that it wants it: from now on it does.
    pub(crate) fn read(&self, context: &mut TurnContext<'_>) -> Timestamp {
        if !self.0.wanted.replace(true) {
            self.begin_turn(context);
        }
        self.now()
    }

    /// The wall clock at the beginning of this turn.
    #[inline(always)]
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.0.wall_ms.get())
    }
}
