//! `process_function` on a keyed stream: a function with state, key, time, timers and side outputs.
//!
//! The function is opened once per subtask. What it keeps besides its states and timers is scratch of
//! the subtask and never part of a checkpoint. It lives on its shard.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key, Wire};
use thalweg_state::{Pressure, StateError, StateVisitor};

use super::KeyedFunctionState;
use crate::checkpoint::Remembers;
use crate::function::{Collector, FunctionError, ListsOfStage, OpenContext, ProcessContext};
use crate::operator::frame::{Firing, Lifecycle};
use crate::operator::{KeyedOperator, OpenKeyed};
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, KeyedStream, Pipe};
use crate::task::{BuildContext, BuildError, ChainTurn, Push, Stage};
use crate::time::FiredTimer;

/// A function over the records of a keyed stream, with timers.
///
/// Each of its calls has the states and timers of the key in work. An error fails the job, with the
/// operator's name.
pub trait KeyedProcessFunction<K: Key, T: Item, U: Item>: 'static {
    /// Called for each record.
    ///
    /// # Errors
    /// What fails the job.
    fn process(
        &mut self,
        item: T::Of<'_>,
        context: &ProcessContext<K>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError>;

    /// Called for each timer that has come due, with its key current.
    ///
    /// # Errors
    /// What fails the job.
    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<K>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError> {
        let _ = (timer, context, out);
        Ok(())
    }

    /// Called once, after the last record and the last timer; there is no key then. What it emits has
    /// no event time. Not called when the job fails or is cancelled: what must be undone then belongs
    /// into `Drop`.
    ///
    /// # Errors
    /// What fails the job.
    fn close(&mut self, out: &mut Collector<'_, U>) -> Result<(), FunctionError> {
        let _ = out;
        Ok(())
    }
}

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// Processes each record with the states and timers of its key; `open` makes the function, once per
    /// subtask, and declares its states.
    ///
    /// Fields of the function that are no states are scratch of their subtask and never part of a checkpoint.
    ///
    /// Who has been silent for a minute of event time:
    ///
    /// ```
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::operator::KeyedProcessFunction;
    /// use thalweg_dataflow::time::FiredTimer;
    /// use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
    /// use thalweg_state::{StateError, StateVisitor, ValueState};
    ///
    /// struct Silence {
    ///     last: ValueState<u64, i64>,
    /// }
    ///
    /// impl KeyedProcessFunction<u64, u64, u64> for Silence {
    ///     fn process(
    ///         &mut self,
    ///         _user: u64,
    ///         context: &ProcessContext<u64>,
    ///         _out: &mut Collector<'_, u64>,
    ///     ) -> Result<(), FunctionError> {
    ///         let now = context.timestamp();
    ///         self.last.update(|last| *last = now.0)?;
    ///         context.timers().register_event_time(now.plus_ms(60_000))
    ///     }
    ///
    ///     fn on_timer(
    ///         &mut self,
    ///         timer: &FiredTimer,
    ///         context: &ProcessContext<u64>,
    ///         out: &mut Collector<'_, u64>,
    ///     ) -> Result<(), FunctionError> {
    ///         if self.last.get()? == Some(timer.at.0 - 60_000) {
    ///             out.emit(context.key().unwrap_or_default());
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|users| {
    ///     users
    ///         .key_by(|user: &u64| *user)
    ///         .process_function(|open: &mut OpenContext<u64>| Silence {
    ///             last: open.value_state("last"),
    ///         })
    /// });
    /// harness.push_at(7, Timestamp(0));
    /// harness.push_at(8, Timestamp(0));
    /// harness.push_at(7, Timestamp(30_000));
    /// harness.advance_watermark(Timestamp(60_000));
    /// assert_eq!(harness.output_at(), vec![(8, Timestamp(60_000))]);
    /// harness.finish();
    /// assert_eq!(harness.output_at(), vec![(7, Timestamp(90_000))]);
    /// ```
    pub fn process_function<U, F, P>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut OpenContext<K>) -> P + Clone + Send + 'static,
        P: KeyedProcessFunction<K, T, U>,
    {
        self.operate(
            "process",
            OpenFunction {
                open,
                out: PhantomData,
            },
        )
    }
}

struct OpenFunction<F, U> {
    open: F,
    out: PhantomData<fn() -> U>,
}

impl<F: Clone, U> Clone for OpenFunction<F, U> {
    fn clone(&self) -> Self {
        Self {
            open: self.open.clone(),
            out: PhantomData,
        }
    }
}

impl<K, T, U, F, P> OpenKeyed<K, T> for OpenFunction<F, U>
where
    K: Key,
    T: Item,
    U: Item,
    F: Fn(&mut OpenContext<K>) -> P + Clone + Send + 'static,
    P: KeyedProcessFunction<K, T, U>,
{
    type Out = U;
    type Operator = FunctionOperator<K, T, U, P>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let (state, function) = KeyedFunctionState::open(name, context, self.open)?;
        Ok(FunctionOperator {
            state,
            function,
            types: PhantomData,
        })
    }
}

struct FunctionOperator<K: Key, T, U, P> {
    state: KeyedFunctionState<K>,
    function: P,
    types: PhantomData<fn(T, U)>,
}

impl<K: Key, T: 'static, U: 'static, P: 'static> Remembers for FunctionOperator<K, T, U, P> {
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.state.visit_states(visitor)
    }

    fn lists(&mut self) -> Option<&mut ListsOfStage> {
        Some(self.state.lists())
    }
}

impl<K, T, U, P> Lifecycle<U> for FunctionOperator<K, T, U, P>
where
    K: Key,
    T: Item,
    U: Item,
    P: KeyedProcessFunction<K, T, U>,
{
    fn approach(&mut self, _input: u32, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        self.state.approach(from, hashes)
    }

    fn locate(&mut self, _input: u32, from: u8, records: usize) {
        self.state.locate(from, records);
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

impl<K, T, U, P> KeyedOperator<K, T, U> for FunctionOperator<K, T, U, P>
where
    K: Key,
    T: Item,
    U: Item,
    P: KeyedProcessFunction<K, T, U>,
{
    #[inline(always)]
    fn overflows(&self) -> bool {
        self.state.overflows()
    }

    fn seek(
        &mut self,
        place: u8,
        (hash, _): (KeyHash, Timestamp),
        item: &T::Of<'_>,
        selector: &impl Select<T, K>,
    ) -> bool {
        self.state.seek(place, hash, &selector.select(item))
    }

    fn has_room(&mut self, records: usize) -> bool {
        self.state.has_room(records)
    }

    fn let_in(&mut self, records: usize) -> usize {
        self.state.let_in(records)
    }

    #[inline(always)]
    fn apply<N: Push<U>>(
        &mut self,
        hash: KeyHash,
        item: T::Of<'_>,
        at: Timestamp,
        selector: &impl Select<T, K>,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        self.state.enter(hash, &selector.select(&item), at);
        let function = &mut self.function;
        self.state
            .call(next, |context, out| function.process(item, context, out))
    }
}
