//! How a value is spread: latencies, sizes.
//!
//! Over hdrhistogram with two significant digits, from 1 to about 2^40 (18 minutes in nanoseconds);
//! larger values count as the largest. Lives on the thread of its shard. Invariant: recording allocates
//! nothing, the table has its full size from the start.

use std::cell::RefCell;
use std::rc::Rc;

/// The largest value told apart from larger ones.
const LARGEST: u64 = 1 << 40;
const SIGNIFICANT_DIGITS: u8 = 2;

/// The spread of a value. Clones record together.
///
/// ```
/// use thalweg_core::metrics::Histogram;
/// let latency_ns = Histogram::new();
/// for value in 1..=200 {
///     latency_ns.record(value);
/// }
/// let spread = latency_ns.snapshot();
/// assert_eq!((spread.count, spread.min, spread.max), (200, 1, 200));
/// assert!(spread.p50 == 100);
/// ```
#[derive(Clone, Debug)]
pub struct Histogram(Rc<RefCell<hdrhistogram::Histogram<u64>>>);

/// A histogram at one moment, in the unit of what was recorded. Values are told to 1 %, those below 256
/// exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HistogramSnapshot {
    /// How many values.
    pub count: u64,
    /// The smallest one; 0 if there is none.
    pub min: u64,
    /// The largest one; 0 if there is none.
    pub max: u64,
    /// The mean; 0 if there is none.
    pub mean: f64,
    /// Half of the values are at or below this.
    pub p50: u64,
    /// 95 of 100 are at or below this.
    pub p95: u64,
    /// 99 of 100 are at or below this.
    pub p99: u64,
    /// 999 of 1,000 are at or below this.
    pub p999: u64,
}

impl Histogram {
    /// An empty histogram. Takes about 35 KiB.
    #[must_use]
    pub fn new() -> Histogram {
        let Ok(table) = hdrhistogram::Histogram::new_with_bounds(1, LARGEST, SIGNIFICANT_DIGITS)
        else {
            unreachable!("the bounds are constants that hdrhistogram accepts")
        };
        Histogram(Rc::new(RefCell::new(table)))
    }

    /// Records one value.
    #[inline]
    pub fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// Records `value` as seen `count` times.
    #[inline]
    pub fn record_many(&self, value: u64, count: u64) {
        let recorded = self.0.borrow_mut().record_n(value.min(LARGEST), count);
        debug_assert!(recorded.is_ok(), "the value was held within the bounds");
    }

    /// Forgets everything recorded.
    pub fn reset(&self) {
        self.0.borrow_mut().reset();
    }

    /// What has been recorded so far.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let table = self.0.borrow();
        if table.is_empty() {
            return HistogramSnapshot::default();
        }
        // A percentile is the upper end of its bucket, which may lie above the largest value.
        let max = table.max();
        let at = |quantile: f64| table.value_at_quantile(quantile).min(max);
        HistogramSnapshot {
            count: table.len(),
            min: table.min(),
            max,
            mean: table.mean(),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_one_percent() {
        let histogram = Histogram::new();
        for value in 1..=100_000 {
            histogram.record(value * 10);
        }
        let spread = histogram.snapshot();
        let wanted = [
            (spread.p50, 5e5),
            (spread.p95, 9.5e5),
            (spread.p99, 9.9e5),
            (spread.p999, 9.99e5),
        ];
        for (shown, exact) in wanted {
            assert!(
                (shown as f64 - exact).abs() <= exact * 0.01,
                "{shown} {exact}"
            );
        }
        assert!((spread.mean - 500_005.0).abs() < 5_000.0);
    }

    #[test]
    fn values_of_any_size_are_counted() {
        let histogram = Histogram::new();
        histogram.record(0);
        histogram.record_many(u64::MAX, 3);
        let spread = histogram.snapshot();
        assert_eq!((spread.count, spread.min), (4, 0));
        assert!(spread.max >= LARGEST && spread.p99 == spread.max);
        histogram.reset();
        assert_eq!(histogram.snapshot(), HistogramSnapshot::default());
    }
}
