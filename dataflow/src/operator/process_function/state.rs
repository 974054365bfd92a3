//! What stands around a keyed user function: its states, its timers, its context, its output.
//!
//! Entered by the operators that run such functions, with one input or two, which keep it beside the
//! function. Invariants: the current key is that of the record or timer in work; timers fire in the
//! order of their times, resumably, and before the watermark that made them due goes on. Lives on one
//! shard's thread.

use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::metrics::vocabulary;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_memory::record::{Item, Key};
use thalweg_state::{KeyedBackend, KeyedContext, Residency, StateError, StateVisitor};

use crate::function::{Collector, FunctionError, OpenContext, ProcessContext};
use crate::operator::frame::Firing;
use crate::task::{BuildContext, BuildError, Push, SideOutputs, register_weak};
use crate::time::{FiredTimer, TimeDomain, TimerTable};

/// The states, timers and context of one keyed function in one subtask.
pub(crate) struct KeyedFunctionState<K: Key> {
    name: Rc<str>,
    backend: KeyedBackend<K>,
    keyed: Rc<KeyedContext<K>>,
    timers: Rc<TimerTable<K>>,
    view: ProcessContext<K>,
    side: Rc<SideOutputs>,
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
        let info = context.info().clone();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let budget = context.budget().clone();
        let backend = KeyedBackend::in_memory(groups, info.max_parallelism, budget);
        let mut opening = OpenContext::new(name, context, Some(backend));
        let function = open(&mut opening);
        let backend = opening
            .finish()
            .map_err(|refusal| context.refused(name, refusal))?;
        let Some(backend) = backend else {
            unreachable!("the backend was just given to the opening");
        };
        let keyed = Rc::clone(backend.context());
        let timers = Rc::new(TimerTable::new(context));
        let metrics = context.operator_metrics(name);
        register_weak(&metrics, vocabulary::NUM_TIMERS, &timers, |timers| {
            timers.len() as f64
        })
        .map_err(|error| context.refused(name, error))?;
        let view = ProcessContext::new(name, context, Some(Rc::clone(&keyed)));
        let state = Self {
            name: name.into(),
            view: view.with_timers(Rc::clone(&timers)),
            backend,
            keyed,
            timers,
            side: context.side(),
            now: Timestamp::MIN,
        };
        Ok((state, function))
    }

    /// Shows the states of the function and its timers.
    pub(crate) fn visit_states(
        &mut self,
        visitor: &mut dyn StateVisitor,
    ) -> Result<(), StateError> {
        self.backend.visit_states(visitor)?;
        self.timers.visit_states(visitor)
    }

    /// Brings near the states of these keys, of records ahead of which the first has the place `from`
    /// in the window.
    pub(crate) fn approach(&mut self, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        self.backend
            .set_processing_time(self.view.processing_time());
        self.backend.clean_expired(2 * hashes.len())?;
        match self.backend.residency(from, hashes)? {
            Residency::Ready => Ok(()),
            Residency::Pending => Err(FunctionError::new(
                "the state backend answered that state is on its way, but it is all in memory",
            )),
        }
    }

    /// Finds the states of so many records that were approached.
    pub(crate) fn locate(&mut self, from: u8, records: usize) {
        self.backend.locate(from, records);
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
    }

    /// The wall clock shows `now`: makes processing-time timers due.
    pub(crate) fn processing_time(&mut self, now: Timestamp) {
        // A wall clock may be set back; what was due stays due.
        self.now = self.now.max(now);
    }

    /// Whether the wall clock matters.
    pub(crate) fn wants_processing_time(&self) -> bool {
        self.next_processing_time().is_some()
    }

    /// When the first processing-time timer is due. None after the end of the input: those left do not
    /// fire.
    pub(crate) fn next_processing_time(&self) -> Option<Timestamp> {
        if self.view.watermark == Timestamp::MAX {
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
        self.backend
            .set_processing_time(self.view.processing_time());
        for _ in 0..limit {
            if !next.ready() {
                return Ok(Firing::More);
            }
            let Some(timer) = self.next_due_timer() else {
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

    /// Takes out the next timer that is due and makes its key current.
    fn next_due_timer(&mut self) -> Option<FiredTimer> {
        let event = self
            .timers
            .pop_due(TimeDomain::EventTime, self.view.watermark);
        let (timer, domain) = match event {
            Some(timer) => (timer, TimeDomain::EventTime),
            None => {
                self.next_processing_time().filter(|at| *at <= self.now)?;
                let timer = self.timers.pop_due(TimeDomain::ProcessingTime, self.now)?;
                (timer, TimeDomain::ProcessingTime)
            }
        };
        self.keyed.set_current(timer.hash, &K::lend(&timer.key));
        self.view.at = timer.at;
        Some(FiredTimer {
            at: timer.at,
            domain,
        })
    }
}
