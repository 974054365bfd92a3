//! The window operator: any assigner, trigger, evictor and function.
//!
//! What is kept of a window lies under its key and window in one table, which may be larger than its
//! memory: the trigger's state and what the logic keeps of the records. Timers lie in two queues, by
//! event and by processing time.
//! The rules are Flink's:
//!
//! - A record is added to each of its windows that has not been cleaned up, then the trigger is
//!   asked. An event-time window is cleaned up when the watermark reaches its last time plus the
//!   allowed lateness, a processing-time window when the clock passes its last time, or the input of a
//!   batch ends.
//! - A record none of whose windows is left is too late if the watermark has reached its time plus
//!   the allowed lateness.
//! - Where windows merge, a record's window is merged before it is asked whether it is late: a late
//!   record may join a session that is still open.
//!
//! Where Flink is silent: a timer of processing time fires when the clock has *passed* it, so that
//! records of the same millisecond come first; the processing time is that at which the turn began,
//! and never goes back; windows of one watermark fire in the order of their times, then of key
//! groups. Lives on the shard of its subtask.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key};
use thalweg_state::{Pressure, StateError, StateVisitor};

use super::TimeWindow;
use super::assigner::WindowAssigner;
use super::function::{OpenLogic, WindowLogic};
use super::merging::{MergingWindows, Open};
use super::panes::{Call, Panes, Timers};
use super::resident::OnDisk;
use super::trigger::{TimeDomain, Trigger, TriggerResult};
use crate::checkpoint::Remembers;
use crate::function::FunctionError;
use crate::operator::{Firing, KeyedOperator, Lifecycle, OpenKeyed};
use crate::partition::Select;
use crate::task::{BuildContext, BuildError, ChainTurn, Push, Stage};
use crate::time::{LateOutput, LateRecords};

/// Results a record's windows give out before the room and the clock are looked at again.
const SPOKEN_PER_RECORD: usize = 128;

/// Windows of a record that are brought near. With more of them they would drive each other away.
const BROUGHT_NEAR: usize = 4;

/// How long windows wait for late records, and what becomes of those that come later still.
pub(crate) struct Lateness<T: Item> {
    /// ms.
    pub(crate) allowed: i64,
    pub(crate) output: Option<LateOutput<T>>,
}

impl<T: Item> Lateness<T> {
    pub(crate) fn none() -> Self {
        Self {
            allowed: 0,
            output: None,
        }
    }
}

impl<T: Item> Clone for Lateness<T> {
    fn clone(&self) -> Self {
        Self {
            allowed: self.allowed,
            output: self.output.clone(),
        }
    }
}

/// Opens the window operator in a subtask.
pub(crate) struct OpenWindows<T: Item, A, G, L> {
    pub(crate) assigner: A,
    pub(crate) trigger: G,
    pub(crate) lateness: Lateness<T>,
    pub(crate) logic: L,
}

impl<T: Item, A: Clone, G: Clone, L: Clone> Clone for OpenWindows<T, A, G, L> {
    fn clone(&self) -> Self {
        Self {
            assigner: self.assigner.clone(),
            trigger: self.trigger.clone(),
            lateness: self.lateness.clone(),
            logic: self.logic.clone(),
        }
    }
}

impl<K, T, A, G, L> OpenKeyed<K, T> for OpenWindows<T, A, G, L>
where
    K: Key,
    T: Item,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    L: OpenLogic<K, T>,
{
    type Out = <L::Logic as WindowLogic<K, T>>::Out;
    type Operator = WindowOperator<K, T, A, G, L::Logic>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let merging = self.assigner.is_merging();
        let logic = self.logic.open(name, merging, context)?;
        let info = context.info();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        let (max, budget) = (info.max_parallelism, context.budget().clone());
        let make = context.overflows();
        let make = make.as_ref();
        let sessions = merging
            .then(|| MergingWindows::new(groups.clone(), max, budget.clone(), make))
            .transpose()
            .map_err(|error| context.refused(name, error))?;
        let timers = Timers::new(context);
        let panes = Panes::new(groups, (max, budget), make, timers, (self.trigger, logic))
            .map_err(|error| context.refused(name, error))?;
        let on_disk = make.map(|_| OnDisk::open(name, context)).transpose()?;
        Ok(WindowOperator {
            event_time: self.assigner.is_event_time(),
            assigner: self.assigner,
            panes,
            sessions,
            allowed_ms: self.lateness.allowed,
            late: LateRecords::open(self.lateness.output, name, context)?,
            on_disk,
            turn: 0,
            due: None,
            windows: Vec::new(),
            results: Vec::new(),
            met: Vec::new(),
        })
    }
}

/// The window operator of one subtask.
pub(crate) struct WindowOperator<K: Key, T: Item, A, G: Trigger<T>, L: WindowLogic<K, T>> {
    pub(super) assigner: A,
    pub(super) event_time: bool,
    pub(super) panes: Panes<K, T, G, L>,
    /// Which windows are open, where windows merge.
    pub(super) sessions: Option<MergingWindows<K>>,
    /// How long event-time windows wait for late records.
    allowed_ms: i64,
    late: LateRecords<T>,
    /// Where state may be on disk: what is remembered of what was sought there.
    pub(super) on_disk: Option<Box<OnDisk>>,
    /// The place of the record in work among those ahead.
    turn: u8,
    /// The watermark whose timers are being fired.
    pub(super) due: Option<Timestamp>,
    /// The windows of the record in work, and what the trigger said of each.
    pub(super) windows: Vec<TimeWindow>,
    results: Vec<TriggerResult>,
    /// The windows that met by the record in work.
    met: Vec<Open>,
}

impl<K, T, A, G, L> WindowOperator<K, T, A, G, L>
where
    K: Key,
    T: Item,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    L: WindowLogic<K, T>,
{
    /// When a window is forgotten; `None` for never.
    fn cleanup_time(&self, window: TimeWindow) -> Option<Timestamp> {
        if window.is_global() {
            return None;
        }
        let lateness = if self.event_time { self.allowed_ms } else { 0 };
        let at = window.max_timestamp().plus_ms(lateness);
        (at < Timestamp::MAX).then_some(at)
    }

    pub(super) fn is_late(&self, window: TimeWindow) -> bool {
        self.event_time
            && self
                .cleanup_time(window)
                .is_some_and(|at| at <= self.panes.watermark)
    }

    fn domain(&self) -> TimeDomain {
        match self.event_time {
            true => TimeDomain::Event,
            false => TimeDomain::Processing,
        }
    }

    /// Has the window forgotten in time.
    fn register_cleanup(&mut self, window: TimeWindow) -> Result<(), FunctionError> {
        match self.cleanup_time(window) {
            Some(at) => self.panes.register(self.domain(), window, at),
            None => Ok(()),
        }
    }

    /// A record none of whose windows is left.
    fn skip(&self, item: T::Of<'_>, at: Timestamp) {
        if !self.event_time || at.plus_ms(self.allowed_ms) > self.panes.watermark {
            return;
        }
        self.late.take(item, at);
    }

    /// Adds a record to its only window.
    #[inline]
    fn add_to_one<N: Push<L::Out>>(
        &mut self,
        window: TimeWindow,
        item: T::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let (result, new) = self.panes.add(window, window, item, at)?;
        if new {
            self.register_cleanup(window)?;
        }
        self.speak(window, window, result, next)
    }

    /// Does what the trigger said of a window to which a record was added.
    #[inline]
    fn speak<N: Push<L::Out>>(
        &mut self,
        window: TimeWindow,
        state: TimeWindow,
        result: TriggerResult,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        #[cfg(test)]
        if super::tests::planted(super::tests::Planted::LateTwice)
            && window.max_timestamp() <= self.panes.watermark
        {
            self.panes.speak(window, state, result, next)?;
        }
        self.panes.speak(window, state, result, next)
    }

    /// Adds a record to several windows: the trigger is asked of each, then what is kept of the
    /// record alone becomes a part of what is kept of each.
    fn add_to_many<N: Push<L::Out>>(
        &mut self,
        item: T::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let windows = std::mem::take(&mut self.windows);
        let mut results = std::mem::take(&mut self.results);
        results.clear();
        for window in &windows {
            let (result, new) = self.panes.ask_element(*window, &item, at)?;
            if new {
                self.register_cleanup(*window)?;
            }
            results.push(result);
        }
        let kept = self.panes.logic.keep(item, at);
        for (window, result) in windows.iter().zip(&results) {
            self.panes.merge_into(*window, &kept)?;
            self.speak(*window, *window, *result, next)?;
        }
        self.windows = windows;
        self.results = results;
        Ok(())
    }

    /// Adds a record to the session its window becomes.
    fn add_to_session<N: Push<L::Out>>(
        &mut self,
        window: TimeWindow,
        item: T::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let Some(sessions) = &mut self.sessions else {
            unreachable!("the assigner merges windows");
        };
        let added = {
            let (hash, key) = self.panes.current();
            sessions.add(hash, &key, window, &mut self.met)?
        };
        if !self.met.is_empty() {
            self.panes.merge(added, &self.met)?;
            for place in 0..self.met.len() {
                let (gone, _) = self.met[place];
                if let Some(at) = self.cleanup_time(gone) {
                    self.panes.delete(self.domain(), gone, at)?;
                }
            }
        }
        if self.is_late(added.window) {
            self.retire(added.window)?;
            self.skip(item, at);
            return Ok(());
        }
        let (result, _) = self.panes.add(added.window, added.state, item, at)?;
        if added.new {
            self.register_cleanup(added.window)?;
        }
        self.speak(added.window, added.state, result, next)
    }

    fn retire(&mut self, window: TimeWindow) -> Result<(), FunctionError> {
        if let Some(sessions) = &mut self.sessions {
            let (hash, key) = self.panes.current();
            sessions.retire(hash, &key, window)?;
        }
        Ok(())
    }

    /// A timer has fired, for the key in work.
    fn on_timer<N: Push<L::Out>>(
        &mut self,
        domain: TimeDomain,
        window: TimeWindow,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let state = match &self.sessions {
            None => window,
            Some(sessions) => {
                let (hash, key) = self.panes.current();
                match sessions.state_of(hash, &key, window) {
                    Some(state) => state,
                    // The window has become another, or is gone.
                    None => return Ok(()),
                }
            }
        };
        let call = match domain {
            TimeDomain::Event => Call::EventTime(at),
            TimeDomain::Processing => Call::ProcessingTime(at),
        };
        if domain == self.domain() && self.cleanup_time(window) == Some(at) {
            self.panes.close(window, state, call, next)?;
            return self.retire(window);
        }
        let result = self.panes.ask_timer(window, state, call)?;
        self.panes.speak(window, state, result, next)
    }
}

impl<K, T, A, G, L> Remembers for WindowOperator<K, T, A, G, L>
where
    K: Key,
    T: Item,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    L: WindowLogic<K, T>,
{
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.panes.visit_states(visitor)?;
        match &mut self.sessions {
            Some(sessions) => sessions.visit_states(visitor),
            None => Ok(()),
        }
    }
}

impl<K, T, A, G, L> Lifecycle<L::Out> for WindowOperator<K, T, A, G, L>
where
    K: Key,
    T: Item,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    L: WindowLogic<K, T>,
{
    /// What is kept of windows is brought near for many records at once, before the first of them touches
    /// it: in the windows of the last record, because what comes is mostly of the same.
    fn prepare(&mut self, _input: u32, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        match &self.sessions {
            Some(sessions) => sessions.prefetch(hashes),
            None => {
                for window in self.windows.iter().take(BROUGHT_NEAR) {
                    self.panes.prefetch(hashes, *window);
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn turn_to(&mut self, _input: u32, at: u8) {
        self.turn = at;
    }

    fn begin_state_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), FunctionError> {
        Ok(self.begin_on_disk(context)?)
    }

    fn end_state_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, FunctionError> {
        Ok(self.end_on_disk(context, waiting)?)
    }

    fn may_be_cut(&self) -> bool {
        !self.panes.timers.event.is_moving() && !self.panes.timers.processing.is_moving()
    }

    fn wants_processing_time(&self) -> bool {
        true
    }

    #[inline(always)]
    fn unfinished(&self) -> bool {
        self.panes.is_speaking()
    }

    fn processing_time(&mut self, now: Timestamp) {
        self.panes.now = self.panes.now.max(now);
    }

    fn next_processing_time(&self) -> Option<Timestamp> {
        let due = self.panes.timers.processing.next_due()?;
        Some(due.plus_ms(1))
    }

    fn clock_ends(&mut self) {
        self.panes.clock_ended = true;
    }

    fn watermark(&mut self, to: Timestamp) {
        self.panes.watermark = self.panes.watermark.max(to);
        self.due = Some(to);
    }

    fn restored_at(&mut self, watermark: Timestamp) {
        self.panes.watermark = watermark;
    }

    fn fire<N: Push<L::Out>>(
        &mut self,
        next: &mut N,
        limit: usize,
    ) -> Result<Firing, FunctionError> {
        self.panes.allow(limit);
        for _ in 0..limit {
            if self.has_to_seek() && !self.seek_due() {
                return Ok(Firing::Waiting);
            }
            self.panes.go_on(next)?;
            if self.panes.is_speaking() || !next.ready() {
                return Ok(Firing::More);
            }
            let Some((domain, window, at)) = self.panes.pop_due(self.due) else {
                self.due = None;
                return Ok(Firing::Done);
            };
            self.on_timer(domain, window, at, next)?;
        }
        Ok(Firing::More)
    }

    fn finish<N: Push<L::Out>>(
        &mut self,
        next: &mut N,
        _turn: &mut ChainTurn<'_, '_>,
    ) -> Result<Stage, FunctionError> {
        self.panes.logic.close(next)?;
        Ok(Stage::Done)
    }
}

impl<K, T, A, G, L> KeyedOperator<K, T, L::Out> for WindowOperator<K, T, A, G, L>
where
    K: Key,
    T: Item,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    L: WindowLogic<K, T>,
{
    #[inline(always)]
    fn overflows(&self) -> bool {
        self.has_to_seek()
    }

    fn seek(
        &mut self,
        place: u8,
        (hash, at): (KeyHash, Timestamp),
        item: &T::Of<'_>,
        selector: &impl Select<T, K>,
    ) -> bool {
        self.seek_record(place, (hash, at), item, &selector.select(item))
    }

    fn has_room(&mut self, records: usize) -> bool {
        self.makes_room_for(records)
    }

    #[inline(always)]
    fn apply<N: Push<L::Out>>(
        &mut self,
        hash: KeyHash,
        item: T::Of<'_>,
        at: Timestamp,
        selector: &impl Select<T, K>,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        self.panes.set_current(hash, &selector.select(&item));
        self.panes.allow(SPOKEN_PER_RECORD);
        self.windows.clear();
        let now = self.panes.now;
        self.assigner.assign(&item, at, now, &mut self.windows)?;
        if let Some(on_disk) = &self.on_disk {
            on_disk.check(self.turn, &self.windows)?;
        }
        if self.sessions.is_some() {
            let [window] = self.windows[..] else {
                return Err(FunctionError::new(format!(
                    "an assigner whose windows merge answered {} windows for a record: it must \
                     answer one",
                    self.windows.len()
                )));
            };
            return self.add_to_session(window, item, at, next);
        }
        if self.event_time {
            let mut windows = std::mem::take(&mut self.windows);
            windows.retain(|window| !self.is_late(*window));
            self.windows = windows;
        }
        match self.windows[..] {
            [] => self.skip(item, at),
            [window] => self.add_to_one(window, item, at, next)?,
            _ => self.add_to_many(item, at, next)?,
        }
        Ok(())
    }
}
