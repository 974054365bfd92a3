//! What every operator at the head of a chain shares: firing, held marks, time, cuts, the end.
//!
//! A watermark is held at the operator until everything it made due has been given out; what
//! comes behind it meanwhile waits in line, and no record is applied. Firing is resumable: it
//! stops when there is no room or time and goes on in the next turn. A barrier cuts the states
//! when it is first in line; it waits only for the cut before it to be written. Lives on one shard.

use std::collections::VecDeque;

use thalweg_core::config::RuntimeMode;
use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::in_work::OperatorName;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::Item;
use thalweg_memory::{Entry, Mark};
use thalweg_network::{Barrier, Event};
use thalweg_state::{
    Adopts, OperatorPart, Pressure, Redistribution, Snapshot, StateDescriptor, StateKind,
};

use crate::checkpoint::{Cutting, OperatorCut, Remembers, StateSizes};
use crate::function::FunctionError;
use crate::task::{
    BuildContext, BuildError, ChainTurn, Failure, InputStatus, Push, Stage, WatermarkCell,
};
use crate::time::TaskClock;

/// Results given out between two looks at the clock.
const SLICE: usize = 128;

/// The part of a checkpoint that holds how far event time had come.
const WATERMARK: &str = "watermark";

/// How far an operator came with what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Firing {
    /// Nothing due is left.
    Done,
    /// More is due: room or the slice ran out.
    More,
    /// More is due, whose state is on disk, or for whose state room has to be made.
    Waiting,
}

/// The life of an operator between its records.
pub(crate) trait Lifecycle<U: Item>: Remembers {
    /// Records of this input far ahead have keys of these hashes.
    ///
    /// # Errors
    /// State that cannot be brought near.
    fn prepare(&mut self, input: u32, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        let _ = (input, hashes);
        Ok(())
    }

    /// The same, for operators that find entries ahead: the first record has the place `from` in
    /// the window of records ahead, the others stand behind it.
    ///
    /// # Errors
    /// As [`Lifecycle::prepare`].
    fn approach(&mut self, input: u32, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        let _ = from;
        self.prepare(input, hashes)
    }

    /// So many of the records that were approached come soon: the time to find their entries.
    fn locate(&mut self, input: u32, from: u8, records: usize) {
        let _ = (input, from, records);
    }

    /// The record at this place of the window is applied next.
    #[inline(always)]
    fn turn_to(&mut self, input: u32, at: u8) {
        let _ = (input, at);
    }

    /// A turn begins: takes in what was read of state that is on disk.
    ///
    /// # Errors
    /// What the disk could not do.
    fn begin_state_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), FunctionError> {
        let _ = context;
        Ok(())
    }

    /// A turn ends: asks for state that is on disk, makes room for it. `waiting`: records wait for that.
    ///
    /// # Errors
    /// What the disk could not do, and memory that is too little for it.
    fn end_state_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, FunctionError> {
        let _ = (context, waiting);
        Ok(Pressure::None)
    }

    /// Whether its states may be cut now. A barrier waits until they may.
    #[inline]
    fn may_be_cut(&self) -> bool {
        true
    }

    /// Whether the operator wants to be told the processing time.
    fn wants_processing_time(&self) -> bool {
        false
    }

    /// A turn begins at this processing time, in ms since 1970. Called before anything else of
    /// the turn, if the operator wants it.
    fn processing_time(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// Whether the record applied last has more results than there was room for. They are given out
    /// by [`Lifecycle::fire`] before another record is applied or a watermark told.
    #[inline(always)]
    fn unfinished(&self) -> bool {
        false
    }

    /// Whether records that were applied have results which are still to come. Asked once for some records; given out
    /// as above.
    #[inline(always)]
    fn owes(&self) -> bool {
        false
    }

    /// The earliest processing time at which [`Lifecycle::fire`] has something to give out.
    fn next_processing_time(&self) -> Option<Timestamp> {
        None
    }

    /// The watermark of all inputs is `to` now. What that makes due is given out by
    /// [`Lifecycle::fire`], before the watermark goes on.
    fn watermark(&mut self, to: Timestamp) {
        let _ = to;
    }

    /// The input of a batch ends: makes due all that waits for the processing time, and takes nothing more that would.
    /// Called with the last watermark.
    fn clock_ends(&mut self) {}

    /// The operator was given back its states, and the watermark of all inputs had come so far; all it
    /// made due was given out then.
    fn restored_at(&mut self, watermark: Timestamp) {
        self.watermark(watermark);
    }

    /// Gives out what is due, about `limit` results at most, and only while `next.ready()`.
    /// Answers [`Firing::Done`] only when nothing due is left.
    ///
    /// # Errors
    /// State that does not fit its budget, or what the user's function answers.
    fn fire<N: Push<U>>(&mut self, next: &mut N, limit: usize) -> Result<Firing, FunctionError> {
        let _ = (next, limit);
        Ok(Firing::Done)
    }

    /// After the last record and the last watermark: gives out what is held back until the end,
    /// resumably, while there is room and time.
    ///
    /// # Errors
    /// As [`Lifecycle::fire`].
    fn finish<N: Push<U>>(
        &mut self,
        next: &mut N,
        turn: &mut ChainTurn<'_, '_>,
    ) -> Result<Stage, FunctionError> {
        let _ = (next, turn);
        Ok(Stage::Done)
    }
}

/// What waits behind a watermark that is held.
enum Held {
    Mark(Mark),
    Event(Event),
}

/// Why an operator fires.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The watermark that is first in line.
    Watermark,
    /// The clock.
    ProcessingTime,
    /// The results of records that were applied.
    Record,
    /// Nothing: the barrier first in line waits until the cut before it is written, or until there can be one.
    Cut,
    /// Nothing: the next record waits for its state, which is on disk, or for room for it.
    State,
}

/// When a task asked to be woken.
#[derive(Clone, Copy)]
struct Alarm {
    at: Timestamp,
    /// The same on the shard's monotonic clock, ns.
    deadline: u64,
}

/// The place of a framed operator in its chain.
pub(crate) const HEAD: usize = 0;

/// How far event time had come in the subtask that was behind, if the job is restored.
fn restored_watermark(context: &BuildContext) -> Option<Timestamp> {
    let (_, restored) = context.restored(HEAD)?;
    let items = restored.items(WATERMARK)?;
    let times = items
        .iter()
        .filter_map(|item| item.as_slice().try_into().ok());
    let earliest = times.map(i64::from_le_bytes).map(Timestamp).min();
    earliest.filter(|at| *at > Timestamp::MIN)
}

/// Tells once that an operator keeps states in memory, though its user wants state on disk.
fn tell_of_memory(name: &str, operator: &mut impl Remembers) {
    let mut states = Vec::new();
    let shown = operator.visit_states(&mut |told: &StateDescriptor, state: &mut dyn Snapshot| {
        if state.adopts(0) == Adopts::Rows && told.kind() != StateKind::Timers {
            states.push(told.name().to_owned());
        }
        Ok(())
    });
    if shown.is_ok() && !states.is_empty() {
        tracing::warn!(
            operator = name,
            ?states,
            "this operator keeps these states in memory under state.backend.type lsm too: only streaming \
             aggregates, deduplication, windows, joins, and the states of process functions and of window functions \
             overflow to disk so far; it fails when taskmanager.memory.managed.size is used up"
        );
    }
}

/// An operator, the stage behind it and what is held between them.
pub(crate) struct Frame<O, N> {
    pub(crate) name: OperatorName,
    pub(crate) operator: O,
    pub(crate) next: N,
    failure: Failure,
    /// Something due is being given out; what is held waits for it.
    firing: Option<Cause>,
    /// What is being given out waits for its state until the next turn.
    awaits_state: bool,
    held: VecDeque<Held>,
    hashes: Vec<KeyHash>,
    alarm: Option<Alarm>,
    clock: TaskClock,
    cut: OperatorCut,
    sizes: StateSizes,
    /// The watermark told last. A restored operator is told no older one.
    watermark: Timestamp,
    /// The watermark that went on last.
    passed: Timestamp,
    /// Shows it.
    told: WatermarkCell,
    /// Whether what waits for the clock is given out at the end of the input.
    is_batch: bool,
    finished: bool,
}

impl<O: Remembers, N> Frame<O, N> {
    /// A frame around the operator at the head of the chain that `context` describes. Gives the
    /// operator back what the job is restored from.
    pub(crate) fn open<U: Item>(
        name: OperatorName,
        mut operator: O,
        next: N,
        context: &BuildContext,
    ) -> Result<Self, BuildError>
    where
        O: Lifecycle<U>,
    {
        if context.may_spill() {
            tell_of_memory(&name, &mut operator);
        }
        let cut = OperatorCut::open(&mut operator, HEAD, context)?;
        let sizes = StateSizes::open(&mut operator, &name, context)?;
        let mut frame = Self {
            name,
            operator,
            next,
            failure: context.failure(),
            firing: None,
            awaits_state: false,
            held: VecDeque::new(),
            hashes: Vec::new(),
            alarm: None,
            clock: context.clock().clone(),
            cut,
            sizes,
            watermark: Timestamp::MIN,
            passed: Timestamp::MIN,
            told: context.told(HEAD),
            is_batch: context.info().mode == RuntimeMode::Batch,
            finished: false,
        };
        if let Some(watermark) = restored_watermark(context) {
            frame.watermark = watermark;
            frame.passed = watermark;
            frame.operator.restored_at(watermark);
        }
        Ok(frame)
    }
}

impl<O, N> Frame<O, N> {
    #[cold]
    pub(crate) fn fail(&self, error: &FunctionError) {
        self.failure
            .set(&self.name, error.to_string(), error.kind());
    }

    /// Whether a record may be applied.
    #[inline(always)]
    pub(crate) fn ready<U: Item>(&self) -> bool
    where
        N: Push<U>,
    {
        self.may_apply() && self.next.ready()
    }

    /// Whether nothing that comes before a record is under way.
    #[inline(always)]
    pub(crate) fn may_apply(&self) -> bool {
        debug_assert!(
            self.firing.is_some() || self.held.is_empty(),
            "what is in line comes before a record"
        );
        self.firing.is_none()
    }

    /// The next record waits for its state.
    pub(crate) fn wait_for_state(&mut self) {
        if self.firing.is_none() {
            self.firing = Some(Cause::State);
        }
    }

    /// A record was applied: what it left unfinished comes before anything else.
    #[inline(always)]
    pub(crate) fn applied<U: Item>(&mut self)
    where
        O: Lifecycle<U>,
    {
        if self.operator.unfinished() {
            debug_assert!(!self.is_firing(), "no record is applied while firing");
            self.firing = Some(Cause::Record);
        }
    }

    /// Some records were applied: what they have still to give out comes before anything else, and before those that
    /// wait for their state.
    #[inline(always)]
    pub(crate) fn batch_applied<U: Item>(&mut self)
    where
        O: Lifecycle<U>,
    {
        if self.operator.owes() && matches!(self.firing, None | Some(Cause::State)) {
            self.firing = Some(Cause::Record);
        }
    }

    /// Brings near what records with these hashes will touch.
    #[inline(always)]
    pub(crate) fn approach<U: Item>(&mut self, input: u32, from: u8, entries: &[Entry])
    where
        O: Lifecycle<U>,
    {
        self.hashes.clear();
        self.hashes.extend(entries.iter().map(|entry| entry.hash));
        if let Err(error) = self.operator.approach(input, from, &self.hashes) {
            self.fail(&error);
        }
    }

    /// A turn begins: tells the operator the time and lets it fire what that makes due.
    pub(crate) fn begin_turn<U: Item>(&mut self, context: &mut TurnContext<'_>)
    where
        O: Lifecycle<U>,
        N: Push<U>,
    {
        if let Err(error) = self.operator.begin_state_turn(context) {
            self.fail(&error);
        }
        self.awaits_state = false;
        if self.firing == Some(Cause::Cut) && !self.cut.is_busy() && self.operator.may_be_cut() {
            self.firing = None;
            self.begin_next();
        }
        if self.firing == Some(Cause::State) {
            // Whether it has come shows when the record is tried again. A barrier that overtook that record comes first.
            self.firing = None;
            self.begin_next();
        }
        if !self.operator.wants_processing_time() {
            return;
        }
        // The time that functions see too: another reading could be later, and a timer fire before its time.
        let now = self.clock.read(context);
        self.operator.processing_time(now);
        let due = self.operator.next_processing_time();
        if self.firing.is_none() && due.is_some_and(|at| at <= now) {
            self.firing = Some(Cause::ProcessingTime);
        }
    }

    /// Takes a combined mark of all inputs. Sources that were restored tell old watermarks again: those are
    /// dropped.
    pub(crate) fn mark<U: Item>(&mut self, mark: Mark)
    where
        O: Lifecycle<U>,
        N: Push<U>,
    {
        match mark {
            Mark::Watermark(told) if told.0 < self.watermark => return,
            Mark::Watermark(told) => self.watermark = told.0,
            Mark::Idle | Mark::Active => {}
        }
        self.hold(Held::Mark(mark));
    }

    /// Takes a barrier.
    pub(crate) fn event<U: Item>(&mut self, event: Event)
    where
        O: Lifecycle<U>,
        N: Push<U>,
    {
        self.hold(Held::Event(event));
    }

    fn hold<U: Item>(&mut self, held: Held)
    where
        O: Lifecycle<U>,
        N: Push<U>,
    {
        self.held.push_back(held);
        if self.firing.is_none() {
            self.begin_next();
            self.fire_slice();
        }
    }

    /// Lets go what stands in line, up to a watermark: that begins to fire.
    fn begin_next<U: Item>(&mut self)
    where
        O: Lifecycle<U>,
        N: Push<U>,
    {
        while let Some(first) = self.held.front() {
            if let Held::Mark(Mark::Watermark(watermark)) = first {
                self.operator.watermark(watermark.0);
                if watermark.0 == Timestamp::MAX && self.is_batch {
                    self.operator.clock_ends();
                }
                self.firing = Some(Cause::Watermark);
                return;
            }
            if let Held::Event(Event::Barrier(barrier)) = first {
                let barrier = *barrier;
                if self.cut.is_busy() || !self.operator.may_be_cut() {
                    self.firing = Some(Cause::Cut);
                    return;
                }
                self.cut_at(barrier);
            }
            self.pass_on_first();
        }
    }

    fn pass_on_first<U: Item>(&mut self)
    where
        N: Push<U>,
    {
        match self.held.pop_front() {
            Some(Held::Mark(mark)) => self.next.mark(mark),
            Some(Held::Event(event)) => self.next.event(event),
            None => {}
        }
    }

    /// The watermark that made things due goes on: all of them are out.
    fn pass_on_watermark<U: Item>(&mut self)
    where
        N: Push<U>,
    {
        if let Some(Held::Mark(Mark::Watermark(watermark))) = self.held.front() {
            self.passed = watermark.0;
            self.told.set(watermark.0);
        }
        self.pass_on_first();
    }

    /// Freezes the states of the operator. Event time has come as far as the marks that went on: those still
    /// in line are behind the barrier.
    fn cut_at<U: Item>(&mut self, barrier: Barrier)
    where
        O: Lifecycle<U>,
    {
        let behind = |held: &Held| matches!(held, Held::Mark(Mark::Watermark(_)));
        debug_assert!(
            !self.held.front().is_some_and(behind),
            "the barrier is first"
        );
        // The last watermark of all is not remembered: a job that was drained, and goes on nevertheless, must
        // not take what comes then for late.
        // Subtasks that were cut by a barrier that overtakes have come to different times: those that have not come
        // to any say so, for the others' not to count for them.
        let tells = self.passed > Timestamp::MIN || barrier.overtakes_at.is_some();
        if tells && self.passed < Timestamp::MAX {
            let part = OperatorPart {
                name: WATERMARK.to_owned(),
                redistribution: Redistribution::Union,
                items: vec![self.passed.0.to_le_bytes().to_vec()],
            };
            self.cut.answers().add_part(barrier.checkpoint, HEAD, part);
        }
        if let Some(lists) = self.operator.lists() {
            lists.copy_at(barrier);
        }
        if let Err(error) = self.cut.begin(&mut self.operator, barrier) {
            self.failure
                .set(&self.name, error.to_string(), ErrorKind::Resource);
        }
    }

    /// Writes some of the cut; whether more of it could be written at once, and whether it is over.
    fn write_cut<U: Item>(&mut self, turn: &mut ChainTurn<'_, '_>) -> Cutting
    where
        O: Lifecycle<U>,
        N: Push<U>,
    {
        let cutting = match self.cut.advance(&mut self.operator, turn.context()) {
            Ok(cutting) => cutting,
            Err(error) => {
                self.failure
                    .set(&self.name, error.to_string(), ErrorKind::Resource);
                Cutting::Waiting
            }
        };
        if cutting == Cutting::Idle && self.firing == Some(Cause::Cut) {
            self.firing = None;
            self.begin_next();
        }
        cutting
    }

    /// Gives out one slice of what is due. When that was the last of it, the watermark behind
    /// which it stood goes on and the next in line begins.
    fn fire_slice<U: Item>(&mut self)
    where
        O: Lifecycle<U>,
        N: Push<U>,
    {
        if !self.may_fire() {
            return;
        }
        let scope = OperatorScope::enter(&self.name);
        let fired = self.operator.fire(&mut self.next, SLICE);
        scope.leave();
        match fired {
            Ok(Firing::More) => {}
            Ok(Firing::Waiting) => self.awaits_state = true,
            Ok(Firing::Done) => {
                if self.firing.take() == Some(Cause::Watermark) {
                    self.pass_on_watermark();
                }
                self.begin_next();
            }
            Err(error) => self.fail(&error),
        }
    }

    /// The end of a turn: all that is due is given out, then state that is on disk is asked for.
    pub(crate) fn end_turn<U: Item>(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage
    where
        O: Lifecycle<U>,
        N: Push<U>,
    {
        let stage = self.give_out(turn);
        let waiting = self.firing == Some(Cause::State) || self.awaits_state;
        let pressure = self.operator.end_state_turn(turn.context(), waiting);
        let pressure = pressure.unwrap_or_else(|error| {
            self.fail(&error);
            Pressure::None
        });
        let ended = turn.input() == InputStatus::Ended;
        self.sizes.look(&mut self.operator, turn.context(), ended);
        // A task that has done all it had to do makes no room for more.
        match pressure {
            Pressure::MakingRoom if waiting || !ended => Stage::Unfinished,
            _ => stage,
        }
    }

    /// Goes on firing, and after the last record gives out what was held back.
    fn give_out<U: Item>(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage
    where
        O: Lifecycle<U>,
        N: Push<U>,
    {
        let cutting = match self.cut.is_busy() {
            true => self.write_cut(turn),
            false => Cutting::Idle,
        };
        while self.may_fire() {
            self.fire_slice();
            if self.is_firing() && turn.expired() {
                break;
            }
        }
        if self.awaits_state {
            // The disk wakes the task, or room is made for it at the end of this turn.
            let stage = match cutting {
                Cutting::More => Stage::Unfinished,
                _ => Stage::Waiting,
            };
            return self.again_later(stage, turn);
        }
        if self.is_firing() {
            return self.again_later(Stage::Unfinished, turn);
        }
        self.set_alarm(turn);
        if self.cut.is_busy() || self.firing == Some(Cause::Cut) {
            // The input may have ended, but what was cut, or is to be, has to be written first.
            return self.end_turn_while_cutting(cutting, turn);
        }
        if turn.input() == InputStatus::Ended && !self.finished {
            let scope = OperatorScope::enter(&self.name);
            let finished = self.operator.finish(&mut self.next, turn);
            scope.leave();
            match finished {
                Ok(Stage::Done) => {
                    self.finished = true;
                    if let Some(lists) = self.operator.lists() {
                        lists.leave();
                    }
                }
                Ok(stage) => return self.again_later(stage, turn),
                Err(error) => {
                    self.fail(&error);
                    return Stage::Waiting;
                }
            }
        }
        self.next.end_turn(turn)
    }

    /// Whether something may be given out now.
    fn may_fire<U: Item>(&self) -> bool
    where
        N: Push<U>,
    {
        let free = !self.awaits_state && !self.failure.is_set();
        self.is_firing() && free && self.next.ready()
    }

    fn is_firing(&self) -> bool {
        let waiting = |cause| matches!(cause, Cause::Cut | Cause::State);
        self.firing.is_some_and(|cause| !waiting(cause))
    }

    /// Ends the turn of what stands behind, which must not end for good.
    fn end_turn_while_cutting<U: Item>(
        &mut self,
        cutting: Cutting,
        turn: &mut ChainTurn<'_, '_>,
    ) -> Stage
    where
        N: Push<U>,
    {
        let input = match turn.input() {
            InputStatus::Ended => InputStatus::Idle,
            other => other,
        };
        let behind = self.next.end_turn(&mut turn.with_input(input));
        match cutting {
            // Idle: this one has begun in this very turn, behind a watermark that was passed on. Nothing of it is
            // at the disk yet, so nobody would wake the task to write it.
            Cutting::More | Cutting::Idle => Stage::Unfinished,
            _ if behind == Stage::Unfinished => Stage::Unfinished,
            _ => Stage::Waiting,
        }
    }

    /// Ends the turn of what stands behind while this operator has more to give out.
    fn again_later<U: Item>(&mut self, stage: Stage, turn: &mut ChainTurn<'_, '_>) -> Stage
    where
        N: Push<U>,
    {
        let ready_before = self.next.ready();
        self.next.end_turn(&mut turn.with_input(InputStatus::Idle));
        // Room may have been found while the turn ended, and nobody else would tell.
        if self.next.ready() && (stage == Stage::Unfinished || !ready_before) {
            Stage::Unfinished
        } else {
            Stage::Waiting
        }
    }

    /// Has the task woken when the next processing time is due.
    fn set_alarm<U: Item>(&mut self, turn: &mut ChainTurn<'_, '_>)
    where
        O: Lifecycle<U>,
    {
        let Some(at) = self.operator.next_processing_time() else {
            return;
        };
        let context = turn.context();
        let now = context.reactor().now();
        if let Some(alarm) = self.alarm
            && alarm.at <= at
            && alarm.deadline > now
        {
            return;
        }
        let wait_ms = at.0.saturating_sub(context.reactor().wall_ms());
        let wait_ns = u64::try_from(wait_ms)
            .unwrap_or(0)
            .saturating_mul(1_000_000);
        let deadline = now.saturating_add(wait_ns);
        context.wake_at(deadline);
        self.alarm = Some(Alarm { at, deadline });
    }
}
