//! A round: what was not used lately in a stretch of buckets is written to a run, and then dropped.
//!
//! Entered between batches while a table is nearly full. Invariants: nothing is dropped before the run that
//! holds it is written; a round ends what it began, whatever the table does meanwhile. Goes in slices. Lives
//! on one shard's thread.

use std::ops::Range;
use std::rc::Rc;

use thalweg_core::KeyHash;
use thalweg_memory::SpillError;
use thalweg_memory::spill::{BulkWriter, IoDone, IoQueue, RequestId};

use super::ahead::Ahead;
use super::gather::Gathers;
use super::graves::Graves;
use super::hot::{Candidate, HotLayer, Unit};
use super::lookup::Sought;
use super::run::{ColdRun, RunForm, finish, writer_of};
use crate::error::StateError;
use crate::run::{RunWriter, StateNumber};
use crate::snapshot::Row;
#[cfg(test)]
use crate::snapshot::planted::{self, Bug};
use crate::table::OverflowRows;

/// Rounds to the length of a table.
pub(super) const ROUNDS: usize = 16;
/// How often the hand passes before what was used may go.
const SWEEPS: u8 = 2;
/// The fewest buckets of a round.
const FEW_BUCKETS: usize = 64;
/// Bytes written at once.
const PIECE_BYTES: usize = 256 << 10;

/// Which entries stay in memory.
pub(super) struct Kept {
    /// By slot: how many more times the hand passes over its entry before that may go; where all of a key go at
    /// once, by hash: the sweep of the hand in which it was used last.
    used: Vec<u8>,
    unit: Unit,
    /// How often the hand has begun from the start.
    sweep: u8,
    /// Nothing stays but what the first record that waits needs.
    only: Option<KeyHash>,
    /// Hashes of what is ahead, as bits of a small set.
    ahead: Vec<u64>,
}

/// Bits of the set of what is ahead, to one that is in it.
const SPREAD: usize = 64;

impl Kept {
    pub(super) fn new(unit: Unit) -> Kept {
        Kept {
            used: Vec::new(),
            unit,
            sweep: 0,
            only: None,
            ahead: vec![0],
        }
    }

    /// An entry is used.
    #[inline]
    pub(super) fn used(&mut self, slot: usize, slots: usize) {
        if self.used.len() != slots {
            // The array is another: what was used in the old one is forgotten.
            self.used = vec![0; slots];
        }
        self.used[slot] = 2;
    }

    /// All that a key has is used, of a state with so many slots.
    pub(super) fn used_key(&mut self, hash: KeyHash, slots: usize) {
        if self.used.len() != slots {
            self.used = vec![self.sweep; slots];
        }
        let at = self.mark_of(hash);
        if let Some(used) = self.used.get_mut(at) {
            *used = self.sweep;
        }
    }

    fn mark_of(&self, hash: KeyHash) -> usize {
        (hash.0 % self.used.len().max(1) as u64) as usize
    }

    /// The hand begins from the start.
    pub(super) fn begin_sweep(&mut self) {
        self.sweep = self.sweep.wrapping_add(1);
    }

    /// Memory is so little that nothing stays but what the first record that waits needs; or it is not.
    pub(super) fn keep_only(&mut self, first: Option<KeyHash>) {
        self.only = first;
    }

    /// What is ahead needs this.
    pub(super) fn set_ahead(&mut self, ahead: &Ahead) {
        // Few of those that are not ahead share a bit with one that is.
        let words = (ahead.len() * SPREAD / 64).next_power_of_two();
        self.ahead.clear();
        self.ahead.resize(words, 0);
        for hash in ahead.hashes() {
            let (word, bit) = self.bit_of(hash);
            self.ahead[word] |= bit;
        }
    }

    /// Where the bit of a hash is, and which.
    fn bit_of(&self, hash: KeyHash) -> (usize, u64) {
        let bit = hash.0 as usize % (self.ahead.len() * 64);
        (bit / 64, 1 << (bit % 64))
    }

    fn is_ahead(&self, hash: KeyHash) -> bool {
        let (word, bit) = self.bit_of(hash);
        self.ahead[word] & bit != 0
    }

    /// The hand passes over an entry; whether it may go. One that was used may go the next time.
    fn pass_over(&mut self, candidate: Candidate) -> bool {
        if self.unit != Unit::Key
            && let Some(used) = self.used.get_mut(candidate.slot)
        {
            *used = used.saturating_sub(1);
        }
        self.may_drop(candidate)
    }

    fn may_drop(&self, candidate: Candidate) -> bool {
        let (slot, hash) = (candidate.slot, self.unit.hash_of(candidate));
        if let Some(only) = self.only {
            return hash != only;
        }
        let used = match self.unit {
            Unit::Entry | Unit::Part => self.used.get(slot).is_some_and(|used| *used > 0),
            Unit::Key => {
                let last = self.used.get(self.mark_of(hash));
                last.is_some_and(|last| self.sweep.wrapping_sub(*last) < SWEEPS)
            }
        };
        !used && !self.is_ahead(hash)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        (self.used.capacity() + self.ahead.capacity() * 8) as u64
    }
}

/// A round at work.
pub(super) struct Round {
    stretch: Range<usize>,
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
    /// A round over the next stretch of a table of so many buckets, from bucket `hand` on.
    pub(super) fn new(
        hand: usize,
        buckets: usize,
        form: &RunForm,
        queue: &IoQueue,
    ) -> Result<Round, StateError> {
        let start = if hand < buckets { hand } else { 0 };
        let length = (buckets / ROUNDS).max(FEW_BUCKETS);
        let stretch = start..buckets.min(start + length);
        let writer = writer_of(form, true)?;
        Ok(Round {
            at: stretch.start,
            stretch,
            step: Step::Flushing(Box::new(writer)),
            rows: 0,
            file: BulkWriter::new(queue.files().file(), PIECE_BYTES),
        })
    }

    /// Whether its run is not listed yet.
    pub(super) fn is_unlisted(&self) -> bool {
        !matches!(self.step, Step::Dropping)
    }

    /// The bucket behind its last.
    pub(super) fn end(&self) -> usize {
        self.stretch.end
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
        let end = self.stretch.end.min(table.bucket_count());
        let slice = self.at.min(end)..end.min(self.at + T::SLICE_BUCKETS);
        match &mut self.step {
            Step::Flushing(_) if self.file.is_full() => return Ok(Progress::Waiting),
            Step::Flushing(writer) => {
                self.at = slice.end;
                let mut out = writer.rows_of(StateNumber(0))?;
                let mut pick = |one: Candidate| kept.pass_over(one) && !graves.may_name(one.key);
                self.rows += table.flush_buckets(slice, rows, &mut pick, &mut out);
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
                (self.step, self.at) = (Step::Dropping, self.stretch.start);
                if let Some(run) = run {
                    return Ok(Progress::Written(run));
                }
            }
            Step::Dropping if self.at >= end => {
                let moved = self.rows + *dropped;
                return Ok(Progress::Done { moved });
            }
            Step::Dropping => {
                self.at = slice.end;
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
                *dropped += table.drop_buckets(slice, rows, &mut pick, &mut gone);
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
