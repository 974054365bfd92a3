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
use thalweg_memory::record::{Item, Key, Wire};
use thalweg_memory::{Buffer, Entry, Mark};
use thalweg_network::Event;

use crate::function::FunctionError;
use crate::partition::Select;
use crate::stream::{DataStream, KeyedStream, Pipe};
use crate::task::{
    BuildContext, BuildError, ChainTurn, Consume, Failure, Head, InputHead, Push, Stage,
};

/// The logic of a keyed operator in one subtask.
pub(crate) trait KeyedOperator<K: Key, T: Item, U: Item>: 'static {
    /// The next records have keys of these hashes.
    ///
    /// # Errors
    /// State that cannot be brought near.
    fn prepare(&mut self, hashes: &[KeyHash]) -> Result<(), FunctionError>;

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

    /// After the last record: gives out what was held back, resumably, while there is room
    /// and time.
    ///
    /// # Errors
    /// As [`KeyedOperator::apply`].
    fn finish<N: Push<U>>(
        &mut self,
        next: &mut N,
        turn: &mut ChainTurn<'_, '_>,
    ) -> Result<Stage, FunctionError> {
        let _ = (next, turn);
        Ok(Stage::Done)
    }
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

impl<K, T, S: Clone, O: Clone> Clone for KeyedPipe<K, T, S, O> {
    fn clone(&self) -> Self {
        Self {
            selector: self.selector.clone(),
            open: self.open.clone(),
            types: PhantomData,
        }
    }
}

impl<K, T, S> KeyedStream<K, T, S>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
{
    /// The stream behind a keyed operator.
    pub(crate) fn operate<O: OpenKeyed<K, T>>(
        self,
        kind: &'static str,
        open: O,
    ) -> DataStream<O::Out, KeyedPipe<K, T, S, O>> {
        self.draft.add(kind, kind);
        let pipe = KeyedPipe {
            selector: self.selector,
            open,
            types: PhantomData,
        };
        DataStream::new(pipe, self.draft)
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
        let consume = KeyedConsume {
            name,
            selector: self.selector,
            operator,
            next,
            failure: context.failure(),
            hashes: Vec::new(),
            finished: false,
            types: PhantomData,
        };
        let layout = context.input_layout();
        Ok(Box::new(InputHead::<T, _>::new(
            gate, layout, consume, context,
        )))
    }
}

/// A keyed operator as the head's consumer.
struct KeyedConsume<K, T, U, S, O, N> {
    name: String,
    selector: S,
    operator: O,
    next: N,
    failure: Failure,
    hashes: Vec<KeyHash>,
    finished: bool,
    types: PhantomData<fn(K, T, U)>,
}

impl<K, T, U, S, O, N> KeyedConsume<K, T, U, S, O, N> {
    #[cold]
    fn fail(&self, error: &FunctionError) {
        self.failure
            .set(&self.name, error.to_string(), error.kind());
    }
}

impl<K, T, U, S, O, N> Consume<T> for KeyedConsume<K, T, U, S, O, N>
where
    K: Key,
    T: Wire,
    U: Item,
    S: Select<T, K>,
    O: KeyedOperator<K, T, U>,
    N: Push<U> + 'static,
{
    fn prepare(&mut self, entries: &[Entry]) {
        self.hashes.clear();
        self.hashes.extend(entries.iter().map(|entry| entry.hash));
        if let Err(error) = self.operator.prepare(&self.hashes) {
            self.fail(&error);
        }
    }

    fn apply(&mut self, _input: u32, buffer: &Buffer, entries: &[Entry]) -> usize {
        for (index, entry) in entries.iter().enumerate() {
            if !self.next.ready() {
                return index;
            }
            let item = buffer.item::<T>(entry);
            let scope = OperatorScope::enter(&self.name);
            debug_assert!(
                K::hash(&self.selector.select(&item)) == entry.hash,
                "{}: the key selector answers different keys for one record",
                self.name
            );
            let applied =
                self.operator
                    .apply(entry.hash, item, entry.at, &self.selector, &mut self.next);
            scope.leave();
            if let Err(error) = applied {
                self.fail(&error);
                return index;
            }
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
        use crate::task::InputStatus::{Ended, Idle};
        if turn.input() != Ended {
            return self.next.end_turn(turn);
        }
        if !self.finished {
            let scope = OperatorScope::enter(&self.name);
            let finished = self.operator.finish(&mut self.next, turn);
            scope.leave();
            let stage = match finished {
                Ok(stage) => stage,
                Err(error) => {
                    self.fail(&error);
                    return Stage::Waiting;
                }
            };
            if stage != Stage::Done {
                self.next.end_turn(&mut turn.with_input(Idle));
                // Room may have been found while the turn ended, and nobody else would tell.
                let room = stage == Stage::Unfinished || self.next.ready();
                return if room {
                    Stage::Unfinished
                } else {
                    Stage::Waiting
                };
            }
            self.finished = true;
        }
        self.next.end_turn(turn)
    }
}
