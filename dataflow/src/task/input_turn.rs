//! A consumer's turn: buffers from the gate, records read in place, results pushed on.
//!
//! Works per chunk of a segment: the entries of a chunk are scanned first, so that a keyed
//! head can bring their state near some entries before it applies them. The place reached in the
//! current buffer is kept between turns, because a push chain cannot be suspended but a
//! head can: it stops before the record for whose results there is no room.

use std::cell::Cell;
use std::rc::Rc;

use thalweg_core::shard::step::{Progress, StepError, TurnContext};
use thalweg_core::simd::on_this_cpu;
use thalweg_memory::record::Wire;
use thalweg_memory::{Buffer, Cursor, Entry, EntryLayout, Mark};
use thalweg_network::ChannelId;
use thalweg_network::Event;
use thalweg_network::GateRef;

use super::{BuildContext, ChainTurn, Failure, Head, InputStatus, Push, Stage};
use crate::time::{TaskClock, WatermarkCombiner};

/// Entries scanned at once.
const CHUNK: usize = 256;
/// Entries applied between two steps of preparing those ahead.
const STEP: usize = 8;
/// How many entries ahead of the one applied the state is fetched: far enough that it has come
/// when it is needed, near enough that it has not been pushed out again.
const AHEAD: usize = 32;
/// Entries applied between two looks at the clock.
const LOOK: usize = 64;

/// What stands at the head of a consuming chain and takes the records of its gate.
pub(crate) trait Consume: 'static {
    /// Called first in every turn.
    fn begin_turn(&mut self, context: &mut TurnContext<'_>) {
        let _ = context;
    }
    /// Finds the next entries of a buffer, which holds the records of one input.
    fn scan(&self, input: u32, buffer: &Buffer, cursor: &mut Cursor, out: &mut [Entry]) -> usize;
    /// The next entries: bring near what they will touch.
    fn prepare(&mut self, input: u32, entries: &[Entry]);
    /// Applies entries in order; answers how many, fewer than all when room ran out.
    fn apply(&mut self, input: u32, buffer: &Buffer, entries: &[Entry]) -> usize;
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
struct Current {
    input: u32,
    channel: ChannelId,
    buffer: Buffer,
    event: Option<Event>,
    cursor: Cursor,
}

/// The head of a chain that begins with an exchange.
pub(crate) struct InputHead<C> {
    gate: GateRef,
    consume: C,
    current: Option<Current>,
    entries: [Entry; CHUNK],
    scanned: usize,
    prepared: usize,
    applied: usize,
    watermarks: WatermarkCombiner,
    failure: Failure,
    records_in: Rc<Cell<u64>>,
    clock: TaskClock,
}

/// Why the records stopped for now.
enum Pause {
    NoInput,
    NoRoom,
    Expired,
}

impl<C: Consume> InputHead<C> {
    pub(crate) fn new(gate: GateRef, consume: C, context: &BuildContext) -> Self {
        let channels = gate.borrow().channels().collect();
        Self {
            gate,
            consume,
            current: None,
            entries: [Entry::default(); CHUNK],
            scanned: 0,
            prepared: 0,
            applied: 0,
            watermarks: WatermarkCombiner::new(channels),
            failure: context.failure(),
            records_in: context.counters().records_in,
            clock: context.clock().clone(),
        }
    }

    /// Applies buffers until input, room or time is used up.
    fn read(&mut self, context: &mut TurnContext<'_>) -> Result<(Pause, bool), StepError> {
        let mut made = false;
        loop {
            if self.current.is_none() && !self.next_buffer()? {
                return Ok((Pause::NoInput, made));
            }
            loop {
                if self.scanned == self.applied && !self.scan() {
                    self.finish_buffer();
                    made = true;
                    break;
                }
                let before = self.applied;
                let end = self.scanned.min(before + LOOK);
                on_this_cpu(|| self.apply_until(end));
                made |= self.applied > before;
                self.failure.check()?;
                if self.applied < end {
                    return Ok((Pause::NoRoom, made));
                }
                if context.expired() {
                    return Ok((Pause::Expired, true));
                }
            }
        }
    }

    /// Applies entries up to `end`, or until room runs out. State is fetched some entries ahead,
    /// in small steps, so that memory is busy while records are worked on.
    #[inline(always)]
    fn apply_until(&mut self, end: usize) {
        let Some(current) = &self.current else {
            unreachable!("the buffer in work stays while it is scanned");
        };
        let (input, buffer) = (current.input, &current.buffer);
        let before = self.applied;
        while self.applied < end {
            let ahead = self.scanned.min(self.applied + STEP + AHEAD);
            if self.prepared < ahead {
                self.consume
                    .prepare(input, &self.entries[self.prepared..ahead]);
                self.prepared = ahead;
            }
            let step = end.min(self.applied + STEP);
            let entries = &self.entries[self.applied..step];
            let applied = self.consume.apply(input, buffer, entries);
            debug_assert!(applied <= entries.len());
            self.applied += applied;
            if self.applied < step {
                break;
            }
        }
        let records = (self.applied - before) as u64;
        self.records_in.set(self.records_in.get() + records);
    }

    /// Takes the next buffer of the gate, in fair order.
    fn next_buffer(&mut self) -> Result<bool, StepError> {
        let mut gate = self.gate.borrow_mut();
        let Some(arrival) = gate.next() else {
            return match gate.take_error() {
                Some(error) => Err(Box::new(error)),
                None => Ok(false),
            };
        };
        drop(gate);
        self.current = Some(Current {
            input: arrival.input,
            channel: arrival.channel,
            buffer: arrival.buffer,
            event: arrival.event,
            cursor: Cursor::default(),
        });
        Ok(true)
    }

    /// Scans the next chunk; false at the end of the buffer. Marks stand
    /// between records: a chunk ends before one, and it is passed on when it is reached.
    fn scan(&mut self) -> bool {
        let Some(current) = &mut self.current else {
            return false;
        };
        loop {
            let found = self.consume.scan(
                current.input,
                &current.buffer,
                &mut current.cursor,
                &mut self.entries,
            );
            if found > 0 {
                self.scanned = found;
                self.prepared = 0;
                self.applied = 0;
                return true;
            }
            self.scanned = 0;
            self.applied = 0;
            let Some(mark) = current.buffer.take_mark(&mut current.cursor) else {
                return false;
            };
            if let Some(combined) = self.watermarks.update(current.channel, mark) {
                self.consume.mark(combined);
            }
        }
    }

    /// Sends the buffer home and passes on the event behind it.
    fn finish_buffer(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        match current.event {
            Some(Event::EndOfPartition) => {
                if let Some(combined) = self.watermarks.end(current.channel) {
                    self.consume.mark(combined);
                }
            }
            Some(barrier) => self.consume.event(barrier),
            None => {}
        }
        self.gate
            .borrow_mut()
            .consumed(current.channel, current.buffer);
    }
}

impl<C: Consume> Head for InputHead<C> {
    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.clock.begin_turn(context);
        self.consume.begin_turn(context);
        let (pause, made) = if self.consume.ready() {
            self.read(context)?
        } else {
            (Pause::NoRoom, false)
        };
        let ended = self.current.is_none() && self.gate.borrow().ended();
        let input = match pause {
            _ if ended => InputStatus::Ended,
            Pause::Expired => InputStatus::Available,
            Pause::NoInput | Pause::NoRoom => InputStatus::Idle,
        };
        let stage = self.consume.end_turn(&mut ChainTurn::new(context, input));
        self.failure.check()?;
        // Without room only a credit helps, and it wakes the task; but a sink may have found
        // room while its turn ended.
        let again = match pause {
            Pause::NoRoom => self.consume.ready() && !ended,
            Pause::Expired => true,
            Pause::NoInput => made && !ended,
        };
        Ok(Progress {
            made: again || stage == Stage::Unfinished,
            done: ended && stage == Stage::Done,
        })
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

    fn prepare(&mut self, _input: u32, _entries: &[Entry]) {}

    fn apply(&mut self, _input: u32, buffer: &Buffer, entries: &[Entry]) -> usize {
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
