//! Continuous triggers: a window speaks again and again, at fixed distances of time.
//!
//! Both remember the time of their next firing. Invariant: a window has at most one such time, and
//! its timer is registered.

use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{Trigger, TriggerContext, TriggerResult};
use crate::window::{milliseconds, window_start};

/// Fires whenever the watermark passes a multiple of `interval`, and at the window's end; at late
/// records at once.
///
/// It begins with the first multiple after the window's first record, and fires also when nothing
/// has come since the last firing. In windows without an end the final watermark makes it fire
/// once, for the interval in work, and not for every interval that is left of time: how often such
/// a window fires at the end of its input then depends on how finely watermarks came.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::TumblingWindows;
/// use thalweg_dataflow::window::trigger::ContinuousEventTimeTrigger;
///
/// let mut harness = TestHarness::<u64, ((), u64)>::new(|records| {
///     let hours = records.window_all(TumblingWindows::event_time(Duration::from_millis(60)));
///     let early = ContinuousEventTimeTrigger::new(Duration::from_millis(20));
///     hours.trigger(early).count().map(|row: ((), u64)| row)
/// });
/// harness.push_at(1, Timestamp(5));
/// harness.advance_watermark(Timestamp(20));
/// harness.push_at(2, Timestamp(25));
/// harness.advance_watermark(Timestamp(59));
/// assert_eq!(harness.output(), [((), 1), ((), 2), ((), 2)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ContinuousEventTimeTrigger {
    interval: i64,
}

impl ContinuousEventTimeTrigger {
    /// Fires every `interval`.
    ///
    /// # Panics
    /// If `interval` is not one or more whole milliseconds.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval: milliseconds(interval, "the interval of a trigger"),
        }
    }

    fn register_next(&self, after: Timestamp, context: &mut TriggerContext<'_, Option<i64>>) {
        let next = after
            .plus_ms(self.interval)
            .min(context.window().max_timestamp());
        *context.state() = Some(next.0);
        context.register_event_time(next);
    }
}

impl<T: Item> Trigger<T> for ContinuousEventTimeTrigger {
    /// The time of the next firing.
    type State = Option<i64>;

    fn on_element(
        &self,
        _item: &T::Of<'_>,
        at: Timestamp,
        context: &mut TriggerContext<'_, Option<i64>>,
    ) -> TriggerResult {
        let end = context.window().max_timestamp();
        if end <= context.watermark() {
            return TriggerResult::Fire;
        }
        if context.state().is_none() {
            if !context.window().is_global() {
                context.register_event_time(end);
            }
            self.register_next(window_start(at, 0, self.interval), context);
        }
        TriggerResult::Continue
    }

    fn on_event_time(
        &self,
        time: Timestamp,
        context: &mut TriggerContext<'_, Option<i64>>,
    ) -> TriggerResult {
        if time == context.window().max_timestamp() {
            // From now on late records speak, also where they make the window meet another.
            *context.state() = None;
            return TriggerResult::Fire;
        }
        if *context.state() != Some(time.0) {
            return TriggerResult::Continue;
        }
        *context.state() = None;
        if !(context.window().is_global() && context.watermark() == Timestamp::MAX) {
            self.register_next(time, context);
        }
        TriggerResult::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn merge(&self, into: &mut Option<i64>, from: &Option<i64>) {
        *into = earlier(*into, *from);
    }

    fn on_merge(&self, context: &mut TriggerContext<'_, Option<i64>>) {
        let Some(next) = *context.state() else {
            return;
        };
        // It may be the end of one that met, which is no multiple.
        self.register_next(
            window_start(Timestamp(next).plus_ms(-1), 0, self.interval),
            context,
        );
        // Where the watermark has passed the end, the record that caused the merge fires.
        let end = context.window().max_timestamp();
        if end > context.watermark() {
            context.register_event_time(end);
        }
    }

    fn clear(&self, context: &mut TriggerContext<'_, Option<i64>>) {
        let end = context.window().max_timestamp();
        context.delete_event_time(end);
        if let Some(next) = context.state().take() {
            context.delete_event_time(Timestamp(next));
        }
    }

    fn is_blank(&self, next: &Option<i64>) -> bool {
        next.is_none()
    }
}

/// Fires whenever the processing time passes a multiple of `interval`, and when it passes the
/// window's end.
///
/// It begins with the first multiple after the window's first record. What is not yet fired at the
/// end of the input is not fired.
///
/// ```
/// use std::time::Duration;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::GlobalWindows;
/// use thalweg_dataflow::window::trigger::ContinuousProcessingTimeTrigger;
///
/// let mut harness = TestHarness::<u64, ((), u64)>::new(|records| {
///     let every = ContinuousProcessingTimeTrigger::new(Duration::from_secs(10));
///     records.window_all(GlobalWindows::new()).trigger(every).count().map(|row: ((), u64)| row)
/// });
/// harness.push(1);
/// harness.advance_processing_time(Duration::from_secs(10));
/// harness.push(2);
/// harness.advance_processing_time(Duration::from_secs(10));
/// assert_eq!(harness.output(), [((), 1), ((), 2)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ContinuousProcessingTimeTrigger {
    interval: i64,
}

impl ContinuousProcessingTimeTrigger {
    /// Fires every `interval`.
    ///
    /// # Panics
    /// If `interval` is not one or more whole milliseconds.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval: milliseconds(interval, "the interval of a trigger"),
        }
    }

    fn register_next(&self, after: Timestamp, context: &mut TriggerContext<'_, Option<i64>>) {
        let multiple = window_start(after, 0, self.interval).plus_ms(self.interval);
        let end = context.window().max_timestamp();
        // The end of an event-time window may lie long before the clock: it stops nothing then.
        let next = match after < end {
            true => multiple.min(end),
            false => multiple,
        };
        *context.state() = Some(next.0);
        context.register_processing_time(next);
    }
}

impl<T: Item> Trigger<T> for ContinuousProcessingTimeTrigger {
    /// The time of the next firing.
    type State = Option<i64>;

    fn on_element(
        &self,
        _item: &T::Of<'_>,
        _at: Timestamp,
        context: &mut TriggerContext<'_, Option<i64>>,
    ) -> TriggerResult {
        if context.state().is_none() {
            self.register_next(context.processing_time(), context);
        }
        TriggerResult::Continue
    }

    fn on_processing_time(
        &self,
        time: Timestamp,
        context: &mut TriggerContext<'_, Option<i64>>,
    ) -> TriggerResult {
        if *context.state() != Some(time.0) {
            return TriggerResult::Continue;
        }
        self.register_next(context.processing_time().max(time), context);
        TriggerResult::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn merge(&self, into: &mut Option<i64>, from: &Option<i64>) {
        *into = earlier(*into, *from);
    }

    fn on_merge(&self, context: &mut TriggerContext<'_, Option<i64>>) {
        // It may be the end of one that met, which is no multiple.
        if let Some(next) = *context.state() {
            self.register_next(Timestamp(next).plus_ms(-1), context);
        }
    }

    fn clear(&self, context: &mut TriggerContext<'_, Option<i64>>) {
        if let Some(next) = context.state().take() {
            context.delete_processing_time(Timestamp(next));
        }
    }

    fn is_blank(&self, next: &Option<i64>) -> bool {
        next.is_none()
    }
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
