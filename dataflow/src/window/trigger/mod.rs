//! Triggers: when a window speaks, and whether it forgets what it said.
//!
//! A [`Trigger`] is asked about every record and every timer of a window. What it remembers per key
//! and window is its `State`, kept beside the window's contents; the trigger itself holds settings
//! only. Entered by the window operator, on the shard of its subtask. Invariant: what a trigger asks
//! for (timers) takes effect after it has answered.

mod context;
mod continuous;
mod count;
mod delta;
mod early_late;
mod event_time;
mod never;
mod processing_time;
mod purging;

pub use context::TriggerContext;
pub(crate) use context::{TimeDomain, TimerRequest};
pub use continuous::{ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger};
pub use count::CountTrigger;
pub use delta::DeltaTrigger;
pub use early_late::EarlyLateTrigger;
pub use event_time::EventTimeTrigger;
pub use never::NeverTrigger;
pub use processing_time::ProcessingTimeTrigger;
pub use purging::PurgingTrigger;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::{Item, Record};

/// What becomes of a window now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// It gives out its result and keeps its contents: the next result holds them too.
    Fire,
    /// It forgets its contents and gives nothing out.
    Purge,
    /// It gives out its result, then forgets its contents.
    FireAndPurge,
}

impl TriggerResult {
    /// Whether the window gives out its result.
    #[must_use]
    pub fn fires(self) -> bool {
        matches!(self, Self::Fire | Self::FireAndPurge)
    }

    /// Whether the window forgets its contents.
    #[must_use]
    pub fn purges(self) -> bool {
        matches!(self, Self::Purge | Self::FireAndPurge)
    }

    /// What either asks for.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (
            self.fires() || other.fires(),
            self.purges() || other.purges(),
        ) {
            (false, false) => Self::Continue,
            (true, false) => Self::Fire,
            (false, true) => Self::Purge,
            (true, true) => Self::FireAndPurge,
        }
    }
}

/// Decides when a window gives out its result.
///
/// The calls are made for one key and window at a time: [`TriggerContext`] says which window, gives
/// the trigger's state of it, tells the times and takes timers. A window that fires without
/// contents (nothing was added, or it was purged) gives nothing out.
///
/// A window that speaks when a record named `end` comes, and otherwise never:
///
/// ```
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
/// use thalweg_dataflow::window::trigger::{Trigger, TriggerContext, TriggerResult};
///
/// #[derive(Clone)]
/// struct AtTheEnd;
///
/// impl Trigger<(u64, String)> for AtTheEnd {
///     type State = ();
///     fn on_element(
///         &self,
///         record: &(u64, String),
///         _at: Timestamp,
///         _context: &mut TriggerContext<'_, ()>,
///     ) -> TriggerResult {
///         match record.1.as_str() {
///             "end" => TriggerResult::FireAndPurge,
///             _ => TriggerResult::Continue,
///         }
///     }
/// }
///
/// let mut harness = TestHarness::<(u64, String), (u64, u64)>::new(|records| {
///     let keyed = records.key_by(|record: &(u64, String)| record.0);
///     keyed.window(GlobalWindows::new()).trigger(AtTheEnd).count().map(|row: (u64, u64)| row)
/// });
/// for word in ["a", "b", "end", "c"] {
///     harness.push((7, word.to_owned()));
/// }
/// assert_eq!(harness.output(), [(7, 3)]);
/// ```
pub trait Trigger<T: Item>: Clone + Send + 'static {
    /// What is remembered per key and window. New windows begin with the default.
    type State: Record + Clone + Default;

    /// A record was added to the window.
    fn on_element(
        &self,
        item: &T::Of<'_>,
        at: Timestamp,
        context: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult;

    /// The watermark has reached `time`, for which a timer of this window was registered.
    ///
    /// It may be the timer of another trigger this one is composed with, or the one by which the
    /// window is cleaned up: compare the time with what was asked for.
    fn on_event_time(
        &self,
        time: Timestamp,
        context: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult {
        let _ = (time, context);
        TriggerResult::Continue
    }

    /// The processing time has passed `time`, for which a timer of this window was registered.
    fn on_processing_time(
        &self,
        time: Timestamp,
        context: &mut TriggerContext<'_, Self::State>,
    ) -> TriggerResult {
        let _ = (time, context);
        TriggerResult::Continue
    }

    /// Whether it works on windows that merge. One that does not is refused where windows merge.
    fn can_merge(&self) -> bool {
        false
    }

    /// Windows meet: makes the state of one of them a part of the other's.
    fn merge(&self, into: &mut Self::State, from: &Self::State) {
        let _ = (into, from);
    }

    /// Windows have met: the context is that of the window they have become, with their merged
    /// state. Timers of the windows that met are gone once they were [cleared](Trigger::clear), so
    /// those the new window needs are registered here.
    fn on_merge(&self, context: &mut TriggerContext<'_, Self::State>) {
        let _ = context;
    }

    /// The window is forgotten, or has become another by merging: deletes the timers that were
    /// registered for it. Its state goes by itself.
    fn clear(&self, context: &mut TriggerContext<'_, Self::State>) {
        let _ = context;
    }

    /// Whether this state is as good as none. A window without contents whose state is blank takes
    /// no memory.
    fn is_blank(&self, state: &Self::State) -> bool {
        let _ = state;
        size_of::<Self::State>() == 0
    }
}
