//! `process`: a function with state, key, time and side outputs.
//!
//! The function is opened once per subtask: it declares its states and answers the closure
//! that is called for each record. What the closure keeps besides its states is scratch of
//! the subtask and never part of a checkpoint.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::key_group::KeyHash;
use thalweg_core::shard::in_work::OperatorName;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::Mark;
use thalweg_memory::record::{Item, Key, Wire};
use thalweg_network::Event;
use thalweg_state::{KeyedContext, Pressure, StateError, StateVisitor};

use super::frame::Lifecycle;
use super::process_function::FunctionBackend;
use super::{KeyedOperator, OpenKeyed};
use crate::checkpoint::Remembers;
use crate::function::{Collector, FunctionError, ListsOfStage, OpenContext, ProcessContext};
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, KeyedStream, Pipe};
use crate::task::{
    BuildContext, BuildError, ChainTurn, Failure, Head, InputStatus, Push, SideOutputs, Stage,
};

impl<K, T, S, I> KeyedStream<K, T, S, I>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
{
    /// Processes each record with the states of its key.
    ///
    /// What the function captures beside the states it declares is scratch of its subtask and never part of a
    /// checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// # use thalweg_dataflow::{Collector, OpenContext};
    /// let mut harness = TestHarness::<(u64, u64), u64>::new(|payments| {
    ///     payments.key_by(|payment| payment.0).process(|open: &mut OpenContext<u64>| {
    ///         let mut total = open.value_state::<u64>("total");
    ///         move |payment: (u64, u64), _context, out: &mut Collector<u64>| {
    ///             total.update(|total| *total += payment.1)?;
    ///             out.emit(total.get()?.unwrap_or_default());
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// [(1, 10), (2, 5), (1, 20)].into_iter().for_each(|payment| harness.push(payment));
    /// assert_eq!(harness.output(), [10, 5, 30]);
    /// ```
    pub fn process<U, F, G>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut OpenContext<K>) -> G + Clone + Send + 'static,
        G: for<'a, 'b, 'c, 'd> FnMut(
                T::Of<'a>,
                &'b ProcessContext<K>,
                &'c mut Collector<'d, U>,
            ) -> Result<(), FunctionError>
            + 'static,
    {
        self.operate(
            "process",
            OpenProcess {
                open,
                out: PhantomData,
            },
        )
    }
}

struct OpenProcess<F, U> {
    open: F,
    out: PhantomData<fn() -> U>,
}

impl<F: Clone, U> Clone for OpenProcess<F, U> {
    fn clone(&self) -> Self {
        Self {
            open: self.open.clone(),
            out: PhantomData,
        }
    }
}

impl<K, T, U, F, G> OpenKeyed<K, T> for OpenProcess<F, U>
where
    K: Key,
    T: Item,
    U: Item,
    F: Fn(&mut OpenContext<K>) -> G + Clone + Send + 'static,
    G: for<'a, 'b, 'c, 'd> FnMut(
            T::Of<'a>,
            &'b ProcessContext<K>,
            &'c mut Collector<'d, U>,
        ) -> Result<(), FunctionError>
        + 'static,
{
    type Out = U;
    type Operator = KeyedProcess<K, G>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let (backend, function) = FunctionBackend::open(name, context, self.open)?;
        let keyed = Rc::clone(backend.states.context());
        Ok(KeyedProcess {
            view: ProcessContext::new(name, context, Some(keyed.clone())),
            keyed,
            backend,
            function,
            side: context.side(),
        })
    }
}

struct KeyedProcess<K: Key, G> {
    backend: FunctionBackend<K>,
    keyed: Rc<KeyedContext<K>>,
    view: ProcessContext<K>,
    function: G,
    side: Rc<SideOutputs>,
}

impl<K: Key, G: 'static> Remembers for KeyedProcess<K, G> {
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.backend.states.visit_states(visitor)
    }

    fn lists(&mut self) -> Option<&mut ListsOfStage> {
        Some(&mut self.backend.lists)
    }
}

impl<K: Key, U: Item, G: 'static> Lifecycle<U> for KeyedProcess<K, G> {
    fn watermark(&mut self, to: Timestamp) {
        self.view.watermark = to;
    }

    fn approach(&mut self, _input: u32, from: u8, hashes: &[KeyHash]) -> Result<(), FunctionError> {
        self.backend.approach(from, hashes, &self.view)
    }

    fn begin_state_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), FunctionError> {
        self.backend.begin_turn(context)
    }

    fn end_state_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, FunctionError> {
        self.backend.end_turn(context, waiting, 0)
    }

    fn locate(&mut self, _input: u32, from: u8, records: usize) {
        self.backend.states.locate(from, records);
    }

    #[inline(always)]
    fn turn_to(&mut self, _input: u32, at: u8) {
        self.keyed.turn_to(at);
    }
}

impl<K, T, U, G> KeyedOperator<K, T, U> for KeyedProcess<K, G>
where
    K: Key,
    T: Item,
    U: Item,
    G: for<'a, 'b, 'c, 'd> FnMut(
            T::Of<'a>,
            &'b ProcessContext<K>,
            &'c mut Collector<'d, U>,
        ) -> Result<(), FunctionError>
        + 'static,
{
    #[inline(always)]
    fn overflows(&self) -> bool {
        self.backend.states.overflows()
    }

    fn seek(
        &mut self,
        place: u8,
        (hash, _): (KeyHash, Timestamp),
        item: &T::Of<'_>,
        selector: &impl Select<T, K>,
    ) -> bool {
        let key = selector.select(item);
        self.backend.states.seek(usize::from(place), hash, &key)
    }

    fn has_room(&mut self, records: usize) -> bool {
        self.backend.states.has_room(records)
    }

    fn let_in(&mut self, records: usize) -> usize {
        self.backend.states.let_in(records)
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
        self.keyed.set_current(hash, &selector.select(&item));
        self.view.at = at;
        let mut out = Collector::new(next, at, &self.side);
        (self.function)(item, &self.view, &mut out)
    }
}

impl<T: Item, P: Pipe<Out = T>> DataStream<T, P> {
    /// Processes each record, without keyed state: accumulators, side outputs, time.
    ///
    /// What the function captures beside the states it declares is scratch of its subtask and never part of a
    /// checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::{Collector, OpenContext, ProcessContext};
    ///
    /// let mut harness = TestHarness::<i64, i64>::new(|numbers| {
    ///     numbers.process(|open: &mut OpenContext| {
    ///         let negative = open.accumulator("negative");
    ///         move |number: i64, _: &ProcessContext, out: &mut Collector<'_, i64>| {
    ///             negative.add(i64::from(number < 0));
    ///             out.emit(number.abs());
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// harness.push(-3);
    /// harness.push(4);
    /// assert_eq!(harness.output(), [3, 4]);
    /// assert_eq!(harness.accumulator("negative"), 1);
    /// ```
    pub fn process<U, F, G>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut OpenContext) -> G + Clone + Send + 'static,
        G: for<'a, 'b, 'c, 'd> FnMut(
                T::Of<'a>,
                &'b ProcessContext,
                &'c mut Collector<'d, U>,
            ) -> Result<(), FunctionError>
            + 'static,
    {
        self.then("process", |pipe, place| Process {
            pipe,
            open,
            place,
            out: PhantomData,
        })
    }
}

struct Process<P, F, U> {
    pipe: P,
    open: F,
    place: usize,
    out: PhantomData<fn() -> U>,
}

impl<P: Clone, F: Clone, U> Clone for Process<P, F, U> {
    fn clone(&self) -> Self {
        Self {
            pipe: self.pipe.clone(),
            open: self.open.clone(),
            place: self.place,
            out: PhantomData,
        }
    }
}

impl<P, F, G, U> Pipe for Process<P, F, U>
where
    P: Pipe,
    U: Item,
    F: Fn(&mut OpenContext) -> G + Clone + Send + 'static,
    G: for<'a, 'b, 'c, 'd> FnMut(
            <P::Out as Item>::Of<'a>,
            &'b ProcessContext,
            &'c mut Collector<'d, U>,
        ) -> Result<(), FunctionError>
        + 'static,
{
    type Out = U;

    fn build<N: Push<U> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let name = context.operator_name(self.place);
        let at = (self.place, "call key_by before process");
        let (lists, function) = ListsOfStage::open(&name, context, at, self.open)?;
        let stage = ProcessStage {
            view: ProcessContext::new(&name, context, None),
            name,
            function,
            next,
            side: context.side(),
            failure: context.failure(),
            lists,
            out: PhantomData,
        };
        self.pipe.build(stage, context)
    }
}

struct ProcessStage<G, U, N> {
    name: OperatorName,
    view: ProcessContext,
    function: G,
    next: N,
    side: Rc<SideOutputs>,
    failure: Failure,
    lists: ListsOfStage,
    out: PhantomData<fn() -> U>,
}

impl<I, U, G, N> Push<I> for ProcessStage<G, U, N>
where
    I: Item,
    U: Item,
    G: for<'a, 'b, 'c, 'd> FnMut(
        I::Of<'a>,
        &'b ProcessContext,
        &'c mut Collector<'d, U>,
    ) -> Result<(), FunctionError>,
    N: Push<U>,
{
    #[inline(always)]
    fn push(&mut self, item: I::Of<'_>, at: Timestamp) {
        self.view.at = at;
        let mut out = Collector::new(&mut self.next, at, &self.side);
        let scope = OperatorScope::enter(&self.name);
        let outcome = (self.function)(item, &self.view, &mut out);
        scope.leave();
        if let Err(error) = outcome {
            self.failure
                .set(&self.name, error.to_string(), error.kind());
        }
    }

    fn mark(&mut self, mark: Mark) {
        if let Mark::Watermark(Watermark(to)) = mark {
            self.view.watermark = to;
        }
        self.next.mark(mark);
    }

    #[inline(always)]
    fn ready(&self) -> bool {
        self.next.ready()
    }

    fn event(&mut self, event: Event) {
        self.lists.event(event);
        self.next.event(event);
    }

    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        if turn.input() == InputStatus::Ended {
            self.lists.leave();
        }
        self.next.end_turn(turn)
    }
}
