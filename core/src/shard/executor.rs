//! The loop of one core, without its thread: mailbox, pumps, ready tasks, timers, reactor.
//!
//! Entered by the drivers, which call [`Shard::round`] until it answers [`Round::Finished`], and by
//! commands, which get the shard itself. Invariants: only tasks that were woken or made progress cost
//! anything in a round; each gets one turn per round; a task that fails or panics is dropped and told,
//! and the others never notice. Lives on the shard's thread and never leaves it.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::error::in_one_line;
use crate::ids::ShardId;
use crate::metrics::{MetricSnapshot, Registry, Scope};
use crate::seam::reactor::{Op, Reactor};
use crate::shard::catch::catch;
use crate::shard::doorbell::Doorbell;
use crate::shard::mailbox::{Mailbox, MailboxSender};
use crate::shard::panic::take_panicked_operator;
use crate::shard::stall::{Pulse, WatchGuard, watch};
use crate::shard::step::{Progress, RunQueue, Step, StepError, TaskIndex, TaskWaker, TurnContext};
use crate::shard::timer::TimerQueue;

/// The reactor reaps completions at least this often while tasks are busy, in ns.
pub const POLL_INTERVAL_NS: u64 = 50_000;

/// Moves what other shards have sent to where tasks look for it, and the reverse.
pub trait Pump: 'static {
    /// Drains inbound lanes, flushes outboxes, publishes; true if anything moved. Called at the start
    /// of every round and again after its turns, so it has to be cheap when there is nothing.
    fn pump(&mut self) -> bool;

    /// Looks at every inbound lane again after the park was announced: false means something is there
    /// and the shard must not sleep. Must not answer true while anything is unpublished.
    fn ready_to_park(&mut self) -> bool;
}

/// How a task left its shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskExit {
    /// Its last turn said done.
    Done {
        /// Which.
        task: TaskIndex,
    },
    /// Its last turn answered an error or panicked.
    Failed {
        /// Which.
        task: TaskIndex,
        /// Its name.
        name: String,
        /// What the error or the panic said; a panic's place in the source is added.
        message: String,
        /// Whether it panicked.
        panicked: bool,
        /// The operator that was running when it panicked, if one had said so.
        operator: Option<String>,
    },
}

/// What a round came to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Round {
    /// Something moved or is ready: call again at once.
    Progress,
    /// Nothing to do until woken, or until the next timer.
    Idle {
        /// Deadline of the next timer, monotonic ns.
        next_timer: Option<u64>,
    },
    /// The shard was shut down and all its tasks are gone.
    Finished,
}

struct Task {
    step: Box<dyn Step>,
    waker: TaskWaker,
}

/// Everything one core owns.
pub struct Shard {
    id: ShardId,
    reactor: Box<dyn Reactor>,
    doorbell: Arc<Doorbell>,
    mailbox: Mailbox,
    pumps: Vec<Box<dyn Pump>>,
    /// What commands find again.
    resident: Option<Rc<dyn Any>>,
    tasks: Vec<Option<Task>>,
    vacant: Vec<TaskIndex>,
    queue: Rc<RunQueue>,
    timers: TimerQueue,
    on_exit: Box<dyn FnMut(TaskExit)>,
    metrics: Registry,
    pulse: Arc<Pulse>,
    watch_guard: Option<WatchGuard>,
    turn_budget_ns: u64,
    polled_at: u64,
    stopping: bool,
}

impl Shard {
    /// A shard over a driver's reactor. Drivers call this; everyone else gets a shard from
    /// [`start`](super::start::start) or a simulation.
    pub fn new(
        id: ShardId,
        reactor: Box<dyn Reactor>,
        doorbell: Arc<Doorbell>,
        turn_budget_ns: u64,
    ) -> Shard {
        let mailbox = Mailbox::new(Arc::clone(&doorbell));
        Shard {
            id,
            reactor,
            doorbell,
            mailbox,
            pumps: Vec::new(),
            resident: None,
            tasks: Vec::new(),
            vacant: Vec::new(),
            queue: Rc::new(RunQueue::default()),
            timers: TimerQueue::new(),
            on_exit: Box::new(log_exit),
            metrics: Registry::new(Scope::root().with("shard", id.0)),
            pulse: Pulse::new(id, Duration::ZERO),
            watch_guard: None,
            turn_budget_ns,
            polled_at: 0,
            stopping: false,
        }
    }

    /// Which shard of the process this is.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Has turns longer than `threshold_ns` reported by the process's stall watchdog; 0 reports none.
    ///
    /// # Errors
    /// If the watchdog's thread cannot be started.
    pub(crate) fn watch_stalls(&mut self, threshold_ns: u64) -> std::io::Result<()> {
        debug_assert_eq!(self.tasks(), 0, "tasks are named when they are added");
        self.pulse = Pulse::new(self.id, Duration::from_nanos(threshold_ns));
        self.watch_guard = Some(watch(&self.pulse)?);
        Ok(())
    }

    /// The shard's list of metrics, at the shard's time.
    pub fn metrics(&mut self) -> Registry {
        self.metrics.set_now(self.reactor.now());
        self.metrics.clone()
    }

    /// All metrics of the shard, copied out.
    pub fn metrics_snapshot(&mut self) -> Vec<MetricSnapshot> {
        let now = self.reactor.now();
        self.metrics.snapshot(now)
    }

    /// What this shard publishes of its turns, with the count of those that were too long.
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// The way out to clock, disk and sockets.
    pub fn reactor(&mut self) -> &mut dyn Reactor {
        &mut *self.reactor
    }

    /// The timers.
    pub fn timers(&mut self) -> &mut TimerQueue {
        &mut self.timers
    }

    /// The doorbell that wakes this shard.
    pub fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.doorbell)
    }

    /// A sender of commands to this shard.
    pub fn mailbox(&self) -> MailboxSender {
        self.mailbox.sender()
    }

    /// Takes a task in; it gets its first turn in the next round. It is told to `on_exit` when it ends.
    pub fn add_step(&mut self, step: Box<dyn Step>) -> TaskWaker {
        let index = self.vacant.pop().unwrap_or_else(|| {
            let Ok(index) = u32::try_from(self.tasks.len()) else {
                unreachable!("a shard with 4 billion tasks")
            };
            self.tasks.push(None);
            TaskIndex(index)
        });
        self.pulse.name_task(index.0, step.name(), step.in_work());
        let waker = TaskWaker::new(index, Rc::clone(&self.queue));
        let task = Task {
            step,
            waker: waker.clone(),
        };
        let before = self.tasks[index.0 as usize].replace(task);
        assert!(before.is_none(), "a place was given away twice");
        waker.wake();
        waker
    }

    /// Takes a pump in; it is called in every round until the shard ends.
    pub fn add_pump(&mut self, pump: Box<dyn Pump>) {
        self.pumps.push(pump);
    }

    /// Keeps something of this shard's that later commands need, until the shard ends: one thing, the last.
    pub fn keep(&mut self, resident: Rc<dyn Any>) {
        self.resident = Some(resident);
    }

    /// What was kept, if it is of this type.
    pub fn kept<T: 'static>(&self) -> Option<Rc<T>> {
        Rc::clone(self.resident.as_ref()?).downcast().ok()
    }

    /// Sets who is told when a task ends. Without it failures are logged.
    pub fn on_exit(&mut self, told: impl FnMut(TaskExit) + 'static) {
        self.on_exit = Box::new(told);
    }

    /// A waker of a task, if it is still there.
    pub fn waker_of(&self, task: TaskIndex) -> Option<TaskWaker> {
        let task = self.tasks.get(task.0 as usize)?.as_ref()?;
        Some(task.waker.clone())
    }

    /// Drops a task without another turn and without telling `on_exit`; false if it is not there.
    pub fn remove(&mut self, task: TaskIndex) -> bool {
        self.evict(task).is_some()
    }

    /// Closes what tasks that have gone have left open, and gives up what they waited for on sockets. False as long
    /// as the kernel still works on files for them: what it does there may happen yet.
    pub fn clear_away(&mut self) -> bool {
        let left = self.reactor.left_behind();
        left.waiting
            .into_iter()
            .for_each(|op| self.reactor.cancel(op));
        let files = left.files.into_iter().map(|file| Op::Close { file });
        let sockets = left.sockets.into_iter();
        let sockets = sockets.map(|socket| Op::CloseSocket { socket });
        for close in files.chain(sockets) {
            self.reactor.submit(close, TaskWaker::noop());
        }
        left.working == 0
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.tasks.len() - self.vacant.len()
    }

    /// Ends the shard: the next round drops all tasks and pumps, closes the mailbox and answers
    /// [`Round::Finished`].
    pub fn shutdown(&mut self) {
        self.stopping = true;
    }

    /// One round: mailbox, pumps, one turn for each ready task, timers, reactor. Never blocks.
    pub fn round(&mut self) -> Round {
        let mut moved = self.run_commands();
        if self.stopping {
            self.end();
            return Round::Finished;
        }
        moved |= self.run_pumps();
        if self.queue.len() > 0 {
            self.run_turns();
            moved = true;
            self.run_pumps();
        } else if self.reactor.pending() > 0 {
            moved |= self.reactor.poll() > 0;
        }
        if !self.timers.is_empty() {
            let now = self.reactor.now();
            moved |= self.timers.expire(now) > 0;
        }
        if moved || self.queue.len() > 0 {
            return Round::Progress;
        }
        Round::Idle {
            next_timer: self.timers.next_deadline(),
        }
    }

    /// Driver: whether a task waits for its turn.
    pub(crate) fn has_ready_tasks(&self) -> bool {
        self.queue.len() > 0
    }

    /// Driver: whether there is still nothing to do, asked after the park was announced.
    pub(crate) fn quiet(&mut self) -> bool {
        self.queue.len() == 0
            && self.mailbox.is_empty()
            && self.pumps.iter_mut().all(|pump| pump.ready_to_park())
    }

    fn run_commands(&mut self) -> bool {
        if self.mailbox.is_empty() {
            return false;
        }
        for command in self.mailbox.take() {
            if let Err(panic) = catch(|| command(self)) {
                tracing::error!(shard = %self.id, %panic, "a command of the mailbox panicked");
            }
        }
        true
    }

    fn run_pumps(&mut self) -> bool {
        let mut moved = false;
        for pump in &mut self.pumps {
            moved |= pump.pump();
        }
        moved
    }

    fn run_turns(&mut self) {
        let mut now = self.reactor.now();
        // Only those ready now: who is woken by them waits for the next round.
        for _ in 0..self.queue.len() {
            let Some(task) = self.queue.pop() else { break };
            if let Some(ended) = self.run_turn(task, now) {
                now = ended;
            }
            if now.saturating_sub(self.polled_at) >= POLL_INTERVAL_NS {
                self.reactor.poll();
                self.polled_at = now;
            }
        }
    }

    /// One turn; answers when it ended. None: the entry was stale, nothing ran.
    fn run_turn(&mut self, index: TaskIndex, now: u64) -> Option<u64> {
        let task = self.tasks.get_mut(index.0 as usize)?.as_mut()?;
        if !task.waker.begin_turn() {
            return None;
        }
        let Task { step, waker } = task;
        self.pulse.turn_begins(index.0);
        let mut cx = TurnContext::new(
            now,
            self.turn_budget_ns,
            &mut *self.reactor,
            &mut self.timers,
            waker,
        );
        let answer = catch(|| step.turn(&mut cx));
        match answer {
            Ok(Ok(Progress { done: false, made })) => {
                if made {
                    waker.wake();
                }
                self.pulse.turn_ends();
                let ended = self.reactor.now();
                step.turn_took(now, ended);
                Some(ended)
            }
            answer => {
                self.leave(index, answer);
                self.pulse.turn_ends();
                Some(self.reactor.now())
            }
        }
    }

    /// A task has ended: drop it, then tell.
    #[cold]
    fn leave(&mut self, task: TaskIndex, answer: Result<Result<Progress, StepError>, String>) {
        // Before the task is dropped: its drop may panic in another operator.
        let operator = take_panicked_operator();
        let name = self.evict(task).unwrap_or_default();
        // What a panicking drop has left belongs to no later turn.
        take_panicked_operator();
        let failed = |message, panicked, operator| TaskExit::Failed {
            task,
            name,
            message,
            panicked,
            operator,
        };
        let exit = match answer {
            Ok(Ok(_)) => TaskExit::Done { task },
            Ok(Err(error)) => failed(in_one_line(&*error), false, None),
            Err(panic) => failed(panic, true, operator),
        };
        (self.on_exit)(exit);
    }

    /// Drops a task, even if its drop panics; answers its name.
    fn evict(&mut self, index: TaskIndex) -> Option<String> {
        let task = self.tasks.get_mut(index.0 as usize)?.take()?;
        task.waker.retire();
        self.pulse.forget_task(index.0);
        self.vacant.push(index);
        let name = catch(|| task.step.name().to_owned()).unwrap_or_default();
        if let Err(panic) = catch(move || drop(task.step)) {
            tracing::error!(shard = %self.id, task = name, %panic, "a task panicked while dropped");
        }
        Some(name)
    }

    fn end(&mut self) {
        for index in 0..self.tasks.len() {
            self.evict(TaskIndex(index as u32));
        }
        self.queue.clear();
        self.timers.clear();
        self.mailbox.close();
        self.pumps.clear();
        self.resident = None;
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.end();
    }
}

/// How long a driver goes on looking for work before it parks.
#[derive(Debug)]
pub(crate) struct Spin {
    length_ns: u64,
    since: Option<u64>,
}

impl Spin {
    pub(crate) fn new(length_ns: u64) -> Spin {
        Spin {
            length_ns,
            since: None,
        }
    }

    /// Work was found.
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.since = None;
    }

    /// Nothing was found at `now`: whether to look again at once.
    pub(crate) fn goes_on(&mut self, now: u64) -> bool {
        let since = *self.since.get_or_insert(now);
        now.saturating_sub(since) < self.length_ns
    }
}

fn log_exit(exit: TaskExit) {
    if let TaskExit::Failed {
        task,
        name,
        message,
        panicked,
        operator,
    } = exit
    {
        tracing::error!(%task, name, panicked, operator, "a task failed: {message}");
    }
}
