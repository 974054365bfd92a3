//! `process` on windows: a function that sees all records of a window at once.
//!
//! The records of a window are kept until it is forgotten. The function is opened once per subtask;
//! what it keeps besides its states is scratch of the subtask and never part of a checkpoint.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{StateError, StateVisitor};

use super::context::{Footing, WindowContext, WindowOpenContext};
use super::gather::Eviction;
use super::logic::{OpenLogic, Pane, Speech, WindowLogic};
use crate::function::{Collector, FunctionError};
use crate::partition::Select;
use crate::stream::{DataStream, KeyedInput, Pipe, WindowedStream};
use crate::task::{BuildContext, BuildError, Push, SideOutputs};
use crate::window::assigner::WindowAssigner;
use crate::window::evictor::Evictor;
use crate::window::trigger::Trigger;
use crate::window::{TimeWindow, WindowElements};

/// A function over all records of a window of `T`, keyed by `K`, that emits `U`.
///
/// The middle of each window, with the number of windows its key has had:
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::TumblingWindows;
/// use thalweg_dataflow::window::{
///     WindowContext, WindowElements, WindowFunction, WindowOpenContext,
/// };
/// use thalweg_dataflow::{Collector, FunctionError};
/// use thalweg_state::ValueState;
///
/// struct Median {
///     windows: ValueState<u64, u64>,
/// }
///
/// impl WindowFunction<u64, (u64, i64), (u64, u64, i64)> for Median {
///     fn process(
///         &mut self,
///         elements: &WindowElements<(u64, i64)>,
///         context: &WindowContext<u64>,
///         out: &mut Collector<'_, (u64, u64, i64)>,
///     ) -> Result<(), FunctionError> {
///         self.windows.update(|windows| *windows += 1)?;
///         let mut values: Vec<i64> = elements.iter().map(|record| record.1).collect();
///         values.sort();
///         let key = context.with_key(|key| *key);
///         out.emit((key, self.windows.get()?.unwrap_or_default(), values[values.len() / 2]));
///         Ok(())
///     }
/// }
///
/// let mut harness = TestHarness::<(u64, i64), (u64, u64, i64)>::new(|records| {
///     let keyed = records.key_by(|record: &(u64, i64)| record.0);
///     let windows = keyed.window(TumblingWindows::event_time(Duration::from_millis(10)));
///     windows.process_function(|open: &mut WindowOpenContext<u64>| Median {
///         windows: open.value_state("windows"),
///     })
/// });
/// for (value, at) in [(5, 1), (9, 2), (1, 3), (7, 12)] {
///     harness.push_at((3, value), Timestamp(at));
/// }
/// harness.finish();
/// assert_eq!(harness.output(), [(3, 1, 5), (3, 2, 7)]);
/// ```
pub trait WindowFunction<K: Key, T: Record, U: Item>: 'static {
    /// The window speaks. What is emitted takes the window's last time.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn process(
        &mut self,
        elements: &WindowElements<T>,
        context: &WindowContext<K>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError>;

    /// The window is forgotten: it will not speak again. State kept per window goes by itself.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn clear(&mut self, context: &WindowContext<K>) -> Result<(), FunctionError> {
        let _ = context;
        Ok(())
    }

    /// Called once when the input has ended, without a window in work. What it emits has no event
    /// time.
    ///
    /// # Errors
    /// Whatever is to fail the job.
    fn close(&mut self, out: &mut Collector<'_, U>) -> Result<(), FunctionError> {
        let _ = out;
        Ok(())
    }
}

impl<K, T, S, I, A, G, E> WindowedStream<K, T, S, I, A, G, E>
where
    K: Key,
    T: Record + Clone,
    S: Select<T, K>,
    I: KeyedInput<K, T, S>,
    A: WindowAssigner<T>,
    G: Trigger<T>,
    E: Eviction<K, T> + Evictor<T>,
{
    /// Processes all records of a window when it fires.
    ///
    /// The records are kept until the window is forgotten: where less than all of them will do, use
    /// [`WindowedStream::aggregate_process`].
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
    /// use thalweg_dataflow::window::{WindowContext, WindowElements, WindowOpenContext};
    ///
    /// let mut harness = TestHarness::<String, String>::new(|words| {
    ///     let windows = words.window_all(TumblingWindows::event_time(Duration::from_millis(10)));
    ///     windows.process(|_open: &mut WindowOpenContext<()>| {
    ///         |words: &WindowElements<String>,
    ///          context: &WindowContext<()>,
    ///          out: &mut Collector<String>| {
    ///             let words: Vec<&str> = words.iter().map(String::as_str).collect();
    ///             out.emit(format!("{}: {}", context.window().start.0, words.join(" ")));
    ///             Ok(())
    ///         }
    ///     })
    /// });
    /// for (word, at) in [("to", 1), ("be", 9), ("or", 12)] {
    ///     harness.push_at(word.to_owned(), Timestamp(at));
    /// }
    /// harness.finish();
    /// assert_eq!(harness.output(), ["0: to be", "10: or"]);
    /// ```
    pub fn process<U, F, H>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut WindowOpenContext<K>) -> H + Clone + Send + 'static,
        H: for<'a, 'b, 'c, 'd> FnMut(
                &'a WindowElements<T>,
                &'b WindowContext<K>,
                &'c mut Collector<'d, U>,
            ) -> Result<(), FunctionError>
            + 'static,
    {
        self.process_function(move |context: &mut WindowOpenContext<K>| Closure(open(context)))
    }

    /// Processes all records of a window when it fires; see [`WindowFunction`].
    ///
    /// Fields of the function that are no states are scratch of their subtask and never part of a checkpoint.
    pub fn process_function<U, F, H>(self, open: F) -> DataStream<U, impl Pipe<Out = U>>
    where
        U: Item,
        F: Fn(&mut WindowOpenContext<K>) -> H + Clone + Send + 'static,
        H: WindowFunction<K, T, U>,
    {
        self.speak(
            "window process",
            move |context: &mut WindowOpenContext<K>| AtOnce(open(context)),
        )
    }

    /// The stream of what a speaker says of windows, under this name.
    pub(crate) fn speak<U, F, H>(
        self,
        name: &'static str,
        open: F,
    ) -> DataStream<U, impl Pipe<Out = U> + use<K, T, S, I, A, G, E, U, F, H>>
    where
        U: Item,
        F: Fn(&mut WindowOpenContext<K>) -> H + Clone + Send + 'static,
        H: Speaker<K, T, U>,
    {
        let open = OpenWhole {
            open,
            evictor: self.evictor.clone(),
            types: PhantomData,
        };
        self.operate(name, open)
    }
}

/// What is called with all records of a window that speaks, maybe several times.
pub(crate) trait Speaker<K: Key, T: Record, U: Item>: 'static {
    /// Whether it may stop on the way.
    const RESUMES: bool;

    /// See [`WindowLogic::emit`].
    fn speak<N: Push<U>>(
        &mut self,
        elements: &WindowElements<T>,
        context: &WindowContext<K>,
        speech: &mut Speech,
        next: &mut N,
        side: &SideOutputs,
    ) -> Result<bool, FunctionError>;

    /// See [`WindowFunction::clear`].
    fn clear(&mut self, context: &WindowContext<K>) -> Result<(), FunctionError> {
        let _ = context;
        Ok(())
    }

    /// See [`WindowFunction::close`].
    fn close(&mut self, out: &mut Collector<'_, U>) -> Result<(), FunctionError> {
        let _ = out;
        Ok(())
    }
}

/// A window function as a speaker that never stops on the way.
struct AtOnce<H>(H);

impl<K, T, U, H> Speaker<K, T, U> for AtOnce<H>
where
    K: Key,
    T: Record,
    U: Item,
    H: WindowFunction<K, T, U>,
{
    const RESUMES: bool = false;

    fn speak<N: Push<U>>(
        &mut self,
        elements: &WindowElements<T>,
        context: &WindowContext<K>,
        _speech: &mut Speech,
        next: &mut N,
        side: &SideOutputs,
    ) -> Result<bool, FunctionError> {
        let at = context.window().max_timestamp();
        let mut out = Collector::new(next, at, side);
        self.0.process(elements, context, &mut out)?;
        Ok(true)
    }

    fn clear(&mut self, context: &WindowContext<K>) -> Result<(), FunctionError> {
        self.0.clear(context)
    }

    fn close(&mut self, out: &mut Collector<'_, U>) -> Result<(), FunctionError> {
        self.0.close(out)
    }
}

/// A closure as a window function.
struct Closure<H>(H);

impl<K, T, U, H> WindowFunction<K, T, U> for Closure<H>
where
    K: Key,
    T: Record,
    U: Item,
    H: for<'a, 'b, 'c, 'd> FnMut(
            &'a WindowElements<T>,
            &'b WindowContext<K>,
            &'c mut Collector<'d, U>,
        ) -> Result<(), FunctionError>
        + 'static,
{
    fn process(
        &mut self,
        elements: &WindowElements<T>,
        context: &WindowContext<K>,
        out: &mut Collector<'_, U>,
    ) -> Result<(), FunctionError> {
        (self.0)(elements, context, out)
    }
}

struct OpenWhole<F, E, U> {
    open: F,
    evictor: E,
    types: PhantomData<fn() -> U>,
}

impl<F: Clone, E: Clone, U> Clone for OpenWhole<F, E, U> {
    fn clone(&self) -> Self {
        Self {
            open: self.open.clone(),
            evictor: self.evictor.clone(),
            types: PhantomData,
        }
    }
}

impl<K, T, U, E, F, H> OpenLogic<K, T> for OpenWhole<F, E, U>
where
    K: Key,
    T: Record + Clone,
    U: Item,
    E: Eviction<K, T> + Evictor<T>,
    F: Fn(&mut WindowOpenContext<K>) -> H + Clone + Send + 'static,
    H: Speaker<K, T, U>,
{
    type Logic = Whole<K, E, H, U>;

    fn open(
        self,
        name: &str,
        merging: bool,
        context: &mut BuildContext,
    ) -> Result<Self::Logic, BuildError> {
        let (footing, speaker) = Footing::open(name, merging, context, &self.open)?;
        Ok(Whole {
            footing,
            evictor: self.evictor,
            speaker,
            side: context.side(),
            types: PhantomData,
        })
    }
}

struct Whole<K: Key, E, H, U> {
    footing: Footing<K>,
    evictor: E,
    speaker: H,
    side: Rc<SideOutputs>,
    types: PhantomData<fn() -> U>,
}

impl<K, T, U, E, H> WindowLogic<K, T> for Whole<K, E, H, U>
where
    K: Key,
    T: Record + Clone,
    U: Item,
    E: Eviction<K, T> + Evictor<T>,
    H: Speaker<K, T, U>,
{
    type Kept = WindowElements<T>;
    type Out = U;
    const EVICTS: bool = <E as Eviction<K, T>>::EVICTS;
    const RESUMES: bool = H::RESUMES;

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

    fn emit<N: Push<U>>(
        &mut self,
        pane: &Pane<'_, K>,
        elements: &WindowElements<T>,
        speech: &mut Speech,
        next: &mut N,
    ) -> Result<bool, FunctionError> {
        let context = self.footing.enter(pane)?;
        (self.speaker).speak(elements, context, speech, next, &self.side)
    }

    fn clear(&mut self, pane: &Pane<'_, K>) -> Result<(), FunctionError> {
        let context = self.footing.enter(pane)?;
        self.speaker.clear(context)?;
        self.footing.forget(pane);
        Ok(())
    }

    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.footing.visit_states(visitor)
    }

    fn footing(&self) -> Option<&Footing<K>> {
        Some(&self.footing)
    }

    fn close<N: Push<U>>(&mut self, next: &mut N) -> Result<(), FunctionError> {
        let mut out = Collector::new(next, Timestamp::NONE, &self.side);
        self.speaker.close(&mut out)
    }
}
