//! The type of a chain being built, turned backwards into a static push chain.
//!
//! As with iterators, every operator wraps the pipe before it in a new type. At the next
//! border the pipe is given the stage that shall stand behind it and builds itself around
//! it, source or exchange outermost. The result is boxed once per subtask.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::Mark;
use thalweg_memory::record::Item;
use thalweg_network::Event;

use crate::source::Source;
use crate::task::{BuildContext, BuildError, ChainTurn, Head, Push, SourceHead, Stage, Untimed};

/// A chain from its source or exchange up to here.
///
/// Functions take and return `DataStream<T, impl Pipe<Out = T>>`.
pub trait Pipe: Clone + Send + 'static {
    /// What comes out of it.
    type Out: Item;

    /// Builds the chain of one subtask around the stage behind this pipe.
    ///
    /// # Errors
    /// What makes the subtask impossible.
    fn build<N: Push<Self::Out> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError>;
}

/// A chain that begins with a source.
#[derive(Clone)]
pub struct SourcePipe<S> {
    source: S,
}

impl<S: Source> SourcePipe<S> {
    pub(crate) fn new(source: S) -> Self {
        Self { source }
    }
}

impl<S: Source> Pipe for SourcePipe<S> {
    type Out = S::Item;

    fn build<N: Push<S::Item> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let next = Untimed(context.telling(0, next));
        Ok(Box::new(SourceHead::open(self.source, next, context)?))
    }
}

/// Builds a boxed pipe: the object-safe side of [`Pipe`].
trait BuildBoxed<T: Item>: Send {
    fn build_boxed(
        self: Box<Self>,
        next: Box<dyn Push<T>>,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError>;
    fn clone_boxed(&self) -> Box<dyn BuildBoxed<T>>;
}

impl<P: Pipe> BuildBoxed<P::Out> for P {
    fn build_boxed(
        self: Box<Self>,
        next: Box<dyn Push<P::Out>>,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        self.build(BoxedPush(next, PhantomData), context)
    }
    fn clone_boxed(&self) -> Box<dyn BuildBoxed<P::Out>> {
        Box::new(self.clone())
    }
}

/// A pipe whose type was cut: costs one virtual call per record.
pub struct BoxedPipe<T: Item>(Box<dyn BuildBoxed<T>>);

impl<T: Item> BoxedPipe<T> {
    pub(crate) fn new(pipe: impl Pipe<Out = T>) -> Self {
        Self(Box::new(pipe))
    }
}

impl<T: Item> Clone for BoxedPipe<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone_boxed())
    }
}

impl<T: Item> Pipe for BoxedPipe<T> {
    type Out = T;

    fn build<N: Push<T> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        self.0.build_boxed(Box::new(next), context)
    }
}

struct BoxedPush<T: Item>(Box<dyn Push<T>>, PhantomData<fn(T)>);

impl<T: Item> Push<T> for BoxedPush<T> {
    fn push(&mut self, item: T::Of<'_>, at: Timestamp) {
        self.0.push(item, at);
    }
    fn ready(&self) -> bool {
        self.0.ready()
    }
    fn mark(&mut self, mark: Mark) {
        self.0.mark(mark);
    }
    fn event(&mut self, event: Event) {
        self.0.event(event);
    }
    fn end_turn(&mut self, turn: &mut ChainTurn<'_, '_>) -> Stage {
        self.0.end_turn(turn)
    }
}
