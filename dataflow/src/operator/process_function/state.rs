//! What stands around a keyed user function: its states, its timers, its context, its output.
//!
//! Entered by the operators that run such functions, with one input or two, which keep it beside the
//! function. Invariants: the current key is that of the record or timer in work; timers fire in the
//! order of their times, resumably, and before the watermark that made them due goes on. Lives on one
//! shard's thread.

use std::ops::ControlFlow;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::metrics::vocabulary;
use thalweg_core::shard::in_work::OperatorName;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key};
use thalweg_state::{DUE, FoundKey, KeyedContext, Pressure, StateError, StateVisitor, WINDOW};

use super::backend::FunctionBackend;
use crate::function::{Collector, FunctionError, ListsOfStage, OpenContext, ProcessContext};
use crate::operator::frame::Firing;
use crate::task::{BuildContext, BuildError, Push, SideOutputs, register_weak};
use crate::time::{FiredTimer, TimeDomain, TimerTable};

/// The states, timers and context of one keyed function in one subtask.
pub(crate) struct KeyedFunctionState<K: Key> {
    name: OperatorName,
    backend: FunctionBackend<K>,
    keyed: Rc<KeyedContext<K>>,
    timers: Rc<TimerTable<K>>,
    view: ProcessContext<K>,
    side: Rc<SideOutputs>,
    /// The watermark whose timers are being fired.
    due: Option<Timestamp>,
    /// The processing time up to which timers are due.
    now: Timestamp,
}

impl<K: Key> KeyedFunctionState<K> {
    /// Opens a function by `open`, which declares its states.
    pub(crate) fn open<F>(
        name: &str,
        context: &mut BuildContext,
        open: impl FnOnce(&mut OpenContext<K>) -> F,
    ) -> Result<(Self, F), BuildError> {
        let (backend, function) = FunctionBackend::open(name, context, open)?;
        let keyed = Rc::clone(backend.states.context());
        let timers = Rc::new(TimerTable::new(context));
        let metrics = context.operator_metrics(name);
        register_weak(&metrics, vocabulary::NUM_TIMERS, &timers, |timers| {
            timers.len() as f64
        })
        .map_err(|error| context.refused(name, error))?;
        let view = ProcessContext::new(name, context, Some(Rc::clone(&keyed)));
        let state = Self {
            // It heads its chain.
            name: context.operator_name(0),
            view: view.with_timers(Rc::clone(&timers)),
            backend,
            keyed,
            timers,
            side: context.side(),
            due: None,
            now: Timestamp::MIN,
        };
        Ok((state, function))
    }

    /// The lists that the function has declared.
    pub(crate) fn lists(&mut self) -> &mut ListsOfStage {
        &mut self.backend.lists
    }

    /// Shows the states of the function and its timers.
    pub(crate) fn visit_states(
        &mut self,
        visitor: &mut dyn StateVisitor,
    ) -> Result<(), StateError> {
        self.backend.states.visit_states(visitor)?;
        self.timers.visit_states(visitor)
    }

    /// A turn begins: takes in what was read of state that is on disk.
    pub(crate) fn begin_state_turn(
        &mut self,
        context: &mut TurnContext<'_>,
    ) -> Result<(), FunctionError> {
        self.timers.begin_turn(context)?;
        self.backend.begin_turn(context)
    }

    /// A turn ends: asks for state that is on disk, makes room for it.
    pub(crate) fn end_state_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, FunctionError> {
        let of_timers = self.timers.end_turn(context, waiting)?;
        let beside = self.timers.disk_bytes();
        let of_states = self.backend.end_turn(context, waiting, beside)?;
        Ok(of_timers.max(of_states))
    }

    /// Whether its states may be cut now.
    pub(crate) fn may_be_cut(&self) -> bool {
        !self.timers.is_moving()
    }

    /// Whether the states of records have to be sought before the function is called for them.
    #[inline(always)]
    pub(crate) fn overflows(&self) -> bool {
        self.backend.states.overflows() || self.timers.is_active()
    }

    /// Whether there is room for what so many records may add.
    pub(crate) fn has_room(&self, records: usize) -> bool {
        // Both are asked: each makes room for itself.
        let timers = self.timers.has_room(records);
        self.backend.states.has_room(records) && timers
    }

    /// How many of some records may be applied at once.
    pub(crate) fn let_in(&self, records: usize) -> usize {
        self.backend.states.let_in(records)
    }

    /// Seeks the states of the record at this place of the window; whether all of them are there.
    pub(crate) fn seek(&mut self, place: u8, hash: KeyHash, key: &K::Of<'_>) -> bool {
        self.backend.states.seek(usize::from(place), hash, key)
    }

    /// Brings near the states of these keys, of records ahead of which the first has the place `from`
    /// in the window.
    pub(crate) fn approach(&mut self, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        self.backend.approach(from, hashes, &self.view)
    }

    /// Finds the states of so many records that were approached.
    pub(crate) fn locate(&mut self, from: u8, records: usize) {
        self.backend.states.locate(from, records);
    }

    /// The record at this place of the window is next.
    #[inline(always)]
    pub(crate) fn turn_to(&mut self, at: u8) {
        self.keyed.turn_to(at);
    }

    /// Makes the key of the next record current, and its event time.
    #[inline(always)]
    pub(crate) fn enter(&mut self, hash: KeyHash, key: &K::Of<'_>, at: Timestamp) {
        self.keyed.set_current(hash, key);
        self.view.at = at;
    }

    /// The next record has no key, only an event time.
    pub(crate) fn enter_without_key(&mut self, at: Timestamp) {
        self.keyed.leave_current();
        self.view.at = at;
    }

    /// Calls the function for the record in work.
    #[inline(always)]
    pub(crate) fn call<U: Item, N: Push<U>, R>(
        &mut self,
        next: &mut N,
        call: impl FnOnce(&ProcessContext<K>, &mut Collector<'_, U>) -> R,
    ) -> R {
        let mut out = Collector::new(next, self.view.at, &self.side);
        let scope = OperatorScope::enter(&self.name);
        let outcome = call(&self.view, &mut out);
        scope.leave();
        outcome
    }

    /// Calls the function outside of any record, such as to close it.
    pub(crate) fn call_without_key<U: Item, N: Push<U>, R>(
        &mut self,
        next: &mut N,
        call: impl FnOnce(&mut Collector<'_, U>) -> R,
    ) -> R {
        self.enter_without_key(Timestamp::NONE);
        let mut out = Collector::new(next, Timestamp::NONE, &self.side);
        let scope = OperatorScope::enter(&self.name);
        let outcome = call(&mut out);
        scope.leave();
        outcome
    }

    /// The watermark is `to` now: makes event-time timers due.
    pub(crate) fn watermark(&mut self, to: Timestamp) {
        debug_assert!(to >= self.view.watermark, "watermarks do not go back");
        self.view.watermark = to;
        self.due = Some(to);
    }

    /// The watermark was `to` when the states were saved: what it made due was fired then.
    pub(crate) fn restored_at(&mut self, to: Timestamp) {
        self.view.watermark = to;
    }

    /// The wall clock shows `now`: makes processing-time timers due.
    pub(crate) fn processing_time(&mut self, now: Timestamp) {
        // A wall clock may be set back; what was due stays due.
        self.now = self.now.max(now);
    }

    /// The input of a batch ends: makes all processing-time timers due.
    pub(crate) fn clock_ends(&mut self) {
        self.now = Timestamp::MAX;
        self.timers.clock_ends();
    }

    /// Whether the wall clock matters.
    pub(crate) fn wants_processing_time(&self) -> bool {
        self.next_processing_time().is_some()
    }

    /// When the first processing-time timer is due. None after the end of the input: those left do not
    /// fire, unless it is that of a batch.
    pub(crate) fn next_processing_time(&self) -> Option<Timestamp> {
        if self.view.watermark == Timestamp::MAX && self.now < Timestamp::MAX {
            return None;
        }
        self.timers.next_due(TimeDomain::ProcessingTime)
    }

    /// Calls `fire` for the timers that are due, `limit` at most, and while there is room.
    pub(crate) fn fire<U: Item, N: Push<U>>(
        &mut self,
        next: &mut N,
        limit: usize,
        mut fire: impl FnMut(
            &FiredTimer,
            &ProcessContext<K>,
            &mut Collector<'_, U>,
        ) -> Result<(), FunctionError>,
    ) -> Result<Firing, FunctionError> {
        self.tell_time();
        for _ in 0..limit {
            if !next.ready() {
                return Ok(Firing::More);
            }
            if self.overflows() && !self.seek_due() {
                return Ok(Firing::Waiting);
            }
            let Some(timer) = self.next_due_timer() else {
                // A timer for a past time that is registered from now on waits for the next watermark.
                self.due = None;
                return Ok(Firing::Done);
            };
            let at = match timer.domain {
                TimeDomain::EventTime => timer.at,
                TimeDomain::ProcessingTime => Timestamp::NONE,
            };
            let mut out = Collector::new(next, at, &self.side);
            let scope = OperatorScope::enter(&self.name);
            let outcome = fire(&timer, &self.view, &mut out);
            scope.leave();
            outcome?;
        }
        Ok(Firing::More)
    }

    /// Seeks the states of the key that is visited next, the first of these; if they are not there, those of the keys
    /// behind it too. Whether it may be visited. They are sought where those of timers are, so none fires meanwhile.
    pub(crate) fn seek_visits<'k>(&self, keys: impl Iterator<Item = &'k FoundKey<K>>) -> bool {
        if !self.overflows() {
            return true;
        }
        if !self.has_room(1) {
            return false;
        }
        let mut first = true;
        for (nth, (hash, key)) in keys.take(DUE).enumerate() {
            let found = (self.backend.states).seek(WINDOW + nth, *hash, &K::lend(key));
            if nth == 0 {
                first = found;
            }
            // Most often the first is there: its like are looked at when their turn comes.
            if first {
                break;
            }
        }
        first
    }

    /// Tells the states that expire what time it is.
    pub(crate) fn tell_time(&mut self) {
        let now = self.view.processing_time();
        self.backend.states.set_processing_time(now);
    }

    /// Seeks the states of the timer that fires next; if they are not there, those of the timers behind it too.
    /// Whether it may fire.
    fn seek_due(&self) -> bool {
        let Some((domain, upto)) = self.due() else {
            return true;
        };
        if !self.timers.bring(domain, upto) || !self.has_room(1) {
            return false;
        }
        let (mut first, mut place) = (true, WINDOW);
        self.timers.show_due(domain, upto, |timer| {
            let found = (self.backend.states).seek(place, timer.hash, &K::lend(&timer.key));
            if place == WINDOW {
                first = found;
            }
            place += 1;
            // Most often the first is there: its like are looked at when their turn comes.
            match first || place == WINDOW + DUE {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        first
    }

    /// The domain whose timers are next, if any are due, and up to when they are.
    fn due(&self) -> Option<(TimeDomain, Timestamp)> {
        let event = self.timers.next_due(TimeDomain::EventTime);
        if let Some(upto) = self.due
            && event.is_some_and(|at| at <= upto)
        {
            return Some((TimeDomain::EventTime, upto));
        }
        self.next_processing_time().filter(|at| *at <= self.now)?;
        Some((TimeDomain::ProcessingTime, self.now))
    }

    /// Takes out the next timer that is due and makes its key current.
    fn next_due_timer(&mut self) -> Option<FiredTimer> {
        let (domain, upto) = self.due()?;
        let timer = self.timers.pop_due(domain, upto)?;
        self.keyed.set_current(timer.hash, &K::lend(&timer.key));
        self.view.at = timer.at;
        Some(FiredTimer {
            at: timer.at,
            domain,
        })
    }
}
