//! `flat_map`: one record in, any number out.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::in_work::OperatorName;
use thalweg_core::shard::panic::OperatorScope;
use thalweg_memory::record::Item;

use super::pass_on;
use crate::function::Collector;
use crate::stream::{DataStream, Pipe};
use crate::task::{BuildContext, BuildError, Head, Push, SideOutputs};

impl<T: Item, P: Pipe<Out = T>> DataStream<T, P> {
    /// Turns each record into any number of records, put into the collector.
    ///
    /// A line is split into words without a copy where the collector is one of
    /// [`Str`](thalweg_memory::record::Str).
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// # use thalweg_dataflow::Collector;
    /// # use thalweg_memory::record::Str;
    /// let mut harness = TestHarness::<String, u64>::new(|lines| {
    ///     let words = lines.flat_map(|line: String, out: &mut Collector<Str>| {
    ///         line.split(' ').for_each(|word| out.emit(word));
    ///     });
    ///     words.map(|word: &str| word.len() as u64)
    /// });
    /// harness.push("to be or not".to_owned());
    /// assert_eq!(harness.output(), [2, 2, 2, 3]);
    /// ```
    pub fn flat_map<U, F>(self, f: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: for<'a, 'b, 'c> FnMut(T::Of<'a>, &'b mut Collector<'c, U>) + Clone + Send + 'static,
    {
        self.then("flat_map", |pipe, place| FlatMap {
            pipe,
            f,
            place,
            out: PhantomData,
        })
    }
}

struct FlatMap<P, F, U> {
    pipe: P,
    f: F,
    place: usize,
    out: PhantomData<fn() -> U>,
}

impl<P: Clone, F: Clone, U> Clone for FlatMap<P, F, U> {
    fn clone(&self) -> Self {
        Self {
            pipe: self.pipe.clone(),
            f: self.f.clone(),
            place: self.place,
            out: PhantomData,
        }
    }
}

impl<P, F, U> Pipe for FlatMap<P, F, U>
where
    P: Pipe,
    U: Item,
    F: for<'a, 'b, 'c> FnMut(<P::Out as Item>::Of<'a>, &'b mut Collector<'c, U>)
        + Clone
        + Send
        + 'static,
{
    type Out = U;

    fn build<N: Push<U> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let stage = FlatMapStage {
            name: context.operator_name(self.place),
            f: self.f,
            next,
            side: context.side(),
            out: PhantomData,
        };
        self.pipe.build(stage, context)
    }
}

struct FlatMapStage<F, U, N> {
    name: OperatorName,
    f: F,
    next: N,
    side: Rc<SideOutputs>,
    out: PhantomData<fn() -> U>,
}

impl<I, U, F, N> Push<I> for FlatMapStage<F, U, N>
where
    I: Item,
    U: Item,
    F: for<'a, 'b, 'c> FnMut(I::Of<'a>, &'b mut Collector<'c, U>),
    N: Push<U>,
{
    #[inline(always)]
    fn push(&mut self, item: I::Of<'_>, at: Timestamp) {
        let mut out = Collector::new(&mut self.next, at, &self.side);
        let scope = OperatorScope::enter(&self.name);
        (self.f)(item, &mut out);
        scope.leave();
    }

    pass_on!();
}
