//! The sinks of all workloads: rows counted, their terms summed.
//!
//! [`Checksum`] sums a row's term at once, for chains that are one loop with it. [`Gathered`] keeps what
//! the terms are made of and sums many together, where rows come one by one.
//!
//! Each subtask sums alone and tells its total at the end. Rows and sum are state of the sink: a run that
//! was killed and restored ends with those of one that never was. Lives on the shard of its subtask.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use thalweg::record::Item;
use thalweg::sink::{
    CheckpointId, Epoch, ErrorKind, InputStatus, Prepared, Sink, SinkError, SinkStatus, SinkWriter,
    SubtaskInfo, Timestamp, TurnContext,
};
use thalweg_core::simd::on_this_cpu;

/// Rows and checksum of a whole run, by subtask.
#[derive(Clone, Debug, Default)]
pub(super) struct Total(Arc<Mutex<BTreeMap<u32, Sums>>>);

impl Total {
    /// Rows, and the wrapping sum of their terms.
    pub(super) fn get(&self) -> (u64, u64) {
        let totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = totals.values();
        let whole = all.fold(Sums::default(), |whole, part| whole.and(*part));
        (whole.rows, whole.sum)
    }

    /// What a subtask came to; told again after a restart, it takes the place of what it told before.
    fn tell(&self, subtask: u32, sums: Sums) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        totals.insert(subtask, sums);
    }
}

/// Rows and the wrapping sum of their terms.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    rows: u64,
    sum: u64,
}

impl Sums {
    fn and(self, other: Sums) -> Sums {
        Sums {
            rows: self.rows + other.rows,
            sum: self.sum.wrapping_add(other.sum),
        }
    }
}

/// A subtask's sums between checkpoints.
struct Kept {
    subtask: u32,
    sums: Sums,
    total: Total,
    /// What was cut and not asked for yet.
    cut: VecDeque<Prepared>,
}

impl Kept {
    fn open(subtask: &SubtaskInfo, total: &Total) -> Self {
        Self {
            subtask: subtask.index,
            sums: Sums::default(),
            total: total.clone(),
            cut: VecDeque::new(),
        }
    }

    fn restore(mut self, state: &[Vec<u8>]) -> Result<Self, SinkError> {
        for item in state {
            let (numbers, rest) = item.as_chunks();
            let ([rows, sum], []) = (numbers, rest) else {
                let message = "the checksum in the checkpoint is not two numbers";
                return Err(SinkError::new(ErrorKind::Data, message));
            };
            let (rows, sum) = (u64::from_le_bytes(*rows), u64::from_le_bytes(*sum));
            self.sums = self.sums.and(Sums { rows, sum });
        }
        Ok(self)
    }

    fn cut(&mut self, checkpoint: Option<CheckpointId>) {
        let Sums { rows, sum } = self.sums;
        self.cut.push_back(Prepared {
            checkpoint,
            state: vec![[rows.to_le_bytes(), sum.to_le_bytes()].concat()],
            ..Prepared::default()
        });
    }

    fn end(&mut self) {
        self.total.tell(self.subtask, self.sums);
        self.cut(None);
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

    fn open(&self, subtask: &SubtaskInfo) -> Result<Summing<F>, SinkError> {
        self.restore(subtask, Vec::new())
    }

    fn restore(&self, at: &SubtaskInfo, state: Vec<Vec<u8>>) -> Result<Summing<F>, SinkError> {
        Ok(Summing {
            term: self.term.clone(),
            kept: Kept::open(at, &self.total).restore(&state)?,
        })
    }
}

/// The sums of one subtask.
pub(super) struct Summing<F> {
    term: F,
    kept: Kept,
}

impl<I, F> SinkWriter<I> for Summing<F>
where
    I: Item,
    F: for<'a, 'b> Fn(&'b I::Of<'a>) -> u64 + 'static,
{
    #[inline(always)]
    fn write(&mut self, item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        let sums = &mut self.kept.sums;
        sums.rows += 1;
        sums.sum = sums.sum.wrapping_add((self.term)(&item));
        Ok(())
    }

    fn end_turn(
        &mut self,
        _context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        if input == InputStatus::Ended {
            self.kept.end();
        }
        Ok(SinkStatus::Done)
    }

    fn barrier(&mut self, checkpoint: CheckpointId) -> Result<Epoch, SinkError> {
        self.kept.cut(Some(checkpoint));
        Ok(Epoch::Preparing)
    }

    fn prepared(&mut self) -> Option<Prepared> {
        self.kept.cut.pop_front()
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

    fn open(&self, subtask: &SubtaskInfo) -> Result<Gathering<F, T, R>, SinkError> {
        self.restore(subtask, Vec::new())
    }

    fn restore(
        &self,
        subtask: &SubtaskInfo,
        state: Vec<Vec<u8>>,
    ) -> Result<Gathering<F, T, R>, SinkError> {
        Ok(Gathering {
            read: self.read.clone(),
            term: self.term.clone(),
            gathered: [R::default(); GROUP],
            count: 0,
            kept: Kept::open(subtask, &self.total).restore(&state)?,
        })
    }
}

/// The sums of one subtask, and the rows not yet summed.
pub(super) struct Gathering<F, T, R> {
    read: F,
    term: T,
    gathered: [R; GROUP],
    count: usize,
    kept: Kept,
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
        let rows = self.count as u64;
        self.kept.sums = self.kept.sums.and(Sums { rows, sum });
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
                let Some(place) = self.gathered.get_mut(self.count) else {
                    self.add_up();
                    self.gathered[0] = row;
                    self.count = 1;
                    return Ok(());
                };
                *place = row;
                self.count += 1;
            }
            Err(term) => {
                self.kept.sums = self.kept.sums.and(Sums { rows: 1, sum: term });
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
            self.kept.end();
        }
        Ok(SinkStatus::Done)
    }

    fn barrier(&mut self, checkpoint: CheckpointId) -> Result<Epoch, SinkError> {
        self.add_up();
        self.kept.cut(Some(checkpoint));
        Ok(Epoch::Preparing)
    }

    fn prepared(&mut self) -> Option<Prepared> {
        self.kept.cut.pop_front()
    }
}
