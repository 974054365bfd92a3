//! The keys of which runs hold something, of some key groups: for whoever visits every key of a state.
//!
//! Entered when the keys that are in memory have been noted, and then in slices. Runs are read side by side in the
//! order of keys, a little of each at a time, and of each entry the newest row counts, and that it was removed more than
//! any. Invariants: what runs and graves say is what they said when the walk began; every key of which an entry was on
//! disk then is shown, once. Memory is a piece of each run, and the graves.
//!
//! # What changes meanwhile
//! The walk holds the runs that were listed when it began, so their files stay while merges put others in their place.
//! An entry that leaves memory later was noted there before. One that comes back to memory is in these runs as well.
//! One that left memory before was dropped there behind a run that was listed by then. So noting what is in memory
//! *first* and listing runs *then* misses none, however many turns lie between; and who shows a key that was noted
//! no second time shows each once.
//! Lives on one shard's thread.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use thalweg_memory::spill::{IoDone, IoQueue, RequestId};
use thalweg_memory::{Key, Record, SpillError};

use super::graves::Graves;
use super::layered::LayeredTable;
use super::lookup::{Runs, Sought};
use super::merge::{Pieces, Stand, Stream, put_in_order};
use super::overflow::Overflow;
use super::pile::Reading;
use super::run::ColdRun;
use crate::error::StateError;
use crate::snapshot::Row;
use crate::table::Namespace;

/// The part of the memory that is given to pieces of runs: one in so many.
const PIECES: u64 = 32;
/// Bytes of a run that are read at once, at most.
const PIECE_BYTES: u64 = 64 << 10;

/// A walk over the keys that runs hold.
pub(super) struct KeysInRuns {
    /// Newest first, as they were listed.
    runs: Vec<Rc<ColdRun>>,
    /// What was removed, and no run of these says so.
    graves: BTreeSet<Sought>,
    streams: Vec<Stream>,
    /// Streams by their rows, that which comes first last.
    order: Vec<usize>,
    /// Streams whose next row is not known yet.
    away: Vec<usize>,
    pieces: Pieces,
    piece_bytes: u64,
    /// Bytes of pieces that are here or on their way.
    bytes: u64,
    /// Bytes of graves, and of where the blocks of runs lie.
    beside: u64,
    /// The entry looked at last: what older runs say of it does not count.
    last: Option<Sought>,
    /// Its key was shown.
    shown: bool,
    /// What it was looked for by, in memory that is used again.
    grave: Sought,
}

impl KeysInRuns {
    /// A walk over the keys of some groups, as runs and graves are now, in about so much memory.
    fn new(runs: &Runs, graves: &Graves, groups: &Range<u16>, memory: u64) -> KeysInRuns {
        let runs = runs.list.clone();
        let streams =
            (runs.iter().enumerate()).flat_map(|(age, run)| Stream::all_of(age, run, groups));
        let streams: Vec<Stream> = streams.collect();
        let graves = graves.of_groups(groups);
        let grave = |grave: &Sought| grave.heap_bytes() + size_of::<Sought>() as u64;
        let places = streams.iter().map(Stream::memory_bytes);
        KeysInRuns {
            beside: graves.iter().map(grave).sum::<u64>() + places.sum::<u64>(),
            graves,
            order: Vec::with_capacity(streams.len()),
            away: (0..streams.len()).collect(),
            pieces: Pieces::default(),
            piece_bytes: (memory / (streams.len() as u64).max(1)).min(PIECE_BYTES),
            bytes: 0,
            last: None,
            shown: false,
            grave: Sought::default(),
            streams,
            runs,
        }
    }

    /// Bytes of memory, about.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.bytes + self.beside
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

    /// Goes to the next rows of the streams that wait for them, and asks for what is not here.
    fn bring_in(&mut self, queue: &mut IoQueue) -> Result<(), StateError> {
        for number in std::mem::take(&mut self.away) {
            self.step(number)?;
        }
        for number in self.away.iter().copied() {
            if self.pieces.are_asked_for(number) {
                continue;
            }
            let stream = &self.streams[number];
            if let Some(next) = stream.next_blocks(self.piece_bytes) {
                self.bytes += next.1;
                (self.pieces).ask(queue, &self.runs, (number, stream), next);
            }
        }
        Ok(())
    }

    /// Goes on with a stream and puts it where it belongs.
    fn step(&mut self, number: usize) -> Result<(), StateError> {
        let stream = &mut self.streams[number];
        let (age, before) = (stream.age, stream.held());
        let stand = stream.advance();
        let stand = stand.map_err(|(place, at, what)| self.runs[age].damaged(place, at, what))?;
        self.bytes -= before - self.streams[number].held();
        match stand {
            Stand::AtRow => put_in_order(&mut self.order, &self.streams, number),
            Stand::Away(_) => self.away.push(number),
            Stand::AtEnd => {}
        }
        Ok(())
    }

    /// Looks at so many rows, as far as they are here, and shows a row of each key that has something.
    fn advance(
        &mut self,
        queue: &mut IoQueue,
        rows: usize,
        show: &mut dyn FnMut(&Row<'_>) -> Result<(), StateError>,
    ) -> Result<Reading, StateError> {
        for _ in 0..rows {
            if !self.away.is_empty() {
                self.bring_in(queue)?;
            }
            if !self.away.is_empty() {
                return Ok(Reading::Waiting);
            }
            let Some(number) = self.order.pop() else {
                return Ok(Reading::Done);
            };
            self.look_at(number, show)?;
            self.step(number)?;
        }
        Ok(Reading::More)
    }

    /// Shows the row at which a stream stands, if its key has something by it and was not shown.
    fn look_at(
        &mut self,
        number: usize,
        show: &mut dyn FnMut(&Row<'_>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let row = self.streams[number].row();
        let last = self.last.as_ref();
        let same_key = last.is_some_and(|last| last.group == row.group.0 && last.key == row.key);
        let known = same_key && last.is_some_and(|last| last.namespace == row.namespace);
        if known || same_key && self.shown {
            return Ok(());
        }
        self.shown &= same_key;
        self.last.get_or_insert_default().set_row(&row);
        if row.is_tombstone() {
            return Ok(());
        }
        if !self.graves.is_empty() {
            self.grave.set_row(&row);
            if self.graves.contains(&self.grave) {
                return Ok(());
            }
        }
        self.shown = true;
        show(&row)
    }
}

impl Overflow {
    /// Begins a walk over the keys of some groups on disk. Those in memory have been noted.
    pub(crate) fn walk_keys(&mut self, groups: &Range<u16>) {
        let memory = self.share.limit() / PIECES;
        self.keys = Some(KeysInRuns::new(&self.runs, &self.graves, groups, memory));
    }

    /// Goes on with it: shows a row of each key that has something on disk.
    ///
    /// # Errors
    /// Damage, and what `show` answers.
    pub(crate) fn next_keys(
        &mut self,
        rows: usize,
        show: &mut dyn FnMut(&Row<'_>) -> Result<(), StateError>,
    ) -> Result<Reading, StateError> {
        let Some(keys) = &mut self.keys else {
            return Ok(Reading::Done);
        };
        let reading = keys.advance(&mut self.queue, rows, show)?;
        if reading == Reading::Done {
            self.keys = None;
            self.follow_memory();
        }
        Ok(reading)
    }

    /// Whoever visits keys holds copies of so many bytes.
    pub(crate) fn holds_copies(&mut self, bytes: u64) {
        self.copies = bytes;
        if bytes == 0 {
            self.follow_memory();
        }
    }
}

impl<K: Key, V: Record, N: Namespace> LayeredTable<K, V, N> {
    /// Whoever visits keys holds copies of so many bytes.
    pub(crate) fn holds_copies_of_keys(&mut self, bytes: u64) {
        if let Some(overflow) = &mut self.overflow {
            overflow.holds_copies(bytes);
        }
    }

    /// Begins a walk over the keys of some groups on disk. Those in memory have been noted.
    pub(crate) fn walk_keys_on_disk(&mut self, groups: &Range<u16>) {
        if let Some(overflow) = &mut self.overflow {
            overflow.walk_keys(groups);
        }
    }

    /// Looks at so many rows on disk, and shows each key that has something there. Where it answers that it waits, the
    /// end of the turn sees to it.
    ///
    /// # Errors
    /// What could not be read, and damage.
    pub(crate) fn next_keys_on_disk(
        &mut self,
        rows: usize,
        mut show: impl FnMut(K::Stored),
    ) -> Result<Reading, StateError> {
        let Some(overflow) = &mut self.overflow else {
            return Ok(Reading::Done);
        };
        let table = &self.table;
        let reading = overflow.next_keys(rows, &mut |row| {
            show(table.key_of(row)?);
            Ok(())
        })?;
        self.wanting |= reading == Reading::Waiting;
        Ok(reading)
    }
}
