//! Two streams of different types that one operator reads.
//!
//! Entered by `connect` (see [`crate::operator`]), left by the operator put behind it. Both streams
//! have ended in their exchanges; nothing but the graph is kept here. Lives on the program's thread.

use std::marker::PhantomData;

use thalweg_memory::record::Item;

use super::Draft;

/// Two streams that are read by one operator, whose functions may share what they remember.
///
/// Made by `connect`: of two [`DataStream`](super::DataStream)s, then the records of each reach the
/// operator as those of a `union` would; or of two [`KeyedStream`](super::KeyedStream)s of the same
/// key, then the records of one key of both streams meet in one subtask and share the states of the
/// key. The order within each stream is kept, between the two there is none. The watermark is the
/// lower one of both.
#[must_use = "connected streams do nothing until an operator reads them"]
pub struct ConnectedStreams<A: Item, B: Item, G = Unkeyed> {
    pub(crate) first: Draft,
    pub(crate) second: Draft,
    pub(crate) grouping: G,
    types: PhantomData<fn(A, B)>,
}

impl<A: Item, B: Item, G> ConnectedStreams<A, B, G> {
    pub(crate) fn new(first: Draft, second: Draft, grouping: G) -> Self {
        Self {
            first,
            second,
            grouping,
            types: PhantomData,
        }
    }
}

/// Connected streams that are not grouped.
#[derive(Clone, Copy, Debug)]
pub struct Unkeyed;

/// Connected streams that are grouped by keys of `K`, read by `S` from the first and by `R` from the
/// second.
pub struct KeyedBoth<K, S, R> {
    pub(crate) first: S,
    pub(crate) second: R,
    key: PhantomData<fn(K)>,
}

impl<K, S, R> KeyedBoth<K, S, R> {
    pub(crate) fn new(first: S, second: R) -> Self {
        Self {
            first,
            second,
            key: PhantomData,
        }
    }
}

impl<K, S: Clone, R: Clone> Clone for KeyedBoth<K, S, R> {
    fn clone(&self) -> Self {
        Self::new(self.first.clone(), self.second.clone())
    }
}

/// A stream whose records reach every subtask of the operator it is connected with.
#[must_use = "a broadcast stream does nothing until it is connected"]
pub struct BroadcastStream<R: Item> {
    pub(crate) draft: Draft,
    item: PhantomData<fn(R)>,
}

impl<R: Item> BroadcastStream<R> {
    pub(crate) fn new(draft: Draft) -> Self {
        Self {
            draft,
            item: PhantomData,
        }
    }
}
