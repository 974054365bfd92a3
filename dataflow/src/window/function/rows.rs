//! Windows that give out the row of an aggregate.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::{Item, Key};
use thalweg_state::{StateError, StateVisitor};

use super::gather::Gather;
use super::logic::{OpenLogic, Pane, Speech, WindowLogic};
use crate::function::FunctionError;
use crate::task::{BuildContext, BuildError, Push};
use crate::window::{TimeWindow, WindowAggregate};

/// Gives out the row of an aggregate. Its own template: there is nothing to open.
pub(crate) struct Rows<G, A> {
    gather: G,
    aggregate: PhantomData<fn() -> A>,
}

impl<G, A> Rows<G, A> {
    pub(crate) fn new(gather: G) -> Self {
        Self {
            gather,
            aggregate: PhantomData,
        }
    }
}

impl<G: Clone, A> Clone for Rows<G, A> {
    fn clone(&self) -> Self {
        Self::new(self.gather.clone())
    }
}

impl<K, T, A, G> OpenLogic<K, T> for Rows<G, A>
where
    K: Key,
    T: Item,
    A: WindowAggregate<K, T>,
    G: Gather<K, T, A>,
{
    type Logic = Self;

    fn open(self, _: &str, _: bool, _: &mut BuildContext) -> Result<Self, BuildError> {
        Ok(self)
    }
}

impl<K, T, A, G> WindowLogic<K, T> for Rows<G, A>
where
    K: Key,
    T: Item,
    A: WindowAggregate<K, T>,
    G: Gather<K, T, A>,
{
    type Kept = G::Kept;
    type Out = A::Row;
    const EVICTS: bool = G::EVICTS;

    #[inline]
    fn keep(&self, item: T::Of<'_>, at: Timestamp) -> G::Kept {
        self.gather.keep(item, at)
    }
    fn empty(&self) -> G::Kept {
        self.gather.empty()
    }
    #[inline]
    fn add(&self, kept: &mut G::Kept, item: T::Of<'_>, at: Timestamp) {
        self.gather.add(kept, item, at);
    }
    fn merge(&self, into: &mut G::Kept, from: &G::Kept) {
        self.gather.merge(into, from);
    }
    fn evict_before(&self, kept: &mut G::Kept, window: TimeWindow) {
        self.gather.evict_before(kept, window);
    }
    fn evict_after(&self, kept: &mut G::Kept, window: TimeWindow) {
        self.gather.evict_after(kept, window);
    }

    #[inline]
    fn emit<N: Push<A::Row>>(
        &mut self,
        pane: &Pane<'_, K>,
        kept: &G::Kept,
        _speech: &mut Speech,
        next: &mut N,
    ) -> Result<bool, FunctionError> {
        let window = pane.window;
        self.gather.with_row(pane.key, window, kept, |row| {
            next.push(row, window.max_timestamp());
        });
        Ok(true)
    }

    fn visit_states(&mut self, _visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        Ok(())
    }
}
