//! `map` on connected streams: one record in, one record out, a function for each input.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Record, Wire};
use thalweg_state::{StateError, StateVisitor};

use crate::checkpoint::Remembers;
use crate::function::FunctionError;
use crate::operator::frame::Lifecycle;
use crate::operator::two_inputs::{OpenTwoInputs, TwoInputOperator, join_inputs};
use crate::stream::{ConnectedStreams, DataStream, Pipe};
use crate::task::{BuildContext, BuildError, Push};

impl<A: Wire, B: Wire, G> ConnectedStreams<A, B, G> {
    /// Turns each record of either stream into a record of one type.
    ///
    /// What the closures capture is scratch of their subtask and never part of a checkpoint.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TwoInputHarness;
    ///
    /// let mut harness = TwoInputHarness::<i32, u8, i64>::new(|changes, tens| {
    ///     (changes.connect(tens)).map(|change: i32| i64::from(change), |n: u8| 10 * i64::from(n))
    /// });
    /// harness.push_first(-3);
    /// harness.push_second(2);
    /// assert_eq!(harness.output(), [-3, 20]);
    /// ```
    pub fn map<U, F1, F2>(self, first: F1, second: F2) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Record,
        F1: for<'a> FnMut(A::Of<'a>) -> U + Clone + Send + 'static,
        F2: for<'a> FnMut(B::Of<'a>) -> U + Clone + Send + 'static,
    {
        let open = CoMap {
            first,
            second,
            out: PhantomData,
        };
        join_inputs::<A, B, _>(self.first, self.second, "co_map", open)
    }
}

/// Both functions: the template and the operator.
struct CoMap<F1, F2, U> {
    first: F1,
    second: F2,
    out: PhantomData<fn() -> U>,
}

impl<F1: Clone, F2: Clone, U> Clone for CoMap<F1, F2, U> {
    fn clone(&self) -> Self {
        Self {
            first: self.first.clone(),
            second: self.second.clone(),
            out: PhantomData,
        }
    }
}

impl<A, B, U, F1, F2> OpenTwoInputs<A, B> for CoMap<F1, F2, U>
where
    A: Item,
    B: Item,
    U: Record,
    F1: for<'a> FnMut(A::Of<'a>) -> U + Clone + Send + 'static,
    F2: for<'a> FnMut(B::Of<'a>) -> U + Clone + Send + 'static,
{
    type Out = U;
    type Operator = Self;

    fn open(self, _name: &str, _context: &mut BuildContext) -> Result<Self, BuildError> {
        Ok(self)
    }
}

impl<F1: 'static, F2: 'static, U: 'static> Remembers for CoMap<F1, F2, U> {
    fn visit_states(&mut self, _visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        Ok(())
    }
}

impl<U, F1, F2> Lifecycle<U> for CoMap<F1, F2, U>
where
    U: Record,
    F1: 'static,
    F2: 'static,
{
}

impl<A, B, U, F1, F2> TwoInputOperator<A, B, U> for CoMap<F1, F2, U>
where
    A: Item,
    B: Item,
    U: Record,
    F1: for<'a> FnMut(A::Of<'a>) -> U + 'static,
    F2: for<'a> FnMut(B::Of<'a>) -> U + 'static,
{
    #[inline(always)]
    fn first<N: Push<U>>(
        &mut self,
        _hash: KeyHash,
        item: A::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        next.push((self.first)(item), at);
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
        next.push((self.second)(item), at);
        Ok(())
    }
}
