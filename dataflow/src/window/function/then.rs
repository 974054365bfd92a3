//! An aggregate whose row is handed to a function: incremental, and yet it sees the window.
//!
//! What is kept of a window is the accumulator; the function is called with its row when the window
//! fires. Aligned windows with their own trigger are put together from slices, where the function is the
//! voice ([`OpenCalled`]); the logic here is for all others. Lives on the shard of its subtask.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::{Item, Key, Record, Wire};
use thalweg_state::{StateError, StateVisitor};

use super::context::{Footing, WindowContext, WindowOpenContext};
use super::gather::{Eviction, Gather};
use super::logic::{OpenLogic, Pane, Speech, WindowLogic};
use super::reduce::Reduce;
use crate::function::{Collector, FunctionError};
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, Pipe, WindowedStream};
use crate::task::{BuildContext, BuildError, Push, SideOutputs};
use crate::window::assigner::WindowAssigner;
use crate::window::slice::OpenCalled;
use crate::window::trigger::Trigger;
use crate::window::{TimeWindow, WindowAggregate};

impl<K, T, S, I, A, G, E> WindowedStream<K, T, S, I, A, G, E>
where
    K: Key + Wire,
    T: Wire,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    E: Eviction<K, T>,
{
    /// Aggregates the records of a window as they come and, when it fires, calls the function with
    /// the aggregate's row.
    ///
    /// The function is opened once per subtask. It sees what [`WindowedStream::process`] sees, at
    /// the price of an accumulator per window instead of all its records; sliding and cumulating windows with
    /// their own trigger share the accumulators of their slices, as those of [`WindowedStream::aggregate`] do. What the
    /// function keeps in states may be larger than memory under `state.backend.type: lsm`.
    ///
    /// What the function captures beside the states it declares is scratch of its subtask and never part of a
    /// checkpoint.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::Collector;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    /// use thalweg_dataflow::window::{
    ///     TimeWindow, WindowAggregate, WindowContext, WindowOpenContext,
    /// };
    ///
    /// #[derive(Clone)]
    /// struct Longest;
    /// impl WindowAggregate<(), String> for Longest {
    ///     type Accumulator = u64;
    ///     type Row = u64;
    ///     fn create(&self) -> u64 {
    ///         0
    ///     }
    ///     fn add(&self, longest: &mut u64, word: String) {
    ///         *longest = (*longest).max(word.len() as u64);
    ///     }
    ///     fn merge(&self, into: &mut u64, other: &u64) {
    ///         *into = (*into).max(*other);
    ///     }
    ///     fn row(&self, _key: (), _window: TimeWindow, longest: &u64) -> u64 {
    ///         *longest
    ///     }
    /// }
    ///
    /// let mut harness = TestHarness::<String, String>::new(|words| {
    ///     let windows = words.window_all(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     windows.aggregate_process(Longest, |_open: &mut WindowOpenContext<()>| {
    ///         |longest: u64, context: &WindowContext<()>, out: &mut Collector<String>| {
    ///             out.emit(format!("{longest} letters until {}", context.window().end.0));
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// harness.push_at("word".to_owned(), Timestamp(4));
    /// harness.push_at("winged".to_owned(), Timestamp(5));
    /// harness.finish();
    /// assert_eq!(harness.output(), ["6 letters until 10"]);
    /// ```
    pub fn aggregate_process<B, U, F, H>(
        self,
        aggregate: B,
        open: F,
    ) -> DataStream<U, impl Pipe<Out = U>>
    where
        B: WindowAggregate<K, T>,
        U: Item,
        F: Fn(&mut WindowOpenContext<K>) -> H + Clone + Send + 'static,
        H: for<'a, 'b, 'c, 'd> FnMut(
                <B::Row as Item>::Of<'a>,
                &'b WindowContext<K>,
                &'c mut Collector<'d, U>,
            ) -> Result<(), FunctionError>
            + 'static,
    {
        let then = OpenThen {
            gather: self.evictor.clone().gather(aggregate.clone()),
            open: open.clone(),
            types: PhantomData::<fn(B) -> U>,
        };
        let called = OpenCalled::<F, U>::new(open);
        self.put_together("window aggregate process", aggregate, called, then)
    }
}

impl<K, T, S, I, A, G, E> WindowedStream<K, T, S, I, A, G, E>
where
    K: Key + Wire,
    T: Record + Clone,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    E: Eviction<K, T>,
{
    /// Combines the records of a window as they come and, when it fires, calls the function with
    /// what they became; see [`WindowedStream::reduce`] and [`WindowedStream::aggregate_process`].
    ///
    /// What the function captures beside the states it declares is scratch of its subtask and never part of a
    /// checkpoint.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::Timestamp;
    /// use thalweg_dataflow::Collector;
    /// use thalweg_dataflow::harness::TestHarness;
    /// use thalweg_dataflow::window::assigner::TumblingWindows;
    /// use thalweg_dataflow::window::{WindowContext, WindowOpenContext};
    ///
    /// let mut harness = TestHarness::<u64, (i64, u64)>::new(|numbers| {
    ///     let windows = numbers.window_all(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     let highest = |highest: &mut u64, number: u64| *highest = number.max(*highest);
    ///     windows.reduce_process(highest, |_open: &mut WindowOpenContext<()>| {
    ///         |highest: u64, context: &WindowContext<()>, out: &mut Collector<'_, (i64, u64)>| {
    ///             out.emit((context.window().start.0, highest));
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// for (number, at) in [(5, 1), (9, 2), (7, 12)] {
    ///     harness.push_at(number, Timestamp(at));
    /// }
    /// harness.finish();
    /// assert_eq!(harness.output(), [(0, 9), (10, 7)]);
    /// ```
    pub fn reduce_process<R, U, F, H>(self, reduce: R, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        R: for<'b> Fn(&'b mut T, T) + Clone + Send + 'static,
        U: Item,
        F: Fn(&mut WindowOpenContext<K>) -> H + Clone + Send + 'static,
        H: for<'b, 'c, 'd> FnMut(
                T,
                &'b WindowContext<K>,
                &'c mut Collector<'d, U>,
            ) -> Result<(), FunctionError>
            + 'static,
    {
        self.aggregate_process(Reduce(reduce), open)
    }
}

struct OpenThen<G, F, B, U> {
    gather: G,
    open: F,
    types: PhantomData<fn(B) -> U>,
}

impl<G: Clone, F: Clone, B, U> Clone for OpenThen<G, F, B, U> {
    fn clone(&self) -> Self {
        Self {
            gather: self.gather.clone(),
            open: self.open.clone(),
            types: PhantomData,
        }
    }
}

impl<K, T, B, G, U, F, H> OpenLogic<K, T> for OpenThen<G, F, B, U>
where
    K: Key,
    T: Item,
    B: WindowAggregate<K, T>,
    G: Gather<K, T, B>,
    U: Item,
    F: Fn(&mut WindowOpenContext<K>) -> H + Clone + Send + 'static,
    H: for<'a, 'b, 'c, 'd> FnMut(
            <B::Row as Item>::Of<'a>,
            &'b WindowContext<K>,
            &'c mut Collector<'d, U>,
        ) -> Result<(), FunctionError>
        + 'static,
{
    type Logic = Then<K, G, H, B, U>;

    fn open(
        self,
        name: &str,
        merging: bool,
        context: &mut BuildContext,
    ) -> Result<Self::Logic, BuildError> {
        let (footing, function) = Footing::open(name, merging, context, &self.open)?;
        Ok(Then {
            footing,
            gather: self.gather,
            function,
            side: context.side(),
            types: PhantomData,
        })
    }
}

struct Then<K: Key, G, H, B, U> {
    footing: Footing<K>,
    gather: G,
    function: H,
    side: Rc<SideOutputs>,
    types: PhantomData<fn(B) -> U>,
}

impl<K, T, B, G, U, H> WindowLogic<K, T> for Then<K, G, H, B, U>
where
    K: Key,
    T: Item,
    B: WindowAggregate<K, T>,
    G: Gather<K, T, B>,
    U: Item,
    H: for<'a, 'b, 'c, 'd> FnMut(
            <B::Row as Item>::Of<'a>,
            &'b WindowContext<K>,
            &'c mut Collector<'d, U>,
        ) -> Result<(), FunctionError>
        + 'static,
{
    type Kept = G::Kept;
    type Out = U;
    const EVICTS: bool = G::EVICTS;

    fn keep(&self, item: T::Of<'_>, at: Timestamp) -> G::Kept {
        self.gather.keep(item, at)
    }
    fn empty(&self) -> G::Kept {
        self.gather.empty()
    }
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

    fn emit<N: Push<U>>(
        &mut self,
        pane: &Pane<'_, K>,
        kept: &G::Kept,
        _speech: &mut Speech,
        next: &mut N,
    ) -> Result<bool, FunctionError> {
        let context = self.footing.enter(pane)?;
        let mut out = Collector::new(next, pane.window.max_timestamp(), &self.side);
        let function = &mut self.function;
        let outcome = self.gather.with_row(pane.key, pane.window, kept, |row| {
            function(row, context, &mut out)
        });
        outcome.unwrap_or(Ok(()))?;
        Ok(true)
    }

    fn clear(&mut self, pane: &Pane<'_, K>) -> Result<(), FunctionError> {
        self.footing.forget(pane);
        Ok(())
    }

    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.footing.visit_states(visitor)
    }

    fn footing(&self) -> Option<&Footing<K>> {
        Some(&self.footing)
    }
}
