//! A consumer's turn: buffers from the gate, records read in place, results pushed on.
//!
//! Works in small steps through a window of entries: some are scanned far ahead, so that a keyed
//! head can ask for their state, found a little ahead, when it has come, and then applied. The
//! place reached in the current buffer is kept between turns, because a push chain cannot be
//! suspended but a head can: it stops before the step for whose results there is no room.

use std::collections::VecDeque;
use std::ops::Range;

use thalweg_core::event_time::Watermark;
use thalweg_core::key_group::KeyHash;
use thalweg_core::metrics::Histogram;
use thalweg_core::shard::step::{Progress, StepError, TurnContext};
use thalweg_memory::record::{Damaged, Wire};
use thalweg_memory::{Buffer, Cursor, Entry, EntryLayout, Mark, Remainder};
use thalweg_network::ChannelId;
use thalweg_network::GateRef;
use thalweg_network::{Barrier, Event, Outflow};
use thalweg_state::WINDOW;

use super::looks::Looks;
use super::overtake::{Overtaking, replay_of};
use super::{
    BuildContext, BuildError, ChainTurn, Failure, Head, InputStatus, Push, Stage, TaskCounters,
};
use crate::checkpoint::{Alignment, Passage, Replay, Replayed, TaskAnswers, TaskCommand};
use crate::operator::{Circuit, LapCombiner, OUTSIDE, Onward};
use crate::time::{Said, TaskClock, WatermarkCombiner};

/// Entries taken in one step: what vectors work on at once, and what is applied between two
/// looks at the room. What their results need too much is overdrawn, as for a single record.
const STEP: usize = 16;
/// How many entries ahead of those applied the state is asked for: far enough that it has come
/// when it is needed, near enough that it has not been pushed out again.
const FAR: usize = 64;
/// How many entries ahead it is found.
const NEAR: usize = 32;
/// The promise that nothing more will come.
const LAST: Mark = Mark::Watermark(Watermark::MAX);
const _: () = assert!(
    NEAR < FAR && FAR + 2 * STEP <= WINDOW && WINDOW.is_multiple_of(STEP),
    "the entries ahead have places of their own in the window"
);

/// What stands at the head of a consuming chain and takes the records of its gate.
pub(crate) trait Consume: 'static {
    /// Called first in every turn.
    fn begin_turn(&mut self, context: &mut TurnContext<'_>) {
        let _ = context;
    }
    /// Finds the next entries of a buffer, which holds the records of one input.
    fn scan(&self, input: u32, buffer: &Buffer, cursor: &mut Cursor, out: &mut [Entry]) -> usize;
    /// Entries far ahead, the first at the place `from` of the window: ask for what they will touch.
    fn approach(&mut self, input: u32, from: u8, entries: &[Entry]) {
        let _ = (input, from, entries);
    }
    /// The same entries, with the records themselves: state that memory does not hold is asked for by keys.
    #[inline(always)]
    fn seek_ahead(&mut self, input: u32, from: u8, buffer: &Buffer, entries: &[Entry]) {
        let _ = (input, from, buffer, entries);
    }
    /// So many entries a little ahead: find what was asked for.
    fn locate(&mut self, input: u32, from: u8, entries: usize) {
        let _ = (input, from, entries);
    }
    /// Applies entries in order, the first at the place `from` of the window; answers how many,
    /// fewer than all when room ran out or the state of the next is not there.
    fn apply(&mut self, input: u32, from: u8, buffer: &Buffer, entries: &[Entry]) -> usize;
    /// Makes a buffer of records of an input that were in flight, those whose hashes are to be kept.
    ///
    /// # Errors
    /// When they are not such records.
    fn revive(
        &self,
        input: u32,
        rest: &Remainder,
        keep: &mut dyn FnMut(KeyHash) -> bool,
    ) -> Result<Buffer, Damaged>;
    /// Whether there is room for the results of one more record.
    fn ready(&self) -> bool;
    /// A combined mark of all inputs.
    fn mark(&mut self, mark: Mark);
    /// A barrier.
    fn event(&mut self, event: Event);
    /// The turn ends.
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage;
}

/// The buffer in work and how far it was applied.
pub(super) struct Current {
    pub(super) input: u32,
    pub(super) channel: ChannelId,
    pub(super) buffer: Buffer,
    pub(super) event: Option<Event>,
    pub(super) cursor: Cursor,
    /// It was in flight when the job was cut, and is of no gate.
    replayed: bool,
    /// When it was taken, ns of the shard's clock.
    taken: u64,
}

impl Current {
    /// Whether it was in flight when the job was cut.
    pub(super) fn is_replayed(&self) -> bool {
        self.replayed
    }
}

/// The head of a chain that begins with an exchange.
pub(crate) struct InputHead<C> {
    pub(super) gate: GateRef,
    pub(super) consume: C,
    outflow: Outflow,
    pub(super) current: Option<Current>,
    /// The entry with a number lies at that number modulo [`WINDOW`].
    entries: [Entry; WINDOW],
    /// Entries of the buffer in work that were scanned and approached, located, applied.
    scanned: usize,
    located: usize,
    pub(super) applied: usize,
    /// How many of those applied are counted.
    counted: usize,
    looks: Looks,
    watermarks: WatermarkCombiner,
    pub(super) alignment: Alignment,
    /// What is known of barriers that overtake; none where they never do.
    pub(super) overtaking: Option<Overtaking>,
    /// What was in flight when the job was cut and has not been read.
    pub(super) replay: Option<Replay>,
    /// Barriers the coordinator has told of, for the case that all inputs have ended without them.
    triggered: VecDeque<Barrier>,
    /// All inputs have ended, and what the chain's own end waits for is no checkpoint.
    lingers: bool,
    /// The chain has given out all it ever will.
    over: bool,
    pub(super) answers: TaskAnswers,
    laps: LapCombiner,
    /// What is done besides reading at the head of a loop.
    circuit: Option<Circuit>,
    failure: Failure,
    counters: TaskCounters,
    buffer_time: Option<Histogram>,
    /// When the buffer before was done with, or this turn began.
    idle_since: u64,
    clock: TaskClock,
}

/// Why the records stopped for now.
enum Pause {
    NoInput,
    NoRoom,
    Expired,
}

/// Why a run of entries ended.
enum Stop {
    /// It is time to look at the clock.
    Look,
    /// There is no room for the results of one more.
    Room,
    /// A mark stands before the next entry, or there is none.
    Mark,
}

/// The places in the window of the entries from number `from` up to `end`, as far as one step goes.
#[inline(always)]
fn piece(from: usize, end: usize) -> Range<usize> {
    let place = from % WINDOW;
    let room = STEP - place % STEP;
    place..place + room.min(end - from)
}

impl<C: Consume> InputHead<C> {
    /// The head of a chain that begins with `consume`.
    ///
    /// # Errors
    /// When what was in flight to this task cannot be read.
    pub(crate) fn open(
        gate: GateRef,
        consume: C,
        context: &BuildContext,
    ) -> Result<Self, BuildError> {
        let answers = context.answers();
        let exactly_once = answers.setup().is_none_or(|setup| setup.exactly_once);
        let circuit = context.take_circuit();
        let channels: Vec<ChannelId> = gate.borrow().channels().collect();
        let promising = match circuit {
            Some(_) => gate.borrow().channels_of(OUTSIDE).collect(),
            None => channels.clone(),
        };
        let counters = context.counters();
        let buffer_time = counters.input_buffer_time.borrow().clone();
        let inputs: Vec<u32> = gate.borrow().inputs().collect();
        let of_inputs = channels.iter().copied().zip(inputs);
        let of_promising = of_inputs.filter(|(channel, _)| promising.contains(channel));
        let watermarks = WatermarkCombiner::new(of_promising.collect(), &counters);
        let replay = replay_of(&gate, &consume, context)?;
        let overtaking = Overtaking::of(&gate.borrow());
        Ok(Self {
            overtaking,
            replay,
            gate,
            consume,
            outflow: context.outflow(),
            current: None,
            entries: [Entry::default(); WINDOW],
            scanned: 0,
            located: 0,
            applied: 0,
            counted: 0,
            looks: Looks::new(),
            alignment: Alignment::new(promising, exactly_once),
            triggered: VecDeque::new(),
            lingers: false,
            over: false,
            answers,
            watermarks,
            laps: LapCombiner::new(channels),
            circuit,
            failure: context.failure(),
            buffer_time,
            counters,
            idle_since: 0,
            clock: context.clock().clone(),
        })
    }

    /// Applies buffers until input, room or time is used up.
    fn read(&mut self, context: &mut TurnContext<'_>) -> Result<(Pause, bool), StepError> {
        let mut made = false;
        self.idle_since = context.now();
        self.looks.begin_turn(context.now());
        self.outflow.begin_turn();
        loop {
            if self.current.is_none() && !self.next_buffer()? {
                return Ok((Pause::NoInput, made));
            }
            let before = self.applied;
            let stop = self.apply_until(before + self.looks.left());
            self.looks.applied(self.applied - before);
            made |= self.applied > before;
            self.failure.check()?;
            match stop {
                Stop::Room => return Ok((Pause::NoRoom, made)),
                Stop::Mark if self.take_marks() => {}
                Stop::Mark => {
                    self.finish_buffer(context);
                    made = true;
                    if !self.looks.are_due() {
                        continue;
                    }
                }
                Stop::Look => {}
            }
            if self.looks.look(context) || self.outflow.is_turns_worth() {
                return Ok((Pause::Expired, true));
            }
        }
    }

    /// Applies entries up to number `end`, until room runs out or there is none before the next
    /// mark. State is fetched some entries ahead, in small steps, so that memory is busy while
    /// records are worked on.
    fn apply_until(&mut self, end: usize) -> Stop {
        let stop = loop {
            self.look_ahead();
            let Some(current) = &self.current else {
                unreachable!("the buffer in work stays while its entries are applied");
            };
            let ahead = piece(self.applied, self.scanned);
            if ahead.is_empty() {
                break Stop::Mark;
            }
            let entries = &self.entries[ahead.clone()];
            let (input, buffer) = (current.input, &current.buffer);
            let from = ahead.start as u8;
            let applied = self.consume.apply(input, from, buffer, entries);
            debug_assert!(applied <= entries.len());
            self.applied += applied;
            if applied < entries.len() {
                break Stop::Room;
            }
            if self.applied >= end {
                break Stop::Look;
            }
        };
        self.count();
        stop
    }

    /// Counts what was applied since the last count.
    fn count(&mut self) {
        let records = (self.applied - self.counted) as u64;
        self.counters.records_in.add(records);
        self.counted = self.applied;
    }

    /// Scans and approaches far ahead, locates a little ahead of the next step.
    #[inline(always)]
    fn look_ahead(&mut self) {
        let Some(current) = &mut self.current else {
            return;
        };
        let input = current.input;
        while self.scanned < self.applied + STEP + FAR {
            let place = self.scanned % WINDOW;
            let out = &mut self.entries[piece(place, usize::MAX)];
            let found = self
                .consume
                .scan(input, &current.buffer, &mut current.cursor, out);
            if found == 0 {
                break;
            }
            let out = &out[..found];
            self.consume.approach(input, place as u8, out);
            (self.consume).seek_ahead(input, place as u8, &current.buffer, out);
            self.scanned += found;
        }
        while self.located < self.scanned.min(self.applied + STEP + NEAR) {
            let places = piece(self.located, self.scanned);
            let (from, count) = (places.start as u8, places.len());
            self.consume.locate(input, from, count);
            self.located += count;
        }
    }

    /// Takes the next buffer of the gate, in fair order.
    fn next_buffer(&mut self) -> Result<bool, StepError> {
        if self.replay.is_some() && self.next_replayed() {
            return Ok(true);
        }
        let mut gate = self.gate.borrow_mut();
        let next = match &mut self.circuit {
            None => gate.next(),
            Some(circuit) => circuit.next(&mut gate)?,
        };
        let Some(arrival) = next else {
            let error = gate.take_error();
            drop(gate);
            self.go_around();
            return match error {
                Some(error) => Err(Box::new(error)),
                None => Ok(false),
            };
        };
        drop(gate);
        self.counters.buffers_in.add(u64::from(arrival.is_buffer()));
        self.counters
            .bytes_in
            .add(arrival.buffer.used_bytes() as u64);
        self.take_up(Current {
            input: arrival.input,
            channel: arrival.channel,
            buffer: arrival.buffer,
            event: arrival.event,
            cursor: Cursor::default(),
            replayed: false,
            taken: self.idle_since,
        });
        Ok(true)
    }

    fn take_up(&mut self, next: Current) {
        (self.scanned, self.located) = (0, 0);
        (self.applied, self.counted) = (0, 0);
        self.current = Some(next);
    }

    /// Takes the next buffer of those that were in flight; false when none is left.
    #[cold]
    fn next_replayed(&mut self) -> bool {
        let next = self.replay.as_mut().and_then(Replay::next);
        let Some(Replayed {
            input,
            channel,
            buffer,
        }) = next
        else {
            self.replay = None;
            self.answers.replayed();
            return false;
        };
        self.take_up(Current {
            input,
            channel,
            buffer,
            event: None,
            cursor: Cursor::default(),
            replayed: true,
            taken: self.idle_since,
        });
        true
    }

    /// Passes on the marks that stand behind the entry applied last; false at the end of the
    /// buffer. No entry behind a mark was scanned yet.
    fn take_marks(&mut self) -> bool {
        debug_assert_eq!(self.applied, self.scanned, "marks stand between records");
        loop {
            let Some(current) = &mut self.current else {
                return false;
            };
            let (input, channel) = (current.input, current.channel);
            let Some(mark) = current.buffer.take_mark(&mut current.cursor) else {
                return !current.buffer.is_read(&current.cursor);
            };
            if self.promises(input) {
                let combined = self.watermarks.update(channel, mark);
                self.promise(combined);
            }
        }
    }

    /// Whether the marks of an input count: those on the way back in a loop do not.
    fn promises(&self, input: u32) -> bool {
        self.circuit.is_none() || input == OUTSIDE
    }

    /// Passes on what the channels promise together. At the head of a loop the last promise waits until
    /// nothing is left in the loop.
    fn promise(&mut self, combined: Said) {
        for mark in combined.into_iter().flatten() {
            if self.circuit.is_none() || mark != LAST {
                self.consume.mark(mark);
            }
        }
    }

    /// Sends the buffer home and passes on the event behind it.
    fn finish_buffer(&mut self, context: &mut TurnContext<'_>) {
        let Some(current) = self.current.take() else {
            return;
        };
        if let Some(spread) = &self.buffer_time
            && current.buffer.records() > 0
        {
            self.idle_since = context.reactor().now();
            spread.record(self.idle_since.saturating_sub(current.taken));
        }
        let (input, channel) = (current.input, current.channel);
        if current.replayed {
            return;
        }
        if let Some(circuit) = &mut self.circuit {
            circuit.finished((input, channel), current.buffer.records(), current.event);
        }
        match current.event {
            Some(Event::EndOfPartition) => self.end_channel(input, channel, context.now()),
            Some(Event::Barrier(barrier)) if self.promises(input) => {
                let passage = self.alignment.barrier(channel, barrier, context.now());
                self.pass(passage);
            }
            Some(Event::Lap(lap)) if self.circuit.is_none() => {
                if let Some(lap) = self.laps.update(channel, lap) {
                    self.consume.event(Event::Lap(lap));
                }
            }
            // Back where it began, or of a loop that lies before this one.
            Some(Event::Lap(_) | Event::Barrier(_)) | None => {}
        }
        self.gate.borrow_mut().consumed(channel, current.buffer);
        self.go_around();
    }

    /// Nothing follows on a channel.
    fn end_channel(&mut self, input: u32, channel: ChannelId, now: u64) {
        if self.promises(input) {
            let passage = self.alignment.ended(channel, now);
            self.pass(passage);
            let combined = self.watermarks.end(channel);
            self.promise(combined);
        }
        if self.circuit.is_some() {
            return;
        }
        for lap in self.laps.end(channel) {
            self.consume.event(Event::Lap(lap));
        }
    }

    /// Sends into the body of a loop what is due besides records.
    fn go_around(&mut self) {
        let Some(circuit) = &mut self.circuit else {
            return;
        };
        while let Some(onward) = circuit.onward() {
            match onward {
                Onward::Lap(lap) => self.consume.event(Event::Lap(lap)),
                Onward::LastWatermark => self.consume.mark(LAST),
            }
        }
    }

    /// Does what an alignment says. What is unblocked is read only after the barrier was passed on.
    pub(super) fn pass(&mut self, passage: Passage) {
        if let Some((barrier, alignment_ns)) = passage.whole {
            self.answers.aligned(barrier.checkpoint, alignment_ns);
            self.consume.event(Event::Barrier(barrier));
        }
        let mut gate = self.gate.borrow_mut();
        if let Some(channel) = passage.block {
            gate.block(channel);
        }
        for channel in passage.unblock {
            gate.unblock(channel);
        }
    }

    /// Hears what the coordinator says.
    fn take_commands(&mut self) {
        while let Some(command) = self.answers.setup().and_then(|setup| setup.inbox.take()) {
            match command {
                TaskCommand::Abort(checkpoint) => {
                    let passage = self.alignment.abort(checkpoint);
                    self.pass(passage);
                    self.give_up_overtaken(checkpoint);
                }
                TaskCommand::Trigger { barrier, .. } => {
                    let alignment = &self.alignment;
                    self.triggered
                        .retain(|told| !alignment.has_passed(told.checkpoint));
                    self.triggered.push_back(barrier);
                }
            }
        }
    }

    /// All inputs have ended: barriers that none of them brought have come all the same. Not while the chain is
    /// about to end by itself, which answers too: with one checkpoint upon the other it would never come to it.
    fn pass_triggered(&mut self) {
        if !self.lingers {
            return;
        }
        while let Some(barrier) = self.triggered.pop_front() {
            if self.alignment.passes(barrier.checkpoint) {
                self.consume.event(Event::Barrier(barrier));
            }
        }
    }

    /// Whether no record will come to the chain.
    fn has_ended(&self) -> bool {
        self.current.is_none()
            && self.replay.as_ref().is_none_or(Replay::is_over)
            && match &self.circuit {
                None => self.gate.borrow().ended(),
                Some(circuit) => circuit.is_over(),
            }
    }
}

impl<C: Consume> Head for InputHead<C> {
    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.clock.begin_turn(context);
        self.take_commands();
        self.overtake(context);
        self.consume.begin_turn(context);
        if let Some(circuit) = &mut self.circuit {
            circuit.begin_turn(context);
            self.go_around();
        }
        let (pause, made) = if self.consume.ready() {
            self.read(context)?
        } else {
            (Pause::NoRoom, false)
        };
        self.overtake(context);
        let ended = self.has_ended();
        if ended {
            self.pass_triggered();
        }
        let input = match pause {
            _ if ended => InputStatus::Ended,
            Pause::Expired => InputStatus::Available,
            Pause::NoInput | Pause::NoRoom => InputStatus::Idle,
        };
        let stage = match self.over {
            true => Stage::Done,
            false => (self.consume).end_turn(&mut ChainTurn::new(context, input)),
        };
        self.over = ended && stage == Stage::Done;
        self.failure.check()?;
        self.tell_overtaken(context);
        if let Some(circuit) = &self.circuit {
            circuit.end_turn(context);
        }
        self.lingers = ended && stage != Stage::Done && !self.answers.are_open();
        let room = self.consume.ready();
        self.counters.no_room.set(!room);
        // Without room only a credit helps, and it wakes the task; but a sink may have found
        // room while its turn ended.
        let again = match pause {
            Pause::NoRoom => room && !ended,
            Pause::Expired => true,
            Pause::NoInput => made && !ended,
        };
        Ok(Progress {
            made: again
                || stage == Stage::Unfinished
                || (self.lingers && !self.triggered.is_empty()),
            // What comes back after the end of a loop is not to be lost in silence.
            done: self.over && self.gate.borrow().ended() && !self.answers.writes_in_flight(),
        })
    }

    /// All whole steps: how far the one came that panicked is not known.
    fn settle(&mut self) {
        self.count();
    }
}

/// Records go straight into the chain.
pub(crate) struct PlainConsume<W, N> {
    layout: EntryLayout,
    next: N,
    item: std::marker::PhantomData<fn(W)>,
}

impl<W: Wire, N: Push<W> + 'static> PlainConsume<W, N> {
    pub(crate) fn new(layout: EntryLayout, next: N) -> Self {
        Self {
            layout,
            next,
            item: std::marker::PhantomData,
        }
    }
}

impl<W: Wire, N: Push<W> + 'static> Consume for PlainConsume<W, N> {
    #[inline(always)]
    fn scan(&self, _input: u32, buffer: &Buffer, cursor: &mut Cursor, out: &mut [Entry]) -> usize {
        buffer.scan::<W>(self.layout, cursor, out)
    }

    fn revive(
        &self,
        _input: u32,
        rest: &Remainder,
        keep: &mut dyn FnMut(KeyHash) -> bool,
    ) -> Result<Buffer, Damaged> {
        Buffer::revive::<W>(rest, self.layout, keep)
    }

    #[inline(always)]
    fn apply(&mut self, _input: u32, _from: u8, buffer: &Buffer, entries: &[Entry]) -> usize {
        for (index, entry) in entries.iter().enumerate() {
            if !self.next.ready() {
                return index;
            }
            self.next.push(buffer.item::<W>(entry), entry.at);
        }
        entries.len()
    }

    fn ready(&self) -> bool {
        self.next.ready()
    }
    fn mark(&mut self, mark: Mark) {
        self.next.mark(mark);
    }
    fn event(&mut self, event: Event) {
        self.next.event(event);
    }
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        self.next.end_turn(turn)
    }
}
