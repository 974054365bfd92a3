//! The functions of joins: called with one record of each stream.
//!
//! Invariant: a result's event time is the later one of its two records. Lives on one shard.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::{Item, Record};

use crate::function::{Collector, FunctionError, OpenContext};
use crate::task::{BuildContext, BuildError, Push, SideOutputs};

/// What a join's function sees besides the two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinContext {
    left: Timestamp,
    right: Timestamp,
}

impl JoinContext {
    pub(super) fn new(left: Timestamp, right: Timestamp) -> Self {
        Self { left, right }
    }

    /// The event time of the record of the first stream.
    pub fn left_timestamp(&self) -> Timestamp {
        self.left
    }

    /// The event time of the record of the second stream.
    pub fn right_timestamp(&self) -> Timestamp {
        self.right
    }

    /// The event time of what is emitted: the later of the two.
    pub fn timestamp(&self) -> Timestamp {
        self.left.max(self.right)
    }
}

/// A join's function at work in one subtask.
pub(super) trait PairFunction<A: Record, B: Record, U: Item>: 'static {
    /// Takes a pair.
    ///
    /// # Errors
    /// What the user's function answers.
    fn call<N: Push<U>>(
        &mut self,
        left: &A,
        right: &B,
        context: &JoinContext,
        next: &mut N,
        side: &SideOutputs,
    ) -> Result<(), FunctionError>;
}

/// The template of a join's function.
pub(super) trait OpenPair<A: Record, B: Record>: Clone + Send + 'static {
    /// What it emits.
    type Out: Item;
    /// The function.
    type Function: PairFunction<A, B, Self::Out>;
    /// Opens it.
    fn open(&self, name: &str, context: &BuildContext) -> Result<Self::Function, BuildError>;
}

/// One result per pair.
pub(super) struct Apply<F, U> {
    f: F,
    out: PhantomData<fn() -> U>,
}

impl<F, U> Apply<F, U> {
    pub(super) fn new(f: F) -> Self {
        Self {
            f,
            out: PhantomData,
        }
    }
}

impl<F: Clone, U> Clone for Apply<F, U> {
    fn clone(&self) -> Self {
        Self::new(self.f.clone())
    }
}

impl<A, B, U, F> OpenPair<A, B> for Apply<F, U>
where
    A: Record,
    B: Record,
    U: Record,
    F: FnMut(&A, &B) -> U + Clone + Send + 'static,
{
    type Out = U;
    type Function = Self;

    fn open(&self, _name: &str, _context: &BuildContext) -> Result<Self, BuildError> {
        Ok(self.clone())
    }
}

impl<A, B, U, F> PairFunction<A, B, U> for Apply<F, U>
where
    A: Record,
    B: Record,
    U: Record,
    F: FnMut(&A, &B) -> U + 'static,
{
    #[inline(always)]
    fn call<N: Push<U>>(
        &mut self,
        left: &A,
        right: &B,
        context: &JoinContext,
        next: &mut N,
        _side: &SideOutputs,
    ) -> Result<(), FunctionError> {
        next.push((self.f)(left, right), context.timestamp());
        Ok(())
    }
}

/// Any number of results per pair, from a function that is opened.
pub(super) struct OpenProcess<F, U> {
    open: F,
    out: PhantomData<fn() -> U>,
}

impl<F, U> OpenProcess<F, U> {
    pub(super) fn new(open: F) -> Self {
        Self {
            open,
            out: PhantomData,
        }
    }
}

impl<F: Clone, U> Clone for OpenProcess<F, U> {
    fn clone(&self) -> Self {
        Self::new(self.open.clone())
    }
}

impl<A, B, U, F, G> OpenPair<A, B> for OpenProcess<F, U>
where
    A: Record,
    B: Record,
    U: Item,
    F: Fn(&mut OpenContext) -> G + Clone + Send + 'static,
    G: FnMut(&A, &B, &JoinContext, &mut Collector<'_, U>) -> Result<(), FunctionError> + 'static,
{
    type Out = U;
    type Function = Process<G>;

    fn open(&self, name: &str, context: &BuildContext) -> Result<Process<G>, BuildError> {
        let instead =
            "the function of a join has no states; call key_by and process behind the join";
        let mut opening = OpenContext::without_key(name, context, instead);
        let function = (self.open)(&mut opening);
        let refused = |refusal| context.refused(name, refusal);
        opening.finish().map_err(refused)?;
        Ok(Process(function))
    }
}

pub(super) struct Process<G>(G);

impl<A, B, U, G> PairFunction<A, B, U> for Process<G>
where
    A: Record,
    B: Record,
    U: Item,
    G: FnMut(&A, &B, &JoinContext, &mut Collector<'_, U>) -> Result<(), FunctionError> + 'static,
{
    #[inline(always)]
    fn call<N: Push<U>>(
        &mut self,
        left: &A,
        right: &B,
        context: &JoinContext,
        next: &mut N,
        side: &SideOutputs,
    ) -> Result<(), FunctionError> {
        let mut out = Collector::new(next, context.timestamp(), side);
        (self.0)(left, right, context, &mut out)
    }
}
