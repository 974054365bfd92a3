//! The contract between the window operator and what is done with a window's records.
//!
//! Entered by the operator for every record, firing and forgotten window. Invariant: what is kept
//! of a window is changed only by what is asked here, so that the operator's table sees every
//! change. Lives on the shard of its subtask.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Key, Record};
use thalweg_state::{StateError, StateVisitor};

use super::context::Footing;
use crate::function::FunctionError;
use crate::task::{BuildContext, BuildError, Push};
use crate::window::TimeWindow;

/// One window of one key, and the times.
pub(crate) struct Pane<'a, K: Key> {
    pub(crate) hash: KeyHash,
    /// The key as tables keep it: `K::lend` gives it back.
    pub(crate) key: &'a K::Stored,
    pub(crate) window: TimeWindow,
    pub(crate) watermark: Timestamp,
    pub(crate) processing_time: Timestamp,
}

/// How far a window that speaks has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speech {
    /// The place to go on from, in the logic's own count; 0 at the beginning.
    pub(crate) from: usize,
    /// How many more results may be given out in this turn's slice.
    pub(crate) allowed: usize,
}

impl Speech {
    /// One that says all.
    #[inline(always)]
    pub(crate) fn at_once() -> Self {
        Self {
            from: 0,
            allowed: usize::MAX,
        }
    }
}

/// What is kept of a window's records and what it gives out, in one subtask.
pub(crate) trait WindowLogic<K: Key, T: Item>: 'static {
    /// What is kept per key and window.
    type Kept: Record;
    /// What is given out.
    type Out: Item;
    /// Whether the two `evict` calls do anything.
    const EVICTS: bool = false;
    /// Whether a window may stop on the way when it speaks.
    const RESUMES: bool = false;

    /// What is kept of the first record.
    fn keep(&self, item: T::Of<'_>, at: Timestamp) -> Self::Kept;

    /// What is kept of no record.
    fn empty(&self) -> Self::Kept;

    /// Adds a record.
    fn add(&self, kept: &mut Self::Kept, item: T::Of<'_>, at: Timestamp);

    /// Makes what is kept of one window a part of another's.
    fn merge(&self, into: &mut Self::Kept, from: &Self::Kept);

    /// The window is about to speak.
    fn evict_before(&self, kept: &mut Self::Kept, window: TimeWindow) {
        let _ = (kept, window);
    }

    /// The window has spoken.
    fn evict_after(&self, kept: &mut Self::Kept, window: TimeWindow) {
        let _ = (kept, window);
    }

    /// The window speaks, from where it stopped; answers whether it has said all.
    ///
    /// A logic that can stop on the way does so when nothing more is allowed or there is no room, and
    /// says in `speech` from where to go on. The others say all at once.
    ///
    /// # Errors
    /// What the user's function answers.
    fn emit<N: Push<Self::Out>>(
        &mut self,
        pane: &Pane<'_, K>,
        kept: &Self::Kept,
        speech: &mut Speech,
        next: &mut N,
    ) -> Result<bool, FunctionError>;

    /// The window is forgotten.
    ///
    /// # Errors
    /// What the user's function answers.
    fn clear(&mut self, pane: &Pane<'_, K>) -> Result<(), FunctionError> {
        let _ = pane;
        Ok(())
    }

    /// Shows the states that the function has beside its windows.
    ///
    /// # Errors
    /// What the visitor answers.
    fn visit_states(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError>;

    /// Those states, where it can have some.
    fn footing(&self) -> Option<&Footing<K>> {
        None
    }

    /// The input has ended and every window that was to speak has.
    ///
    /// # Errors
    /// What the user's function answers.
    fn close<N: Push<Self::Out>>(&mut self, next: &mut N) -> Result<(), FunctionError> {
        let _ = next;
        Ok(())
    }
}

/// Opens a logic in a subtask. The template a program holds.
pub(crate) trait OpenLogic<K: Key, T: Item>: Clone + Send + 'static {
    /// What it opens.
    type Logic: WindowLogic<K, T>;

    /// Opens it; `merging` says whether windows merge.
    fn open(
        self,
        name: &str,
        merging: bool,
        context: &mut BuildContext,
    ) -> Result<Self::Logic, BuildError>;
}
