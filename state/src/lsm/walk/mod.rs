//! Several runs gone through side by side, in the order of keys, a little of each at a time.
//!
//! Entered in slices by what looks at everything that runs hold of some key groups. Of each entry the row of the newest
//! run is shown, and no other. What comes next is asked for before it is wanted, so that rows seldom wait for the disk.
//! Invariants: rows come in order, each once; the runs are those given at the start, whose files stay as long as the
//! walk does. Memory is two pieces of each run. Lives on one shard's thread.

mod keys;
mod one_by_one;

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use thalweg_memory::SpillError;
use thalweg_memory::spill::{IoDone, IoQueue, RequestId};

pub(super) use self::keys::KeysInRuns;
pub(super) use self::one_by_one::OneByOne;
use super::lookup::Sought;
use super::merge::{Stand, Stream, put_in_order};
use super::pile::Reading;
use super::run::ColdRun;
use crate::error::StateError;
use crate::snapshot::Row;

/// Is shown a row, and told whether its key is that of the row before.
pub(super) type ShowRow<'a> = dyn FnMut(&Row<'_>, bool) -> Result<(), StateError> + 'a;

/// Bytes of runs that are gone through before streams are made anew, at least. A run may have very many sections, each
/// sorted in itself, of which few hold rows of the same key groups.
const STRETCH_BYTES: u64 = 2 << 20;

/// A walk over the rows of runs that count.
pub(super) struct RowWalk {
    /// Newest first.
    runs: Vec<Rc<ColdRun>>,
    /// Key groups that are still to be gone through, and how many of them at once.
    left: Range<u16>,
    stride: u16,
    /// The rows of the key groups in work.
    streams: Vec<Stream>,
    /// Streams by their rows, that which comes first last.
    order: Vec<usize>,
    /// Streams whose next row is not known yet.
    away: Vec<usize>,
    /// Blocks that were asked for, by stream.
    asked: BTreeMap<RequestId, (usize, Range<usize>)>,
    /// Of each stream how many of its blocks were asked for so far, and whether some are on their way.
    asked_until: Vec<(usize, bool)>,
    /// Bytes of pieces of all streams together, and of one of them at most.
    pieces_bytes: u64,
    most_bytes: u64,
    piece_bytes: u64,
    /// Bytes of pieces that are here or on their way.
    bytes: u64,
    /// Bytes of where the blocks of runs lie.
    beside: u64,
    /// The entry looked at last: what older runs say of it does not count.
    last: Option<Sought>,
}

impl RowWalk {
    /// A walk over what runs, given newest first, hold of some key groups: in about so many bytes of memory, and of each
    /// run at most so many at once.
    pub(super) fn new(
        runs: Vec<Rc<ColdRun>>,
        groups: &Range<u16>,
        (memory, most_bytes): (u64, u64),
    ) -> RowWalk {
        let bytes = runs.iter().map(|run| run.bytes).sum::<u64>().max(1);
        let stride = STRETCH_BYTES * groups.len() as u64 / bytes;
        RowWalk {
            left: groups.clone(),
            stride: u16::try_from(stride).unwrap_or(u16::MAX).max(1),
            streams: Vec::new(),
            order: Vec::new(),
            away: Vec::new(),
            asked: BTreeMap::new(),
            asked_until: Vec::new(),
            // Two pieces of each are here at once.
            pieces_bytes: memory / 2,
            most_bytes,
            piece_bytes: 0,
            bytes: 0,
            beside: 0,
            last: None,
            runs,
        }
    }

    /// Goes on to the next key groups; whether there are any.
    fn begin_stretch(&mut self) -> bool {
        let start = self.left.start;
        let end = self.left.end.min(start.saturating_add(self.stride));
        if start >= end {
            return false;
        }
        self.left.start = end;
        let groups = start..end;
        let runs = self.runs.iter().enumerate();
        let streams = runs.flat_map(|(age, run)| Stream::all_of(age, run, &groups));
        self.streams = streams.collect();
        self.beside = self.streams.iter().map(Stream::memory_bytes).sum();
        self.away = (0..self.streams.len()).collect();
        self.asked_until = vec![(0, false); self.streams.len()];
        let share = self.pieces_bytes / (self.streams.len() as u64).max(1);
        self.piece_bytes = share.min(self.most_bytes);
        true
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
        let Some((number, blocks)) = self.asked.remove(&request) else {
            return Ok(Some(answer));
        };
        self.asked_until[number].1 = false;
        if let IoDone::Read(bytes) = answer? {
            let stream = &mut self.streams[number];
            if let Some(place) = stream.put_piece(blocks, &bytes) {
                let run = &self.runs[stream.age];
                return Err(run.damaged(place, 0, "a block has another checksum").into());
            }
        }
        Ok(None)
    }

    /// Goes to the next rows of the streams that wait for them, and asks for what is not here.
    fn bring_in(&mut self, queue: &mut IoQueue) -> Result<(), StateError> {
        for number in std::mem::take(&mut self.away) {
            match self.asked_until[number] {
                (_, true) => self.away.push(number),
                (_, false) => self.step(number, queue)?,
            }
        }
        Ok(())
    }

    /// Asks for the next piece of a stream, once little is left of what was asked for.
    fn ask(&mut self, number: usize, queue: &mut IoQueue) {
        let stream = &self.streams[number];
        let (from, coming) = self.asked_until[number];
        let enough = stream.held() > self.piece_bytes / 2;
        if coming || enough || from >= stream.places.len() {
            return;
        }
        if let Some((blocks, bytes)) = stream.blocks_from(from, self.piece_bytes) {
            let run = &self.runs[stream.age];
            let offset = stream.places[blocks.start].offset;
            let request = queue.read(&run.file, offset, bytes as usize);
            self.asked_until[number] = (blocks.end, true);
            self.asked.insert(request, (number, blocks));
            self.bytes += bytes;
        }
    }

    /// Goes on with a stream and puts it where it belongs.
    fn step(&mut self, number: usize, queue: &mut IoQueue) -> Result<(), StateError> {
        let stream = &mut self.streams[number];
        let (age, before) = (stream.age, stream.held());
        let stand = stream.advance();
        let stand = stand.map_err(|(place, at, what)| self.runs[age].damaged(place, at, what))?;
        let after = self.streams[number].held();
        self.bytes -= before - after;
        match stand {
            Stand::AtRow => put_in_order(&mut self.order, &self.streams, number),
            Stand::Away(_) => self.away.push(number),
            Stand::AtEnd => {}
        }
        if before != after || stand != Stand::AtRow {
            self.ask(number, queue);
        }
        Ok(())
    }

    /// Looks at so many rows, as far as they are here, and shows those that count.
    ///
    /// # Errors
    /// Damage, and what `show` answers.
    pub(super) fn advance(
        &mut self,
        queue: &mut IoQueue,
        rows: usize,
        show: &mut ShowRow<'_>,
    ) -> Result<Reading, StateError> {
        for _ in 0..rows {
            if !self.away.is_empty() {
                self.bring_in(queue)?;
            }
            if !self.away.is_empty() {
                return Ok(Reading::Waiting);
            }
            let Some(number) = self.order.pop() else {
                match self.begin_stretch() {
                    true => continue,
                    false => return Ok(Reading::Done),
                }
            };
            self.look_at(number, show)?;
            self.step(number, queue)?;
        }
        Ok(Reading::More)
    }

    /// Shows the row at which a stream stands, if no newer run says something of its entry.
    fn look_at(&mut self, number: usize, show: &mut ShowRow<'_>) -> Result<(), StateError> {
        let row = self.streams[number].row();
        let last = self.last.as_ref();
        let same_key = last.is_some_and(|last| last.group == row.group.0 && last.key == row.key);
        if same_key && last.is_some_and(|last| last.namespace == row.namespace) {
            return Ok(());
        }
        self.last.get_or_insert_default().set_row(&row);
        show(&row, same_key)
    }
}
