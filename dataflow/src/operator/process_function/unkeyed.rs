//! `process_function` on a stream without key: accumulators, side outputs, time, and an end.
//!
//! The function is opened once per subtask and chained to the operator before it. What it keeps is
//! scratch of the subtask and never part of a checkpoint. It lives on its shard.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::shard::in_work::OperatorName;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_memory::Mark;
use thalweg_memory::record::Item;
use thalweg_network::Event;

use crate::function::{Collector, FunctionError, ListsOfStage, OpenContext, ProcessContext};
use crate::stream::{DataStream, Pipe};
use crate::task::{
    BuildContext, BuildError, ChainTurn, Failure, Head, InputStatus, Push, SideOutputs, Stage,
};

/// A function over the records of a stream without key. It has no timers: those belong to keys.
pub trait ProcessFunction<T: Item, U: Item>: 'static {
    /// Called for each record.
    ///
    /// # Errors
    /// What fails the job.
    fn process(
        &mut self,
        item: T::Of<'_>,
        context: &ProcessContext,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError>;

    /// Called once, after the last record. What it emits has no event time. Not called when the job
    /// fails or is cancelled: what must be undone then belongs into `Drop`.
    ///
    /// # Errors
    /// What fails the job.
    fn close(&mut self, out: &mut Collector<'_, U>) -> Result<(), FunctionError> {
        let _ = out;
        Ok(())
    }
}

impl<T: Item, P: Pipe<Out = T>> DataStream<T, P> {
    /// Processes each record by a function that `open` makes, once per subtask.
    ///
    /// Fields of the function that are no states are scratch of their subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::operator::ProcessFunction;
    /// use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
    ///
    /// /// Drops late records and tells at the end how many.
    /// struct OnTime {
    ///     late: u64,
    /// }
    ///
    /// impl ProcessFunction<u64, u64> for OnTime {
    ///     fn process(
    ///         &mut self,
    ///         number: u64,
    ///         context: &ProcessContext,
    ///         out: &mut Collector<'_, u64>,
    ///     ) -> Result<(), FunctionError> {
    ///         match context.timestamp() <= context.watermark() {
    ///             true => self.late += 1,
    ///             false => out.emit(number),
    ///         }
    ///         Ok(())
    ///     }
    ///
    ///     fn close(&mut self, out: &mut Collector<'_, u64>) -> Result<(), FunctionError> {
    ///         out.emit(self.late);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.process_function(|_: &mut OpenContext| OnTime { late: 0 })
    /// });
    /// harness.push_at(5, Timestamp(10));
    /// harness.advance_watermark(Timestamp(10));
    /// harness.push_at(6, Timestamp(9));
    /// harness.push_at(7, Timestamp(11));
    /// harness.finish();
    /// assert_eq!(harness.output(), vec![5, 7, 1]);
    /// ```
    pub fn process_function<U, F, G>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut OpenContext) -> G + Clone + Send + 'static,
        G: ProcessFunction<T, U>,
    {
        self.then("process", |pipe, place| ProcessPipe {
            pipe,
            open,
            place,
            out: PhantomData,
        })
    }
}

struct ProcessPipe<P, F, U> {
    pipe: P,
    open: F,
    place: usize,
    out: PhantomData<fn() -> U>,
}

impl<P: Clone, F: Clone, U> Clone for ProcessPipe<P, F, U> {
    fn clone(&self) -> Self {
        Self {
            pipe: self.pipe.clone(),
            open: self.open.clone(),
            place: self.place,
            out: PhantomData,
        }
    }
}

impl<P, F, G, U> Pipe for ProcessPipe<P, F, U>
where
    P: Pipe,
    U: Item,
    F: Fn(&mut OpenContext) -> G + Clone + Send + 'static,
    G: ProcessFunction<P::Out, U>,
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
        let stage = FunctionStage {
            view: ProcessContext::new(&name, context, None),
            name,
            function,
            next,
            side: context.side(),
            failure: context.failure(),
            lists,
            closed: false,
            out: PhantomData,
        };
        self.pipe.build(stage, context)
    }
}

struct FunctionStage<G, U, N> {
    name: OperatorName,
    view: ProcessContext,
    function: G,
    next: N,
    side: Rc<SideOutputs>,
    failure: Failure,
    lists: ListsOfStage,
    closed: bool,
    out: PhantomData<fn() -> U>,
}

impl<G, U: Item, N: Push<U>> FunctionStage<G, U, N> {
    /// Calls the function; what it answers may fail the task.
    #[inline(always)]
    fn call(
        &mut self,
        at: Timestamp,
        call: impl FnOnce(&mut G, &ProcessContext, &mut Collector<'_, U>) -> Result<(), FunctionError>,
    ) {
        let mut out = Collector::new(&mut self.next, at, &self.side);
        let scope = OperatorScope::enter(&self.name);
        let outcome = call(&mut self.function, &self.view, &mut out);
        scope.leave();
        if let Err(error) = outcome {
            self.failure
                .set(&self.name, error.to_string(), error.kind());
        }
    }
}

impl<I, U, G, N> Push<I> for FunctionStage<G, U, N>
where
    I: Item,
    U: Item,
    G: ProcessFunction<I, U>,
    N: Push<U>,
{
    #[inline(always)]
    fn push(&mut self, item: I::Of<'_>, at: Timestamp) {
        self.view.at = at;
        self.call(at, |function, context, out| {
            function.process(item, context, out)
        });
    }

    #[inline(always)]
    fn ready(&self) -> bool {
        self.next.ready()
    }

    fn mark(&mut self, mark: Mark) {
        if let Mark::Watermark(Watermark(to)) = mark {
            self.view.watermark = to;
        }
        self.next.mark(mark);
    }

    fn event(&mut self, event: Event) {
        self.lists.event(event);
        self.next.event(event);
    }

    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        if turn.input() != InputStatus::Ended || self.closed || self.failure.is_set() {
            return self.next.end_turn(turn);
        }
        if !self.next.ready() {
            // The end waits for room; who gives it wakes the task.
            self.next.end_turn(&mut turn.with_input(InputStatus::Idle));
            return match self.next.ready() {
                true => Stage::Unfinished,
                false => Stage::Waiting,
            };
        }
        self.closed = true;
        self.call(Timestamp::NONE, |function, _context, out| {
            function.close(out)
        });
        self.lists.leave();
        self.next.end_turn(turn)
    }
}
