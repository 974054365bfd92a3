//! Side outputs: the streams of what functions emit by tag.

use thalweg_memory::record::{Item, Record};

use crate::function::OutputTag;
use crate::graph::{EdgeId, SideTemplate};
use crate::partition::Rebalance;
use crate::stream::{DataStream, Draft, ExchangeInput, Pipe};
use crate::task::{BuildContext, BuildError, RoutedPartition, SideWriter};

impl<T: Item, P: Pipe<Out = T>> DataStream<T, P> {
    /// The stream of what the functions of this chain emit to the tag.
    ///
    /// Asked for before the chain ends: right behind the function that emits, or anywhere
    /// later in the same chain.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// # use thalweg_dataflow::{Collector, OutputTag};
    /// const ODD: OutputTag<u64> = OutputTag::new("odd");
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     let halves = numbers.flat_map(|n, out: &mut Collector<u64>| match n % 2 {
    ///         0 => out.emit(n / 2),
    ///         _ => out.side(&ODD, n),
    ///     });
    ///     let odd = halves.side_output(&ODD).map(|n| n * 100);
    ///     halves.union(odd)
    /// });
    /// (1..=4).for_each(|n| harness.push(n));
    /// let mut rows = harness.output();
    /// rows.sort_unstable();
    /// assert_eq!(rows, [1, 2, 100, 300]);
    /// ```
    pub fn side_output<S: Record>(&self, tag: &OutputTag<S>) -> DataStream<S, ExchangeInput<S>> {
        let next = Draft::begin(self.draft.graph());
        let tag = *tag;
        self.draft
            .side_edge(&next, tag.name(), |edge| Box::new(TaggedEdge { tag, edge }));
        DataStream::new(ExchangeInput::new(), next)
    }
}

/// The template of one tag's exchange.
struct TaggedEdge<S> {
    tag: OutputTag<S>,
    edge: EdgeId,
}

impl<S: Record> SideTemplate for TaggedEdge<S> {
    fn clone_boxed(&self) -> Box<dyn SideTemplate> {
        Box::new(TaggedEdge {
            tag: self.tag,
            edge: self.edge,
        })
    }

    fn install(self: Box<Self>, context: &mut BuildContext) -> Result<(), BuildError> {
        let partition = context.take_partition(self.edge)?;
        let router = Rebalance::default();
        let writer = RoutedPartition::<S, Rebalance>::new(router, partition, context);
        context
            .side()
            .add(self.tag.id(), SideWriter::<S>(Box::new(writer)));
        Ok(())
    }
}
