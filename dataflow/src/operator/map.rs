//! `map`: one record in, one record out.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::panic::FusedScope;
use thalweg_memory::record::{Item, Record};

use super::pass_on;
use crate::stream::{DataStream, Pipe};
use crate::task::{BuildContext, BuildError, Head, Push};

impl<T: Item, P: Pipe<Out = T>> DataStream<T, P> {
    /// Turns each record into another.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, String>::new(|numbers| numbers.map(|n| format!("{n}!")));
    /// harness.push(7);
    /// assert_eq!(harness.output(), ["7!"]);
    /// ```
    pub fn map<U, F>(self, f: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Record,
        F: for<'a> FnMut(T::Of<'a>) -> U + Clone + Send + 'static,
    {
        self.then("map", |pipe, place| Map {
            pipe,
            f,
            place,
            out: PhantomData,
        })
    }
}

struct Map<P, F, U> {
    pipe: P,
    f: F,
    place: usize,
    out: PhantomData<fn() -> U>,
}

impl<P: Clone, F: Clone, U> Clone for Map<P, F, U> {
    fn clone(&self) -> Self {
        Self {
            pipe: self.pipe.clone(),
            f: self.f.clone(),
            place: self.place,
            out: PhantomData,
        }
    }
}

impl<P, F, U> Pipe for Map<P, F, U>
where
    P: Pipe,
    U: Record,
    F: for<'a> FnMut(<P::Out as Item>::Of<'a>) -> U + Clone + Send + 'static,
{
    type Out = U;

    fn build<N: Push<U> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let stage = MapStage {
            name: context.fused_name(self.place),
            f: self.f,
            next,
            out: PhantomData,
        };
        self.pipe.build(stage, context)
    }
}

struct MapStage<F, U, N> {
    name: Rc<str>,
    f: F,
    next: N,
    out: PhantomData<fn() -> U>,
}

impl<I, U, F, N> Push<I> for MapStage<F, U, N>
where
    I: Item,
    U: Record,
    F: for<'a> FnMut(I::Of<'a>) -> U,
    N: Push<U>,
{
    #[inline(always)]
    fn push(&mut self, item: I::Of<'_>, at: Timestamp) {
        let scope = FusedScope::enter(&self.name);
        let result = (self.f)(item);
        scope.leave();
        self.next.push(result, at);
    }

    #[inline(always)]
    fn push_each<'a>(
        &mut self,
        count: usize,
        mut make: impl FnMut(usize) -> (I::Of<'a>, Timestamp),
    ) {
        self.next.push_each(
            count,
            #[inline(always)]
            |number| {
                let (item, at) = make(number);
                let scope = FusedScope::enter(&self.name);
                let result = (self.f)(item);
                scope.leave();
                (result, at)
            },
        );
    }

    pass_on!();
}
