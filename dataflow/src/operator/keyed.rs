//! The frame of every keyed operator: it stands at the head of a chain, right behind an
//! exchange, and works per segment.
//!
//! The hashes of a chunk of records are read first and their state is brought near; then
//! the records are applied one by one. A record's key is read once more from the record
//! itself, never hashed again.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Damaged, Item, Key, Wire};
use thalweg_memory::{Buffer, Cursor, Entry, EntryLayout, Mark, Remainder};
use thalweg_network::Event;

use super::frame::{Frame, Lifecycle};
use crate::function::FunctionError;
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, KeyedStream, Pipe};
use crate::task::{BuildContext, BuildError, ChainTurn, Consume, Head, InputHead, Push, Stage};

/// The logic of a keyed operator in one subtask.
pub(crate) trait KeyedOperator<K: Key, T: Item, U: Item>: Lifecycle<U> {
    /// Whether state may be on disk now, so that it has to be sought before records are applied. Asked once
    /// for some records.
    #[inline(always)]
    fn overflows(&self) -> bool {
        false
    }

    /// Seeks the state of a record of this event time at this place of the window; whether all of it is there.
    #[inline(always)]
    fn seek(
        &mut self,
        place: u8,
        (hash, at): (KeyHash, Timestamp),
        item: &T::Of<'_>,
        selector: &impl Select<T, K>,
    ) -> bool {
        let _ = (place, hash, at, item, selector);
        true
    }

    /// Whether there is memory for what so many records may add.
    #[inline(always)]
    fn has_room(&mut self, records: usize) -> bool {
        let _ = records;
        true
    }

    /// How many of some records that have all they need may be applied at once, from the first on; one at least.
    #[inline(always)]
    fn let_in(&mut self, records: usize) -> usize {
        records
    }

    /// Applies one record.
    ///
    /// # Errors
    /// State that does not fit its budget, or what the user's function answers.
    fn apply<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: T::Of<'_>,
        at: Timestamp,
        selector: &impl Select<T, K>,
        next: &mut N,
    ) -> Result<(), FunctionError>;
}

/// Opens a keyed operator in a subtask. The template a program holds.
pub(crate) trait OpenKeyed<K: Key, T: Item>: Clone + Send + 'static {
    /// What the operator emits.
    type Out: Item;
    /// The operator.
    type Operator: KeyedOperator<K, T, Self::Out>;
    /// Opens it.
    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError>;
}

/// A chain that begins with a keyed operator.
pub(crate) struct KeyedPipe<K, T, S, O> {
    selector: S,
    open: O,
    types: PhantomData<fn(K, T)>,
}

impl<K, T, S, O> KeyedPipe<K, T, S, O> {
    /// The chain behind an exchange by this selector.
    pub(crate) fn new(selector: S, open: O) -> Self {
        Self {
            selector,
            open,
            types: PhantomData,
        }
    }
}

impl<K, T, S: Clone, O: Clone> Clone for KeyedPipe<K, T, S, O> {
    fn clone(&self) -> Self {
        Self {
            selector: self.selector.clone(),
            open: self.open.clone(),
            types: PhantomData,
        }
    }
}

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// The stream behind a keyed operator.
    pub(crate) fn operate<O: OpenKeyed<K, T>>(
        self,
        kind: &'static str,
        open: O,
    ) -> DataStream<O::Out, KeyedPipe<K, T, S, O>> {
        let (draft, selector) = self.into_draft();
        draft.add(kind, kind);
        DataStream::new(KeyedPipe::new(selector, open), draft)
    }
}

impl<K, T, S, O> Pipe for KeyedPipe<K, T, S, O>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    O: OpenKeyed<K, T>,
{
    type Out = O::Out;

    fn build<N: Push<O::Out> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let name = context.operator_name(0);
        let operator = self.open.open(&name, context)?;
        let gate = context.take_gate()?;
        let layout = context.input_layout(0);
        let consume = KeyedConsume {
            frame: Frame::open::<O::Out>(name, operator, next, context)?,
            layout,
            selector: self.selector,
            types: PhantomData,
        };
        Ok(Box::new(InputHead::open(gate, consume, context)?))
    }
}

impl<K, T, U, S, O, N> KeyedConsume<K, T, U, S, O, N>
where
    K: Key,
    T: Wire,
    U: Item,
    S: Select<T, K>,
    O: KeyedOperator<K, T, U>,
    N: Push<U> + 'static,
{
    /// Seeks the state of some records; answers how many of them, from the first on, have all of it.
    fn seek_each(&mut self, from: u8, buffer: &Buffer, entries: &[Entry]) -> usize {
        let (frame, records) = (&mut self.frame, buffer.read_as::<T>());
        let mut there = entries.len();
        for (index, entry) in entries.iter().enumerate() {
            let (place, item) = (from.wrapping_add(index as u8), records.item(entry));
            let found = (frame.operator).seek(place, (entry.hash, entry.at), &item, &self.selector);
            // Those behind one that is missed are asked for all the same.
            there = if found { there } else { there.min(index) };
        }
        there
    }

    /// How many records may be applied now.
    #[cold]
    fn resident(&mut self, from: u8, buffer: &Buffer, entries: &[Entry]) -> usize {
        if !self.frame.operator.has_room(entries.len()) {
            return 0;
        }
        match self.seek_each(from, buffer, entries) {
            0 => 0,
            there => self.frame.operator.let_in(there),
        }
    }

    /// Applies records from the first on, as many as may be; answers how many.
    #[inline(always)]
    fn apply_each(&mut self, input: u32, from: u8, buffer: &Buffer, entries: &[Entry]) -> usize {
        let (all, mut entries) = (entries.len(), entries);
        // Before room is asked for: while the operator fires, what it holds is not to leave.
        if !self.frame.may_apply() {
            return 0;
        }
        if self.frame.operator.overflows() {
            entries = &entries[..self.resident(from, buffer, entries)];
        }
        let frame = &mut self.frame;
        let records = buffer.read_as::<T>();
        let scope = OperatorScope::enter(&frame.name);
        for (index, entry) in entries.iter().enumerate() {
            if !frame.next.ready() {
                scope.leave();
                return index;
            }
            let item = records.item(entry);
            frame
                .operator
                .turn_to(input, from.wrapping_add(index as u8));
            debug_assert!(
                K::hash(&self.selector.select(&item)) == entry.hash,
                "{}: the key selector answers different keys for one record",
                frame.name
            );
            let next = &mut frame.next;
            let applied = frame
                .operator
                .apply(entry.hash, item, entry.at, &self.selector, next);
            if let Err(error) = applied {
                scope.leave();
                frame.fail(&error);
                return index;
            }
            if frame.operator.unfinished() {
                scope.leave();
                frame.applied();
                return index + 1;
            }
        }
        scope.leave();
        if entries.len() < all {
            // The end of the turn sees to the rest.
            frame.wait_for_state();
        }
        entries.len()
    }
}

/// A keyed operator as the head's consumer.
struct KeyedConsume<K, T, U, S, O, N> {
    frame: Frame<O, N>,
    layout: EntryLayout,
    selector: S,
    types: PhantomData<fn(K, T, U)>,
}

impl<K, T, U, S, O, N> Consume for KeyedConsume<K, T, U, S, O, N>
where
    K: Key,
    T: Wire,
    U: Item,
    S: Select<T, K>,
    O: KeyedOperator<K, T, U>,
    N: Push<U> + 'static,
{
    fn begin_turn(&mut self, context: &mut TurnContext<'_>) {
        self.frame.begin_turn(context);
    }

    #[inline(always)]
    fn scan(&self, _input: u32, buffer: &Buffer, cursor: &mut Cursor, out: &mut [Entry]) -> usize {
        buffer.scan::<T>(self.layout, cursor, out)
    }

    #[inline(always)]
    fn approach(&mut self, input: u32, from: u8, entries: &[Entry]) {
        self.frame.approach(input, from, entries);
    }

    #[inline(always)]
    fn seek_ahead(&mut self, _input: u32, from: u8, buffer: &Buffer, entries: &[Entry]) {
        if self.frame.operator.overflows() {
            self.seek_each(from, buffer, entries);
        }
    }

    #[inline(always)]
    fn locate(&mut self, input: u32, from: u8, entries: usize) {
        self.frame.operator.locate(input, from, entries);
    }

    #[inline(always)]
    fn apply(&mut self, input: u32, from: u8, buffer: &Buffer, entries: &[Entry]) -> usize {
        let applied = self.apply_each(input, from, buffer, entries);
        self.frame.batch_applied();
        applied
    }

    fn revive(
        &self,
        _input: u32,
        rest: &Remainder,
        keep: &mut dyn FnMut(KeyHash) -> bool,
    ) -> Result<Buffer, Damaged> {
        Buffer::revive::<T>(rest, self.layout, keep)
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
