//! When the records of the latency workloads are due, and which of them count.
//!
//! Record *i* is due at start + *i* / rate on the monotonic clock, whatever became of those before it:
//! a stall counts against every record it delayed. Plain arithmetic, any thread. Invariant: what is
//! measured is decided by when it was due, never by when it came.

use std::sync::OnceLock;
use std::time::Duration;

use thalweg_core::seam::clock::monotonic_ns;

use super::definitions::{pick, sm};

/// Number of distinct keys of the workloads `lat_rec` and `lat_win`.
pub const LATENCY_KEYS: u64 = 10_000;

/// Length of a window of `lat_win`, ms.
pub const LATENCY_WINDOW_MS: u64 = 100;

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;

/// How fast records fall due, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Records a second, over all subtasks.
    pub rate: u64,
    /// What falls due so long from the start on is not measured.
    pub warmup: Duration,
    /// What falls due so long after that is.
    pub duration: Duration,
}

/// How often a source of `lat_win` says how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watermarks {
    /// At every new millisecond of event time.
    Millisecond,
    /// As sources do unless told otherwise, every 200 ms.
    Periodic,
}

impl Watermarks {
    /// How reports call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Millisecond => "millisecond",
            Self::Periodic => "periodic",
        }
    }
}

/// The record of a number: its key.
#[inline(always)]
#[must_use]
pub const fn latency_key(number: u64) -> u64 {
    pick(sm(number), LATENCY_KEYS)
}

impl Pace {
    /// How many records there are, those of the warm-up included.
    #[must_use]
    pub fn records(&self) -> u64 {
        let nanos = (self.warmup + self.duration).as_nanos() * u128::from(self.rate);
        u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX)
    }

    /// When a record is due, in ns from the start.
    #[inline(always)]
    #[must_use]
    pub fn due(&self, number: u64) -> u64 {
        let (second, rest) = (number / self.rate, number % self.rate);
        second * 1_000_000_000 + rest * 1_000_000_000 / self.rate
    }

    /// Whether what falls due so many ns from the start counts.
    #[inline(always)]
    #[must_use]
    pub fn measures(&self, due: u64) -> bool {
        let from = self.warmup.as_nanos() as u64;
        from <= due && due < from + self.duration.as_nanos() as u64
    }
}

/// The moment number 0 is due, the same for all threads of a run: that at which the first of them asks.
#[derive(Debug, Default)]
pub struct Start(OnceLock<u64>);

impl Start {
    /// The start on the monotonic clock, in ns; now, if it was not asked for before.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        *self.0.get_or_init(monotonic_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u64) -> Pace {
        Pace {
            rate,
            warmup: Duration::from_millis(1_500),
            duration: Duration::from_secs(2),
        }
    }

    #[test]
    fn records_fall_due_evenly_and_never_before_their_time() {
        for rate in [1, 3, 7_919, 1_000_000, 3_000_000_000] {
            let pace = pace(rate);
            for number in [0, 1, 2, rate - 1, rate, rate + 1, 10 * rate + 1] {
                let exact = u128::from(number) * 1_000_000_000 / u128::from(rate);
                assert_eq!(u128::from(pace.due(number)), exact, "{number} at {rate}");
            }
        }
    }

    #[test]
    fn what_is_due_in_the_measured_time_counts() {
        let pace = pace(1_000);
        assert_eq!(pace.records(), 3_500);
        let counted = (0..pace.records()).filter(|number| pace.measures(pace.due(*number)));
        assert_eq!(counted.clone().count(), 2_000);
        assert_eq!(counted.min(), Some(1_500));
    }
}
