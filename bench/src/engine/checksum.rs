//! The sink of every workload: rows counted, their terms summed.
//!
//! Each subtask sums alone and adds its total once, at the end. Lives on the shard of its subtask.

use std::sync::{Arc, Mutex, PoisonError};

use thalweg::record::Item;
use thalweg::sink::{
    InputStatus, Sink, SinkError, SinkStatus, SinkWriter, SubtaskInfo, Timestamp, TurnContext,
};

/// Rows and checksum of a whole run.
#[derive(Clone, Debug, Default)]
pub(super) struct Total(Arc<Mutex<(u64, u64)>>);

impl Total {
    /// Rows, and the wrapping sum of their terms.
    pub(super) fn get(&self) -> (u64, u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, rows: u64, sum: u64) {
        let mut total = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        total.0 += rows;
        total.1 = total.1.wrapping_add(sum);
    }
}

/// Sums the term of every row.
#[derive(Clone)]
pub(super) struct Checksum<F> {
    term: F,
    total: Total,
}

impl<F> Checksum<F> {
    pub(super) fn new(term: F, total: &Total) -> Self {
        Self {
            term,
            total: total.clone(),
        }
    }
}

impl<I, F> Sink<I> for Checksum<F>
where
    I: Item,
    F: for<'a, 'b> Fn(&'b I::Of<'a>) -> u64 + Clone + Send + 'static,
{
    type Writer = Summing<F>;

    fn name(&self) -> String {
        "checksum".to_owned()
    }

    fn open(&self, _subtask: &SubtaskInfo) -> Result<Summing<F>, SinkError> {
        Ok(Summing {
            term: self.term.clone(),
            rows: 0,
            sum: 0,
            total: self.total.clone(),
        })
    }
}

/// The sums of one subtask.
pub(super) struct Summing<F> {
    term: F,
    rows: u64,
    sum: u64,
    total: Total,
}

impl<I, F> SinkWriter<I> for Summing<F>
where
    I: Item,
    F: for<'a, 'b> Fn(&'b I::Of<'a>) -> u64 + 'static,
{
    #[inline]
    fn write(&mut self, item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        self.rows += 1;
        self.sum = self.sum.wrapping_add((self.term)(&item));
        Ok(())
    }

    fn end_turn(
        &mut self,
        _context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        if input == InputStatus::Ended {
            self.total.add(self.rows, self.sum);
            (self.rows, self.sum) = (0, 0);
        }
        Ok(SinkStatus::Done)
    }
}
