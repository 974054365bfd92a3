//! How often something happened.
//!
//! Lives on the thread of its shard. Invariant: a counter never goes down; after 2^64 - 1 it starts over,
//! which at one per nanosecond takes 584 years.

use std::cell::Cell;
use std::rc::Rc;

/// A number that only grows. Clones count together.
///
/// ```
/// use thalweg_core::metrics::Counter;
/// let records = Counter::new();
/// let same = records.clone();
/// records.inc();
/// same.add(2);
/// assert_eq!(records.get(), 3);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Counter(Rc<Cell<u64>>);

impl PartialEq for Counter {
    /// Whether both are handles of one counter.
    fn eq(&self, other: &Counter) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Counter {
    /// A counter at 0.
    #[must_use]
    pub fn new() -> Counter {
        Counter::default()
    }

    /// Counts one more.
    #[inline(always)]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `count` more.
    #[inline(always)]
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get().wrapping_add(count));
    }

    /// How many so far.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_together_and_counting_wraps_instead_of_panicking() {
        let counter = Counter::new();
        let same = counter.clone();
        counter.add(u64::MAX);
        same.inc();
        assert_eq!((counter.get(), same.get()), (0, 0));
        assert!(counter == same && counter != Counter::new());
    }
}
