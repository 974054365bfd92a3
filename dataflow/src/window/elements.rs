//! The records of one window, kept whole.
//!
//! Filled and given out by the window operator, thinned by evictors, read by window functions.
//! Invariants: records lie in the order in which they came; the bytes they hold are counted when
//! they come and go, not by walking over all of them. Lives on one shard's thread.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::{Record, SchemaWriter, rkyv};

/// The records of one key in one window, in the order in which they came.
///
/// Where windows have merged, the records of the window that began first come first.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = thalweg_memory::record::rkyv)]
pub struct WindowElements<T> {
    records: Vec<T>,
    /// Event times, ms.
    times: Vec<i64>,
    /// What the records hold on the heap, bytes.
    held: u64,
}

impl<T: Record> Record for WindowElements<T> {
    const OUT_OF_LINE: bool = true;

    fn describe(to: &mut SchemaWriter) {
        to.named::<Self>(|to| {
            to.text("WindowElements{records: Vec<");
            T::describe(to);
            to.text(">, times: Vec<i64>, held: u64}");
        });
    }

    fn heap_bytes(&self) -> usize {
        let places = self.records.capacity() * size_of::<T>() + self.times.capacity() * 8;
        places + self.held as usize
    }
}

impl<T: Record> WindowElements<T> {
    pub(crate) fn new() -> Self {
        Self {
            records: Vec::new(),
            times: Vec::new(),
            held: 0,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, record: T, at: Timestamp) {
        self.held += record.heap_bytes() as u64;
        self.records.push(record);
        self.times.push(at.0);
    }

    pub(crate) fn append(&mut self, other: &Self)
    where
        T: Clone,
    {
        self.held += other.held;
        self.records.extend_from_slice(&other.records);
        self.times.extend_from_slice(&other.times);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.records.iter()
    }

    /// The records with their event times, [`Timestamp::NONE`] where none was assigned.
    pub fn with_times(&self) -> impl DoubleEndedIterator<Item = (&T, Timestamp)> {
        let times = self.times.iter().map(|at| Timestamp(*at));
        self.records.iter().zip(times)
    }

    /// The record that came first.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.records.first()
    }

    /// The record that came last.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.records.last()
    }

    /// Removes the first `count` records, or all where there are fewer.
    pub fn remove_first(&mut self, count: usize) {
        let count = count.min(self.len());
        let gone = self.records.drain(..count);
        self.held -= gone.map(|record| record.heap_bytes() as u64).sum::<u64>();
        self.times.drain(..count);
    }

    /// Keeps the records for which `keep(record, event time)` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&T, Timestamp) -> bool) {
        let (mut held, mut place, mut kept) = (self.held, 0, 0);
        let times = &mut self.times;
        self.records.retain(|record| {
            let at = times[place];
            place += 1;
            if keep(record, Timestamp(at)) {
                times[kept] = at;
                kept += 1;
                return true;
            }
            held -= record.heap_bytes() as u64;
            false
        });
        times.truncate(kept);
        self.held = held;
    }
}

impl<'a, T> IntoIterator for &'a WindowElements<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> WindowElements<String> {
        let mut elements = WindowElements::new();
        for (place, word) in words.iter().enumerate() {
            elements.push((*word).to_owned(), Timestamp(place as i64));
        }
        elements
    }

    #[test]
    fn what_records_hold_is_counted_as_they_come_and_go() {
        let mut elements = words(&["to", "be", "or", "not", "to", "be"]);
        elements.append(&words(&["that", "is"]));
        elements.retain(|word, at| word != "to" && at != Timestamp(5));
        elements.remove_first(1);
        let left: Vec<_> = elements.with_times().collect();
        let expected = [("or", 2), ("not", 3), ("that", 0), ("is", 1)];
        assert_eq!(left.len(), expected.len());
        for ((word, at), (expected, time)) in left.iter().zip(expected) {
            assert_eq!((word.as_str(), *at), (expected, Timestamp(time)));
        }
        let held: usize = elements.iter().map(Record::heap_bytes).sum();
        assert_eq!(elements.held, held as u64);
        elements.remove_first(9);
        assert!(elements.is_empty() && elements.held == 0);
    }
}
