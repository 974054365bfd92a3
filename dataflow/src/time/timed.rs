//! The stage that gives records their event times and makes the watermarks.
//!
//! Entered per record by what stands before it, a source or a chain, and at the end of each turn. Per
//! record it assigns the time and shows the record to the generator; all else is done at the end of
//! turns. Invariants: watermarks do not go back; no watermark goes out while the input is idle, and
//! before the first record behind that the input counts again; time in which records wait is not idle.
//! Lives on one shard's thread.

use std::rc::Rc;

use thalweg_core::config::options;
use thalweg_core::event_time::{Timestamp, Watermark, covering_ms};
use thalweg_core::shard::panic::FusedScope;
use thalweg_memory::Mark;
use thalweg_memory::record::Item;
use thalweg_network::Event;

use super::TaskClock;
use super::align::{AlignedPart, Member};
use super::generator::{GeneratorTemplate, WatermarkGenerator, WatermarkOutput};
use super::splits::Splits;
use super::strategy::{Alignment, TimestampAssigner, WatermarkStrategy};
use crate::stream::RuntimeMode;
use crate::task::{BuildContext, BuildError, ChainTurn, InputStatus, Origin, Push, Stage};

/// What a turn at most counts as quiet when more records wait: a stall of the shard is not silence.
const MOST_QUIET_UNDER_LOAD: u64 = 10_000_000;
/// How many watermarks go out in a period at most where event time runs faster than the clock.
const MOST_IN_A_PERIOD: u64 = 100;
const NS_PER_MS: u64 = 1_000_000;
/// How often a generator that speaks by itself is asked at most while no records come.
const LEAST_INTERVAL: u64 = 1_000_000;

/// Assigns timestamps and makes watermarks.
pub(crate) struct TimedStage<T: Item, M: GeneratorTemplate<T>, A, N> {
    name: Rc<str>,
    assigner: A,
    clock: TaskClock,
    /// Of the split in work.
    generator: M::Generator,
    /// Records of the split in work came and were not noted yet.
    touched: bool,
    /// What went out last says that no promise is made.
    idle: bool,
    /// The split in work is ahead of its alignment group.
    paused: bool,
    watermarks: Watermarks<T, M>,
    next: N,
}

/// What is looked at between records.
struct Watermarks<T: Item, M: GeneratorTemplate<T>> {
    template: M,
    splits: Splits<M::Generator>,
    schedule: Schedule,
    alignment: Option<Aligned>,
    /// The last watermark that went out.
    emitted: Timestamp,
    /// In BATCH mode only the last one does.
    enabled: bool,
    ended: bool,
}

struct Aligned {
    member: Member,
    interval: u64,
    /// Up to where splits may run, when it was last looked.
    limit: Timestamp,
    all_paused: bool,
    /// The split in work or another one that has records waits.
    some_paused: bool,
    /// One did until now, and the reader has not been asked since.
    released: bool,
}

impl Aligned {
    fn join(
        alignment: &Alignment,
        part: &AlignedPart,
        context: &BuildContext,
    ) -> Result<Self, BuildError> {
        let drift = covering_ms(alignment.max_drift);
        let member = part.join(context.info().index, drift);
        Ok(Self {
            member: member.ok_or_else(|| BuildError::Missing {
                vertex: context.info().vertex_name.to_string(),
                what: format!("its place in the alignment group {:?}", alignment.group),
            })?,
            interval: u64::try_from(alignment.interval.as_nanos()).unwrap_or(u64::MAX),
            limit: Timestamp::MIN,
            all_paused: false,
            some_paused: false,
            released: false,
        })
    }
}

/// When to look at the generators; all times in ns.
struct Schedule {
    /// Between watermarks; none if they are not made periodically.
    emit_every: Option<u64>,
    idle_after: Option<u64>,
    next_look: u64,
    /// Before it where event time has advanced by a period, but not before this.
    early_look: u64,
    /// Something may be told at the next look.
    pending: bool,
    alarm: u64,
    /// Time in which the input was silent by itself.
    quiet: u64,
    seen: u64,
    was_blocked: bool,
    was_waiting: bool,
}

impl Schedule {
    fn of<T: Item, M, A>(strategy: &WatermarkStrategy<T, M, A>, context: &BuildContext) -> Self {
        let ns =
            |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let configuration = &context.info().configuration;
        let configured = ns(configuration.get(&options::AUTO_WATERMARK_INTERVAL));
        Self {
            emit_every: match strategy.interval {
                Some(interval) => Some(ns(interval)),
                None => (configured > 0).then_some(configured),
            },
            idle_after: strategy.idle_after.map(ns),
            next_look: 0,
            early_look: 0,
            pending: false,
            alarm: 0,
            quiet: 0,
            seen: 0,
            was_blocked: true,
            was_waiting: false,
        }
    }

    /// Time passes: counts what of it was quiet.
    fn pass(&mut self, now: u64, input: InputStatus, blocked: bool) {
        let gap = now.saturating_sub(self.seen);
        let waiting = input == InputStatus::Idle && !blocked;
        self.quiet += match (self.was_blocked, self.was_waiting && waiting) {
            (true, _) => 0,
            (false, true) => gap,
            (false, false) => gap.min(MOST_QUIET_UNDER_LOAD),
        };
        self.seen = now;
        self.was_blocked = blocked;
        self.was_waiting = waiting;
    }

    /// The time between two looks, as long as something may be told.
    fn period(&self) -> u64 {
        let for_idleness = self.idle_after.map_or(u64::MAX, |timeout| timeout / 4);
        self.emit_every.unwrap_or(u64::MAX).min(for_idleness)
    }
}

impl<T, M, A, N> TimedStage<T, M, A, N>
where
    T: Item,
    M: GeneratorTemplate<T>,
    A: TimestampAssigner<T>,
    N: Push<T>,
{
    pub(crate) fn new(
        name: &str,
        strategy: WatermarkStrategy<T, M, A>,
        group: Option<AlignedPart>,
        next: N,
        context: &BuildContext,
    ) -> Result<Self, BuildError> {
        let enabled = context.info().mode != RuntimeMode::Batch;
        let schedule = Schedule::of(&strategy, context);
        let alignment = strategy.alignment.zip(group).filter(|_| enabled);
        let alignment =
            alignment.map(|(alignment, part)| Aligned::join(&alignment, &part, context));
        Ok(Self {
            name: name.into(),
            assigner: strategy.assigner,
            clock: context.clock().wanted(),
            generator: strategy.generators.generator(),
            touched: false,
            idle: false,
            paused: false,
            watermarks: Watermarks {
                template: strategy.generators,
                splits: Splits::new(),
                schedule,
                alignment: alignment.transpose()?,
                emitted: Timestamp::MIN,
                enabled,
                ended: false,
            },
            next,
        })
    }

    /// The first record after the input was idle: it counts again before anybody sees the record. What
    /// its split promised before goes out behind it, so that it makes no record late that is not.
    #[cold]
    #[inline(never)]
    fn wake(&mut self) {
        let marks = &mut self.watermarks;
        marks.splits.touch(marks.schedule.quiet);
        self.idle = false;
        self.next.mark(Mark::Active);
    }

    /// Notes that records of the split in work have come.
    fn settle(&mut self) {
        if std::mem::take(&mut self.touched) {
            let marks = &mut self.watermarks;
            marks.splits.touch(marks.schedule.quiet);
            marks.schedule.pending = true;
        }
    }

    /// The generator had something to say about a record.
    #[inline(never)]
    fn heard(&mut self, said: WatermarkOutput) {
        if !self.watermarks.enabled {
            return;
        }
        self.settle();
        self.take_in(said);
        self.tell();
    }

    fn take_in(&mut self, said: WatermarkOutput) {
        let marks = &mut self.watermarks;
        if let Some(to) = said.watermark() {
            marks.splits.raise(to);
        }
        if said.is_idle() {
            marks.splits.set_idle(true, marks.schedule.quiet);
        }
    }

    /// Tells those behind what holds now, if it is new.
    fn tell(&mut self) {
        let marks = &mut self.watermarks;
        let Some(lowest) = marks.splits.lowest() else {
            if !std::mem::replace(&mut self.idle, true) {
                self.next.mark(Mark::Idle);
            }
            return;
        };
        if std::mem::replace(&mut self.idle, false) {
            self.next.mark(Mark::Active);
        }
        if lowest > marks.emitted {
            marks.emitted = lowest;
            self.next.mark(Mark::Watermark(Watermark(lowest)));
        }
    }

    /// The end of a turn: tells what is due, looks at the group, and sees to the next look.
    fn look(&mut self, turn: &mut ChainTurn<'_, '_>) {
        let now = turn.context().now();
        self.settle();
        let has_room = self.next.ready();
        let marks = &mut self.watermarks;
        let held = marks.alignment.as_ref().is_some_and(|a| a.all_paused);
        marks.schedule.pass(now, turn.input(), !has_room || held);
        if now >= marks.schedule.next_look || self.runs_ahead(now) {
            self.ask(now);
        }
        self.align();
        self.set_alarm(now, turn);
    }

    /// Whether event time has advanced by a period since the last watermark though the clock has not, as in a job that
    /// catches up: what waits for the next one would become many times what it is at other times. Asks only generators
    /// to which it is the same how often they are.
    fn runs_ahead(&mut self, now: u64) -> bool {
        let schedule = &self.watermarks.schedule;
        let (Some(period), true) = (schedule.emit_every, M::Generator::WANTS_THE_HIGHEST) else {
            return false;
        };
        if now < schedule.early_look || !schedule.pending || self.idle {
            return false;
        }
        let advance = (self.promised().0).saturating_sub(self.watermarks.emitted.0);
        u64::try_from(advance).is_ok_and(|advance| advance >= period / NS_PER_MS)
    }

    /// Asks the generators what they promise now and tells it; finds who is idle.
    fn ask(&mut self, now: u64) {
        let wall = self.clock.now();
        let marks = &mut self.watermarks;
        let limit = (marks.alignment.as_ref()).map_or(Timestamp::MAX, |aligned| aligned.limit);
        if let Some(timeout) = marks.schedule.idle_after {
            marks.splits.find_idle(marks.schedule.quiet, timeout, limit);
        }
        if marks.schedule.emit_every.is_some() {
            let speak = self.generator.speaks_by_itself();
            marks.splits.ask(&mut self.generator, speak, |generator| {
                let mut said = WatermarkOutput::default();
                generator.on_periodic(wall, &mut said);
                (said.watermark(), said.is_idle())
            });
        } else {
            marks.splits.skip();
        }
        marks.schedule.pending = false;
        marks.schedule.next_look = now.saturating_add(marks.schedule.period());
        let period = marks.schedule.emit_every.unwrap_or(u64::MAX);
        marks.schedule.early_look = now.saturating_add(period / MOST_IN_A_PERIOD);
        self.tell();
    }

    /// Asks the split in work how far it is, where there is a group that wants to know it at once.
    fn measure(&mut self) {
        let marks = &self.watermarks;
        if marks.alignment.is_none() || self.idle || marks.schedule.emit_every.is_none() {
            return;
        }
        let promised = self.promised();
        self.watermarks.splits.raise(promised);
    }

    /// What the generator promises when it is asked now.
    fn promised(&mut self) -> Timestamp {
        let mut said = WatermarkOutput::default();
        self.generator.on_periodic(self.clock.now(), &mut said);
        said.watermark().unwrap_or(Timestamp::MIN)
    }

    /// Tells the alignment group how far this input is, and pauses what is ahead.
    fn align(&mut self) {
        self.measure();
        let marks = &mut self.watermarks;
        let Some(aligned) = &mut marks.alignment else {
            return;
        };
        let lowest = marks.splits.lowest().unwrap_or(Timestamp::MAX);
        aligned.member.publish(lowest);
        aligned.limit = aligned.member.limit();
        aligned.all_paused = marks.splits.all_beyond(aligned.limit);
        self.paused = marks.splits.current_watermark() > aligned.limit;
        let waits = self.paused || marks.splits.any_beyond(aligned.limit);
        aligned.released = std::mem::replace(&mut aligned.some_paused, waits) && !waits;
    }

    /// Has the task woken for the next look, unless nothing can be new then.
    fn set_alarm(&mut self, now: u64, turn: &mut ChainTurn<'_, '_>) {
        let marks = &mut self.watermarks;
        let schedule = &mut marks.schedule;
        let mut at = u64::MAX;
        let speaks = schedule.emit_every.is_some() && self.generator.speaks_by_itself();
        if schedule.pending || !self.idle && (schedule.idle_after.is_some() || speaks) {
            at = schedule
                .next_look
                .max(now.saturating_add(match schedule.pending {
                    true => 0,
                    false => schedule.period().max(LEAST_INTERVAL),
                }));
        }
        // The group lets splits go on of which the reader is told by nobody else.
        match &marks.alignment {
            Some(aligned) if aligned.some_paused => {
                at = at.min(now.saturating_add(aligned.interval.max(1)));
            }
            Some(aligned) if aligned.released => at = now,
            _ => {}
        }
        // One alarm at a time, unless it would come too late.
        if at < u64::MAX && (schedule.alarm <= now || at < schedule.alarm) {
            schedule.alarm = at;
            turn.context().wake_at(at);
        }
    }

    /// The input has ended: nothing is held back any more.
    fn end(&mut self) {
        let marks = &mut self.watermarks;
        marks.ended = true;
        marks.emitted = Timestamp::MAX;
        self.idle = false;
        self.paused = false;
        if let Some(aligned) = marks.alignment.take() {
            aligned.member.end();
        }
        self.next.mark(Mark::Watermark(Watermark::MAX));
    }
}

impl<T, M, A, N> Push<T> for TimedStage<T, M, A, N>
where
    T: Item,
    M: GeneratorTemplate<T>,
    A: TimestampAssigner<T>,
    N: Push<T>,
{
    #[inline(always)]
    fn push(&mut self, item: T::Of<'_>, previous: Timestamp) {
        if self.idle {
            self.wake();
        }
        let mut said = WatermarkOutput::default();
        let scope = FusedScope::enter(&self.name);
        let at = self.assigner.assign(&item, previous, self.clock.now());
        self.generator.on_event(&item, at, &mut said);
        scope.leave();
        self.touched = true;
        self.next.push(item, at);
        if !said.is_silent() {
            self.heard(said);
        }
    }

    #[inline(always)]
    fn push_each<'a>(
        &mut self,
        count: usize,
        mut make: impl FnMut(usize) -> (T::Of<'a>, Timestamp),
    ) {
        if M::Generator::SPEAKS_OF_RECORDS || self.idle {
            // What is said of a record goes out right behind it, and the first one wakes the rest.
            for number in 0..count {
                let (item, previous) = make(number);
                self.push(item, previous);
            }
            return;
        }
        let now = self.clock.now();
        let (name, assigner, generator) = (&self.name, &mut self.assigner, &mut self.generator);
        let mut said = WatermarkOutput::default();
        // A variable of its own, so that it can be a vector while records are made.
        let mut highest = Timestamp::NONE;
        self.touched |= count > 0;
        self.next.push_each(
            count,
            #[inline(always)]
            |number| {
                let (item, previous) = make(number);
                let scope = FusedScope::enter(name);
                let at = assigner.assign(&item, previous, now);
                if M::Generator::WANTS_THE_HIGHEST {
                    highest = highest.max(at);
                } else {
                    generator.on_event(&item, at, &mut said);
                }
                scope.leave();
                (item, at)
            },
        );
        if M::Generator::WANTS_THE_HIGHEST {
            self.generator.on_highest(highest);
        }
        debug_assert!(said.is_silent(), "it was said that nothing is said");
    }

    #[inline(always)]
    fn ready(&self) -> bool {
        !self.paused && self.next.ready()
    }

    /// Watermarks from before are replaced by the strategy's own, but for the last one. Idleness said
    /// before is that of the split in work.
    fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Watermark(watermark) if watermark.is_end() => self.end(),
            Mark::Watermark(_) => {}
            Mark::Idle | Mark::Active if !self.watermarks.enabled => {}
            Mark::Idle => {
                self.settle();
                if self.watermarks.schedule.pending {
                    self.ask(self.watermarks.schedule.seen);
                }
                let marks = &mut self.watermarks;
                marks.splits.set_idle(true, marks.schedule.quiet);
                self.tell();
            }
            Mark::Active => {
                let marks = &mut self.watermarks;
                marks.splits.set_idle(false, marks.schedule.quiet);
                self.tell();
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.next.event(event);
    }

    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        if self.watermarks.enabled && !self.watermarks.ended {
            self.look(turn);
        }
        self.next.end_turn(turn)
    }
}

impl<T, M, A, N> Origin<T> for TimedStage<T, M, A, N>
where
    T: Item,
    M: GeneratorTemplate<T>,
    A: TimestampAssigner<T>,
    N: Push<T>,
{
    fn begin_split(&mut self, split: u64) {
        if self.watermarks.splits.is_current(split) {
            return;
        }
        if self.touched {
            self.settle();
            // The next look may find another split in work.
            self.measure();
        }
        let marks = &mut self.watermarks;
        let (quiet, template) = (marks.schedule.quiet, &marks.template);
        marks
            .splits
            .turn_to(split, quiet, &mut self.generator, || template.generator());
        if let Some(aligned) = &marks.alignment {
            self.paused = marks.splits.current_watermark() > aligned.limit;
        }
    }

    fn end_split(&mut self, split: u64) {
        self.settle();
        let marks = &mut self.watermarks;
        if marks.splits.end(split) {
            self.generator = marks.template.generator();
            self.paused = false;
        }
        marks.schedule.pending = true;
    }

    fn may_poll(&self) -> bool {
        let held = (self.watermarks.alignment.as_ref()).is_some_and(|aligned| aligned.all_paused);
        !held && self.next.ready()
    }
}
