//! A round: what was not used lately in some of the buckets is written to a run, and then dropped.
//!
//! Entered between batches while a table is nearly full. Invariants: nothing is dropped before the run that
//! holds it is written; a round ends what it began, whatever the table does meanwhile. Goes in slices. Lives
//! on one shard's thread.

mod kept;
mod stride;

use std::ops::Range;
use std::rc::Rc;

use thalweg_memory::SpillError;
use thalweg_memory::spill::{BulkWriter, IoDone, IoQueue, RequestId};

pub(super) use self::kept::Kept;
pub(super) use self::stride::Stride;
use super::gather::Gathers;
use super::graves::Graves;
use super::hot::{Candidate, HotLayer};
use super::lookup::Sought;
use super::run::{ColdRun, RunForm, finish, fresh, writer_of};
use crate::error::StateError;
use crate::run::{RunWriter, StateNumber};
use crate::snapshot::Row;
#[cfg(test)]
use crate::snapshot::planted::{self, Bug};
use crate::table::OverflowRows;

/// Rounds to all buckets of a table, a power of two.
pub(super) const ROUNDS: usize = 16;
/// Bytes written at once.
const PIECE_BYTES: usize = 256 << 10;

/// A round at work.
pub(super) struct Round {
    number: usize,
    stride: Stride,
    at: usize,
    step: Step,
    rows: usize,
    file: BulkWriter,
}

enum Step {
    /// Rows are written.
    Flushing(Box<RunWriter>),
    /// The disk is at work; then the run is added.
    Writing(Option<Rc<ColdRun>>),
    Dropping,
}

/// How far a round is.
pub(super) enum Progress {
    /// More can be done at once.
    More,
    /// The disk is at work.
    Waiting,
    /// A run is on the disk: it is to be added to the others before the round goes on.
    Written(Rc<ColdRun>),
    /// The round is over.
    Done {
        /// Entries that were dropped or written in it.
        moved: usize,
    },
}

impl Round {
    /// The round of this number in a sweep over a table of so many buckets; the first follows the last.
    pub(super) fn new(
        number: usize,
        buckets: usize,
        form: &RunForm,
        queue: &IoQueue,
    ) -> Result<Round, StateError> {
        let writer = writer_of(form, true, fresh())?;
        Ok(Round {
            number,
            stride: Stride::of_round(number, buckets),
            at: 0,
            step: Step::Flushing(Box::new(writer)),
            rows: 0,
            file: BulkWriter::new(queue.files().file(), PIECE_BYTES),
        })
    }

    /// Whether its run is not listed yet.
    pub(super) fn is_unlisted(&self) -> bool {
        !matches!(self.step, Step::Dropping)
    }

    /// The number of the round that follows.
    pub(super) fn next(&self) -> usize {
        self.number + 1
    }

    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        match &self.step {
            Step::Flushing(writer) => writer.memory_bytes() as u64,
            _ => 0,
        }
    }

    /// Takes an answer of the disk; whether it was one of its own.
    pub(super) fn answered(
        &mut self,
        request: RequestId,
        answer: &Result<IoDone, SpillError>,
    ) -> Result<bool, StateError> {
        let own = self.file.answered(request, answer)?;
        if let Step::Writing(Some(run)) = &self.step {
            // A cut that carries it looks before it is listed.
            run.written.set(self.file.is_written());
        }
        Ok(own)
    }

    /// Does a slice.
    pub(super) fn advance<T: HotLayer>(
        &mut self,
        table: &mut T,
        kept: &mut Kept,
        rows: &mut OverflowRows,
        (queue, groups): (&mut IoQueue, &Range<u16>),
        (graves, was_copied): (&mut Graves, bool),
        (dropped, gathers): (&mut usize, &mut Gathers),
    ) -> Result<Progress, StateError> {
        let end = self.stride.len();
        let slice = self.at..end.min(self.at + T::SLICE_BUCKETS);
        let (at, there) = (slice.end, table.bucket_count());
        // The array may have become a smaller one meanwhile.
        let buckets = (self.stride.buckets(slice)).filter(move |bucket| *bucket < there);
        match &mut self.step {
            Step::Flushing(_) if self.file.is_full() => return Ok(Progress::Waiting),
            Step::Flushing(writer) => {
                self.at = at;
                let mut out = writer.rows_of(StateNumber(0))?;
                let mut pick = |one: Candidate| kept.pass_over(one) && !graves.may_name(one.key);
                self.rows += table.flush_buckets(buckets, rows, &mut pick, &mut out);
                if writer.ready() >= PIECE_BYTES {
                    self.file.append(queue, &writer.take_output())?;
                }
                if self.at >= end {
                    self.seal(queue, groups)?;
                }
            }
            Step::Writing(_) if !self.file.is_written() => return Ok(Progress::Waiting),
            Step::Writing(run) => {
                let run = run.take();
                (self.step, self.at) = (Step::Dropping, 0);
                if let Some(run) = run {
                    return Ok(Progress::Written(run));
                }
            }
            Step::Dropping if self.at >= end => {
                let moved = self.rows + *dropped;
                return Ok(Progress::Done { moved });
            }
            Step::Dropping => {
                self.at = at;
                let mut pick = |one: Candidate| {
                    let may = kept.may_drop(one);
                    if may {
                        gathers.may_be_in_runs(one.key);
                    }
                    may
                };
                let mut gone = |hash, row: &Row<'_>| {
                    #[cfg(test)]
                    if planted::is_in(Bug::ExpiredDropped) {
                        return;
                    }
                    // Runs say that it is gone, or have it still, but a copy may hold it above them.
                    if was_copied {
                        graves.dig(Sought::of(row), hash);
                    }
                };
                *dropped += table.drop_buckets(buckets, rows, &mut pick, &mut gone);
            }
        }
        Ok(Progress::More)
    }

    /// No more rows come; answers the run that is on its way to the disk, if there is one.
    pub(super) fn seal(
        &mut self,
        queue: &mut IoQueue,
        groups: &Range<u16>,
    ) -> Result<Option<Rc<ColdRun>>, StateError> {
        let writer = match &mut self.step {
            Step::Flushing(_) => match std::mem::replace(&mut self.step, Step::Writing(None)) {
                Step::Flushing(writer) if self.rows > 0 => writer,
                _ => return Ok(None),
            },
            Step::Writing(run) => return Ok(run.clone()),
            Step::Dropping => return Ok(None),
        };
        let run = finish(*writer, &mut self.file, queue, groups)?;
        self.step = Step::Writing(Some(Rc::clone(&run)));
        Ok(Some(run))
    }
}
