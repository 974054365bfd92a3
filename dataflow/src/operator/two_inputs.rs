//! The frame of every operator with two inputs: connect, join, broadcast.
//!
//! Both inputs arrive at one gate, each with its own record type; the watermark is the minimum
//! over both. Records of one channel keep their order, the two inputs have none between them.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Damaged, Item, Wire};
use thalweg_memory::{Buffer, Cursor, Entry, EntryLayout, Mark, Remainder};
use thalweg_network::Event;

use super::frame::{Frame, Lifecycle};
use crate::function::FunctionError;
use crate::stream::{DataStream, Draft, Pipe};
use crate::task::{BuildContext, BuildError, ChainTurn, Consume, Head, InputHead, Push, Stage};

/// The logic of an operator with two inputs in one subtask.
///
/// `hash` is that of the record's key, zero on an input that is not keyed.
pub(crate) trait TwoInputOperator<A: Item, B: Item, U: Item>: Lifecycle<U> {
    /// Whether state may be on disk now, so that it has to be sought before records are applied. Asked once
    /// for some records.
    #[inline(always)]
    fn overflows(&self) -> bool {
        false
    }

    /// Whether there is memory for what so many records of this input may add.
    #[inline(always)]
    fn has_room(&mut self, input: u32, records: usize) -> bool {
        let _ = (input, records);
        true
    }

    /// How many of some records of this input that have all they need may be applied at once, from the first on; one
    /// at least.
    #[inline(always)]
    fn let_in(&mut self, input: u32, records: usize) -> usize {
        let _ = input;
        records
    }

    /// Seeks the state of a record of the first input, of this event time, at this place of the window; whether all of
    /// it is there.
    #[inline(always)]
    fn seek_first(
        &mut self,
        place: u8,
        (hash, at): (KeyHash, Timestamp),
        item: &A::Of<'_>,
    ) -> bool {
        let _ = (place, hash, at, item);
        true
    }

    /// The same for the second input. Only one of them has records in the window at a time.
    #[inline(always)]
    fn seek_second(
        &mut self,
        place: u8,
        (hash, at): (KeyHash, Timestamp),
        item: &B::Of<'_>,
    ) -> bool {
        let _ = (place, hash, at, item);
        true
    }

    /// Applies one record of the first input.
    ///
    /// # Errors
    /// State that does not fit its budget, or what the user's function answers.
    fn first<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: A::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError>;

    /// Applies one record of the second input.
    ///
    /// # Errors
    /// As [`TwoInputOperator::first`].
    fn second<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: B::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError>;
}

/// Opens an operator with two inputs in a subtask. The template a program holds.
pub(crate) trait OpenTwoInputs<A: Item, B: Item>: Clone + Send + 'static {
    /// What the operator emits.
    type Out: Item;
    /// The operator.
    type Operator: TwoInputOperator<A, B, Self::Out>;
    /// Opens it.
    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError>;
}

/// A chain that begins with an operator with two inputs.
pub(crate) struct TwoInputPipe<A, B, O> {
    open: O,
    types: PhantomData<fn(A, B)>,
}

impl<A, B, O: Clone> Clone for TwoInputPipe<A, B, O> {
    fn clone(&self) -> Self {
        Self {
            open: self.open.clone(),
            types: PhantomData,
        }
    }
}

/// The stream behind an operator with two inputs, each a chain right behind its exchange.
pub(crate) fn join_inputs<A: Wire, B: Wire, O: OpenTwoInputs<A, B>>(
    first: Draft,
    second: Draft,
    kind: &'static str,
    open: O,
) -> DataStream<O::Out, TwoInputPipe<A, B, O>> {
    let joined = Draft::begin(first.graph());
    first.absorb_into(&joined, 0);
    second.absorb_into(&joined, 1);
    joined.add(kind, kind);
    let pipe = TwoInputPipe {
        open,
        types: PhantomData,
    };
    DataStream::new(pipe, joined)
}

impl<A: Wire, B: Wire, O: OpenTwoInputs<A, B>> Pipe for TwoInputPipe<A, B, O> {
    type Out = O::Out;

    fn build<N: Push<O::Out> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let name = context.operator_name(0);
        let operator = self.open.open(&name, context)?;
        let gate = context.take_gate()?;
        let consume = TwoInputConsume {
            layouts: [context.input_layout(0), context.input_layout(1)],
            frame: Frame::open::<O::Out>(name, operator, next, context)?,
            types: PhantomData,
        };
        Ok(Box::new(InputHead::open(gate, consume, context)?))
    }
}

/// An operator with two inputs as the head's consumer.
struct TwoInputConsume<A, B, U, O, N> {
    layouts: [EntryLayout; 2],
    frame: Frame<O, N>,
    types: PhantomData<fn(A, B, U)>,
}

impl<A, B, U, O, N> TwoInputConsume<A, B, U, O, N>
where
    U: Item,
    O: Lifecycle<U>,
    N: Push<U>,
{
    /// Applies entries by `apply`, until room runs out or one fails.
    #[inline(always)]
    fn apply_each(
        frame: &mut Frame<O, N>,
        from: u8,
        entries: &[Entry],
        mut apply: impl FnMut(&mut O, &mut N, u8, &Entry) -> Result<(), FunctionError>,
    ) -> usize {
        for (index, entry) in entries.iter().enumerate() {
            if !frame.ready() {
                return index;
            }
            let at = from.wrapping_add(index as u8);
            let scope = OperatorScope::enter(&frame.name);
            let applied = apply(&mut frame.operator, &mut frame.next, at, entry);
            scope.leave();
            if let Err(error) = applied {
                frame.fail(&error);
                return index;
            }
            frame.applied();
        }
        entries.len()
    }
}

impl<A, B, U, O, N> TwoInputConsume<A, B, U, O, N>
where
    A: Wire,
    B: Wire,
    U: Item,
    O: TwoInputOperator<A, B, U>,
    N: Push<U>,
{
    /// Seeks the state of some records; answers how many of them, from the first on, have all of it.
    fn seek_each(&mut self, input: u32, from: u8, buffer: &Buffer, entries: &[Entry]) -> usize {
        let operator = &mut self.frame.operator;
        let mut there = entries.len();
        for (index, entry) in entries.iter().enumerate() {
            let place = from.wrapping_add(index as u8);
            let of = (entry.hash, entry.at);
            let found = match input {
                0 => operator.seek_first(place, of, &buffer.item::<A>(entry)),
                _ => operator.seek_second(place, of, &buffer.item::<B>(entry)),
            };
            // Those behind one that is missed are asked for all the same.
            there = if found { there } else { there.min(index) };
        }
        there
    }

    /// How many records may be applied now.
    #[cold]
    fn resident(&mut self, input: u32, from: u8, buffer: &Buffer, entries: &[Entry]) -> usize {
        if !self.frame.operator.has_room(input, entries.len()) {
            return 0;
        }
        match self.seek_each(input, from, buffer, entries) {
            0 => 0,
            there => self.frame.operator.let_in(input, there),
        }
    }
}

impl<A, B, U, O, N> Consume for TwoInputConsume<A, B, U, O, N>
where
    A: Wire,
    B: Wire,
    U: Item,
    O: TwoInputOperator<A, B, U>,
    N: Push<U> + 'static,
{
    fn begin_turn(&mut self, context: &mut TurnContext<'_>) {
        self.frame.begin_turn(context);
    }

    fn scan(&self, input: u32, buffer: &Buffer, cursor: &mut Cursor, out: &mut [Entry]) -> usize {
        match input {
            0 => buffer.scan::<A>(self.layouts[0], cursor, out),
            _ => buffer.scan::<B>(self.layouts[1], cursor, out),
        }
    }

    fn approach(&mut self, input: u32, from: u8, entries: &[Entry]) {
        self.frame.approach(input, from, entries);
    }

    fn seek_ahead(&mut self, input: u32, from: u8, buffer: &Buffer, entries: &[Entry]) {
        if self.frame.operator.overflows() {
            self.seek_each(input, from, buffer, entries);
        }
    }

    fn locate(&mut self, input: u32, from: u8, entries: usize) {
        self.frame.operator.locate(input, from, entries);
    }

    fn apply(&mut self, input: u32, from: u8, buffer: &Buffer, entries: &[Entry]) -> usize {
        let (all, mut entries) = (entries.len(), entries);
        // Before room is asked for: while the operator fires, what it holds is not to leave.
        if !self.frame.may_apply() {
            return 0;
        }
        if self.frame.operator.overflows() {
            entries = &entries[..self.resident(input, from, buffer, entries)];
        }
        let frame = &mut self.frame;
        let applied = if input == 0 {
            Self::apply_each(frame, from, entries, |operator, next, at, entry| {
                operator.turn_to(input, at);
                operator.first(entry.hash, buffer.item::<A>(entry), entry.at, next)
            })
        } else {
            Self::apply_each(frame, from, entries, |operator, next, at, entry| {
                operator.turn_to(input, at);
                operator.second(entry.hash, buffer.item::<B>(entry), entry.at, next)
            })
        };
        if applied == entries.len() && applied < all {
            // The end of the turn sees to the rest.
            frame.wait_for_state();
        }
        applied
    }

    fn revive(
        &self,
        input: u32,
        rest: &Remainder,
        keep: &mut dyn FnMut(KeyHash) -> bool,
    ) -> Result<Buffer, Damaged> {
        match input {
            0 => Buffer::revive::<A>(rest, self.layouts[0], keep),
            _ => Buffer::revive::<B>(rest, self.layouts[1], keep),
        }
    }

    fn ready(&self) -> bool {
        self.frame.ready()
    }
    fn mark(&mut self, mark: Mark) {
        self.frame.mark(mark);
    }
    fn event(&mut self, event: Event) {
        self.frame.event(event);
    }
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        self.frame.end_turn(turn)
    }
}
