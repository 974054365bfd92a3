//! Runs gone through one after the other, the newest first, some key groups at a time.
//!
//! Entered in slices by what takes all of a state into memory: there it is told of each entry whether a newer run has
//! said something of it, by looking for it, so that rows need not be put in order, which takes longer than to take them
//! in where runs have many sections. What comes next is read meanwhile. Invariants: of some key groups all rows of a run
//! are shown before any of an older one; the runs are those given at the start, whose files stay as long as the walk does.
//! Memory is the pieces that are read ahead. Lives on one shard's thread.

use std::ops::Range;
use std::rc::Rc;

use thalweg_memory::SpillError;
use thalweg_memory::spill::{IoDone, IoQueue, RequestId};

use super::super::merge::{Pieces, Stand, Stream};
use super::super::pile::Reading;
use super::super::run::ColdRun;
use crate::error::StateError;
use crate::snapshot::Row;

/// Bytes of runs that are gone through before streams are made anew, at least.
const STRETCH_BYTES: u64 = 2 << 20;
/// Bytes that are read at once, at most.
const PIECE_BYTES: u64 = 256 << 10;
/// Bytes that are here or on their way, about.
const AHEAD_BYTES: u64 = 2 << 20;

/// Is shown a row, and told the age of its run, 0 the newest; a smaller one than before says that other key groups begin.
pub(super) type ShowRow<'a> = dyn FnMut(&Row<'_>, usize) -> Result<(), StateError> + 'a;

/// A walk over all rows of runs.
pub(super) struct OneByOne {
    /// Newest first.
    runs: Vec<Rc<ColdRun>>,
    /// Key groups that are in work, and those behind them.
    begun: Range<u16>,
    end: u16,
    stride: u16,
    /// The rows of the key groups in work, those of the newest run first.
    streams: Vec<Stream>,
    /// The stream in work.
    at: usize,
    /// The next block to be asked for: of which stream, and which.
    next: (usize, usize),
    pieces: Pieces,
    /// Bytes that are here or on their way.
    bytes: u64,
}

impl OneByOne {
    /// A walk over what runs, given newest first, hold of some key groups.
    pub(super) fn new(runs: Vec<Rc<ColdRun>>, groups: &Range<u16>) -> OneByOne {
        let bytes = runs.iter().map(|run| run.bytes).sum::<u64>().max(1);
        let stride = STRETCH_BYTES * groups.len() as u64 / bytes;
        OneByOne {
            runs,
            begun: groups.start..groups.start,
            end: groups.end,
            stride: u16::try_from(stride).unwrap_or(u16::MAX).max(1),
            streams: Vec::new(),
            at: 0,
            next: (0, 0),
            pieces: Pieces::default(),
            bytes: 0,
        }
    }

    /// Bytes of memory, about.
    pub(super) fn memory_bytes(&self) -> u64 {
        let streams = self.streams.iter().map(Stream::memory_bytes);
        self.bytes + streams.sum::<u64>()
    }

    /// Whether all rows of a key group were shown.
    pub(super) fn has_passed(&self, group: u16) -> bool {
        group < self.begun.start
    }

    /// Goes on to the next key groups; whether there are any.
    fn begin_stretch(&mut self) -> bool {
        let start = self.begun.end;
        self.begun = start..self.end.min(start.saturating_add(self.stride));
        let groups = self.begun.clone();
        let runs = self.runs.iter().enumerate();
        let streams = runs.flat_map(|(age, run)| Stream::all_of(age, run, &groups));
        self.streams = streams.collect();
        (self.at, self.next) = (0, (0, 0));
        !groups.is_empty()
    }

    /// Asks for what comes next, as far as there is to be memory for.
    fn ask(&mut self, queue: &mut IoQueue) {
        while self.bytes < AHEAD_BYTES
            && let (number, from) = self.next
            && let Some(stream) = self.streams.get(number)
        {
            let Some((blocks, bytes)) = stream.blocks_from(from, PIECE_BYTES) else {
                self.next = (number + 1, 0);
                continue;
            };
            self.next = (number, blocks.end);
            self.bytes += bytes;
            (self.pieces).ask(queue, &self.runs, (number, stream), (blocks, bytes));
        }
    }

    /// Takes an answer of the disk; gives back what is not its own.
    pub(super) fn answered(
        &mut self,
        request: RequestId,
        answer: Result<IoDone, SpillError>,
    ) -> Result<Option<Result<IoDone, SpillError>>, StateError> {
        let streams = &mut self.streams;
        self.pieces.answered(&self.runs, streams, request, answer)
    }

    /// Shows so many rows, as far as they are here.
    ///
    /// # Errors
    /// Damage, and what `show` answers.
    pub(super) fn advance(
        &mut self,
        queue: &mut IoQueue,
        rows: usize,
        show: &mut ShowRow<'_>,
    ) -> Result<Reading, StateError> {
        let mut left = rows;
        while left > 0 {
            let Some(stream) = self.streams.get_mut(self.at) else {
                match self.begin_stretch() {
                    true => continue,
                    false => return Ok(Reading::Done),
                }
            };
            let (age, before) = (stream.age, stream.held());
            let stand = stream.advance();
            let stand =
                stand.map_err(|(place, at, what)| self.runs[age].damaged(place, at, what))?;
            self.bytes -= before - stream.held();
            match stand {
                Stand::AtRow => {
                    show(&stream.row(), age)?;
                    left -= 1;
                }
                Stand::AtEnd => self.at += 1,
                Stand::Away(_) => {
                    self.ask(queue);
                    return Ok(Reading::Waiting);
                }
            }
        }
        self.ask(queue);
        Ok(Reading::More)
    }
}
