//! How much there is now: a value that goes up and down.
//!
//! Lives on the thread of its shard. Invariant: the last value set is the value read.

use std::cell::Cell;
use std::rc::Rc;

/// The numbers a gauge can show.
pub trait GaugeNumber: Copy + Default + 'static {
    /// The number as it is exported.
    fn to_f64(self) -> f64;
}

impl GaugeNumber for f64 {
    fn to_f64(self) -> f64 {
        self
    }
}

impl GaugeNumber for i64 {
    fn to_f64(self) -> f64 {
        self as f64
    }
}

/// A value that is set. Clones show the same.
///
/// ```
/// use thalweg_core::metrics::Gauge;
/// let leased = Gauge::<i64>::new();
/// leased.set(5);
/// leased.add(-2);
/// assert_eq!(leased.get(), 3);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Gauge<N: GaugeNumber>(Rc<Cell<N>>);

impl<N: GaugeNumber> Gauge<N> {
    /// A gauge at 0.
    #[must_use]
    pub fn new() -> Gauge<N> {
        Gauge::default()
    }

    /// Shows `value` from now on.
    #[inline(always)]
    pub fn set(&self, value: N) {
        self.0.set(value);
    }

    /// The value shown.
    #[inline]
    #[must_use]
    pub fn get(&self) -> N {
        self.0.get()
    }
}

impl Gauge<i64> {
    /// Moves the value by `change`, which may be negative.
    #[inline(always)]
    pub fn add(&self, change: i64) {
        self.0.set(self.0.get().wrapping_add(change));
    }
}
