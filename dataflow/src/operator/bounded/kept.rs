//! The records of a partition, kept until its end under the memory of the slot.

use thalweg_core::event_time::Timestamp;
use thalweg_memory::Budget;
use thalweg_memory::record::Record;

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
