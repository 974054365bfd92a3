//! The sinks of all workloads: rows counted, their terms summed.
//!
//! [`Checksum`] sums a row's term at once, for chains that are one loop with it. [`Gathered`] keeps what
//! the terms are made of and sums many together, where rows come one by one.
//!
//! Each subtask sums alone and adds its total once, at the end. Lives on the shard of its subtask.

use std::sync::{Arc, Mutex, PoisonError};

use thalweg::record::Item;
use thalweg::sink::{
    InputStatus, Sink, SinkError, SinkStatus, SinkWriter, SubtaskInfo, Timestamp, TurnContext,
};
use thalweg_core::simd::on_this_cpu;

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
    #[inline(always)]
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

/// How many rows are summed together.
const GROUP: usize = 64;

/// Sums the terms of rows, many together.
#[derive(Clone)]
pub(super) struct Gathered<F, T> {
    read: F,
    term: T,
    total: Total,
}

impl<F, T> Gathered<F, T> {
    /// `read` answers what a row's term is made of, or the term itself where it is of another make.
    pub(super) fn new<R>(read: F, term: T, total: &Total) -> Self
    where
        T: Fn(R) -> u64,
    {
        Self {
            read,
            term,
            total: total.clone(),
        }
    }
}

impl<I, F, T, R> Sink<I> for Gathered<F, T>
where
    I: Item,
    F: for<'a, 'b> Fn(&'b I::Of<'a>) -> Result<R, u64> + Clone + Send + 'static,
    T: Fn(R) -> u64 + Clone + Send + 'static,
    R: Copy + Default + 'static,
{
    type Writer = Gathering<F, T, R>;

    fn name(&self) -> String {
        "checksum".to_owned()
    }

    fn open(&self, _subtask: &SubtaskInfo) -> Result<Gathering<F, T, R>, SinkError> {
        Ok(Gathering {
            read: self.read.clone(),
            term: self.term.clone(),
            gathered: [R::default(); GROUP],
            count: 0,
            rows: 0,
            sum: 0,
            total: self.total.clone(),
        })
    }
}

/// The sums of one subtask, and the rows not yet summed.
pub(super) struct Gathering<F, T, R> {
    read: F,
    term: T,
    gathered: [R; GROUP],
    count: usize,
    rows: u64,
    sum: u64,
    total: Total,
}

impl<F, T: Fn(R) -> u64, R: Copy> Gathering<F, T, R> {
    /// Sums what was gathered.
    #[inline(never)]
    fn add_up(&mut self) {
        let rows = &self.gathered[..self.count];
        let term = &self.term;
        let sum = on_this_cpu(
            #[inline(always)]
            || rows.iter().map(|row| term(*row)).fold(0, u64::wrapping_add),
        );
        self.sum = self.sum.wrapping_add(sum);
        self.rows += self.count as u64;
        self.count = 0;
    }
}

impl<I, F, T, R> SinkWriter<I> for Gathering<F, T, R>
where
    I: Item,
    F: for<'a, 'b> Fn(&'b I::Of<'a>) -> Result<R, u64> + 'static,
    T: Fn(R) -> u64 + 'static,
    R: Copy + 'static,
{
    #[inline(always)]
    fn write(&mut self, item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        match (self.read)(&item) {
            Ok(row) => {
                if self.count == GROUP {
                    self.add_up();
                }
                self.gathered[self.count] = row;
                self.count += 1;
            }
            Err(term) => {
                self.rows += 1;
                self.sum = self.sum.wrapping_add(term);
            }
        }
        Ok(())
    }

    fn end_turn(
        &mut self,
        _context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        if input == InputStatus::Ended {
            self.add_up();
            self.total.add(self.rows, self.sum);
            (self.rows, self.sum) = (0, 0);
        }
        Ok(SinkStatus::Done)
    }
}
