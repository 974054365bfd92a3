//! What is kept of open windows, and the calls of their trigger and logic.
//!
//! Entered by the window operator with a key in work. Invariants: a pane lies under its key and
//! *state* window, its timers under the window itself; timers a trigger asks for are registered when
//! it has answered; a pane without contents whose trigger remembers nothing takes no place. Lives on
//! the shard of its subtask.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Range;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::{KeyHash, MaxParallelism};
use thalweg_memory::Budget;
use thalweg_memory::record::{Item, Key};
use thalweg_state::{
    KeyedTable, LayeredTable, LayeredTimers, MakeOverflow, StateDescriptor, StateError,
    StateVisitor,
};

use super::TimeWindow;
use super::function::{Pane, Speech, WindowLogic};
use super::merging::{Added, Open};
use super::speaking::{After, Speaking};
use super::trigger::{TimeDomain, TimerRequest, Trigger, TriggerContext, TriggerResult};
use crate::function::FunctionError;
use crate::task::{BuildContext, Push};

/// The timers of all windows.
pub(super) struct Timers<K: Key> {
    pub(super) event: LayeredTimers<K, TimeWindow>,
    pub(super) processing: LayeredTimers<K, TimeWindow>,
    /// How both are described, event time first.
    descriptors: Box<[StateDescriptor; 2]>,
}

/// The state that timers of a domain are.
fn descriptor_of<K: Key>(domain: TimeDomain) -> StateDescriptor {
    let name = match domain {
        TimeDomain::Event => "event-time timers of windows",
        TimeDomain::Processing => "processing-time timers of windows",
    };
    StateDescriptor::timers(name).of_keys::<K, TimeWindow>()
}

impl<K: Key> Timers<K> {
    /// No timers.
    pub(super) fn new(context: &BuildContext) -> Self {
        let descriptors = [TimeDomain::Event, TimeDomain::Processing].map(descriptor_of::<K>);
        let [event, processing] = descriptors.each_ref().map(|it| context.timers(it));
        Self {
            event,
            processing,
            descriptors: Box::new(descriptors),
        }
    }

    fn of(&mut self, domain: TimeDomain) -> &mut LayeredTimers<K, TimeWindow> {
        match domain {
            TimeDomain::Event => &mut self.event,
            TimeDomain::Processing => &mut self.processing,
        }
    }

    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        let [event, processing] = &*self.descriptors;
        visitor.visit(event, &mut self.event)?;
        visitor.visit(processing, &mut self.processing)
    }

    pub(super) fn both(&mut self) -> [&mut LayeredTimers<K, TimeWindow>; 2] {
        [&mut self.event, &mut self.processing]
    }
}

/// The key in work, in memory that is reused.
pub(super) struct Current<K: Key> {
    hash: KeyHash,
    key: Option<K::Stored>,
}

impl<K: Key> Current<K> {
    #[inline]
    fn set(&mut self, hash: KeyHash, key: &K::Of<'_>) {
        self.hash = hash;
        match &mut self.key {
            Some(stored) => K::assign(stored, key),
            none => *none = Some(K::store(key)),
        }
    }

    #[inline]
    fn stored(&self) -> &K::Stored {
        match &self.key {
            Some(stored) => stored,
            None => unreachable!("a window is worked on with a key in work"),
        }
    }

    /// One of its windows, at this watermark and processing time.
    #[inline]
    fn pane(
        &self,
        window: TimeWindow,
        (watermark, processing_time): (Timestamp, Timestamp),
    ) -> Pane<'_, K> {
        Pane {
            hash: self.hash,
            key: self.stored(),
            window,
            watermark,
            processing_time,
        }
    }

    #[inline]
    fn key(&self) -> K::Of<'_> {
        K::lend(self.stored())
    }

    /// Its hash and the key.
    #[inline]
    pub(super) fn lent(&self) -> (KeyHash, K::Of<'_>) {
        (self.hash, self.key())
    }
}

/// Why a trigger is asked, besides records.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    EventTime(Timestamp),
    ProcessingTime(Timestamp),
}

/// What is kept of one window: the trigger's state, and what the logic keeps, if anything.
type Kept<S, V> = (S, Option<V>);

/// All open windows of one subtask.
pub(super) struct Panes<K: Key, T: Item, G: Trigger<T>, L: WindowLogic<K, T>> {
    pub(super) table: LayeredTable<K, Kept<G::State, L::Kept>, TimeWindow>,
    descriptor: StateDescriptor,
    /// The windows of the key in work that are giving out their results, the first one now.
    pub(super) speaking: VecDeque<Speaking>,
    /// How many results may be given out until the next look at the clock.
    pub(super) allowed: usize,
    pub(super) timers: Timers<K>,
    trigger: G,
    pub(super) logic: L,
    pub(super) current: Current<K>,
    pub(super) watermark: Timestamp,
    /// The processing time of this turn.
    pub(super) now: Timestamp,
    /// The input of a batch has ended: all that waits for the clock is due.
    pub(super) clock_ended: bool,
    /// What the trigger asked for in one call.
    requests: Vec<TimerRequest>,
    item: PhantomData<fn(T)>,
}

impl<K, T, G, L> Panes<K, T, G, L>
where
    K: Key,
    T: Item,
    G: Trigger<T>,
    L: WindowLogic<K, T>,
{
    /// No windows; `overflow` makes what takes those for which there is no memory.
    pub(super) fn new(
        groups: Range<u16>,
        (max, budget): (MaxParallelism, Budget),
        overflow: Option<&MakeOverflow>,
        timers: Timers<K>,
        (trigger, logic): (G, L),
    ) -> Result<Self, StateError> {
        let descriptor = StateDescriptor::value::<Kept<G::State, L::Kept>>("thalweg.panes");
        let descriptor = descriptor.of_keys::<K, TimeWindow>();
        let overflow = overflow.map(|make| make(&descriptor, groups.clone()));
        let table = KeyedTable::new(groups.clone(), max, budget.clone())?;
        Ok(Self {
            timers,
            table: LayeredTable::new(table, overflow),
            descriptor,
            speaking: VecDeque::new(),
            allowed: 0,
            trigger,
            logic,
            current: Current {
                hash: KeyHash(0),
                key: None,
            },
            watermark: Timestamp::NONE,
            now: Timestamp::NONE,
            clock_ended: false,
            requests: Vec::new(),
            item: PhantomData,
        })
    }

    /// Shows what is kept of the windows, their timers, and the states of the function.
    pub(super) fn visit_states(
        &mut self,
        visitor: &mut dyn StateVisitor,
    ) -> Result<(), StateError> {
        visitor.visit(&self.descriptor, &mut self.table)?;
        self.timers.visit_states(visitor)?;
        self.logic.visit_states(visitor)
    }

    /// Brings near what is kept of a window for keys of these hashes.
    pub(super) fn prefetch(&self, hashes: &[KeyHash], window: TimeWindow) {
        self.table.hot().prefetch_batch_in(hashes, &window);
    }

    /// Makes `key` the key in work.
    #[inline]
    pub(super) fn set_current(&mut self, hash: KeyHash, key: &K::Of<'_>) {
        self.current.set(hash, key);
    }

    /// The key in work.
    #[inline]
    pub(super) fn current(&self) -> (KeyHash, K::Of<'_>) {
        self.current.lent()
    }

    /// Takes out the next timer that is due and makes its key the key in work.
    pub(super) fn pop_due(
        &mut self,
        watermark: Option<Timestamp>,
    ) -> Option<(TimeDomain, TimeWindow, Timestamp)> {
        let event = watermark.and_then(|to| self.timers.event.pop_due(to));
        let (domain, timer) = match event {
            Some(timer) => (TimeDomain::Event, timer),
            None => {
                let passed = self.clock_passed();
                let timer = self.timers.processing.pop_due(passed)?;
                (TimeDomain::Processing, timer)
            }
        };
        self.current.set(timer.hash, &K::lend(&timer.key));
        Some((domain, timer.namespace, timer.at))
    }

    /// The last processing time that has passed.
    pub(super) fn clock_passed(&self) -> Timestamp {
        match self.clock_ended {
            true => Timestamp::MAX,
            false => self.now.plus_ms(-1),
        }
    }

    /// Registers a timer of the key in work; none of the clock when the input of a batch has ended.
    pub(super) fn register(
        &mut self,
        domain: TimeDomain,
        window: TimeWindow,
        at: Timestamp,
    ) -> Result<(), FunctionError> {
        if self.clock_ended && matches!(domain, TimeDomain::Processing) {
            return Ok(());
        }
        let hash = self.current.hash;
        let queue = self.timers.of(domain);
        queue.register(hash, &self.current.key(), &window, at)?;
        Ok(())
    }

    /// Deletes a timer of the key in work.
    pub(super) fn delete(
        &mut self,
        domain: TimeDomain,
        window: TimeWindow,
        at: Timestamp,
    ) -> Result<(), FunctionError> {
        let hash = self.current.hash;
        let queue = self.timers.of(domain);
        Ok(queue.delete(hash, &self.current.key(), &window, at)?)
    }

    /// Does what the trigger asked for in its last call, which was about `window`.
    #[inline]
    fn heed(&mut self, window: TimeWindow) -> Result<(), FunctionError> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let requests = std::mem::take(&mut self.requests);
        for request in &requests {
            match *request {
                TimerRequest::Register(domain, at) => self.register(domain, window, at)?,
                TimerRequest::Delete(domain, at) => self.delete(domain, window, at)?,
            }
        }
        self.requests = requests;
        self.requests.clear();
        Ok(())
    }

    /// Adds a record to a window and asks the trigger. Answers what it says, and whether nothing was
    /// kept of the window before.
    #[inline]
    pub(super) fn add(
        &mut self,
        window: TimeWindow,
        state: TimeWindow,
        item: T::Of<'_>,
        at: Timestamp,
    ) -> Result<(TriggerResult, bool), FunctionError> {
        let (trigger, logic, times) = (&self.trigger, &self.logic, (self.watermark, self.now));
        let ask = |told: &mut G::State, item: &T::Of<'_>, requests: &mut Vec<TimerRequest>| {
            let mut context = TriggerContext::new(told, window, times, requests);
            trigger.on_element(item, at, &mut context)
        };
        let mut answer = (TriggerResult::Continue, false);
        let hash = self.current.hash;
        // What only one of the two closures may hold is handed to whichever is called.
        let arriving = (item, &mut self.requests, &mut answer);
        self.table.hot_mut().fold_in(
            hash,
            &self.current.key(),
            &state,
            arriving,
            |(item, requests, answer)| {
                let mut told = G::State::default();
                *answer = (ask(&mut told, &item, requests), true);
                (told, Some(logic.keep(item, at)))
            },
            |(told, kept), (item, requests, answer)| {
                *answer = (ask(told, &item, requests), false);
                match kept {
                    Some(kept) => logic.add(kept, item, at),
                    None => *kept = Some(logic.keep(item, at)),
                }
            },
        )?;
        self.heed(window)?;
        Ok(answer)
    }

    /// Asks the trigger about a record that is being added to a window; [`Panes::merge_into`] adds
    /// it. Answers as [`Panes::add`].
    pub(super) fn ask_element(
        &mut self,
        window: TimeWindow,
        item: &T::Of<'_>,
        at: Timestamp,
    ) -> Result<(TriggerResult, bool), FunctionError> {
        let (trigger, times) = (&self.trigger, (self.watermark, self.now));
        let ask = |told: &mut G::State, requests: &mut Vec<TimerRequest>| {
            let mut context = TriggerContext::new(told, window, times, requests);
            trigger.on_element(item, at, &mut context)
        };
        let mut answer = (TriggerResult::Continue, false);
        let hash = self.current.hash;
        let asking = (&mut self.requests, &mut answer);
        self.table.hot_mut().fold_in(
            hash,
            &self.current.key(),
            &window,
            asking,
            |(requests, answer)| {
                let mut told = G::State::default();
                *answer = (ask(&mut told, requests), true);
                (told, None)
            },
            |(told, _), (requests, answer)| *answer = (ask(told, requests), false),
        )?;
        self.heed(window)?;
        Ok(answer)
    }

    /// Makes what is kept of one record a part of what is kept of a window.
    pub(super) fn merge_into(
        &mut self,
        window: TimeWindow,
        from: &L::Kept,
    ) -> Result<(), FunctionError> {
        let logic = &self.logic;
        let hash = self.current.hash;
        self.table
            .hot_mut()
            .update_in(hash, &self.current.key(), &window, |(_, kept)| {
                logic.merge(kept.get_or_insert_with(|| logic.empty()), from);
            })?;
        Ok(())
    }

    /// Makes one of the windows that met. The state of the first of them is where the state of the
    /// new one lies.
    pub(super) fn merge(&mut self, added: Added, met: &[Open]) -> Result<(), FunctionError> {
        let mut others = Vec::new();
        for (gone, state) in met {
            let hash = self.current.hash;
            let told = if *state == added.state {
                let first = self.table.hot().get_in(hash, &self.current.key(), state);
                first.map(|(told, _)| told.clone())
            } else {
                let other = self.table.remove_in(hash, &self.current.key(), state);
                let told = other.as_ref().map(|(told, _)| told.clone());
                others.extend(other);
                told
            };
            self.clear_trigger(*gone, &mut told.unwrap_or_default())?;
        }
        let (trigger, logic, times) = (&self.trigger, &self.logic, (self.watermark, self.now));
        let requests = &mut self.requests;
        let merge = |into: &mut Kept<G::State, L::Kept>| {
            for (told, kept) in &others {
                trigger.merge(&mut into.0, told);
                if let Some(kept) = kept {
                    logic.merge(into.1.get_or_insert_with(|| logic.empty()), kept);
                }
            }
            trigger.on_merge(&mut TriggerContext::new(
                &mut into.0,
                added.window,
                times,
                requests,
            ));
        };
        let hash = self.current.hash;
        self.table.hot_mut().fold_in(
            hash,
            &self.current.key(),
            &added.state,
            merge,
            |mut merge| {
                let mut kept = (G::State::default(), None);
                merge(&mut kept);
                kept
            },
            |kept, mut merge| merge(kept),
        )?;
        self.heed(added.window)
    }

    /// Lets the trigger take back the timers of a window.
    fn clear_trigger(
        &mut self,
        window: TimeWindow,
        told: &mut G::State,
    ) -> Result<(), FunctionError> {
        let times = (self.watermark, self.now);
        let mut context = TriggerContext::new(told, window, times, &mut self.requests);
        self.trigger.clear(&mut context);
        self.heed(window)
    }

    /// Asks the trigger about a timer.
    pub(super) fn ask_timer(
        &mut self,
        window: TimeWindow,
        state: TimeWindow,
        call: Call,
    ) -> Result<TriggerResult, FunctionError> {
        let (trigger, times) = (&self.trigger, (self.watermark, self.now));
        let requests = &mut self.requests;
        let hash = self.current.hash;
        let asked =
            self.table
                .hot_mut()
                .update_in(hash, &self.current.key(), &state, |(told, _)| {
                    let context = TriggerContext::new(told, window, times, requests);
                    ask(trigger, call, context)
                })?;
        let result = match asked {
            Some(result) => result,
            None => self.ask_without_pane(window, state, call)?,
        };
        self.heed(window)?;
        Ok(result)
    }

    /// Asks the trigger about a timer of a window of which nothing is kept.
    #[cold]
    fn ask_without_pane(
        &mut self,
        window: TimeWindow,
        state: TimeWindow,
        call: Call,
    ) -> Result<TriggerResult, FunctionError> {
        let mut told = G::State::default();
        let times = (self.watermark, self.now);
        let context = TriggerContext::new(&mut told, window, times, &mut self.requests);
        let result = ask(&self.trigger, call, context);
        if !self.trigger.is_blank(&told) {
            let hash = self.current.hash;
            let insert = |told| (told, None);
            let keep = |_: &mut Kept<G::State, L::Kept>, _| {};
            self.table
                .hot_mut()
                .fold_in(hash, &self.current.key(), &state, told, insert, keep)?;
        }
        Ok(result)
    }

    /// Does what the trigger said of a window.
    #[inline]
    pub(super) fn speak<N: Push<L::Out>>(
        &mut self,
        window: TimeWindow,
        state: TimeWindow,
        result: TriggerResult,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        if result.fires() {
            if L::RESUMES {
                let after = match result.purges() {
                    true => After::Purge,
                    false => After::Stay,
                };
                return self.begin_to_speak(window, state, after, next);
            }
            self.emit(window, state, next)?;
        }
        if result.purges() {
            self.purge(state)?;
        }
        Ok(())
    }

    /// Gives out the result of a window that has contents.
    fn emit<N: Push<L::Out>>(
        &mut self,
        window: TimeWindow,
        state: TimeWindow,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        if !L::EVICTS {
            return self
                .say(window, state, &mut Speech::at_once(), next)
                .map(drop);
        }
        let pane = self.current.pane(window, (self.watermark, self.now));
        let (hash, logic) = (self.current.hash, &mut self.logic);
        let emit = |(_, kept): &mut Kept<G::State, L::Kept>| emit_kept(logic, &pane, kept, next);
        self.table
            .hot_mut()
            .update_in(hash, &self.current.key(), &state, emit)?
            .unwrap_or(Ok(()))
    }

    /// Gives out what a window that has contents says from a place on; whether that was all.
    #[inline]
    pub(super) fn say<N: Push<L::Out>>(
        &mut self,
        window: TimeWindow,
        state: TimeWindow,
        speech: &mut Speech,
        next: &mut N,
    ) -> Result<bool, FunctionError> {
        let pane = self.current.pane(window, (self.watermark, self.now));
        match self
            .table
            .hot()
            .get_in(pane.hash, &self.current.key(), &state)
        {
            Some((_, Some(kept))) => self.logic.emit(&pane, kept, speech, next),
            _ => Ok(true),
        }
    }

    /// Changes the contents of a window, if it has any.
    pub(super) fn change_kept(
        &mut self,
        state: TimeWindow,
        change: impl FnOnce(&L, &mut L::Kept),
    ) -> Result<(), FunctionError> {
        let (hash, logic) = (self.current.hash, &self.logic);
        self.table
            .hot_mut()
            .update_in(hash, &self.current.key(), &state, |(_, kept)| {
                if let Some(kept) = kept {
                    change(logic, kept);
                }
            })?;
        Ok(())
    }

    /// Forgets the contents of a window.
    pub(super) fn purge(&mut self, state: TimeWindow) -> Result<(), FunctionError> {
        let trigger = &self.trigger;
        let hash = self.current.hash;
        let blank =
            self.table
                .hot_mut()
                .update_in(hash, &self.current.key(), &state, |(told, kept)| {
                    *kept = None;
                    trigger.is_blank(told)
                })?;
        if blank == Some(true) {
            self.table.remove_in(hash, &self.current.key(), &state);
        }
        Ok(())
    }

    /// Asks the trigger a last time about a window, does what it says, and forgets the window.
    pub(super) fn close<N: Push<L::Out>>(
        &mut self,
        window: TimeWindow,
        state: TimeWindow,
        call: Call,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        if L::RESUMES {
            let result = self.ask_timer(window, state, call)?;
            return match result.fires() {
                true => self.begin_to_speak(window, state, After::Forget, next),
                false => self.forget(window, state),
            };
        }
        let hash = self.current.hash;
        let pane = self.table.remove_in(hash, &self.current.key(), &state);
        let (mut told, mut kept) = pane.unwrap_or_default();
        let times = (self.watermark, self.now);
        let context = TriggerContext::new(&mut told, window, times, &mut self.requests);
        let result = ask(&self.trigger, call, context);
        self.heed(window)?;
        let pane = self.current.pane(window, times);
        if result.fires() {
            emit_kept(&mut self.logic, &pane, &mut kept, next)?;
        }
        self.logic.clear(&pane)?;
        self.clear_trigger(window, &mut told)
    }

    /// Forgets a window that has spoken its last.
    pub(super) fn forget(
        &mut self,
        window: TimeWindow,
        state: TimeWindow,
    ) -> Result<(), FunctionError> {
        let hash = self.current.hash;
        let pane = self.table.remove_in(hash, &self.current.key(), &state);
        let (mut told, _) = pane.unwrap_or_default();
        let times = (self.watermark, self.now);
        let pane = self.current.pane(window, times);
        self.logic.clear(&pane)?;
        self.clear_trigger(window, &mut told)
    }
}

/// Gives out what is kept of a window, if anything is, and lets the evictor remove from it.
fn emit_kept<K: Key, T: Item, L: WindowLogic<K, T>, N: Push<L::Out>>(
    logic: &mut L,
    pane: &Pane<'_, K>,
    kept: &mut Option<L::Kept>,
    next: &mut N,
) -> Result<(), FunctionError> {
    let Some(kept) = kept else {
        return Ok(());
    };
    logic.evict_before(kept, pane.window);
    logic.emit(pane, kept, &mut Speech::at_once(), next)?;
    logic.evict_after(kept, pane.window);
    Ok(())
}

/// Asks a trigger about a timer.
fn ask<T: Item, G: Trigger<T>>(
    trigger: &G,
    call: Call,
    mut context: TriggerContext<'_, G::State>,
) -> TriggerResult {
    match call {
        Call::EventTime(at) => trigger.on_event_time(at, &mut context),
        Call::ProcessingTime(at) => trigger.on_processing_time(at, &mut context),
    }
}
