//! `process` on connected streams: one function with two inputs, with states, key, time and side
//! outputs.
//!
//! The function is opened once per subtask. Where the streams are keyed, both of its inputs see the
//! states and timers of the key of the record in work. What it keeps besides its states is scratch of the
//! subtask and never part of a checkpoint.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key, Wire};
use thalweg_state::{Pressure, StateError, StateVisitor};

use crate::checkpoint::Remembers;
use crate::function::{Collector, FunctionError, ListsOfStage, OpenContext, ProcessContext};
use crate::operator::frame::{Firing, HEAD, Lifecycle};
use crate::operator::process_function::KeyedFunctionState;
use crate::operator::two_inputs::{OpenTwoInputs, TwoInputOperator, join_inputs};
use crate::partition::Select;
use crate::stream::{ConnectedStreams, DataStream, KeyedBoth, Pipe, Unkeyed};
use crate::task::{BuildContext, BuildError, ChainTurn, Push, SideOutputs, Stage};
use crate::time::FiredTimer;

/// A function over two streams of `A` and `B` that emits `U`.
///
/// `K` is the key of both streams, `()` where they are not keyed. An order is paid in one stream and
/// placed in another; whichever comes second completes it:
///
/// ```
/// use thalweg_dataflow::harness::TwoInputHarness;
/// use thalweg_dataflow::operator::CoProcessFunction;
/// use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
/// use thalweg_state::{StateError, StateVisitor, ValueState};
///
/// struct Complete {
///     placed: ValueState<u64, String>,
///     paid: ValueState<u64, u64>,
/// }
///
/// impl CoProcessFunction<u64, (u64, String), (u64, u64), String> for Complete {
///     fn process_first(
///         &mut self,
///         (_, goods): (u64, String),
///         _context: &ProcessContext<u64>,
///         out: &mut Collector<'_, String>,
///     ) -> Result<(), FunctionError> {
///         match self.paid.get()? {
///             Some(cents) => out.emit(format!("{goods} for {cents}")),
///             None => self.placed.set(goods)?,
///         }
///         Ok(())
///     }
///
///     fn process_second(
///         &mut self,
///         (_, cents): (u64, u64),
///         _context: &ProcessContext<u64>,
///         out: &mut Collector<'_, String>,
///     ) -> Result<(), FunctionError> {
///         match self.placed.get()? {
///             Some(goods) => out.emit(format!("{goods} for {cents}")),
///             None => self.paid.set(cents)?,
///         }
///         Ok(())
///     }
/// }
///
/// type Placed = (u64, String);
/// type Paid = (u64, u64);
/// let mut harness = TwoInputHarness::<Placed, Paid, String>::new(|orders, payments| {
///     let orders = orders.key_by(|order: &Placed| order.0);
///     let payments = payments.key_by(|payment: &Paid| payment.0);
///     (orders.connect(payments)).process(|open: &mut OpenContext<u64>| Complete {
///         placed: open.value_state("placed"),
///         paid: open.value_state("paid"),
///     })
/// });
/// harness.push_first((1, "tea".to_owned()));
/// harness.push_second((2, 900));
/// harness.push_second((1, 350));
/// assert_eq!(harness.output(), ["tea for 350"]);
/// ```
pub trait CoProcessFunction<K: Key, A: Item, B: Item, U: Item>: 'static {
    /// Takes a record of the first stream.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn process_first(
        &mut self,
        item: A::Of<'_>,
        context: &ProcessContext<K>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError>;

    /// Takes a record of the second stream.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn process_second(
        &mut self,
        item: B::Of<'_>,
        context: &ProcessContext<K>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError>;

    /// Called for each timer that has come due, with its key current. Both inputs register their
    /// timers through their context; a key of both streams has one timer per time. An event-time timer
    /// comes due when the watermarks of both streams have reached its time. Functions of streams that
    /// are not keyed have no timers.
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

impl<K, A, B, S, R> ConnectedStreams<A, B, KeyedBoth<K, S, R>>
where
    K: Key,
    A: Wire,
    B: Wire,
    S: Select<A, K>,
    R: Select<B, K>,
{
    /// Processes the records of both streams with the states of their key; see
    /// [`CoProcessFunction`].
    ///
    /// Fields of the function that are no states are scratch of their subtask and never part of a checkpoint.
    pub fn process<U, F, G>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut OpenContext<K>) -> G + Clone + Send + 'static,
        G: CoProcessFunction<K, A, B, U>,
    {
        let open = OpenKeyedCoProcess {
            open,
            keys: self.grouping,
            out: PhantomData,
        };
        join_inputs::<A, B, _>(self.first, self.second, "co_process", open)
    }
}

struct OpenKeyedCoProcess<K, S, R, F, U> {
    open: F,
    keys: KeyedBoth<K, S, R>,
    out: PhantomData<fn() -> U>,
}

impl<K, S: Clone, R: Clone, F: Clone, U> Clone for OpenKeyedCoProcess<K, S, R, F, U> {
    fn clone(&self) -> Self {
        Self {
            open: self.open.clone(),
            keys: self.keys.clone(),
            out: PhantomData,
        }
    }
}

impl<K, A, B, U, S, R, F, G> OpenTwoInputs<A, B> for OpenKeyedCoProcess<K, S, R, F, U>
where
    K: Key,
    A: Item,
    B: Item,
    U: Item,
    S: Select<A, K>,
    R: Select<B, K>,
    F: Fn(&mut OpenContext<K>) -> G + Clone + Send + 'static,
    G: CoProcessFunction<K, A, B, U>,
{
    type Out = U;
    type Operator = KeyedCoProcess<K, A, B, S, R, G>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let (state, function) = KeyedFunctionState::open(name, context, self.open)?;
        Ok(KeyedCoProcess {
            state,
            keys: self.keys,
            function,
            types: PhantomData,
        })
    }
}

struct KeyedCoProcess<K: Key, A, B, S, R, G> {
    state: KeyedFunctionState<K>,
    keys: KeyedBoth<K, S, R>,
    function: G,
    types: PhantomData<fn(A, B)>,
}

impl<K, A, B, S, R, G> Remembers for KeyedCoProcess<K, A, B, S, R, G>
where
    K: Key,
    A: 'static,
    B: 'static,
    S: 'static,
    R: 'static,
    G: 'static,
{
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.state.visit_states(visitor)
    }

    fn lists(&mut self) -> Option<&mut ListsOfStage> {
        Some(self.state.lists())
    }
}

impl<K, A, B, U, S, R, G> Lifecycle<U> for KeyedCoProcess<K, A, B, S, R, G>
where
    K: Key,
    A: Item,
    B: Item,
    U: Item,
    S: 'static,
    R: 'static,
    G: CoProcessFunction<K, A, B, U>,
{
    fn approach(&mut self, _input: u32, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        self.state.approach(from, hashes)
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

    fn watermark(&mut self, to: Timestamp) {
        self.state.watermark(to);
    }

    fn restored_at(&mut self, watermark: Timestamp) {
        self.state.restored_at(watermark);
    }

    fn fire<N: Push<U>>(&mut self, next: &mut N, limit: usize) -> Result<Firing, FunctionError> {
        let function = &mut self.function;
        self.state.fire(next, limit, |timer, context, out| {
            function.on_timer(timer, context, out)
        })
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

    fn locate(&mut self, _input: u32, from: u8, records: usize) {
        self.state.locate(from, records);
    }

    #[inline(always)]
    fn turn_to(&mut self, _input: u32, at: u8) {
        self.state.turn_to(at);
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

impl<K, A, B, U, S, R, G> TwoInputOperator<A, B, U> for KeyedCoProcess<K, A, B, S, R, G>
where
    K: Key,
    A: Item,
    B: Item,
    U: Item,
    S: Select<A, K>,
    R: Select<B, K>,
    G: CoProcessFunction<K, A, B, U>,
{
    #[inline(always)]
    fn overflows(&self) -> bool {
        self.state.overflows()
    }

    fn has_room(&mut self, _input: u32, records: usize) -> bool {
        self.state.has_room(records)
    }

    fn let_in(&mut self, _input: u32, records: usize) -> usize {
        self.state.let_in(records)
    }

    fn seek_first(&mut self, place: u8, (hash, _): (KeyHash, Timestamp), item: &A::Of<'_>) -> bool {
        let key = self.keys.first.select(item);
        self.state.seek(place, hash, &key)
    }

    fn seek_second(
        &mut self,
        place: u8,
        (hash, _): (KeyHash, Timestamp),
        item: &B::Of<'_>,
    ) -> bool {
        let key = self.keys.second.select(item);
        self.state.seek(place, hash, &key)
    }

    #[inline(always)]
    fn first<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: A::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        self.state.enter(hash, &self.keys.first.select(&item), at);
        let function = &mut self.function;
        self.state.call(next, |context, out| {
            function.process_first(item, context, out)
        })
    }

    #[inline(always)]
    fn second<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: B::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        self.state.enter(hash, &self.keys.second.select(&item), at);
        let function = &mut self.function;
        self.state.call(next, |context, out| {
            function.process_second(item, context, out)
        })
    }
}

impl<A: Wire, B: Wire> ConnectedStreams<A, B, Unkeyed> {
    /// Processes the records of both streams, without keyed state: accumulators, side outputs,
    /// time. See [`CoProcessFunction`].
    ///
    /// Fields of the function that are no states are scratch of their subtask and never part of a checkpoint.
    pub fn process<U, F, G>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut OpenContext) -> G + Clone + Send + 'static,
        G: CoProcessFunction<(), A, B, U>,
    {
        let open = OpenCoProcess {
            open,
            out: PhantomData,
        };
        join_inputs::<A, B, _>(self.first, self.second, "co_process", open)
    }
}

struct OpenCoProcess<F, U> {
    open: F,
    out: PhantomData<fn() -> U>,
}

impl<F: Clone, U> Clone for OpenCoProcess<F, U> {
    fn clone(&self) -> Self {
        Self {
            open: self.open.clone(),
            out: PhantomData,
        }
    }
}

impl<A, B, U, F, G> OpenTwoInputs<A, B> for OpenCoProcess<F, U>
where
    A: Item,
    B: Item,
    U: Item,
    F: Fn(&mut OpenContext) -> G + Clone + Send + 'static,
    G: CoProcessFunction<(), A, B, U>,
{
    type Out = U;
    type Operator = CoProcess<A, B, G>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let instead = "call key_by on both streams before connect";
        let (lists, function) = ListsOfStage::open(name, context, (HEAD, instead), self.open)?;
        Ok(CoProcess {
            lists,
            view: ProcessContext::new(name, context, None),
            function,
            side: context.side(),
            types: PhantomData,
        })
    }
}

struct CoProcess<A, B, G> {
    lists: ListsOfStage,
    view: ProcessContext,
    function: G,
    side: Rc<SideOutputs>,
    types: PhantomData<fn(A, B)>,
}

impl<A: 'static, B: 'static, G: 'static> Remembers for CoProcess<A, B, G> {
    fn visit_states(&mut self, _visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        Ok(())
    }

    fn lists(&mut self) -> Option<&mut ListsOfStage> {
        Some(&mut self.lists)
    }
}

impl<A, B, U, G> Lifecycle<U> for CoProcess<A, B, G>
where
    A: Item,
    B: Item,
    U: Item,
    G: CoProcessFunction<(), A, B, U>,
{
    fn watermark(&mut self, to: Timestamp) {
        self.view.watermark = to;
    }

    fn finish<N: Push<U>>(
        &mut self,
        next: &mut N,
        _turn: &mut ChainTurn<'_, '_>,
    ) -> Result<Stage, FunctionError> {
        if !next.ready() {
            return Ok(Stage::Waiting);
        }
        let mut out = Collector::new(next, Timestamp::NONE, &self.side);
        self.function.close(&mut out)?;
        Ok(Stage::Done)
    }
}

impl<A, B, U, G> TwoInputOperator<A, B, U> for CoProcess<A, B, G>
where
    A: Item,
    B: Item,
    U: Item,
    G: CoProcessFunction<(), A, B, U>,
{
    #[inline(always)]
    fn first<N: Push<U>>(
        &mut self,
        _hash: KeyHash,
        item: A::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        self.view.at = at;
        let mut out = Collector::new(next, at, &self.side);
        self.function.process_first(item, &self.view, &mut out)
    }

    #[inline(always)]
    fn second<N: Push<U>>(
        &mut self,
        _hash: KeyHash,
        item: B::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        self.view.at = at;
        let mut out = Collector::new(next, at, &self.side);
        self.function.process_second(item, &self.view, &mut out)
    }
}
