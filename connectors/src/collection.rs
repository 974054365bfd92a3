//! A source over values the program already has: for examples, tests and small tables.
//!
//! Built on the program's thread, read by one subtask on its shard. Invariant: records come in the
//! order of the collection; a position is the number of records emitted.

use std::sync::Arc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::record::{Record, record};

/// Emits the given values once, in order, in one subtask.
pub struct Collection<T> {
    items: Arc<[T]>,
}

impl<T> Collection<T> {
    /// A source of these values. They are taken out of the iterator now.
    pub fn new(items: impl IntoIterator<Item = T>) -> Self {
        Self {
            items: items.into_iter().collect(),
        }
    }
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self {
            items: Arc::clone(&self.items),
        }
    }
}

/// How far a collection was read: the index of the next value.
#[record(crate = thalweg_memory)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectionSplit {
    next: u64,
}

impl<T: Record + Clone + Sync> Source for Collection<T> {
    type Item = T;
    type Split = CollectionSplit;
    type Reader = CollectionReader<T>;

    fn name(&self) -> String {
        "collection".to_owned()
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    fn parallelism(&self) -> Option<u32> {
        Some(1)
    }

    fn splits(&self, _parallelism: u32) -> Result<Vec<CollectionSplit>, SourceError> {
        Ok(vec![CollectionSplit { next: 0 }])
    }

    fn open(
        &self,
        splits: Vec<CollectionSplit>,
        _subtask: &SubtaskInfo,
    ) -> Result<CollectionReader<T>, SourceError> {
        debug_assert!(splits.len() <= 1, "a collection has one split");
        // No split: nothing is left to this subtask.
        let next = splits.first().map_or(u64::MAX, |split| split.next);
        let next = usize::try_from(next).unwrap_or(usize::MAX);
        Ok(CollectionReader {
            items: Arc::clone(&self.items),
            next: next.min(self.items.len()),
        })
    }
}

/// Reads a collection.
pub struct CollectionReader<T> {
    items: Arc<[T]>,
    next: usize,
}

impl<T: Record + Clone + Sync> SourceReader for CollectionReader<T> {
    type Item = T;
    type Split = CollectionSplit;

    fn poll<O: SourceOutput<T>>(
        &mut self,
        out: &mut O,
        _context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        while let Some(item) = self.items.get(self.next) {
            if !out.wanted() {
                return Ok(SourceStatus::More);
            }
            self.next += 1;
            out.emit(item.clone(), Timestamp::NONE);
        }
        Ok(SourceStatus::Finished)
    }

    fn snapshot(&self) -> Vec<CollectionSplit> {
        debug_assert!(self.next <= self.items.len());
        if self.next == self.items.len() {
            return Vec::new();
        }
        let next = self.next as u64;
        vec![CollectionSplit { next }]
    }
}
