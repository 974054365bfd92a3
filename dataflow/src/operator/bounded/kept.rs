//! The records of a partition, kept until its end under the memory of the slot.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Record;
use thalweg_memory::{Budget, SavedRecord};

use crate::function::FunctionError;

/// Records in the order in which they came. Invariant: their bytes are reserved from the budget until
/// they are taken or dropped.
pub(super) struct Kept<T: Record> {
    records: Vec<(T, Timestamp)>,
    reserved: u64,
    budget: Budget,
}

impl<T: Record> Kept<T> {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            records: Vec::new(),
            reserved: 0,
            budget,
        }
    }

    /// Keeps one more record.
    pub(super) fn push(&mut self, record: T, at: Timestamp) -> Result<(), FunctionError> {
        let bytes = (size_of::<(T, Timestamp)>() + record.heap_bytes()) as u64;
        self.budget.reserve(bytes)?;
        self.reserved += bytes;
        self.records.push((record, at));
        Ok(())
    }

    /// All records as bytes, in order: each one's time, then its archive.
    pub(super) fn to_items(&self) -> Vec<Vec<u8>> {
        let mut saved = SavedRecord::new();
        let item = |(record, at): &(T, Timestamp)| {
            let mut bytes = at.0.to_le_bytes().to_vec();
            bytes.extend_from_slice(saved.archive(record));
            bytes
        };
        self.records.iter().map(item).collect()
    }

    /// Keeps the records of such items again.
    pub(super) fn restore(&mut self, items: &[Vec<u8>]) -> Result<(), FunctionError> {
        let mut saved = SavedRecord::new();
        for item in items {
            let Some((at, bytes)) = item.split_first_chunk() else {
                return Err(FunctionError::new(
                    "a record kept in the checkpoint has no time",
                ));
            };
            let record = saved.revive(bytes);
            let record = record.map_err(|error| FunctionError::new(error.to_string()))?;
            self.push(record, Timestamp(i64::from_le_bytes(*at)))?;
        }
        Ok(())
    }

    /// Takes all records. Their memory is returned: they are about to be given out.
    pub(super) fn take(&mut self) -> Vec<(T, Timestamp)> {
        self.release();
        std::mem::take(&mut self.records)
    }

    fn release(&mut self) {
        self.budget.release(std::mem::take(&mut self.reserved));
    }
}

impl<T: Record> Drop for Kept<T> {
    fn drop(&mut self) {
        self.budget.release(self.reserved);
    }
}
