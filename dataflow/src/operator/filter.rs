//! `filter`: keeps the records a predicate accepts.

use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::panic::FusedScope;
use thalweg_memory::record::Item;

use super::pass_on;
use crate::stream::{DataStream, Pipe};
use crate::task::{BuildContext, BuildError, Head, Push};

impl<T: Item, P: Pipe<Out = T>> DataStream<T, P> {
    /// Keeps the records for which the predicate holds.
    ///
    /// What the closure captures is scratch of its subtask and never part of a checkpoint.
    ///
    /// ```
    /// # use thalweg_dataflow::harness::TestHarness;
    /// let mut harness = TestHarness::<u64, u64>::new(|numbers| numbers.filter(|n| n % 2 == 0));
    /// (1..=4).for_each(|n| harness.push(n));
    /// assert_eq!(harness.output(), [2, 4]);
    /// ```
    pub fn filter<F>(self, predicate: F) -> DataStream<T, impl Pipe<Out = T>>
    where
        F: for<'a, 'b> FnMut(&'b T::Of<'a>) -> bool + Clone + Send + 'static,
    {
        self.then("filter", |pipe, place| Filter {
            pipe,
            predicate,
            place,
        })
    }
}

#[derive(Clone)]
struct Filter<P, F> {
    pipe: P,
    predicate: F,
    place: usize,
}

impl<P, F> Pipe for Filter<P, F>
where
    P: Pipe,
    F: for<'a, 'b> FnMut(&'b <P::Out as Item>::Of<'a>) -> bool + Clone + Send + 'static,
{
    type Out = P::Out;

    fn build<N: Push<P::Out> + 'static>(
        self,
        next: N,
        context: &mut BuildContext,
    ) -> Result<Box<dyn Head>, BuildError> {
        let stage = FilterStage {
            name: context.fused_name(self.place),
            predicate: self.predicate,
            next,
        };
        self.pipe.build(stage, context)
    }
}

struct FilterStage<F, N> {
    name: Rc<str>,
    predicate: F,
    next: N,
}

impl<I, F, N> Push<I> for FilterStage<F, N>
where
    I: Item,
    F: for<'a, 'b> FnMut(&'b I::Of<'a>) -> bool,
    N: Push<I>,
{
    #[inline(always)]
    fn push(&mut self, item: I::Of<'_>, at: Timestamp) {
        let scope = FusedScope::enter(&self.name);
        let kept = (self.predicate)(&item);
        scope.leave();
        if kept {
            self.next.push(item, at);
        }
    }

    pass_on!();
}
