//! How latencies are spread, and the JSON object a latency workload prints.
//!
//! Each thread of a run records into a [`Spread`] of its own, one cell per value, and gives it up at its
//! end. Invariant: a value is told to three digits, from 1 ns to 18 minutes; nothing is left out.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::workload::pace::{Pace, Watermarks};

/// The largest latency told apart from larger ones, ns.
const LARGEST: u64 = 1 << 40;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies in ns, as far as they were recorded.
#[derive(Clone, Debug)]
pub struct Spread(Histogram<u64>);

impl Default for Spread {
    fn default() -> Self {
        let Ok(table) = Histogram::new_with_bounds(1, LARGEST, SIGNIFICANT_DIGITS) else {
            unreachable!("the bounds are constants that hdrhistogram accepts")
        };
        Self(table)
    }
}

impl Spread {
    /// Records one.
    #[inline]
    pub fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    /// Takes in all of another.
    pub fn add(&mut self, other: &Self) {
        let added = self.0.add(&other.0);
        debug_assert!(added.is_ok(), "all have the same bounds");
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency in µs that so large a part does not exceed.
    fn within(&self, part: f64) -> f64 {
        self.0.value_at_quantile(part) as f64 / 1_000.0
    }
}

/// What a latency workload measured.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// `thalweg`, or `limit` for the work by hand.
    pub engine: &'static str,
    /// Name of the workload.
    pub workload: &'static str,
    /// Threads, or subtasks per operator.
    pub parallelism: u32,
    /// Records a second.
    pub rate: u64,
    /// How often a source says how far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermarks: Option<&'static str>,
    /// Seconds before the measured ones.
    pub warmup_s: f64,
    /// Measured seconds.
    pub duration_s: f64,
    /// Rows measured.
    pub rows: u64,
    /// Half were faster, µs.
    pub p50_us: f64,
    /// 90 % were faster.
    pub p90_us: f64,
    /// 99 % were faster.
    pub p99_us: f64,
    /// 99.9 % were faster.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// Which latency workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyWork {
    /// From the time a record is due to its row behind a keyed count.
    Record,
    /// From the end of a window to each of its rows.
    Window(Watermarks),
}

impl LatencyWork {
    /// The workload's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "lat_rec",
            Self::Window(_) => "lat_win",
        }
    }
}

impl Latency {
    /// Puts together what was measured and how.
    #[must_use]
    pub fn new(
        engine: &'static str,
        work: LatencyWork,
        parallelism: u32,
        pace: &Pace,
        spread: &Spread,
    ) -> Self {
        Self {
            engine,
            workload: work.name(),
            parallelism,
            rate: pace.rate,
            watermarks: match work {
                LatencyWork::Record => None,
                LatencyWork::Window(watermarks) => Some(watermarks.name()),
            },
            warmup_s: pace.warmup.as_secs_f64(),
            duration_s: pace.duration.as_secs_f64(),
            rows: spread.count(),
            p50_us: spread.within(0.5),
            p90_us: spread.within(0.9),
            p99_us: spread.within(0.99),
            p999_us: spread.within(0.999),
            max_us: spread.within(1.0),
        }
    }
}

/// A run, and the same work by hand.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyComparison {
    /// The engine's run; its fields stand beside the other.
    #[serde(flatten)]
    pub run: Latency,
    /// The same work by hand.
    pub limit: Latency,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_spread_of_several_threads_is_one() {
        let (mut first, mut second) = (Spread::default(), Spread::default());
        (1..=500).for_each(|us| first.record(us * 1_000));
        (501..=1_000).for_each(|us| second.record(us * 1_000));
        second.record(u64::MAX);
        first.add(&second);
        let pace = Pace {
            rate: 7,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(1),
        };
        let work = LatencyWork::Window(Watermarks::Periodic);
        let told = Latency::new("limit", work, 2, &pace, &first);
        assert_eq!(told.rows, 1_001);
        // A part of 1,001 is that of the next whole rank.
        for (told, exact) in [
            (told.p50_us, 501.0),
            (told.p90_us, 901.0),
            (told.p99_us, 991.0),
            (told.p999_us, 1_000.0),
            (told.max_us, LARGEST as f64 / 1_000.0),
        ] {
            assert!((told - exact).abs() <= exact * 0.002, "{told} {exact}");
        }
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!(json["workload"], "lat_win");
        assert_eq!(json["watermarks"], "periodic");
    }
}
