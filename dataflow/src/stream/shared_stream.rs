//! A stream that several chains read.
//!
//! Its chain ends in as many exchanges as it has readers. A reader that begins with an
//! exchange of its own (`key_by`, `rebalance`, …) reads straight through that one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_memory::record::{Item, Wire};

use super::exchange::{EdgeTemplate, RouterTemplate};
use super::{DataStream, Draft, ExchangeInput, Pipe};
use crate::graph::{EdgeId, Shape, SubtaskFactory, VertexTemplate};
use crate::partition::Rebalance;
use crate::task::FanoutBorder;

/// The readers of a shared chain. Locked while the program is written and when a subtask is
/// made, never while records flow.
struct Readers<T: Item>(Arc<Mutex<Vec<Reader<T>>>>);

struct Reader<T: Item> {
    edge: EdgeId,
    template: Box<dyn EdgeTemplate<T>>,
}

impl<T: Item> Readers<T> {
    fn lock(&self) -> MutexGuard<'_, Vec<Reader<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Item> Clone for Readers<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A stream that may be read any number of times.
pub struct SharedStream<T: Wire> {
    draft: Draft,
    readers: Readers<T>,
}

impl<T: Wire> SharedStream<T> {
    pub(crate) fn new<P: Pipe<Out = T>>(pipe: P, draft: Draft) -> Self {
        let readers = Readers(Arc::default());
        draft.finish(SharedTemplate {
            pipe,
            readers: readers.clone(),
        });
        Self { draft, readers }
    }

    /// One more reader of the stream, subtask to subtask unless it begins with an exchange.
    pub fn stream(&self) -> DataStream<T, ExchangeInput<T>> {
        let next = Draft::begin(self.draft.graph());
        let shape = Shape::ForwardOrRebalance;
        let edge = self.draft.edge_to(&next, "forward", shape, false);
        let template = Box::new(RouterTemplate(Rebalance::default()));
        self.readers.lock().push(Reader { edge, template });
        let mut stream = DataStream::new(ExchangeInput::new(), next);
        stream.shared = Some(SharedEdge {
            edge,
            readers: self.readers.clone(),
        });
        stream
    }
}

/// The edge of one reader, while its partitioner may still be chosen.
pub(crate) struct SharedEdge<T: Item> {
    edge: EdgeId,
    readers: Readers<T>,
}

impl<T: Item> SharedEdge<T> {
    /// Whether nothing but the exchange stands in the reader's chain.
    pub(crate) fn reroute(
        self,
        draft: &Draft,
        partitioner: &'static str,
        shape: Shape,
        keyed: bool,
        template: impl EdgeTemplate<T> + 'static,
    ) {
        {
            let mut graph = draft.graph().borrow_mut();
            let edge = graph.edge(self.edge);
            edge.partitioner = partitioner;
            edge.shape = shape;
            edge.keyed = keyed;
        }
        let mut readers = self.readers.lock();
        if let Some(reader) = readers.iter_mut().find(|r| r.edge == self.edge) {
            reader.template = Box::new(template);
        }
    }
}

/// A chain that ends in any number of exchanges.
struct SharedTemplate<P: Pipe> {
    pipe: P,
    readers: Readers<P::Out>,
}

impl<P> VertexTemplate for SharedTemplate<P>
where
    P: Pipe,
    P::Out: Wire,
{
    fn instantiate(&self) -> SubtaskFactory {
        let pipe = self.pipe.clone();
        let readers: Vec<_> = (self.readers.lock().iter())
            .map(|reader| (reader.edge, reader.template.clone_boxed()))
            .collect();
        Box::new(move |context| {
            let mut outputs = Vec::with_capacity(readers.len());
            for (edge, template) in readers {
                outputs.push(template.writer(edge, context)?);
            }
            let border = FanoutBorder::<P::Out>::new(outputs, context);
            pipe.build(border, context)
        })
    }
}
