//! A stream grouped by key: the records of one key are together in one subtask.
//!
//! Its operators add their methods in their own files under [`crate::operator`].

use std::convert::Infallible;
use std::marker::PhantomData;

use thalweg_memory::record::{Item, Key, Record, View, Wire};

use super::{DataStream, Draft, Pipe};
use crate::graph::Shape;
use crate::partition::{EdgePattern, Hash, Select, SelectOwned};
use crate::task::{BuildContext, BuildError, Head, Push};

/// A stream of `T` grouped by keys of `K`, which `S` reads from each record.
///
/// The exchange that groups it is made when an operator is put behind it, so that the operator
/// may put a part of itself before the exchange.
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct KeyedStream<K: Item, T: Item, S, I> {
    pub(crate) input: I,
    pub(crate) selector: S,
    pub(crate) parallelism: Option<u32>,
    types: PhantomData<fn(K, T)>,
}

/// Where the records of a keyed stream come from: what makes its exchange.
pub trait KeyedInput<K: Item, T: Item, S> {
    /// The chain before the exchange.
    #[doc(hidden)]
    type Chain: Pipe<Out = T>;

    /// Makes the exchange; answers the chain behind it.
    #[doc(hidden)]
    fn exchange(self, selector: &S) -> Exchanged;

    /// The chain before the exchange, if more can be put there; otherwise makes the exchange.
    #[doc(hidden)]
    fn into_chain(self, selector: &S) -> Result<DataStream<T, Self::Chain>, Exchanged>;
}

/// A chain that will be grouped by the selector of its keyed stream.
pub struct Grouping<T: Item, P: Pipe<Out = T>>(pub(crate) DataStream<T, P>);

impl<K, T, S, P> KeyedInput<K, T, S> for Grouping<T, P>
where
    K: Key,
    T: Wire,
    S: Select<T, K>,
    P: Pipe<Out = T>,
{
    type Chain = P;

    fn exchange(self, selector: &S) -> Exchanged {
        let router = Hash::<K, _>::new(selector.clone());
        let shape = Shape::Fixed(EdgePattern::AllToAll);
        Exchanged(self.0.exchange("hash", shape, true, router))
    }

    fn into_chain(self, selector: &S) -> Result<DataStream<T, P>, Exchanged> {
        if self.0.shared.is_some() {
            // Others read the chain too: it has ended already.
            return Err(KeyedInput::<K, T, S>::exchange(self, selector));
        }
        Ok(self.0)
    }
}

/// A chain behind its exchange.
pub struct Exchanged(pub(crate) Draft);

impl<K: Item, T: Item, S> KeyedInput<K, T, S> for Exchanged {
    type Chain = NoPipe<T>;

    fn exchange(self, _selector: &S) -> Exchanged {
        self
    }

    fn into_chain(self, _selector: &S) -> Result<DataStream<T, NoPipe<T>>, Exchanged> {
        Err(self)
    }
}

/// The chain of a stream whose exchange has been made: there is none.
pub struct NoPipe<T>(Infallible, PhantomData<fn(T)>);

impl<T> Clone for NoPipe<T> {
    fn clone(&self) -> Self {
        match self.0 {}
    }
}

impl<T: Item> Pipe for NoPipe<T> {
    type Out = T;

    fn build<N: Push<T> + 'static>(
        self,
        _next: N,
        _context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        match self.0 {}
    }
}

impl<K: Key, T: Item, S, I> KeyedStream<K, T, S, I> {
    pub(crate) fn new(input: I, selector: S) -> Self {
        Self {
            input,
            selector,
            parallelism: None,
            types: PhantomData,
        }
    }

    /// How many subtasks the keyed operator has.
    pub fn parallelism(mut self, parallelism: u32) -> Self {
        self.parallelism = Some(parallelism);
        self
    }
}

impl<K: Key, T: Item, S, I: KeyedInput<K, T, S>> KeyedStream<K, T, S, I> {
    /// Makes the exchange; answers the chain behind it and the selector.
    pub(crate) fn into_draft(self) -> (Draft, S) {
        let Exchanged(draft) = self.input.exchange(&self.selector);
        if let Some(parallelism) = self.parallelism {
            draft.set_parallelism(parallelism);
        }
        (draft, self.selector)
    }
}

impl<K: Key + Record, T: Record, S, I: KeyedInput<K, T, S>> KeyedStream<K, T, S, I> {
    /// Reads the records in place instead of as owned values; `selector` reads the same key
    /// from the record's view.
    ///
    /// ```
    /// use thalweg_dataflow::harness::TestHarness;
    ///
    /// type Visit = (u64, String);
    /// let mut harness = TestHarness::<Visit, (u64, u64)>::new(|visits| {
    ///     let users = visits.key_by(|visit: &Visit| visit.0).view(|visit| visit.0.to_native());
    ///     users.sum(|visit| visit.1.len() as u64).map(|(user, letters)| (user, letters))
    /// });
    /// harness.push((7, "start".to_owned()));
    /// harness.push((7, "basket".to_owned()));
    /// assert_eq!(harness.output(), [(7, 5), (7, 11)]);
    /// ```
    pub fn view<F>(self, selector: F) -> KeyedStream<K, View<T>, SelectOwned<F>, Exchanged>
    where
        F: for<'a, 'b> Fn(&'b &'a T::Archived) -> K + Clone + Send + 'static,
    {
        let (draft, _) = self.into_draft();
        KeyedStream::new(Exchanged(draft), SelectOwned(selector))
    }
}
