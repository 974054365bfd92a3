//! `inspect`: looks at every record and passes it on.

use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::panic::FusedScope;
use thalweg_memory::record::Item;

use super::pass_on;
use crate::stream::{DataStream, Pipe};
use crate::task::{BuildContext, BuildError, Head, Push};

impl<T: Item, P: Pipe<Out = T>> DataStream<T, P> {
    /// Calls the function for each record, which goes on unchanged.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| {
    ///     numbers.inspect(|n| assert!(*n < 100, "{n} is too much"))
    /// });
    /// harness.push(7);
    /// assert_eq!(harness.output(), [7]);
    /// harness.push(700);
    /// assert!(harness.failure().is_some_and(|message| message.contains("700 is too much")));
    /// ```
    pub fn inspect<F>(self, look: F) -> DataStream<T, impl Pipe<Out = T>>
    where
        F: for<'a, 'b> FnMut(&'b T::Of<'a>) + Clone + Send + 'static,
    {
        self.then("inspect", |pipe, place| Inspect { pipe, look, place })
    }
}

#[derive(Clone)]
struct Inspect<P, F> {
    pipe: P,
    look: F,
    place: usize,
}

impl<P, F> Pipe for Inspect<P, F>
where
    P: Pipe,
    F: for<'a, 'b> FnMut(&'b <P::Out as Item>::Of<'a>) + Clone + Send + 'static,
{
    type Out = P::Out;

    fn build<N: Push<P::Out> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let stage = InspectStage {
            name: context.fused_name(self.place),
            look: self.look,
            next,
        };
        self.pipe.build(stage, context)
    }
}

struct InspectStage<F, N> {
    name: Rc<str>,
    look: F,
    next: N,
}

impl<I, F, N> Push<I> for InspectStage<F, N>
where
    I: Item,
    F: for<'a, 'b> FnMut(&'b I::Of<'a>),
    N: Push<I>,
{
    #[inline(always)]
    fn push(&mut self, item: I::Of<'_>, at: Timestamp) {
        let scope = FusedScope::enter(&self.name);
        (self.look)(&item);
        scope.leave();
        self.next.push(item, at);
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
                (self.look)(&item);
                scope.leave();
                (item, at)
            },
        );
    }

    pass_on!();
}
