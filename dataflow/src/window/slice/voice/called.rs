//! A function that is called with the rows of windows, and what it keeps: per key, and per key and window.
//!
//! Entered as any voice. What it keeps may be larger than its memory, as may the times at which what it keeps of windows
//! is forgotten. Invariant: what was kept of a window goes with it, without being read. Lives on the shard of its
//! subtask.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key};
use thalweg_state::{LayeredTimers, Pressure, StateDescriptor, StateError, StateVisitor};

use super::{Forgotten, OpenVoice, Times, Voice};
use crate::function::{Collector, FunctionError};
use crate::task::{BuildContext, BuildError, Push, SideOutputs};
use crate::window::TimeWindow;
use crate::window::function::{Footing, WindowContext, WindowOpenContext};

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

    fn open(
        self,
        name: &str,
        waits: bool,
        context: &mut BuildContext,
    ) -> Result<Self::Voice, BuildError> {
        let (footing, function) = Footing::open(name, false, context, &self.open)?;
        let of_ends = Box::new(descriptor_of_ends::<K>());
        Ok(Called {
            may_overflow: context.may_spill() && footing.keeps_any(),
            waits: waits && footing.keeps_by_window(),
            footing,
            function,
            ends: context.timers(&of_ends),
            of_ends,
            wanting: false,
            side: context.side(),
            out: PhantomData,
        })
    }
}

/// A function that is called with the row of each window.
pub(crate) struct Called<K: Key, H, U> {
    footing: Footing<K>,
    function: H,
    /// When what the function keeps per window is forgotten.
    ends: LayeredTimers<K, TimeWindow>,
    of_ends: Box<StateDescriptor>,
    /// Whether more of those come: it keeps some and windows wait for late records.
    waits: bool,
    /// Whether what it keeps may be on disk.
    may_overflow: bool,
    /// No room was found for ends of windows in this turn, or the next one is on disk.
    wanting: bool,
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

    fn forget(&mut self, watermark: Timestamp, left: &mut usize) -> Forgotten {
        while *left > 0 {
            if !self.ends.bring(watermark) {
                self.wanting = true;
                return Forgotten::Waiting;
            }
            if self.ends.next_due().is_none_or(|end| end > watermark) {
                return Forgotten::All;
            }
            if !self.footing.may_forget() {
                return Forgotten::Waiting;
            }
            let Some(timer) = self.ends.pop_due(watermark) else {
                return Forgotten::All;
            };
            let key = K::lend(&timer.key);
            self.footing
                .forget_unread(timer.hash, &key, timer.namespace);
            *left -= 1;
        }
        Forgotten::Some
    }

    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.footing.visit_states(visitor)?;
        visitor.visit(&self.of_ends, &mut self.ends)
    }

    #[inline]
    fn may_overflow(&self) -> bool {
        self.may_overflow
    }

    fn has_to_seek(&self) -> bool {
        let ends = || self.waits && self.ends.is_active();
        self.may_overflow && (self.footing.is_active() || ends())
    }

    fn has_room(&mut self, windows: usize) -> bool {
        // All are asked: each makes room for itself.
        let ends = !self.waits || self.ends.has_room(windows);
        self.wanting |= !ends;
        self.footing.has_room(windows) && ends
    }

    fn let_in(&mut self, windows: usize) -> usize {
        self.footing.let_in(windows)
    }

    fn seek(&mut self, place: usize, key: &K::Of<'_>, windows: &[TimeWindow]) -> bool {
        self.footing.seek(place, K::hash(key), key, windows)
    }

    fn begin_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        self.wanting = false;
        self.ends.begin_turn(context)?;
        self.footing.begin_turn(context)
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let of_ends = self.ends.end_turn(context, waiting && self.wanting)?;
        let of_states = self.footing.end_turn(context, waiting)?;
        Ok(of_ends.max(of_states))
    }

    fn may_be_cut(&self) -> bool {
        !self.ends.is_moving()
    }
}

/// The state that the ends of windows are.
fn descriptor_of_ends<K: Key>() -> StateDescriptor {
    StateDescriptor::timers("ends of windows").of_keys::<K, TimeWindow>()
}
