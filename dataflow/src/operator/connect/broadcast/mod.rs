//! Broadcast: a stream whose records reach every subtask of the operator that reads another stream.
//!
//! Entered by programs through [`DataStream::broadcast_stream`] and `connect`. `context` is what the
//! functions see, `keyed` and `unkeyed` run them. Invariant: broadcast state changes only with records
//! that reach every subtask, so it becomes the same in all of them; in which order a subtask sees
//! records of the two streams is open.

mod context;
mod keyed;
#[cfg(test)]
mod tests;
mod unkeyed;

pub use context::{BroadcastContext, BroadcastOpenContext};
pub use keyed::KeyedBroadcastProcessFunction;
pub use unkeyed::BroadcastProcessFunction;

use std::marker::PhantomData;

use thalweg_memory::record::{Item, Key, Wire};

use super::ConnectWith;
use crate::partition::Select;
use crate::stream::{BroadcastStream, DataStream, Draft, KeyedInput, KeyedStream, Pipe, Unkeyed};

impl<R: Wire, P: Pipe<Out = R>> DataStream<R, P> {
    /// This stream, to be connected with another one each of whose subtasks is to see all of it.
    ///
    /// See [`KeyedBroadcastProcessFunction`] for an example.
    pub fn broadcast_stream(self) -> BroadcastStream<R> {
        BroadcastStream::new(self.broadcast().draft)
    }
}

/// A stream and another whose records reach every subtask.
///
/// The watermark is the lower one of both.
#[must_use = "connected streams do nothing until an operator reads them"]
pub struct ConnectedBroadcast<A: Item, R: Item, G> {
    first: Draft,
    broadcast: Draft,
    grouping: G,
    types: PhantomData<fn(A, R)>,
}

/// The selector of the stream beside a broadcast one.
#[derive(Clone)]
pub struct KeyedFirst<K, S> {
    selector: S,
    key: PhantomData<fn(K)>,
}

impl<A, R, P> ConnectWith<DataStream<A, P>> for BroadcastStream<R>
where
    A: Wire,
    R: Wire,
    P: Pipe<Out = A>,
{
    type Connected = ConnectedBroadcast<A, R, Unkeyed>;

    fn connect_behind(self, first: DataStream<A, P>) -> Self::Connected {
        ConnectedBroadcast {
            first: first.into_input(),
            broadcast: self.draft,
            grouping: Unkeyed,
            types: PhantomData,
        }
    }
}

impl<K, A, R, S, I> ConnectWith<KeyedStream<K, A, S, I>> for BroadcastStream<R>
where
    K: Key,
    A: Wire,
    R: Wire,
    S: Select<A, K>,
    I: KeyedInput<K, A, S>,
{
    type Connected = ConnectedBroadcast<A, R, KeyedFirst<K, S>>;

    fn connect_behind(self, first: KeyedStream<K, A, S, I>) -> Self::Connected {
        let (first, selector) = first.into_draft();
        ConnectedBroadcast {
            first,
            broadcast: self.draft,
            grouping: KeyedFirst {
                selector,
                key: PhantomData,
            },
            types: PhantomData,
        }
    }
}
