//! The end of a stream: what can still be said about its sink.

use std::marker::PhantomData;

use thalweg_memory::record::Item;

use super::{Draft, Pipe};
use crate::graph::{SubtaskFactory, VertexTemplate};
use crate::sink::Sink;
use crate::task::SinkBorder;

/// A stream that ended in a sink.
pub struct SinkHandle {
    draft: Draft,
}

impl SinkHandle {
    pub(crate) fn new(draft: Draft) -> Self {
        Self { draft }
    }

    /// How plans, metrics and errors call the sink.
    pub fn name(self, name: &str) -> Self {
        self.draft.rename(name);
        self
    }

    /// The sink's identity in savepoints.
    pub fn uid(self, uid: &str) -> Self {
        self.draft.identify(uid);
        self
    }

    /// How many subtasks write. The chain before the sink runs in the same subtasks; where
    /// it has operators with another parallelism, put `.rebalance()` before the sink.
    pub fn parallelism(self, parallelism: u32) -> Self {
        self.draft.set_parallelism(parallelism);
        self
    }
}

/// A chain that ends in a sink.
pub(crate) struct SinkTemplate<P, S> {
    pipe: P,
    sink: S,
    place: usize,
    item: PhantomData<fn()>,
}

impl<P, S> SinkTemplate<P, S> {
    pub(crate) fn new(pipe: P, sink: S, place: usize) -> Self {
        Self {
            pipe,
            sink,
            place,
            item: PhantomData,
        }
    }
}

impl<I, P, S> VertexTemplate for SinkTemplate<P, S>
where
    I: Item,
    P: Pipe<Out = I>,
    S: Sink<I>,
{
    fn instantiate(&self) -> SubtaskFactory {
        let (pipe, sink, place) = (self.pipe.clone(), self.sink.clone(), self.place);
        Box::new(move |context| {
            let name = context.fused_name(place);
            let border = SinkBorder::<I, S::Writer>::open(&sink, &name, context)?;
            pipe.build(border, context)
        })
    }
}
