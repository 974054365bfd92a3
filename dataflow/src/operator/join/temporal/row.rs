//! What is made of a row and its version, if it has one.
//!
//! Lives on one shard.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::{Item, Record};

use super::versions::Version;
use crate::function::FunctionError;
use crate::operator::join::function::{JoinContext, OpenPair, PairFunction};
use crate::task::{BuildContext, BuildError, Push, SideOutputs};

/// What is made of a row, at work in one subtask.
pub(super) trait RowFunction<A: Record, B: Record, U: Item>: 'static {
    fn call<N: Push<U>>(
        &mut self,
        row: (&A, Timestamp),
        version: Option<&Version<B>>,
        next: &mut N,
        side: &SideOutputs,
    ) -> Result<(), FunctionError>;
}

/// The template of what is made of a row.
pub(super) trait OpenRow<A: Record, B: Record>: Clone + Send + 'static {
    type Out: Item;
    type Function: RowFunction<A, B, Self::Out>;
    fn open(self, name: &str, context: &BuildContext) -> Result<Self::Function, BuildError>;
}

/// Only rows with a version.
#[derive(Clone)]
pub(super) struct Inner<O>(pub(super) O);

impl<A: Record, B: Record, O: OpenPair<A, B>> OpenRow<A, B> for Inner<O> {
    type Out = O::Out;
    type Function = Inner<O::Function>;

    fn open(self, name: &str, context: &BuildContext) -> Result<Self::Function, BuildError> {
        Ok(Inner(self.0.open(name, context)?))
    }
}

impl<A: Record, B: Record, U: Item, G: PairFunction<A, B, U>> RowFunction<A, B, U> for Inner<G> {
    fn call<N: Push<U>>(
        &mut self,
        (row, at): (&A, Timestamp),
        version: Option<&Version<B>>,
        next: &mut N,
        side: &SideOutputs,
    ) -> Result<(), FunctionError> {
        let Some((since, Some(version))) = version else {
            return Ok(());
        };
        let context = JoinContext::new(at, Timestamp(*since));
        self.0.call(row, version, &context, next, side)
    }
}

/// All rows.
pub(super) struct Outer<F, U> {
    pub(super) f: F,
    pub(super) out: PhantomData<fn() -> U>,
}

impl<F: Clone, U> Clone for Outer<F, U> {
    fn clone(&self) -> Self {
        Self {
            f: self.f.clone(),
            out: PhantomData,
        }
    }
}

impl<A, B, U, F> OpenRow<A, B> for Outer<F, U>
where
    A: Record,
    B: Record,
    U: Record,
    F: FnMut(&A, Option<&B>) -> U + Clone + Send + 'static,
{
    type Out = U;
    type Function = Self;

    fn open(self, _name: &str, _context: &BuildContext) -> Result<Self, BuildError> {
        Ok(self)
    }
}

impl<A, B, U, F> RowFunction<A, B, U> for Outer<F, U>
where
    A: Record,
    B: Record,
    U: Record,
    F: FnMut(&A, Option<&B>) -> U + 'static,
{
    fn call<N: Push<U>>(
        &mut self,
        (row, at): (&A, Timestamp),
        version: Option<&Version<B>>,
        next: &mut N,
        _side: &SideOutputs,
    ) -> Result<(), FunctionError> {
        let version = version.and_then(|(_, version)| version.as_ref());
        next.push((self.f)(row, version), at);
        Ok(())
    }
}
