//! `connect`: one operator over two streams, each with its own type.
//!
//! Entered by programs through [`DataStream::connect`] and [`KeyedStream::connect`]; the operators
//! behind it are one file each. Invariant: both inputs of an operator run in the same subtasks, and
//! where both are keyed, one key of both is in one of them.

mod broadcast;
mod co_flat_map;
mod co_map;
mod co_process;
mod union;

pub use broadcast::{
    BroadcastContext, BroadcastOpenContext, BroadcastProcessFunction, ConnectedBroadcast,
    KeyedBroadcastProcessFunction, KeyedFirst,
};
pub use co_process::CoProcessFunction;

use thalweg_memory::record::{Item, Key, Wire};

use crate::graph::Shape;
use crate::partition::{Rebalance, Select};
use crate::stream::{
    ConnectedStreams, DataStream, Draft, KeyedBoth, KeyedInput, KeyedStream, Pipe, Unkeyed,
};

/// What a stream `First` can be connected with.
pub trait ConnectWith<First> {
    /// The two together.
    type Connected;
    /// Puts them together.
    #[doc(hidden)]
    fn connect_behind(self, first: First) -> Self::Connected;
}

impl<A: Wire, P: Pipe<Out = A>> DataStream<A, P> {
    /// Puts another stream beside this one, to be read by one operator with a function for each.
    ///
    /// A stream that was just repartitioned keeps its partitioner; others come subtask to subtask.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TwoInputHarness;
    ///
    /// let mut harness = TwoInputHarness::<u64, String, String>::new(|numbers, texts| {
    ///     numbers
    ///         .connect(texts)
    ///         .map(|number: u64| number.to_string(), |text: String| text)
    /// });
    /// harness.push_first(7);
    /// harness.push_second("seven".to_owned());
    /// assert_eq!(harness.output(), ["7", "seven"]);
    /// ```
    pub fn connect<C: ConnectWith<Self>>(self, other: C) -> C::Connected {
        other.connect_behind(self)
    }

    /// The chain right behind this stream's exchange, made now unless it was just made.
    pub(crate) fn into_input(self) -> Draft {
        if self.draft.is_bare() {
            return self.draft;
        }
        let shape = Shape::ForwardOrRebalance;
        self.exchange("forward", shape, false, Rebalance::default())
    }
}

impl<A, B, P, Q> ConnectWith<DataStream<A, P>> for DataStream<B, Q>
where
    A: Wire,
    B: Wire,
    P: Pipe<Out = A>,
    Q: Pipe<Out = B>,
{
    type Connected = ConnectedStreams<A, B, Unkeyed>;

    fn connect_behind(self, first: DataStream<A, P>) -> Self::Connected {
        ConnectedStreams::new(first.into_input(), self.into_input(), Unkeyed)
    }
}

impl<K: Item, A: Item, S, I> KeyedStream<K, A, S, I> {
    /// Puts another stream of the same key beside this one: the records of one key of both are
    /// processed in one subtask and share the key's states.
    ///
    /// See [`CoProcessFunction`] for an example.
    pub fn connect<C: ConnectWith<Self>>(self, other: C) -> C::Connected {
        other.connect_behind(self)
    }
}

impl<K, A, B, S, R, I, J> ConnectWith<KeyedStream<K, A, S, I>> for KeyedStream<K, B, R, J>
where
    K: Key,
    A: Wire,
    B: Wire,
    S: Select<A, K>,
    R: Select<B, K>,
    I: KeyedInput<K, A, S>,
    J: KeyedInput<K, B, R>,
{
    type Connected = ConnectedStreams<A, B, KeyedBoth<K, S, R>>;

    fn connect_behind(self, first: KeyedStream<K, A, S, I>) -> Self::Connected {
        let (first, of_first) = first.into_draft();
        let (second, of_second) = self.into_draft();
        ConnectedStreams::new(first, second, KeyedBoth::new(of_first, of_second))
    }
}

#[cfg(test)]
mod tests;
