//! `process` on a stream without key connected with a broadcast one.
//!
//! The function is opened once per subtask. What it keeps besides its broadcast states is scratch of
//! the subtask and never part of a checkpoint. Lives on one shard.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Wire};
use thalweg_state::{StateError, StateVisitor};

use super::context::BroadcastStates;
use super::{BroadcastContext, BroadcastOpenContext, ConnectedBroadcast};
use crate::checkpoint::Remembers;
use crate::function::{Collector, FunctionError, ListsOfStage, OpenContext, ProcessContext};
use crate::operator::frame::{HEAD, Lifecycle};
use crate::operator::two_inputs::{OpenTwoInputs, TwoInputOperator, join_inputs};
use crate::stream::{DataStream, Pipe, Unkeyed};
use crate::task::{BuildContext, BuildError, ChainTurn, Push, SideOutputs, Stage};

/// A function over a stream of `A` and a broadcast stream of `R` that emits `U`.
///
/// Only words that are asked for:
///
/// ```
/// use thalweg_dataflow::harness::TwoInputHarness;
/// use thalweg_dataflow::operator::{
///     BroadcastContext, BroadcastOpenContext, BroadcastProcessFunction,
/// };
/// use thalweg_dataflow::{Collector, FunctionError, ProcessContext};
/// use thalweg_state::{BroadcastState, StateError, StateVisitor};
///
/// struct Wanted(BroadcastState<String, ()>);
///
/// impl BroadcastProcessFunction<String, String, String> for Wanted {
///     fn process(
///         &mut self,
///         word: String,
///         _context: &ProcessContext,
///         out: &mut Collector<'_, String>,
///     ) -> Result<(), FunctionError> {
///         if self.0.contains(&word) {
///             out.emit(word);
///         }
///         Ok(())
///     }
///
///     fn process_broadcast(
///         &mut self,
///         word: String,
///         context: &BroadcastContext<'_>,
///         _out: &mut Collector<'_, String>,
///     ) -> Result<(), FunctionError> {
///         self.0.put(context, word, ())?;
///         Ok(())
///     }
/// }
///
/// let mut harness = TwoInputHarness::<String, String, String>::new(|words, wanted| {
///     let connected = words.connect(wanted.broadcast_stream());
///     connected.process(|open: &mut BroadcastOpenContext<'_>| Wanted(open.broadcast_state("words")))
/// });
/// harness.push_second("be".to_owned());
/// for word in ["to", "be", "or"] {
///     harness.push_first(word.to_owned());
/// }
/// assert_eq!(harness.output(), ["be"]);
/// ```
pub trait BroadcastProcessFunction<A: Item, R: Item, U: Item>: 'static {
    /// Takes a record of the stream. Broadcast states can be read.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn process(
        &mut self,
        item: A::Of<'_>,
        context: &ProcessContext,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError>;

    /// Takes a record of the broadcast stream; every subtask does. Broadcast states can be read and
    /// changed.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn process_broadcast(
        &mut self,
        item: R::Of<'_>,
        context: &BroadcastContext<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError>;

    /// Called once, after the last record of both streams. What it emits has no event time. Not called
    /// when the job fails or is cancelled.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn close(&mut self, out: &mut Collector<'_, U>) -> Result<(), FunctionError> {
        let _ = out;
        Ok(())
    }
}

impl<A: Wire, R: Wire> ConnectedBroadcast<A, R, Unkeyed> {
    /// Processes the records of the stream, and those of the broadcast stream in every subtask; see
    /// [`BroadcastProcessFunction`].
    ///
    /// Fields of the function that are no states are scratch of their subtask and never part of a checkpoint.
    pub fn process<U, F, G>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut BroadcastOpenContext<'_>) -> G + Clone + Send + 'static,
        G: BroadcastProcessFunction<A, R, U>,
    {
        let open = OpenBroadcast {
            open,
            out: PhantomData,
        };
        join_inputs::<A, R, _>(self.first, self.broadcast, "broadcast_process", open)
    }
}

struct OpenBroadcast<F, U> {
    open: F,
    out: PhantomData<fn() -> U>,
}

impl<F: Clone, U> Clone for OpenBroadcast<F, U> {
    fn clone(&self) -> Self {
        Self {
            open: self.open.clone(),
            out: PhantomData,
        }
    }
}

impl<A, R, U, F, G> OpenTwoInputs<A, R> for OpenBroadcast<F, U>
where
    A: Item,
    R: Item,
    U: Item,
    F: Fn(&mut BroadcastOpenContext<'_>) -> G + Clone + Send + 'static,
    G: BroadcastProcessFunction<A, R, U>,
{
    type Out = U;
    type Operator = Broadcast<A, R, G>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        let ground = BroadcastOpenContext::<()>::ground_of(context);
        let states = ground.states.clone();
        let instead = "call key_by before connect, or declare a broadcast state";
        let open =
            |open: &mut OpenContext| (self.open)(&mut BroadcastOpenContext::new(open, ground));
        let (lists, function) = ListsOfStage::open(name, context, (HEAD, instead), open)?;
        Ok(Broadcast {
            lists,
            view: ProcessContext::new(name, context, None),
            function,
            states,
            side: context.side(),
            types: PhantomData,
        })
    }
}

struct Broadcast<A, R, G> {
    lists: ListsOfStage,
    view: ProcessContext,
    function: G,
    states: BroadcastStates,
    side: Rc<SideOutputs>,
    types: PhantomData<fn(A, R)>,
}

impl<A: 'static, R: 'static, G: 'static> Remembers for Broadcast<A, R, G> {
    fn visit_states(&mut self, _visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        Ok(())
    }

    fn visit_broadcast(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.states.visit(visitor)
    }

    fn lists(&mut self) -> Option<&mut ListsOfStage> {
        Some(&mut self.lists)
    }
}

impl<A, R, U, G> Lifecycle<U> for Broadcast<A, R, G>
where
    A: Item,
    R: Item,
    U: Item,
    G: BroadcastProcessFunction<A, R, U>,
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

impl<A, R, U, G> TwoInputOperator<A, R, U> for Broadcast<A, R, G>
where
    A: Item,
    R: Item,
    U: Item,
    G: BroadcastProcessFunction<A, R, U>,
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
        self.function.process(item, &self.view, &mut out)
    }

    fn second<N: Push<U>>(
        &mut self,
        _hash: KeyHash,
        item: R::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        self.view.at = at;
        let mut out = Collector::new(next, at, &self.side);
        let context = BroadcastContext {
            view: &self.view,
            visits: None,
        };
        self.function.process_broadcast(item, &context, &mut out)
    }
}
