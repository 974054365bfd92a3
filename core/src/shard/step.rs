//! The contract of a turn: what a task is to the loop of its core, and what it is given.
//!
//! Entered by everything that runs on a shard (`dataflow` tasks above all) and by the executor,
//! which is the only caller. Invariant: a turn is bounded; it looks at [`TurnContext::expired`] often
//! enough to end within its budget, never blocks and never awaits. Lives on the shard's thread; a
//! [`TaskWaker`] cannot leave it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::in_work::InWork;
use crate::seam::reactor::Reactor;
use crate::shard::timer::{TimerId, TimerQueue};

/// Place of a task in the table of its shard. Places are reused after a task has gone.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskIndex(pub u32);

impl fmt::Display for TaskIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What one turn did.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Something moved, so the task wants another turn without being woken.
    pub made: bool,
    /// The task has nothing left to do, ever: it is dropped.
    pub done: bool,
}

impl Progress {
    /// Something moved; run again next round.
    pub const MADE: Progress = Progress {
        made: true,
        done: false,
    };
    /// Nothing to do until woken.
    pub const NONE: Progress = Progress {
        made: false,
        done: false,
    };
    /// Finished.
    pub const DONE: Progress = Progress {
        made: true,
        done: true,
    };
}

/// Why a turn failed. Shard-local, so it need not be `Send`.
pub type StepError = Box<dyn std::error::Error>;

/// A state machine that a shard steps: a task.
pub trait Step: 'static {
    /// The name of the task for logs, the stall watchdog and [`TaskExit`](super::executor::TaskExit).
    fn name(&self) -> &str;

    /// Where it says which of its operators is in work, if it has several; asked for once, when it starts.
    fn in_work(&self) -> Option<Arc<InWork>> {
        None
    }

    /// Does a bounded piece of work.
    ///
    /// # Errors
    /// An error ends the task: it is dropped and told to the shard's `on_exit`.
    fn turn(&mut self, cx: &mut TurnContext<'_>) -> Result<Progress, StepError>;

    /// A turn after which the task stays has taken from `started` to `ended` (monotonic ns): the shard
    /// reads the clock between two turns anyway.
    fn turn_took(&mut self, started: u64, ended: u64) {
        let _ = (started, ended);
    }
}

/// What a turn may use. Borrowed from the shard for the length of one turn.
pub struct TurnContext<'a> {
    started: u64,
    deadline: u64,
    reactor: &'a mut dyn Reactor,
    timers: &'a mut TimerQueue,
    waker: &'a TaskWaker,
}

impl<'a> TurnContext<'a> {
    /// A turn that starts at `started` (monotonic ns) and may last `budget_ns`.
    pub fn new(
        started: u64,
        budget_ns: u64,
        reactor: &'a mut dyn Reactor,
        timers: &'a mut TimerQueue,
        waker: &'a TaskWaker,
    ) -> TurnContext<'a> {
        let deadline = started.saturating_add(budget_ns);
        TurnContext {
            started,
            deadline,
            reactor,
            timers,
            waker,
        }
    }

    /// When this turn started, monotonic ns. Reads no clock.
    #[inline]
    pub fn now(&self) -> u64 {
        self.started
    }

    /// Whether the budget is used up. Reads the clock (about 25 ns): ask once per batch, not per record.
    #[inline]
    pub fn expired(&mut self) -> bool {
        self.reactor.now() >= self.deadline
    }

    /// The budget of this turn in ns.
    #[inline]
    pub fn budget(&self) -> u64 {
        self.deadline - self.started
    }

    /// The way out to clock, disk and sockets.
    #[inline]
    pub fn reactor(&mut self) -> &mut dyn Reactor {
        self.reactor
    }

    /// The timers of the shard.
    #[inline]
    pub fn timers(&mut self) -> &mut TimerQueue {
        self.timers
    }

    /// Wakes this task at `deadline` (monotonic ns) or soon after.
    pub fn wake_at(&mut self, deadline: u64) -> TimerId {
        self.timers.insert(deadline, self.waker.clone())
    }

    /// Submits an operation whose completion wakes this task.
    pub fn submit(&mut self, op: crate::seam::reactor::Op) -> crate::seam::reactor::OpId {
        self.reactor.submit(op, self.waker.clone())
    }

    /// A waker of this task.
    #[inline]
    pub fn waker(&self) -> TaskWaker {
        self.waker.clone()
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum WakeState {
    /// Waiting to be woken.
    Idle,
    /// In the run queue.
    Queued,
    /// The task has gone: wakes are ignored.
    Gone,
}

#[derive(Debug)]
struct WakeCell {
    task: TaskIndex,
    state: Cell<WakeState>,
    queue: Rc<RunQueue>,
}

/// Wakes one task of this shard: it gets a turn in the next round.
///
/// Cheap to clone and to call (a flag, and one push when the flag was clear). Not `Send`: another
/// shard wakes through a lane and the doorbell. Outlives its task: waking a task that has gone does
/// nothing, even if its place in the table has been given to another.
#[derive(Clone, Debug)]
pub struct TaskWaker(Rc<WakeCell>);

impl TaskWaker {
    pub(crate) fn new(task: TaskIndex, queue: Rc<RunQueue>) -> TaskWaker {
        TaskWaker(Rc::new(WakeCell {
            task,
            state: Cell::new(WakeState::Idle),
            queue,
        }))
    }

    /// A waker that wakes nothing, for operations nobody waits for: their outcomes are dropped.
    pub fn noop() -> TaskWaker {
        let waker = TaskWaker::new(TaskIndex(u32::MAX), Rc::new(RunQueue::default()));
        waker.0.state.set(WakeState::Gone);
        waker
    }

    /// Makes the task ready. Waking it twice before its turn is the same as once.
    #[inline]
    pub fn wake(&self) {
        if self.0.state.get() == WakeState::Idle {
            self.0.state.set(WakeState::Queued);
            self.0.queue.0.borrow_mut().push_back(self.0.task);
        }
    }

    /// The task this wakes.
    pub fn task(&self) -> TaskIndex {
        self.0.task
    }

    /// Takes the task off the ready state just before its turn; false if it was not ready.
    pub(crate) fn begin_turn(&self) -> bool {
        let ready = self.0.state.get() == WakeState::Queued;
        if ready {
            self.0.state.set(WakeState::Idle);
        }
        ready
    }

    /// Whether waking does nothing any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.state.get() == WakeState::Gone
    }

    /// From now on waking does nothing.
    pub(crate) fn retire(&self) {
        self.0.state.set(WakeState::Gone);
    }
}

/// The tasks that are ready, in the order in which they became so.
#[derive(Default, Debug)]
pub(crate) struct RunQueue(RefCell<VecDeque<TaskIndex>>);

impl RunQueue {
    #[inline]
    pub(crate) fn pop(&self) -> Option<TaskIndex> {
        self.0.borrow_mut().pop_front()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}
