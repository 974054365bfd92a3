//! How fast something happens: the rate over the last minute.
//!
//! Fed by a [`Counter`] and told the time; reads no clock itself. Lives on the thread of its shard.
//! Invariant: the rate is never negative, and a count that stands still decays towards 0.

use std::cell::Cell;
use std::rc::Rc;

use super::counter::Counter;

/// The rate is an exponentially weighted mean; what is older than this weighs less than 1/e.
const WINDOW_NS: f64 = 60e9;
/// Updates closer together than this would measure the jitter of the clock.
const SHORTEST_NS: u64 = 1_000_000;

/// The one-minute rate of a counter, per second. Clones show the same.
///
/// ```
/// use thalweg_core::metrics::{Counter, Meter};
/// let records = Counter::new();
/// let rate = Meter::new(records.clone(), 0);
/// records.add(500);
/// rate.update(1_000_000_000);
/// assert_eq!(rate.rate(), 500.0);
/// ```
#[derive(Clone, Debug)]
pub struct Meter {
    counter: Counter,
    state: Rc<Cell<State>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// Counter and clock at the last update.
    count: u64,
    at_ns: u64,
    /// Per second; none before the first update.
    rate: Option<f64>,
}

impl Default for Meter {
    /// A meter on a counter of its own, started at 0.
    fn default() -> Self {
        Meter::new(Counter::new(), 0)
    }
}

impl Meter {
    /// A meter on `counter`, started at `now_ns` of the shard's monotonic clock.
    #[must_use]
    pub fn new(counter: Counter, now_ns: u64) -> Meter {
        let state = State {
            count: counter.get(),
            at_ns: now_ns,
            rate: None,
        };
        Meter {
            counter,
            state: Rc::new(Cell::new(state)),
        }
    }

    /// Counts `count` more.
    #[inline(always)]
    pub fn mark(&self, count: u64) {
        self.counter.add(count);
    }

    /// Takes what was counted since the last update into the rate. To be called every few seconds; calls
    /// within a millisecond of the last one change nothing.
    pub fn update(&self, now_ns: u64) {
        let before = self.state.get();
        let passed_ns = now_ns.saturating_sub(before.at_ns);
        if passed_ns < SHORTEST_NS {
            return;
        }
        let count = self.counter.get();
        let counted = count.wrapping_sub(before.count);
        let recent = counted as f64 * 1e9 / passed_ns as f64;
        let rate = match before.rate {
            // The first stretch is all there is: no weight for a past that was not measured.
            None => recent,
            Some(past) => {
                let keep = (-(passed_ns as f64) / WINDOW_NS).exp();
                past * keep + recent * (1.0 - keep)
            }
        };
        debug_assert!(rate >= 0.0, "counters only grow");
        self.state.set(State {
            count,
            at_ns: now_ns,
            rate: Some(rate),
        });
    }

    /// Events per second over about the last minute, as of the last update; 0 before the first.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.state.get().rate.unwrap_or(0.0)
    }

    /// How many in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counter.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_steady_rate_is_shown_exactly() {
        let counter = Counter::new();
        let meter = Meter::new(counter.clone(), 7 * SECOND);
        for second in 8..200 {
            counter.add(1_000);
            meter.update(second * SECOND);
        }
        assert!((meter.rate() - 1_000.0).abs() < 1e-6, "{}", meter.rate());
        assert_eq!(meter.count(), 192_000);
    }

    #[test]
    fn what_stops_decays_by_the_minute() {
        let counter = Counter::new();
        let meter = Meter::new(counter.clone(), 0);
        counter.add(1_000);
        meter.update(SECOND);
        meter.update(61 * SECOND);
        assert!(
            (meter.rate() - 1_000.0 / std::f64::consts::E).abs() < 1e-6,
            "{}",
            meter.rate()
        );
    }

    #[test]
    fn a_clock_that_does_not_move_or_goes_back_changes_nothing() {
        let counter = Counter::new();
        let meter = Meter::new(counter.clone(), SECOND);
        counter.add(10);
        meter.update(SECOND);
        meter.update(0);
        assert_eq!(meter.rate(), 0.0);
        meter.update(2 * SECOND);
        assert_eq!(meter.rate(), 10.0);
    }
}
