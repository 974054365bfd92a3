//! A chain that begins with an exchange, and the template of a chain that ends in one.

use std::marker::PhantomData;

use thalweg_memory::record::{Item, Wire};

use super::Pipe;
use crate::graph::{EdgeId, SubtaskFactory, VertexTemplate};
use crate::partition::Router;
use crate::task::{
    Border, BuildContext, BuildError, EdgeWriter, Head, InputHead, PlainConsume, Push,
    RoutedPartition,
};

/// The records of an exchange, as the beginning of a chain.
pub struct ExchangeInput<T>(PhantomData<fn(T)>);

impl<T> ExchangeInput<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for ExchangeInput<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: Wire> Pipe for ExchangeInput<T> {
    type Out = T;

    fn build<N: Push<T> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let gate = context.take_gate()?;
        let consume = PlainConsume::<T, N>::new(context.input_layout(0), next);
        Ok(Box::new(InputHead::open(gate, consume, context)?))
    }
}

/// A chain that ends in one exchange.
pub(crate) struct ExchangeTemplate<P, R> {
    pub(crate) pipe: P,
    pub(crate) router: R,
    pub(crate) edge: EdgeId,
}

impl<P, R> VertexTemplate for ExchangeTemplate<P, R>
where
    P: Pipe,
    P::Out: Wire,
    R: Router<P::Out>,
{
    fn instantiate(&self) -> SubtaskFactory {
        let (pipe, router, edge) = (self.pipe.clone(), self.router.clone(), self.edge);
        Box::new(move |context| {
            let partition = context.take_partition(edge)?;
            let border = Border::<P::Out, R>::new(router, partition, context);
            pipe.build(border, context)
        })
    }
}

/// One of several exchanges that read a chain, or a side output: its type is cut.
pub(crate) trait EdgeTemplate<T: Item>: Send {
    fn clone_boxed(&self) -> Box<dyn EdgeTemplate<T>>;
    fn writer(
        self: Box<Self>,
        edge: EdgeId,
        context: &mut BuildContext,
    ) -> Result<Box<dyn EdgeWriter<T>>, BuildError>;
}

/// The exchange made by a router.
pub(crate) struct RouterTemplate<R>(pub(crate) R);

impl<T: Wire, R: Router<T>> EdgeTemplate<T> for RouterTemplate<R> {
    fn clone_boxed(&self) -> Box<dyn EdgeTemplate<T>> {
        Box::new(RouterTemplate(self.0.clone()))
    }
    fn writer(
        self: Box<Self>,
        edge: EdgeId,
        context: &mut BuildContext,
    ) -> Result<Box<dyn EdgeWriter<T>>, BuildError> {
        let partition = context.take_partition(edge)?;
        Ok(Box::new(RoutedPartition::<T, R>::new(
            self.0, partition, context,
        )))
    }
}
