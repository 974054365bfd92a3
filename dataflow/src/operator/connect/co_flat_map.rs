//! `flat_map` on connected streams: one record in, any number out, a function for each input.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Wire};
use thalweg_state::{StateError, StateVisitor};

use crate::checkpoint::Remembers;
use crate::function::{Collector, FunctionError};
use crate::operator::frame::Lifecycle;
use crate::operator::two_inputs::{OpenTwoInputs, TwoInputOperator, join_inputs};
use crate::stream::{ConnectedStreams, DataStream, Pipe};
use crate::task::{BuildContext, BuildError, Push, SideOutputs};

impl<A: Wire, B: Wire, G> ConnectedStreams<A, B, G> {
    /// Turns each record of either stream into any number of records, put into the collector.
    ///
    /// What the closures capture is scratch of their subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::Collector;
    /// use thalweg_dataflow::harness::TwoInputHarness;
    ///
    /// let mut harness = TwoInputHarness::<String, u64, String>::new(|lines, pages| {
    ///     lines.connect(pages).flat_map(
    ///         |line: String, out: &mut Collector<'_, String>| {
    ///             line.split(' ').for_each(|word| out.emit(word.to_owned()));
    ///         },
    ///         |page: u64, out: &mut Collector<'_, String>| out.emit(format!("page {page}")),
    ///     )
    /// });
    /// harness.push_first("to be".to_owned());
    /// harness.push_second(2);
    /// assert_eq!(harness.output(), ["to", "be", "page 2"]);
    /// ```
    pub fn flat_map<U, F1, F2>(self, first: F1, second: F2) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F1: for<'a, 'b, 'c> FnMut(A::Of<'a>, &'b mut Collector<'c, U>) + Clone + Send + 'static,
        F2: for<'a, 'b, 'c> FnMut(B::Of<'a>, &'b mut Collector<'c, U>) + Clone + Send + 'static,
    {
        let open = OpenCoFlatMap {
            first,
            second,
            out: PhantomData,
        };
        join_inputs::<A, B, _>(self.first, self.second, "co_flat_map", open)
    }
}

struct OpenCoFlatMap<F1, F2, U> {
    first: F1,
    second: F2,
    out: PhantomData<fn() -> U>,
}

impl<F1: Clone, F2: Clone, U> Clone for OpenCoFlatMap<F1, F2, U> {
    fn clone(&self) -> Self {
        Self {
            first: self.first.clone(),
            second: self.second.clone(),
            out: PhantomData,
        }
    }
}

impl<A, B, U, F1, F2> OpenTwoInputs<A, B> for OpenCoFlatMap<F1, F2, U>
where
    A: Item,
    B: Item,
    U: Item,
    F1: for<'a, 'b, 'c> FnMut(A::Of<'a>, &'b mut Collector<'c, U>) + Clone + Send + 'static,
    F2: for<'a, 'b, 'c> FnMut(B::Of<'a>, &'b mut Collector<'c, U>) + Clone + Send + 'static,
{
    type Out = U;
    type Operator = CoFlatMap<F1, F2>;

    fn open(self, _name: &str, context: &mut BuildContext) -> Result<Self::Operator, BuildError> {
        Ok(CoFlatMap {
            first: self.first,
            second: self.second,
            side: context.side(),
        })
    }
}

struct CoFlatMap<F1, F2> {
    first: F1,
    second: F2,
    side: Rc<SideOutputs>,
}

impl<F1: 'static, F2: 'static> Remembers for CoFlatMap<F1, F2> {
    fn visit_states(&mut self, _visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        Ok(())
    }
}

impl<U: Item, F1: 'static, F2: 'static> Lifecycle<U> for CoFlatMap<F1, F2> {}

impl<A, B, U, F1, F2> TwoInputOperator<A, B, U> for CoFlatMap<F1, F2>
where
    A: Item,
    B: Item,
    U: Item,
    F1: for<'a, 'b, 'c> FnMut(A::Of<'a>, &'b mut Collector<'c, U>) + 'static,
    F2: for<'a, 'b, 'c> FnMut(B::Of<'a>, &'b mut Collector<'c, U>) + 'static,
{
    #[inline(always)]
    fn first<N: Push<U>>(
        &mut self,
        _hash: KeyHash,
        item: A::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        (self.first)(item, &mut Collector::new(next, at, &self.side));
        Ok(())
    }

    #[inline(always)]
    fn second<N: Push<U>>(
        &mut self,
        _hash: KeyHash,
        item: B::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        (self.second)(item, &mut Collector::new(next, at, &self.side));
        Ok(())
    }
}
