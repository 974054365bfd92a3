//! Several cold runs made into one, in the background.
//!
//! Entered at the end of turns, a slice at a time, at no more than a rate of bytes. Goes from key groups to
//! key groups: the blocks of some are read from all runs that are merged, as many as there is a little memory
//! for, then their rows are written in order, that of the newest run where several know a key. Invariants: the merged
//! run says what those it was made of said, but that what was over when the merge began is gone; tombstones, of that
//! too, stay where what they say is gone may lie below, so nothing older comes to light. Memory is what the runs hold
//! of one key group, or a little more.
//! Lives on one shard's thread.

mod pieces;
mod stream;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use thalweg_memory::SpillError;
use thalweg_memory::spill::{BulkWriter, IoDone, IoQueue, RequestId};

pub(super) use self::pieces::Pieces;
pub(super) use self::stream::{Stand, Stream, put_in_order};
use super::index::RunIndex;
use super::run::{ColdRun, RunForm, writer_of};
use crate::error::StateError;
use crate::run::{ChainRun, CompactionPolicy, RunOptions, RunWriter, StateNumber};
use crate::snapshot::RowSink;
#[cfg(test)]
use crate::snapshot::planted::{self, Bug};

/// Bytes of the rows of several key groups that are read at once.
const STRETCH_BYTES: u64 = 128 << 10;
/// Rows of a slice.
const SLICE_ROWS: usize = 256;
/// The most runs merged at once: of each at least a block is in memory.
const MOST_RUNS: usize = 24;
/// Bytes written at once.
const PIECE_BYTES: usize = 256 << 10;

/// What checkpoints hold of a run. Runs are merged only with their like: what is merged of a run that a copy
/// holds and one that none does would have to be carried above cuts that are newer than a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    No,
    /// The cut in work carries it.
    ByCut,
    /// The copy on which cuts build does.
    ByCopy,
}

/// Which runs to merge next: neighbours, newest first, of which checkpoints hold the same.
pub(super) fn plan(
    runs: &[Rc<ColdRun>],
    held: impl Fn(&Rc<ColdRun>) -> Held,
) -> Option<Range<usize>> {
    let policy = CompactionPolicy::default();
    debug_assert!(runs.is_sorted_by_key(&held), "copies hold the oldest");
    let mut start = 0;
    while start < runs.len() {
        let kind = held(&runs[start]);
        let alike = runs[start..].iter().take_while(|run| held(run) == kind);
        let chain: Vec<ChainRun> = alike
            .map(|run| ChainRun {
                bytes: run.bytes,
                groups: 0..1,
                full: false,
            })
            .collect();
        if let Some(plan) = policy.plan(&chain) {
            // The oldest of them: what is left comes next.
            let first = (plan.runs.start).max(plan.runs.end.saturating_sub(MOST_RUNS));
            return Some(first + start..plan.runs.end + start);
        }
        start += chain.len();
    }
    None
}

/// Tells of the value of a row whether its time has passed.
pub(super) type IsOver = Box<dyn FnMut(&[u8]) -> Result<bool, StateError>>;
/// Answers that as of now: a merge asks at its start, so that one time counts for all of its rows.
pub(super) type LeaveOut = Box<dyn Fn() -> IsOver>;

/// A merge at work.
pub(super) struct Merging {
    /// Newest first.
    runs: Vec<Rc<ColdRun>>,
    keeps_tombstones: bool,
    /// Groups left, and how many of them are merged at once.
    groups: Range<u16>,
    stride: u16,
    /// Blocks that were asked for: stream and place in it.
    asked: BTreeMap<RequestId, (usize, usize)>,
    streams: Vec<Stream>,
    /// Streams by their rows, that which comes first last.
    order: Vec<usize>,
    begun: bool,
    last: Option<(Vec<u8>, Vec<u8>)>,
    is_over: Option<IsOver>,
    /// Something was over.
    left_out: bool,
    writer: Option<Box<RunWriter>>,
    file: BulkWriter,
    sealed: Option<ColdRun>,
}

/// How far a merge is.
pub(super) enum Merged {
    /// More can be done at once.
    More,
    /// The disk is at work.
    Waiting,
    /// So many bytes were asked for: the rate says when to go on.
    Asked(u64),
    /// It is written.
    Done(Rc<ColdRun>),
}

impl Merging {
    /// Merges neighbours, given newest first. `keeps_tombstones`: what they say is gone may be in an older run, or in
    /// a copy that does not know of it yet.
    pub(super) fn new(
        runs: Vec<Rc<ColdRun>>,
        keeps_tombstones: bool,
        groups: Range<u16>,
        form: &RunForm,
        queue: &IoQueue,
    ) -> Result<Merging, StateError> {
        let whole = runs.iter().all(|run| run.is_whole());
        let writer = writer_of(form, whole, RunOptions::default())?;
        let bytes = runs.iter().map(|run| run.bytes).sum::<u64>().max(1);
        let stride = STRETCH_BYTES * groups.len() as u64 / bytes;
        Ok(Merging {
            runs,
            keeps_tombstones,
            stride: u16::try_from(stride).unwrap_or(u16::MAX).max(1),
            groups,
            asked: BTreeMap::new(),
            streams: Vec::new(),
            order: Vec::new(),
            begun: false,
            last: None,
            is_over: None,
            left_out: false,
            writer: Some(Box::new(writer)),
            file: BulkWriter::new(queue.files().file(), PIECE_BYTES),
            sealed: None,
        })
    }

    /// The same merge, of which is left out what is over.
    pub(super) fn without(self, is_over: Option<IsOver>) -> Merging {
        Merging { is_over, ..self }
    }

    /// Leaves out nothing from here on; whether nothing was left out before.
    pub(super) fn leave_out_no_more(&mut self) -> bool {
        self.is_over = None;
        !self.left_out
    }

    /// Whether it has left out something.
    pub(super) fn has_left_out(&self) -> bool {
        self.left_out
    }

    /// The runs that are merged.
    pub(super) fn runs(&self) -> &[Rc<ColdRun>] {
        &self.runs
    }

    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        let blocks = self.streams.iter().flat_map(|stream| &stream.places);
        let writer = self.writer.as_ref();
        blocks.map(|place| u64::from(place.length)).sum::<u64>()
            + writer.map_or(0, |writer| writer.memory_bytes() as u64)
    }

    /// Takes an answer of the disk; gives back what is not its own.
    pub(super) fn answered(
        &mut self,
        request: RequestId,
        answer: Result<IoDone, SpillError>,
    ) -> Result<Option<Result<IoDone, SpillError>>, StateError> {
        if self.file.answered(request, &answer)? {
            return Ok(None);
        }
        let Some((stream, at)) = self.asked.remove(&request) else {
            return Ok(Some(answer));
        };
        if let IoDone::Read(block) = answer? {
            let stream = &mut self.streams[stream];
            let place = stream.places[at];
            if !place.is_whole(&block) {
                let run = &self.runs[stream.age];
                return Err(run.damaged(place, 0, "a block has another checksum").into());
            }
            stream.put(at, block);
        }
        Ok(None)
    }

    /// Does a slice.
    pub(super) fn advance(&mut self, queue: &mut IoQueue) -> Result<Merged, StateError> {
        if !self.asked.is_empty() || self.file.is_full() {
            return Ok(Merged::Waiting);
        }
        if !self.streams.is_empty() {
            self.write_rows(queue)?;
            return Ok(Merged::More);
        }
        if !self.groups.is_empty() {
            let start = self.groups.start;
            let end = self.groups.end.min(start.saturating_add(self.stride));
            self.groups.start = end;
            let asked = self.ask_for(start..end, queue);
            return Ok(Merged::Asked(asked));
        }
        self.seal(queue)?;
        if !self.file.is_written() {
            return Ok(Merged::Waiting);
        }
        match self.sealed.take() {
            Some(run) => Ok(Merged::Done(Rc::new(run))),
            None => unreachable!("a merge is done once"),
        }
    }

    /// Asks for the blocks of some key groups.
    fn ask_for(&mut self, groups: Range<u16>, queue: &mut IoQueue) -> u64 {
        let mut bytes = 0;
        for (age, run) in self.runs.iter().enumerate() {
            for stream in Stream::all_of(age, run, &groups) {
                let number = self.streams.len();
                for (at, place) in stream.places.iter().enumerate() {
                    let request = queue.read(&run.file, place.offset, place.length as usize);
                    self.asked.insert(request, (number, at));
                    bytes += u64::from(place.length);
                }
                self.streams.push(stream);
            }
        }
        self.begun = false;
        self.last = None;
        bytes
    }

    /// Goes on with a stream and puts it where it belongs among the others.
    fn step(&mut self, number: usize) -> Result<(), StateError> {
        let stream = &mut self.streams[number];
        let age = stream.age;
        let there = stream.advance();
        let there = there.map_err(|(place, at, what)| self.runs[age].damaged(place, at, what))?;
        match there {
            Stand::AtRow => put_in_order(&mut self.order, &self.streams, number),
            Stand::AtEnd => {}
            // All were asked for. The task has failed of one that could not be read, and ends its turn all the same.
            Stand::Away(place) => {
                let missing = self.runs[age].damaged(place, 0, "a block could not be read");
                return Err(missing.into());
            }
        }
        Ok(())
    }

    /// Writes a slice of the rows of the group in work.
    fn write_rows(&mut self, queue: &mut IoQueue) -> Result<(), StateError> {
        if !self.begun {
            self.begun = true;
            for number in 0..self.streams.len() {
                self.step(number)?;
            }
        }
        for _ in 0..SLICE_ROWS {
            let Some(number) = self.order.pop() else {
                self.streams.clear();
                return Ok(());
            };
            self.write_row(number, queue)?;
            self.step(number)?;
        }
        Ok(())
    }

    /// Writes the row at which a stream stands, unless one that counts before it was written.
    fn write_row(&mut self, number: usize, queue: &mut IoQueue) -> Result<(), StateError> {
        let mut row = self.streams[number].row();
        let known = (self.last.as_ref())
            .is_some_and(|(key, namespace)| key == row.key && namespace == row.namespace);
        let Some(writer) = self.writer.as_mut().filter(|_| !known) else {
            return Ok(());
        };
        let (key, namespace) = self.last.get_or_insert_default();
        key.clear();
        key.extend_from_slice(row.key);
        namespace.clear();
        namespace.extend_from_slice(row.namespace);
        if let (Some(value), Some(is_over)) = (row.value, &mut self.is_over)
            && is_over(value)?
        {
            // As if it had been removed. If it is in memory as it is here, it is over there too, and is buried when it
            // leaves: cuts may have written it meanwhile.
            row.value = None;
            self.left_out = true;
            #[cfg(test)]
            if planted::is_in(Bug::ExpiredWithoutTombstone) {
                return Ok(());
            }
        }
        if row.is_tombstone() && !self.keeps_tombstones {
            return Ok(());
        }
        writer.rows_of(StateNumber(0))?.row(row);
        if writer.ready() >= PIECE_BYTES {
            self.file.append(queue, &writer.take_output())?;
        }
        Ok(())
    }

    /// All rows are in.
    fn seal(&mut self, queue: &mut IoQueue) -> Result<(), StateError> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let (last, summary, footer, indexes) = writer.finish_searched()?;
        self.file.append(queue, &last)?;
        self.file.flush(queue)?;
        let mut groups: Vec<Range<u16>> = Vec::new();
        for range in self.runs.iter().flat_map(|run| &run.groups) {
            if !groups.contains(range) {
                groups.push(range.clone());
            }
        }
        self.sealed = Some(ColdRun {
            file: self.file.file().clone(),
            index: RunIndex::new(footer, indexes),
            state: StateNumber(0),
            groups,
            bytes: summary.bytes,
            checksum: summary.checksum,
            rows: summary.rows(),
            copied: Cell::new(self.runs.iter().all(|run| run.copied.get())),
            written: Cell::new(true),
        });
        Ok(())
    }
}
