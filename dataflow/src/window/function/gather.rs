//! What is kept of a window for an aggregate: its accumulator, or all records.
//!
//! Chosen when the program is written: with an evictor records must be kept whole, because what it
//! leaves is known only when the window speaks. Lives on the shard of its subtask.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::{Item, Key, Record};

use crate::window::evictor::Evictor;
use crate::window::{TimeWindow, WindowAggregate, WindowElements};

/// Whether a windowed stream has an evictor, and what that means for an aggregate.
pub trait Eviction<K: Key, T: Item>: Clone + Send + 'static {
    /// How records are gathered for the aggregate.
    type Gather<A: WindowAggregate<K, T>>: Gather<K, T, A>;

    /// Whether it can remove records.
    const EVICTS: bool;

    /// How records are gathered for this aggregate.
    fn gather<A: WindowAggregate<K, T>>(self, aggregate: A) -> Self::Gather<A>;
}

/// How the records of a window are gathered for an aggregate.
pub trait Gather<K: Key, T: Item, A: WindowAggregate<K, T>>: Clone + Send + 'static {
    /// What is kept per key and window.
    type Kept: Record;
    /// Whether the two `evict` calls do anything.
    const EVICTS: bool;

    /// What is kept of the first record.
    fn keep(&self, item: T::Of<'_>, at: Timestamp) -> Self::Kept;
    /// What is kept of no record.
    fn empty(&self) -> Self::Kept;
    /// Adds a record.
    fn add(&self, kept: &mut Self::Kept, item: T::Of<'_>, at: Timestamp);
    /// Makes what is kept of one window a part of another's.
    fn merge(&self, into: &mut Self::Kept, from: &Self::Kept);
    /// The window is about to speak.
    fn evict_before(&self, kept: &mut Self::Kept, window: TimeWindow);
    /// The window has spoken.
    fn evict_after(&self, kept: &mut Self::Kept, window: TimeWindow);
    /// Calls `give` with the row of the window, if it has one.
    fn with_row<R>(
        &self,
        key: &K::Stored,
        window: TimeWindow,
        kept: &Self::Kept,
        give: impl for<'a> FnOnce(<A::Row as Item>::Of<'a>) -> R,
    ) -> Option<R>;
}

/// No evictor: windows keep every record, or what an aggregate makes of them.
#[derive(Clone, Copy, Debug)]
pub struct NoEvictor;

impl<K: Key, T: Item> Eviction<K, T> for NoEvictor {
    type Gather<A: WindowAggregate<K, T>> = Incremental<A>;
    const EVICTS: bool = false;

    fn gather<A: WindowAggregate<K, T>>(self, aggregate: A) -> Incremental<A> {
        Incremental(aggregate)
    }
}

impl<T: Record> Evictor<T> for NoEvictor {}

/// Every record is taken into the accumulator as it comes.
#[derive(Clone)]
pub struct Incremental<A>(A);

impl<K: Key, T: Item, A: WindowAggregate<K, T>> Gather<K, T, A> for Incremental<A> {
    type Kept = A::Accumulator;
    const EVICTS: bool = false;

    #[inline]
    fn keep(&self, item: T::Of<'_>, _at: Timestamp) -> A::Accumulator {
        let mut accumulator = self.0.create();
        self.0.add(&mut accumulator, item);
        accumulator
    }

    fn empty(&self) -> A::Accumulator {
        self.0.create()
    }

    #[inline]
    fn add(&self, accumulator: &mut A::Accumulator, item: T::Of<'_>, _at: Timestamp) {
        self.0.add(accumulator, item);
    }

    fn merge(&self, into: &mut A::Accumulator, from: &A::Accumulator) {
        self.0.merge(into, from);
    }

    fn evict_before(&self, _kept: &mut A::Accumulator, _window: TimeWindow) {}
    fn evict_after(&self, _kept: &mut A::Accumulator, _window: TimeWindow) {}

    #[inline]
    fn with_row<R>(
        &self,
        key: &K::Stored,
        window: TimeWindow,
        accumulator: &A::Accumulator,
        give: impl for<'a> FnOnce(<A::Row as Item>::Of<'a>) -> R,
    ) -> Option<R> {
        Some(give(self.0.row(K::lend(key), window, accumulator)))
    }
}

/// Records are kept whole and aggregated when the window speaks.
pub struct Evicting<E, T, A> {
    evictor: E,
    aggregate: A,
    records: PhantomData<fn(T)>,
}

impl<E: Clone, T, A: Clone> Clone for Evicting<E, T, A> {
    fn clone(&self) -> Self {
        Self {
            evictor: self.evictor.clone(),
            aggregate: self.aggregate.clone(),
            records: PhantomData,
        }
    }
}

/// An evictor given to a windowed stream.
#[derive(Clone, Debug)]
pub struct With<E>(pub(crate) E);

impl<K: Key, T: Record + Clone, E: Evictor<T>> Eviction<K, T> for With<E> {
    type Gather<A: WindowAggregate<K, T>> = Evicting<E, T, A>;
    const EVICTS: bool = true;

    fn gather<A: WindowAggregate<K, T>>(self, aggregate: A) -> Evicting<E, T, A> {
        Evicting {
            evictor: self.0,
            aggregate,
            records: PhantomData,
        }
    }
}

impl<T: Record, E: Evictor<T>> Evictor<T> for With<E> {
    fn evict_before(&self, elements: &mut WindowElements<T>, window: TimeWindow) {
        self.0.evict_before(elements, window);
    }
    fn evict_after(&self, elements: &mut WindowElements<T>, window: TimeWindow) {
        self.0.evict_after(elements, window);
    }
}

impl<K, T, E, A> Gather<K, T, A> for Evicting<E, T, A>
where
    K: Key,
    T: Record + Clone,
    E: Evictor<T>,
    A: WindowAggregate<K, T>,
{
    type Kept = WindowElements<T>;
    const EVICTS: bool = true;

    fn keep(&self, item: T, at: Timestamp) -> WindowElements<T> {
        let mut elements = WindowElements::new();
        elements.push(item, at);
        elements
    }

    fn empty(&self) -> WindowElements<T> {
        WindowElements::new()
    }

    fn add(&self, elements: &mut WindowElements<T>, item: T, at: Timestamp) {
        elements.push(item, at);
    }

    fn merge(&self, into: &mut WindowElements<T>, from: &WindowElements<T>) {
        into.append(from);
    }

    fn evict_before(&self, elements: &mut WindowElements<T>, window: TimeWindow) {
        self.evictor.evict_before(elements, window);
    }

    fn evict_after(&self, elements: &mut WindowElements<T>, window: TimeWindow) {
        self.evictor.evict_after(elements, window);
    }

    fn with_row<R>(
        &self,
        key: &K::Stored,
        window: TimeWindow,
        elements: &WindowElements<T>,
        give: impl for<'a> FnOnce(<A::Row as Item>::Of<'a>) -> R,
    ) -> Option<R> {
        if elements.is_empty() {
            return None;
        }
        let mut accumulator = self.aggregate.create();
        for record in elements {
            self.aggregate.add(&mut accumulator, record.clone());
        }
        let row = self.aggregate.row(K::lend(key), window, &accumulator);
        Some(give(row))
    }
}
