//! The stage of a chain that asks: starts attempts, takes outcomes, gives results out in order.
//!
//! Records only take their place in line when they are pushed; everything else happens when the
//! turn ends, where there is a clock and a waker. Lives on the shard of its task.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::in_work::OperatorName;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_memory::Mark;
use thalweg_memory::record::Record;
use thalweg_network::Event;

use super::AsyncIo;
use super::attempt::{Attempt, Bell, Failed, Outcome};
use super::queue::{Output, Queue, RequestId};
use super::unanswered::{Reason, Unanswered};
use crate::function::FunctionError;
use crate::task::{AsyncRuntime, BuildContext, ChainTurn, Failure, InputStatus, Push, Stage};

/// Results given out between two looks at the clock.
const SLICE: usize = 128;

/// A request until it is answered.
struct Request<T> {
    record: T,
    at: Timestamp,
    attempt: u32,
    /// The running attempt; dropped, it ends.
    running: Option<Box<dyn Any>>,
    /// When the attempt has taken too long, or is to be made again: monotonic ns.
    due: Option<u64>,
}

pub(super) struct AsyncStage<T, U, R, F, G, N> {
    name: OperatorName,
    how: AsyncIo,
    ask: F,
    otherwise: G,
    next: N,
    failure: Failure,
    runtime: Rc<dyn AsyncRuntime>,
    queue: Queue<U>,
    requests: BTreeMap<RequestId, Request<T>>,
    /// Requests that no attempt was made at yet, in order, from this id on.
    unasked: RequestId,
    /// Attempts under way, never more than the capacity.
    running: usize,
    /// Requests that failed and are to be made again.
    paused: usize,
    outcomes: Receiver<Outcome<R>>,
    sender: SyncSender<Outcome<R>>,
    bell: Option<Bell>,
    /// The earliest deadline the shard was asked to wake the task at.
    alarm: Option<u64>,
    types: PhantomData<fn() -> R>,
}

impl<T, U, R, A, F, G, N> AsyncStage<T, U, R, F, G, N>
where
    T: Record + Clone,
    U: Record,
    R: IntoIterator<Item = U> + Send + 'static,
    A: Future<Output = Result<R, FunctionError>> + Send + 'static,
    F: FnMut(T) -> A,
    G: FnMut(T, Unanswered) -> Result<R, FunctionError>,
    N: Push<U>,
{
    pub(super) fn new(
        name: OperatorName,
        how: AsyncIo,
        (ask, otherwise): (F, G),
        next: N,
        context: &BuildContext,
    ) -> Self {
        // An attempt that timed out may still tell its outcome beside that of the next one.
        let (sender, outcomes) = sync_channel(2 * how.capacity);
        Self {
            name,
            queue: Queue::new(how.ordered),
            how,
            ask,
            otherwise,
            next,
            failure: context.failure(),
            runtime: context.async_runtime(),
            requests: BTreeMap::new(),
            unasked: 0,
            running: 0,
            paused: 0,
            outcomes,
            sender,
            bell: None,
            alarm: None,
            types: PhantomData,
        }
    }

    /// One round of work: outcomes in, overdue attempts ended, new attempts begun, results out.
    fn work(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        let now = turn.context().reactor().now();
        if self.bell.is_none() {
            let task = turn.context().waker().task();
            self.bell = Some(Bell {
                waker: self.runtime.waker_of(task),
                rung: Arc::new(AtomicBool::new(false)),
            });
        }
        self.begin_unasked(now);
        if self.running > 0 {
            self.runtime.drive();
        }
        if let Some(bell) = &self.bell {
            bell.rung.store(false, Ordering::Release);
        }
        self.take_outcomes(now);
        self.see_to_overdue(now);
        // Attempts that ended made place for others.
        self.begin_unasked(now);
        let given = self.give_out(turn);
        self.set_alarm(turn, now);
        match given {
            Stage::Done if self.runtime.is_ready() => Stage::Unfinished,
            Stage::Done if !self.queue.is_empty() => Stage::Waiting,
            given => given,
        }
    }

    /// Makes the first attempt at records that were pushed, as far as the capacity allows: one input
    /// record may have yielded more.
    fn begin_unasked(&mut self, now: u64) {
        let free = self.how.capacity - self.running;
        let fresh = self.requests.range(self.unasked..).map(|(id, _)| *id);
        let fresh: Vec<_> = fresh.take(free).collect();
        for id in fresh {
            self.begin(id, now);
            self.unasked = id + 1;
        }
    }

    fn begin(&mut self, id: RequestId, now: u64) {
        let (Some(request), Some(bell)) = (self.requests.get_mut(&id), &self.bell) else {
            return;
        };
        let scope = OperatorScope::enter(&self.name);
        let answer = (self.ask)(request.record.clone());
        scope.leave();
        let attempt = Attempt {
            request: id,
            attempt: request.attempt,
            answer: Box::pin(answer),
            outcomes: self.sender.clone(),
            bell: bell.clone(),
        };
        match self.runtime.spawn(Box::pin(attempt)) {
            Ok(running) => {
                request.running = Some(running);
                self.running += 1;
            }
            Err(error) => {
                let message = format!(
                    "the connector runtime cannot start: {error}; lower thalweg.connector.threads \
                     or raise the limit of threads"
                );
                return self.failure.set(&self.name, message, ErrorKind::Resource);
            }
        }
        let timeout = self.how.timeout.map(|timeout| timeout.as_nanos() as u64);
        request.due = timeout.map(|timeout| now.saturating_add(timeout));
    }

    fn take_outcomes(&mut self, now: u64) {
        while let Ok(outcome) = self.outcomes.try_recv() {
            let Some(request) = self.requests.get(&outcome.request) else {
                continue;
            };
            if request.running.is_none() || request.attempt != outcome.attempt {
                continue;
            }
            match outcome.answer {
                Ok(results) => {
                    self.running -= 1;
                    let at = request.at;
                    self.requests.remove(&outcome.request);
                    let results = results.into_iter().collect();
                    self.queue.answer(outcome.request, results, at);
                }
                Err(Failed::Panic(message)) => {
                    let message = format!("the future panicked: {message}");
                    self.failure.set(&self.name, message, ErrorKind::Internal);
                }
                Err(Failed::Error(message)) => {
                    self.retry(outcome.request, now, Reason::Failed(message));
                }
            }
        }
    }

    /// Ends attempts that took too long, and makes those again whose pause is over.
    fn see_to_overdue(&mut self, now: u64) {
        if self.how.timeout.is_none() && self.paused == 0 {
            return;
        }
        let overdue = |(id, request): (&RequestId, &Request<T>)| {
            let due = request.due.is_some_and(|due| due <= now);
            due.then_some((*id, request.running.is_some()))
        };
        let overdue: Vec<_> = self.requests.iter().filter_map(overdue).collect();
        for (id, running) in overdue {
            if running {
                let timeout = self.how.timeout.unwrap_or_default();
                self.retry(id, now, Reason::TimedOut(timeout));
            } else if self.running < self.how.capacity {
                self.paused -= 1;
                self.begin(id, now);
            }
        }
    }

    /// Has a failed request made again after its pause; where none is left, what the user makes of it is the answer, or
    /// fails the job.
    fn retry(&mut self, id: RequestId, now: u64, reason: Reason) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if request.running.take().is_some() {
            self.running -= 1;
        }
        request.attempt += 1;
        let Some(pause) = self.how.retry.pause(request.attempt) else {
            let attempts = request.attempt;
            return self.answer_otherwise(id, Unanswered { attempts, reason });
        };
        self.paused += 1;
        request.due = Some(now.saturating_add(pause.as_nanos() as u64));
    }

    fn answer_otherwise(&mut self, id: RequestId, unanswered: Unanswered) {
        let Some(Request { record, at, .. }) = self.requests.remove(&id) else {
            return;
        };
        let scope = OperatorScope::enter(&self.name);
        let answer = (self.otherwise)(record, unanswered);
        let answer = answer.map(|results| results.into_iter().collect());
        scope.leave();
        match answer {
            Ok(results) => self.queue.answer(id, results, at),
            Err(error) => (self.failure).set(&self.name, error.to_string(), error.kind()),
        }
    }

    fn give_out(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        let mut given = 0;
        while self.next.ready() && !self.failure.is_set() {
            match self.queue.next() {
                Some(Output::Result(result, at)) => self.next.push(result, at),
                Some(Output::Mark(mark)) => self.next.mark(mark),
                Some(Output::Event(event)) => self.next.event(event),
                None => return Stage::Done,
            }
            given += 1;
            if given % SLICE == 0 && turn.expired() {
                return Stage::Unfinished;
            }
        }
        Stage::Waiting
    }

    fn set_alarm(&mut self, turn: &mut ChainTurn<'_, '_>, now: u64) {
        // Without room what is to be made again waits for an outcome, not for its time.
        let room = self.running < self.how.capacity;
        let counts = |request: &&Request<T>| room || request.running.is_some();
        let waiting = self.requests.values().filter(counts);
        let Some(due) = waiting.filter_map(|request| request.due).min() else {
            self.alarm = None;
            return;
        };
        if self.alarm.is_none_or(|alarm| alarm <= now || alarm > due) {
            turn.context().wake_at(due);
            self.alarm = Some(due);
        }
    }
}

impl<T, U, R, A, F, G, N> Push<T> for AsyncStage<T, U, R, F, G, N>
where
    T: Record + Clone,
    U: Record,
    R: IntoIterator<Item = U> + Send + 'static,
    A: Future<Output = Result<R, FunctionError>> + Send + 'static,
    F: FnMut(T) -> A,
    G: FnMut(T, Unanswered) -> Result<R, FunctionError>,
    N: Push<U>,
{
    fn push(&mut self, item: T, at: Timestamp) {
        let id = self.queue.request();
        let request = Request {
            record: item,
            at,
            attempt: 0,
            running: None,
            due: None,
        };
        self.requests.insert(id, request);
    }

    fn ready(&self) -> bool {
        self.queue.under_way() < self.how.capacity && self.next.ready()
    }

    fn mark(&mut self, mark: Mark) {
        if self.queue.is_empty() {
            self.next.mark(mark);
        } else {
            self.queue.mark(mark);
        }
    }

    fn event(&mut self, event: Event) {
        if self.queue.is_empty() {
            self.next.event(event);
        } else {
            self.queue.event(event);
        }
    }

    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        let full = !Push::<T>::ready(self);
        let held = self.work(turn);
        if held == Stage::Done {
            return self.next.end_turn(turn);
        }
        // Results of this turn may leave: nobody knows when the next come.
        let behind = self.next.end_turn(&mut turn.with_input(InputStatus::Idle));
        // Room that was found in this turn is told by nobody else.
        let room = full && Push::<T>::ready(self);
        match (held, behind) {
            _ if room => Stage::Unfinished,
            (Stage::Unfinished, _) if self.next.ready() => Stage::Unfinished,
            (_, Stage::Unfinished) => Stage::Unfinished,
            _ => Stage::Waiting,
        }
    }
}
