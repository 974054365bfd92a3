//! `process` on a keyed stream connected with a broadcast one.
//!
//! What the function keeps per key, and its timers, may be on disk; broadcast state is in memory. A record of the
//! keyed stream is applied when all its key has is there, one of the broadcast stream at once, as it touches no key.
//! Keys that a broadcast record has the function visit are firing, in slices and behind waits for the disk: nothing
//! else comes before the last of them. Invariants: there is no current key while a broadcast record is in work; a key
//! is visited once all it has is in memory, or nowhere. Lives on one shard.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key, Wire};
use thalweg_state::{Gathered, Pressure, StateError, StateVisitor};

use super::context::{BroadcastStates, Visits};
use super::{BroadcastContext, BroadcastOpenContext, ConnectedBroadcast, KeyedFirst};
use crate::checkpoint::Remembers;
use crate::function::{Collector, FunctionError, ListsOfStage, ProcessContext};
use crate::operator::frame::{Firing, Lifecycle};
use crate::operator::process_function::KeyedFunctionState;
use crate::operator::two_inputs::{OpenTwoInputs, TwoInputOperator, join_inputs};
use crate::partition::Select;
use crate::stream::{DataStream, Pipe};
use crate::task::{BuildContext, BuildError, ChainTurn, Push, Stage};
use crate::time::FiredTimer;

/// A function over a stream of `A` keyed by `K` and a broadcast stream of `R` that emits `U`.
///
/// Payments above their account's limit, where limits may change at any time:
///
/// ```
/// use thalweg_dataflow::harness::TwoInputHarness;
/// use thalweg_dataflow::operator::{
///     BroadcastContext, BroadcastOpenContext, KeyedBroadcastProcessFunction,
/// };
/// use thalweg_dataflow::{Collector, FunctionError, ProcessContext};
/// use thalweg_state::{BroadcastState, StateError, StateVisitor, ValueState};
///
/// type Payment = (u64, u64);
///
/// struct OverLimit {
///     spent: ValueState<u64, u64>,
///     limit: BroadcastState<(), u64>,
/// }
///
/// impl KeyedBroadcastProcessFunction<u64, Payment, u64, u64> for OverLimit {
///     fn process(
///         &mut self,
///         (account, amount): Payment,
///         _context: &ProcessContext<u64>,
///         out: &mut Collector<'_, u64>,
///     ) -> Result<(), FunctionError> {
///         self.spent.update(|spent| *spent += amount)?;
///         let limit = self.limit.get(&()).unwrap_or(u64::MAX);
///         if self.spent.get()?.unwrap_or_default() > limit {
///             out.emit(account);
///         }
///         Ok(())
///     }
///
///     fn process_broadcast(
///         &mut self,
///         limit: u64,
///         context: &BroadcastContext<'_, u64>,
///         _out: &mut Collector<'_, u64>,
///     ) -> Result<(), FunctionError> {
///         self.limit.put(context, (), limit)?;
///         Ok(())
///     }
/// }
///
/// let mut harness = TwoInputHarness::<Payment, u64, u64>::new(|payments, limits| {
///     let payments = payments.key_by(|payment: &Payment| payment.0);
///     let connected = payments.connect(limits.broadcast_stream());
///     connected.process(|open: &mut BroadcastOpenContext<'_, u64>| OverLimit {
///         spent: open.value_state("spent"),
///         limit: open.broadcast_state("limit"),
///     })
/// });
/// harness.push_first((7, 60));
/// harness.push_second(100);
/// harness.push_first((8, 60));
/// harness.push_first((7, 60));
/// assert_eq!(harness.output(), [7]);
/// ```
pub trait KeyedBroadcastProcessFunction<K: Key, A: Item, R: Item, U: Item>: 'static {
    /// Takes a record of the keyed stream, with the states and timers of its key. Broadcast states
    /// can be read.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn process(
        &mut self,
        item: A::Of<'_>,
        context: &ProcessContext<K>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError>;

    /// Takes a record of the broadcast stream; every subtask does. Broadcast states can be read and
    /// changed. There is no key: a state of the keyed side answers with an error.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn process_broadcast(
        &mut self,
        item: R::Of<'_>,
        context: &BroadcastContext<'_, K>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError>;

    /// Called for each key that has something in a state given to
    /// [`BroadcastContext::apply_to_each_key`], with that key current, behind the call that asked for
    /// it and before any other. What it emits has the event time of the broadcast record.
    ///
    /// Several states are visited one after the other, in the order in which they were given; `state`
    /// is the name of the one in work. Values that have expired may be visited too, and read as
    /// nothing. Changes to the state are seen, but not which keys it has. Keys of states on disk are read there, those
    /// of a few key groups at a time: the call may come many turns later, still before anything else.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn apply_to_key(
        &mut self,
        state: &str,
        context: &ProcessContext<K>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError> {
        let _ = (state, context, out);
        Ok(())
    }

    /// Called for each timer that has come due, with its key current. Broadcast states can be read.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<K>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError> {
        let _ = (timer, context, out);
        Ok(())
    }

    /// Called once, after the last record of both streams and the last timer; there is no key then.
    /// What it emits has no event time. Not called when the job fails or is cancelled.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn close(&mut self, out: &mut Collector<'_, U>) -> Result<(), FunctionError> {
        let _ = out;
        Ok(())
    }
}

impl<K, A, R, S> ConnectedBroadcast<A, R, KeyedFirst<K, S>>
where
    K: Key,
    A: Wire,
    R: Wire,
    S: Select<A, K>,
{
    /// Processes the records of the keyed stream with the states and timers of their key, and those of
    /// the broadcast stream in every subtask; see [`KeyedBroadcastProcessFunction`].
    ///
    /// Fields of the function that are no states are scratch of their subtask and never part of a checkpoint.
    pub fn process<U, F, G>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut BroadcastOpenContext<'_, K>) -> G + Clone + Send + 'static,
        G: KeyedBroadcastProcessFunction<K, A, R, U>,
    {
        let open = OpenKeyedBroadcast {
            open,
            selector: self.grouping.selector,
            types: PhantomData::<fn() -> (K, U)>,
        };
        join_inputs::<A, R, _>(self.first, self.broadcast, "broadcast_process", open)
    }
}

struct OpenKeyedBroadcast<K, S, F, U> {
    open: F,
    selector: S,
    types: PhantomData<fn() -> (K, U)>,
}

impl<K, S: Clone, F: Clone, U> Clone for OpenKeyedBroadcast<K, S, F, U> {
    fn clone(&self) -> Self {
        Self {
            open: self.open.clone(),
            selector: self.selector.clone(),
            types: PhantomData,
        }
    }
}

impl<K, A, R, U, S, F, G> OpenTwoInputs<A, R> for OpenKeyedBroadcast<K, S, F, U>
where
    K: Key,
    A: Item,
    R: Item,
    U: Item,
    S: Select<A, K>,
    F: Fn(&mut BroadcastOpenContext<'_, K>) -> G + Clone + Send + 'static,
    G: KeyedBroadcastProcessFunction<K, A, R, U>,
{
    type Out = U;
    type Operator = KeyedBroadcast<K, A, R, S, G>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let ground = BroadcastOpenContext::<K>::ground_of(context);
        let visits = Visits::new(ground.budget.clone());
        let states = ground.states.clone();
        // Whoever visits all keys finds them in memory.
        context.restores_first();
        let (state, function) = KeyedFunctionState::open(name, context, |open| {
            (self.open)(&mut BroadcastOpenContext::new(open, ground))
        })?;
        Ok(KeyedBroadcast {
            state,
            states,
            visits,
            at: Timestamp::NONE,
            selector: self.selector,
            function,
            types: PhantomData,
        })
    }
}

struct KeyedBroadcast<K: Key, A, R, S, G> {
    state: KeyedFunctionState<K>,
    states: BroadcastStates,
    /// What the broadcast record applied last asked for.
    visits: Visits<K>,
    /// The time of that record.
    at: Timestamp,
    selector: S,
    function: G,
    types: PhantomData<fn(A, R)>,
}

impl<K: Key, A: Item, R: Item, S, G> KeyedBroadcast<K, A, R, S, G> {
    /// Visits up to `limit` keys while there is room and what they have is there.
    fn visit<U, N>(&mut self, next: &mut N, limit: usize) -> Result<Firing, FunctionError>
    where
        U: Item,
        G: KeyedBroadcastProcessFunction<K, A, R, U>,
        N: Push<U>,
    {
        self.state.tell_time();
        for _ in 0..limit {
            let Some(keys) = self.visits.states().front_mut() else {
                return Ok(Firing::Done);
            };
            match keys.gather(limit)? {
                Gathered::More => return Ok(Firing::More),
                Gathered::Waiting => return Ok(Firing::Waiting),
                Gathered::Next if !next.ready() => return Ok(Firing::More),
                Gathered::Next if !self.state.seek_visits(keys.coming()) => {
                    return Ok(Firing::Waiting);
                }
                Gathered::Next => {}
            }
            let Some(found) = keys.next_key() else {
                self.visits.states().pop_front();
                continue;
            };
            if !keys.has(&found) {
                continue;
            }
            self.state.enter(found.0, &K::lend(&found.1), self.at);
            let (function, name) = (&mut self.function, keys.name());
            self.state.call(next, |context, out| {
                function.apply_to_key(name, context, out)
            })?;
        }
        Ok(match self.visits.is_empty() {
            true => Firing::Done,
            false => Firing::More,
        })
    }
}

impl<K, A, R, S, G> Remembers for KeyedBroadcast<K, A, R, S, G>
where
    K: Key,
    A: 'static,
    R: 'static,
    S: 'static,
    G: 'static,
{
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.state.visit_states(visitor)
    }

    fn visit_broadcast(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.states.visit(visitor)
    }

    fn lists(&mut self) -> Option<&mut ListsOfStage> {
        Some(self.state.lists())
    }
}

impl<K, A, R, U, S, G> Lifecycle<U> for KeyedBroadcast<K, A, R, S, G>
where
    K: Key,
    A: Item,
    R: Item,
    U: Item,
    S: 'static,
    G: KeyedBroadcastProcessFunction<K, A, R, U>,
{
    fn approach(&mut self, input: u32, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        match input {
            0 => self.state.approach(from, hashes),
            _ => Ok(()),
        }
    }

    fn locate(&mut self, input: u32, from: u8, records: usize) {
        if input == 0 {
            self.state.locate(from, records);
        }
    }

    #[inline(always)]
    fn turn_to(&mut self, _input: u32, at: u8) {
        self.state.turn_to(at);
    }

    fn begin_state_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), FunctionError> {
        self.state.begin_state_turn(context)
    }

    fn end_state_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, FunctionError> {
        self.state.end_state_turn(context, waiting)
    }

    fn may_be_cut(&self) -> bool {
        self.state.may_be_cut()
    }

    fn wants_processing_time(&self) -> bool {
        self.state.wants_processing_time()
    }

    fn processing_time(&mut self, now: Timestamp) {
        self.state.processing_time(now);
    }

    fn next_processing_time(&self) -> Option<Timestamp> {
        self.state.next_processing_time()
    }

    fn clock_ends(&mut self) {
        self.state.clock_ends();
    }

    fn unfinished(&self) -> bool {
        !self.visits.is_empty()
    }

    fn watermark(&mut self, to: Timestamp) {
        self.state.watermark(to);
    }

    fn restored_at(&mut self, watermark: Timestamp) {
        self.state.restored_at(watermark);
    }

    fn fire<N: Push<U>>(&mut self, next: &mut N, limit: usize) -> Result<Firing, FunctionError> {
        if !self.visits.is_empty() {
            let visited = self.visit(next, limit)?;
            if visited != Firing::Done {
                return Ok(visited);
            }
        }
        let function = &mut self.function;
        self.state.fire(next, limit, |timer, context, out| {
            function.on_timer(timer, context, out)
        })
    }

    fn finish<N: Push<U>>(
        &mut self,
        next: &mut N,
        _turn: &mut ChainTurn<'_, '_>,
    ) -> Result<Stage, FunctionError> {
        if !next.ready() {
            return Ok(Stage::Waiting);
        }
        let function = &mut self.function;
        self.state
            .call_without_key(next, |out| function.close(out))?;
        Ok(Stage::Done)
    }
}

impl<K, A, R, U, S, G> TwoInputOperator<A, R, U> for KeyedBroadcast<K, A, R, S, G>
where
    K: Key,
    A: Item,
    R: Item,
    U: Item,
    S: Select<A, K>,
    G: KeyedBroadcastProcessFunction<K, A, R, U>,
{
    #[inline(always)]
    fn overflows(&self) -> bool {
        self.state.overflows()
    }

    fn has_room(&mut self, input: u32, records: usize) -> bool {
        input != 0 || self.state.has_room(records)
    }

    fn let_in(&mut self, input: u32, records: usize) -> usize {
        match input {
            0 => self.state.let_in(records),
            _ => records,
        }
    }

    fn seek_first(&mut self, place: u8, (hash, _): (KeyHash, Timestamp), item: &A::Of<'_>) -> bool {
        self.state.seek(place, hash, &self.selector.select(item))
    }

    #[inline(always)]
    fn first<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: A::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        self.state.enter(hash, &self.selector.select(&item), at);
        let function = &mut self.function;
        self.state
            .call(next, |context, out| function.process(item, context, out))
    }

    fn second<N: Push<U>>(
        &mut self,
        _hash: KeyHash,
        item: R::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        self.state.enter_without_key(at);
        self.at = at;
        let (function, visits) = (&mut self.function, Some(&self.visits));
        self.state.call(next, |view, out| {
            function.process_broadcast(item, &BroadcastContext { view, visits }, out)
        })
    }
}
