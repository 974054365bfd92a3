//! `union`: several streams of one type as one. Order is kept within each, not between them.

use thalweg_memory::record::Wire;

use crate::graph::Shape;
use crate::partition::Rebalance;
use crate::stream::{DataStream, Draft, ExchangeInput, Pipe};

impl<T: Wire, P: Pipe<Out = T>> DataStream<T, P> {
    /// The records of both streams.
    ///
    /// A stream that was just repartitioned keeps its partitioner: `rules.broadcast()`
    /// joined to `events` by `union` still reaches every subtask.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TwoInputHarness;
    ///
    /// let mut harness = TwoInputHarness::<u64, u64, u64>::new(|here, there| here.union(there));
    /// harness.push_first(1);
    /// harness.push_second(2);
    /// harness.push_first(3);
    /// assert_eq!(harness.output(), [1, 2, 3]);
    /// ```
    pub fn union<Q: Pipe<Out = T>>(
        self,
        other: DataStream<T, Q>,
    ) -> DataStream<T, ExchangeInput<T>> {
        let union = Draft::begin(self.draft.graph());
        self.flow_into(&union);
        other.flow_into(&union);
        DataStream::new(ExchangeInput::new(), union)
    }

    /// Ends this stream in an input of the union.
    fn flow_into(self, union: &Draft) {
        if self.draft.is_bare() {
            self.draft.absorb_into(union, 0);
            return;
        }
        let shape = Shape::ForwardOrRebalance;
        let next = self.exchange("forward", shape, false, Rebalance::default());
        next.absorb_into(union, 0);
    }
}
