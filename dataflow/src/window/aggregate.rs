//! How the records of a window become one row, incrementally.
//!
//! The functions are called by whoever gathers records: before the exchange, in slices, in whole
//! windows. They hold no state of their own. Invariant asked of them: merging is associative and
//! commutative, and adding a record equals merging an accumulator to which only it was added; so
//! the row does not depend on where and in which order records were gathered.

use thalweg_memory::record::{Item, Key, Record};

use super::TimeWindow;

/// How the records of one key in one window become a row.
///
/// An accumulator holds what has been gathered so far. The engine may gather parts of a window
/// apart (per producer, per slice of a sliding window) and merge them: merging must be
/// associative and commutative.
///
/// ```
/// use thalweg_dataflow::window::{TimeWindow, WindowAggregate};
/// use thalweg_memory::record::KeyValue;
///
/// /// The number of records of each key and window.
/// #[derive(Clone)]
/// struct Count;
///
/// impl WindowAggregate<u64, (u64, i64)> for Count {
///     type Accumulator = u64;
///     type Row = (u64, i64, u64);
///     fn create(&self) -> u64 {
///         0
///     }
///     fn add(&self, count: &mut u64, _record: (u64, i64)) {
///         *count += 1;
///     }
///     fn merge(&self, into: &mut u64, other: &u64) {
///         *into += other;
///     }
///     fn row(&self, key: u64, window: TimeWindow, count: &u64) -> (u64, i64, u64) {
///         (key, window.start.0, *count)
///     }
/// }
/// ```
pub trait WindowAggregate<K: Key, T: Item>: Clone + Send + 'static {
    /// What is kept per key and window.
    type Accumulator: Record;
    /// What is emitted.
    type Row: Item;

    /// The accumulator of no record.
    fn create(&self) -> Self::Accumulator;

    /// Takes one record into the accumulator.
    fn add(&self, accumulator: &mut Self::Accumulator, item: T::Of<'_>);

    /// Makes what `other` holds a part of `into`.
    fn merge(&self, into: &mut Self::Accumulator, other: &Self::Accumulator);

    /// Takes what `other` holds out of `from`, into which it was merged before. Answers false,
    /// and leaves `from` alone, where that cannot be undone (a maximum, say).
    ///
    /// Must answer the same whenever it is asked.
    fn subtract(&self, from: &mut Self::Accumulator, other: &Self::Accumulator) -> bool {
        let _ = (from, other);
        false
    }

    /// The row of a key and window.
    fn row<'a>(
        &self,
        key: K::Of<'a>,
        window: TimeWindow,
        accumulator: &'a Self::Accumulator,
    ) -> <Self::Row as Item>::Of<'a>;
}
