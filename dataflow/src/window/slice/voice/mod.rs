//! What is said of a window that was put together from slices: its row, or what a function makes of it.
//!
//! Entered by the operator for each key of a window that fires. `called` is the function with what it keeps, which may
//! be larger than its memory; then rows are said of keys that were sought `ahead`. Invariants: a row is said right
//! after its key and window were entered, and only once all that the voice keeps of them is in memory, or nowhere; what
//! is kept beside a window for a voice goes when the window cannot fire any more. Lives on the shard of its subtask.

mod ahead;
mod called;

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::{Item, Key};
use thalweg_state::{Pressure, StateError, StateVisitor};

use crate::function::FunctionError;
use crate::task::{BuildContext, BuildError, Push};
use crate::window::{TimeWindow, WindowAggregate};

pub(super) use ahead::{AT_ONCE, Ahead};
pub(crate) use called::OpenCalled;

/// Watermark and processing time.
pub(crate) type Times = (Timestamp, Timestamp);

/// How far a voice came with forgetting what it keeps beside windows that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgotten {
    /// Nothing of them is left.
    All,
    /// More can be forgotten.
    Some,
    /// The disk is at work.
    Waiting,
}

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

    /// Forgets what is kept beside windows that cannot speak any more, at most `left` of them.
    fn forget(&mut self, watermark: Timestamp, left: &mut usize) -> Forgotten;

    /// Shows what it keeps.
    ///
    /// # Errors
    /// What the visitor answers.
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError>;

    // What it keeps may be larger than its memory.

    /// Whether it keeps anything that may be on disk.
    #[inline(always)]
    fn may_overflow(&self) -> bool {
        false
    }

    /// Whether that has to be sought before a window speaks. Asked once for some rows.
    #[inline(always)]
    fn has_to_seek(&self) -> bool {
        false
    }

    /// Whether there is room for what it may add for so many windows.
    fn has_room(&mut self, windows: usize) -> bool {
        let _ = windows;
        true
    }

    /// How many of some windows of which all is there may speak at once, from the first on; one at least.
    fn let_in(&mut self, windows: usize) -> usize {
        windows
    }

    /// Seeks what it keeps of a key and some of its windows, at this place behind the records ahead; whether all of it
    /// is in memory, or nowhere.
    fn seek(&mut self, place: usize, key: &K::Of<'_>, windows: &[TimeWindow]) -> bool {
        let _ = (place, key, windows);
        true
    }

    /// A turn begins: takes in what was read.
    ///
    /// # Errors
    /// What the disk could not do, and damage.
    fn begin_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        let _ = context;
        Ok(())
    }

    /// A turn ends: asks for what was sought, makes room. `waiting`: the operator waits for something.
    ///
    /// # Errors
    /// What the disk could not do; memory that is too little.
    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let _ = (context, waiting);
        Ok(Pressure::None)
    }

    /// Whether what it keeps may be cut now.
    fn may_be_cut(&self) -> bool {
        true
    }
}

/// Opens a voice in a subtask. The template a program holds.
pub(crate) trait OpenVoice<K: Key, R: Item>: Clone + Send + 'static {
    /// What it opens.
    type Voice: Voice<K, R>;

    /// Opens it; `waits` says that windows wait for late records, for which they speak again.
    fn open(
        self,
        name: &str,
        waits: bool,
        context: &mut BuildContext,
    ) -> Result<Self::Voice, BuildError>;
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

    fn open(self, _: &str, _: bool, _: &mut BuildContext) -> Result<Self, BuildError> {
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

    fn forget(&mut self, _: Timestamp, _: &mut usize) -> Forgotten {
        Forgotten::All
    }

    fn visit_states(&mut self, _: &mut dyn StateVisitor) -> Result<(), StateError> {
        Ok(())
    }
}
