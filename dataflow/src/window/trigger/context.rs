//! What a trigger sees of a window, and what it may ask for.
//!
//! Made by the window operator for one call. Invariant: timers asked for belong to the window of the
//! call and to the key in work. Lives on the shard of its subtask.

use thalweg_core::event_time::Timestamp;

use crate::window::TimeWindow;

/// Which clock a timer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeDomain {
    Event,
    Processing,
}

/// What a trigger asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerRequest {
    Register(TimeDomain, Timestamp),
    Delete(TimeDomain, Timestamp),
}

/// One window of one key, as its trigger sees it.
pub struct TriggerContext<'a, S> {
    state: &'a mut S,
    window: TimeWindow,
    watermark: Timestamp,
    processing_time: Timestamp,
    requests: &'a mut Vec<TimerRequest>,
}

impl<'a, S> TriggerContext<'a, S> {
    pub(crate) fn new(
        state: &'a mut S,
        window: TimeWindow,
        (watermark, processing_time): (Timestamp, Timestamp),
        requests: &'a mut Vec<TimerRequest>,
    ) -> Self {
        Self {
            state,
            window,
            watermark,
            processing_time,
            requests,
        }
    }

    /// What the trigger remembers of this key and window.
    pub fn state(&mut self) -> &mut S {
        self.state
    }

    /// The window.
    pub fn window(&self) -> TimeWindow {
        self.window
    }

    /// The watermark: no record at or before this time is expected. [`Timestamp::NONE`] before the
    /// first one.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The processing time of this turn, ms since 1970.
    pub fn processing_time(&self) -> Timestamp {
        self.processing_time
    }

    /// Asks for [`on_event_time`](super::Trigger::on_event_time) when the watermark reaches `at`; for
    /// a time it has already passed, at the next watermark. Asking twice is asking once.
    pub fn register_event_time(&mut self, at: Timestamp) {
        self.ask(TimerRequest::Register(TimeDomain::Event, at));
    }

    /// Asks for [`on_processing_time`](super::Trigger::on_processing_time) when the processing time
    /// has passed `at`. Asking twice is asking once.
    pub fn register_processing_time(&mut self, at: Timestamp) {
        self.ask(TimerRequest::Register(TimeDomain::Processing, at));
    }

    /// Takes back what was asked for at `at` in event time, if anything was.
    pub fn delete_event_time(&mut self, at: Timestamp) {
        self.ask(TimerRequest::Delete(TimeDomain::Event, at));
    }

    /// Takes back what was asked for at `at` in processing time, if anything was.
    pub fn delete_processing_time(&mut self, at: Timestamp) {
        self.ask(TimerRequest::Delete(TimeDomain::Processing, at));
    }

    fn ask(&mut self, request: TimerRequest) {
        self.requests.push(request);
    }

    /// The same window as a trigger sees it that remembers only a part of the state: for triggers
    /// composed of others.
    pub fn part<'s, R>(
        &'s mut self,
        pick: impl FnOnce(&'s mut S) -> &'s mut R,
    ) -> TriggerContext<'s, R> {
        TriggerContext {
            state: pick(self.state),
            window: self.window,
            watermark: self.watermark,
            processing_time: self.processing_time,
            requests: self.requests,
        }
    }
}
