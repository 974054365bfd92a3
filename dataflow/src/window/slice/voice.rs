//! What is said of a window that was put together from slices: its row, or what a function makes of it.
//!
//! Entered by the operator for each key of a window that fires. Invariants: a row is said right after its
//! key and window were entered; what is kept beside a window for a voice goes when the window cannot fire
//! any more. Lives on the shard of its subtask.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::{Item, Key};
use thalweg_state::{StateDescriptor, StateError, StateVisitor, TimerQueue};

use crate::function::{Collector, FunctionError};
use crate::task::{BuildContext, BuildError, Push, SideOutputs};
use crate::window::function::{Footing, Pane, WindowContext, WindowOpenContext};
use crate::window::{TimeWindow, WindowAggregate};

/// Watermark and processing time.
pub(crate) type Times = (Timestamp, Timestamp);

/// What is made of the rows `R` of windows in one subtask.
pub(crate) trait Voice<K: Key, R: Item>: 'static {
    /// What is given out.
    type Out: Item;
    /// Whether it wants to know the processing time.
    const ASKS_TIME: bool;

    /// A window of this key speaks.
    fn enter(
        &mut self,
        key: &K::Of<'_>,
        window: TimeWindow,
        times: Times,
    ) -> Result<(), FunctionError>;

    /// What it says, as of this time, its last.
    ///
    /// # Errors
    /// What the user's function answers.
    fn say<N: Push<Self::Out>>(
        &mut self,
        row: R::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError>;

    /// It has spoken, and may speak again until the watermark reaches `until`.
    ///
    /// # Errors
    /// State that does not fit its budget.
    fn said(&mut self, until: Timestamp, watermark: Timestamp) -> Result<(), FunctionError>;

    /// Forgets what is kept beside windows that cannot speak any more, at most `left` of them; whether
    /// none is left.
    fn forget(&mut self, watermark: Timestamp, left: &mut usize) -> bool;

    /// Shows what it keeps.
    ///
    /// # Errors
    /// What the visitor answers.
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError>;
}

/// Opens a voice in a subtask. The template a program holds.
pub(crate) trait OpenVoice<K: Key, R: Item>: Clone + Send + 'static {
    /// What it opens.
    type Voice: Voice<K, R>;

    /// Opens it.
    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Voice, BuildError>;
}

/// A window that speaks, key by key.
pub(super) struct Speaker<'a, K, T, G> {
    pub(super) aggregate: &'a G,
    pub(super) window: TimeWindow,
    pub(super) times: Times,
    /// The watermark with which it can speak no more.
    pub(super) until: Timestamp,
    pub(super) types: PhantomData<fn(K, T)>,
}

impl<K: Key, T: Item, G: WindowAggregate<K, T>> Speaker<'_, K, T, G> {
    #[inline(always)]
    pub(super) fn speak<V: Voice<K, G::Row>>(
        &self,
        voice: &mut V,
        key: K::Of<'_>,
        held: &G::Accumulator,
        next: &mut impl Push<V::Out>,
    ) -> Result<(), FunctionError> {
        voice.enter(&key, self.window, self.times)?;
        let row = self.aggregate.row(K::shorten(key), self.window, held);
        voice.say(row, self.window.max_timestamp(), next)?;
        voice.said(self.until, self.times.0)
    }
}

/// Gives the rows out. Its own template: there is nothing to open.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl<K: Key, R: Item> OpenVoice<K, R> for Plain {
    type Voice = Self;

    fn open(self, _: &str, _: &mut BuildContext) -> Result<Self, BuildError> {
        Ok(self)
    }
}

impl<K: Key, R: Item> Voice<K, R> for Plain {
    type Out = R;
    const ASKS_TIME: bool = false;

    #[inline(always)]
    fn enter(&mut self, _: &K::Of<'_>, _: TimeWindow, _: Times) -> Result<(), FunctionError> {
        Ok(())
    }

    #[inline(always)]
    fn say<N: Push<R>>(
        &mut self,
        row: R::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        next.push(row, at);
        Ok(())
    }

    #[inline(always)]
    fn said(&mut self, _: Timestamp, _: Timestamp) -> Result<(), FunctionError> {
        Ok(())
    }

    fn forget(&mut self, _: Timestamp, _: &mut usize) -> bool {
        true
    }

    fn visit_states(&mut self, _: &mut dyn StateVisitor) -> Result<(), StateError> {
        Ok(())
    }
}

/// Opens a function that is called with the row of each window.
pub(crate) struct OpenCalled<F, U> {
    open: F,
    out: PhantomData<fn() -> U>,
}

impl<F, U> OpenCalled<F, U> {
    pub(crate) fn new(open: F) -> Self {
        Self {
            open,
            out: PhantomData,
        }
    }
}

impl<F: Clone, U> Clone for OpenCalled<F, U> {
    fn clone(&self) -> Self {
        Self::new(self.open.clone())
    }
}

impl<K, R, U, F, H> OpenVoice<K, R> for OpenCalled<F, U>
where
    K: Key,
    R: Item,
    U: Item,
    F: Fn(&mut WindowOpenContext<K>) -> H + Clone + Send + 'static,
    H: for<'a, 'b, 'c, 'd> FnMut(
            R::Of<'a>,
            &'b WindowContext<K>,
            &'c mut Collector<'d, U>,
        ) -> Result<(), FunctionError>
        + 'static,
{
    type Voice = Called<K, H, U>;

    fn open(self, name: &str, context: &mut BuildContext) -> Result<Self::Voice, BuildError> {
        // Nothing seeks states before windows put together from slices speak.
        let opened = context.in_memory(|context| Footing::open(name, false, context, &self.open));
        let (footing, function) = opened?;
        let info = context.info();
        let groups = info.max_parallelism.range(info.index, info.parallelism);
        Ok(Called {
            footing,
            function,
            ends: TimerQueue::new(groups, info.max_parallelism, context.budget().clone()),
            side: context.side(),
            out: PhantomData,
        })
    }
}

/// A function that is called with the row of each window.
pub(crate) struct Called<K: Key, H, U> {
    footing: Footing<K>,
    function: H,
    /// When what the function keeps per window is forgotten, if it keeps any and windows wait for late
    /// records.
    ends: TimerQueue<K, TimeWindow>,
    side: Rc<SideOutputs>,
    out: PhantomData<fn() -> U>,
}

impl<K, R, U, H> Voice<K, R> for Called<K, H, U>
where
    K: Key,
    R: Item,
    U: Item,
    H: for<'a, 'b, 'c, 'd> FnMut(
            R::Of<'a>,
            &'b WindowContext<K>,
            &'c mut Collector<'d, U>,
        ) -> Result<(), FunctionError>
        + 'static,
{
    type Out = U;
    const ASKS_TIME: bool = true;

    #[inline]
    fn enter(
        &mut self,
        key: &K::Of<'_>,
        window: TimeWindow,
        times: Times,
    ) -> Result<(), FunctionError> {
        let hash = K::hash(key);
        Ok(self.footing.enter_at(hash, key, window, times)?)
    }

    #[inline]
    fn say<N: Push<U>>(
        &mut self,
        row: R::Of<'_>,
        at: Timestamp,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        let mut out = Collector::new(next, at, &self.side);
        (self.function)(row, self.footing.context(), &mut out)
    }

    #[inline]
    fn said(&mut self, until: Timestamp, watermark: Timestamp) -> Result<(), FunctionError> {
        if !self.footing.keeps_by_window() {
            return Ok(());
        }
        if until <= watermark {
            self.footing.forget_entered();
            return Ok(());
        }
        let (context, ends) = (self.footing.context(), &mut self.ends);
        let window = context.window();
        context.with_hashed_key(|hash, key| ends.register(hash, key, &window, until))?;
        Ok(())
    }

    fn forget(&mut self, watermark: Timestamp, left: &mut usize) -> bool {
        while *left > 0 {
            let Some(timer) = self.ends.pop_due(watermark) else {
                return true;
            };
            self.footing.forget(&Pane {
                hash: timer.hash,
                key: &timer.key,
                window: timer.namespace,
                watermark,
                processing_time: Timestamp::NONE,
            });
            *left -= 1;
        }
        false
    }

    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.footing.visit_states(visitor)?;
        let ends = StateDescriptor::timers("ends of windows").of_keys::<K, TimeWindow>();
        visitor.visit(&ends, &mut self.ends)
    }
}
