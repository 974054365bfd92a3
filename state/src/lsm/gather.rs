//! All that runs hold of a key, read back at once: for states of which only the whole tells what a key has.
//!
//! Entered for each record whose key is not in memory, and with each piece that was read. A key leaves memory with all
//! that it has, so the newest run that has a value of it has all, and no older one is asked; unless it is of a copy
//! whose runs hold changes alone. Invariants: while a key is gathered nothing of it is in memory, so no new run can
//! hold any of it; what is gathered is what the runs and graves said when it was asked for, and they say the same
//! however they are merged or buried meanwhile. Lives on one shard's thread.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use thalweg_core::{KeyGroup, KeyHash};
use thalweg_memory::spill::{IoQueue, RequestId};

use super::graves::Graves;
use super::index::BlockPlace;
use super::lookup::{Known, Runs};
use super::run::ColdRun;
use crate::error::StateError;
use crate::run::RowCursor;
use crate::snapshot::Row;

/// Bytes of the blocks that are read with one request, where they lie side by side.
const PIECE_BYTES: u64 = 128 << 10;
/// Keys that are remembered to be nowhere.
const MOST_ABSENT: usize = 1 << 10;

/// A key as runs know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SoughtKey {
    pub(super) group: u16,
    pub(super) key: Vec<u8>,
}

/// How much a row counts among those of one entry: the least counts. How many runs were asked up to its own, 0 for
/// graves; whether it is a tombstone, as within a run a put counts before one; how many sections lie behind its own.
type Rank = (usize, bool, usize);

/// A key whose rows come.
struct Gathering {
    hash: KeyHash,
    /// For each namespace what counts most of what was read so far.
    rows: BTreeMap<Vec<u8>, (Rank, Option<Vec<u8>>)>,
    /// Requests on the way.
    asked: usize,
    /// Runs that were asked, newest first.
    runs: usize,
    /// The last of them.
    last: Option<Rc<ColdRun>>,
    /// In the last there are values, and so all that older ones have to say.
    is_whole: bool,
    /// Bytes of them, then of the rows.
    bytes: u64,
}

/// Some blocks of one section that lie side by side.
struct Piece {
    sought: SoughtKey,
    run: Rc<ColdRun>,
    /// How much its rows count, but for whether they are tombstones.
    rank: (usize, usize),
    places: Vec<BlockPlace>,
}

/// A key all of whose rows are here, to be taken into memory.
pub(super) struct Found {
    pub(super) sought: SoughtKey,
    pub(super) hash: KeyHash,
    /// Namespaces with values, which are gone once they were taken in.
    rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Rows before this one were taken in.
    taken: usize,
}

/// The keys that are being gathered.
#[derive(Default)]
pub(super) struct Gathers {
    standing: BTreeMap<SoughtKey, Option<Gathering>>,
    pieces: BTreeMap<RequestId, Piece>,
    found: VecDeque<Found>,
    /// Keys that nothing holds, though filters had left it possible; until they have something again.
    absent: BTreeMap<KeyHash, SoughtKey>,
    /// Bytes of what is read and what was found.
    bytes: u64,
    /// Blocks read so far.
    pub(super) reads: u64,
}

impl Gathers {
    /// Bytes of memory, about.
    pub(super) fn memory_bytes(&self) -> u64 {
        let each = size_of::<(SoughtKey, Gathering)>() as u64 + 64;
        let absent = size_of::<(KeyHash, SoughtKey)>() as u64 + 32;
        self.bytes + self.standing.len() as u64 * each + self.absent.len() as u64 * absent
    }

    /// Bytes of what is read and what was found.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is known of a key of which nothing is in memory; asks for it where it may be in a run, if `may_ask`.
    pub(super) fn look(
        &mut self,
        (sought, hash): (&SoughtKey, KeyHash),
        runs: &Runs,
        graves: &Graves,
        queue: &mut IoQueue,
        may_ask: bool,
    ) -> Known {
        if self.standing.contains_key(sought) {
            return Known::Coming;
        }
        if self.absent.get(&hash) == Some(sought) {
            return Known::Absent;
        }
        if !may_ask {
            let may_hold =
                |run: &Rc<ColdRun>| !run.blocks_of_key(sought.group, &sought.key).is_empty();
            return match runs.list.iter().any(may_hold) {
                true => Known::Coming,
                false => Known::Absent,
            };
        }
        let mut gathering = Gathering::new(hash);
        if !self.ask_on(sought, &mut gathering, runs, queue) {
            return Known::Absent;
        }
        for namespace in graves.of_key(sought.group, &sought.key) {
            gathering.rows.insert(namespace, ((0, true, 0), None));
        }
        self.standing.insert(sought.clone(), Some(gathering));
        Known::Coming
    }

    /// Asks the runs behind those that were asked, down to one that may say it all; whether there was one to ask.
    fn ask_on(
        &mut self,
        sought: &SoughtKey,
        gathering: &mut Gathering,
        runs: &Runs,
        queue: &mut IoQueue,
    ) -> bool {
        for run in &runs.list[gathering.next_of(runs)..] {
            let sections = run.blocks_of_key(sought.group, &sought.key);
            if sections.is_empty() {
                continue;
            }
            gathering.runs += 1;
            gathering.last = Some(Rc::clone(run));
            for (section, places) in sections.into_iter().enumerate() {
                for places in in_pieces(places) {
                    let piece = Piece {
                        sought: sought.clone(),
                        run: Rc::clone(run),
                        rank: (gathering.runs, usize::MAX - section),
                        places,
                    };
                    self.ask(piece, gathering, queue);
                }
            }
            if run.is_whole() {
                break;
            }
        }
        gathering.asked > 0
    }

    fn ask(&mut self, piece: Piece, gathering: &mut Gathering, queue: &mut IoQueue) {
        let Some((offset, bytes)) = extent_of(&piece.places) else {
            return;
        };
        let request = queue.read(&piece.run.file, offset, bytes as usize);
        self.reads += piece.places.len() as u64;
        self.bytes += bytes;
        gathering.bytes += bytes;
        gathering.asked += 1;
        self.pieces.insert(request, piece);
    }

    /// Takes a piece in, if it was asked for here.
    pub(super) fn answered(
        &mut self,
        request: RequestId,
        bytes: &[u8],
        runs: &Runs,
        queue: &mut IoQueue,
    ) -> Result<(), StateError> {
        let Some(piece) = self.pieces.remove(&request) else {
            return Ok(());
        };
        let Some(Some(gathering)) = self.standing.get_mut(&piece.sought) else {
            unreachable!("the key of a piece that was asked for is being gathered");
        };
        let mut start = 0;
        for place in &piece.places {
            let end = start + place.length as usize;
            let block = &bytes[start..end];
            let taken = match place.is_whole(block) {
                true => gathering.take(&piece, block),
                false => Err((0, "a block has another checksum")),
            };
            taken.map_err(|(at, what)| piece.run.damaged(*place, at, what))?;
            start = end;
        }
        gathering.asked -= 1;
        if gathering.asked == 0
            && let Some(gathering) = self.standing.get_mut(&piece.sought).and_then(Option::take)
        {
            self.go_on(&piece.sought, gathering, runs, queue);
        }
        Ok(())
    }

    /// What was asked for of a key is here: asks on, unless that was all.
    fn go_on(
        &mut self,
        sought: &SoughtKey,
        mut gathering: Gathering,
        runs: &Runs,
        queue: &mut IoQueue,
    ) {
        self.bytes -= std::mem::take(&mut gathering.bytes);
        if !gathering.is_whole && self.ask_on(sought, &mut gathering, runs, queue) {
            self.standing.insert(sought.clone(), Some(gathering));
            return;
        }
        let put = |(namespace, (_, value)): (Vec<u8>, (Rank, Option<Vec<u8>>))| {
            value.map(|value| (namespace, Some(value)))
        };
        let rows: Vec<_> = gathering.rows.into_iter().filter_map(put).collect();
        if rows.is_empty() {
            self.standing.remove(sought);
            if self.absent.len() >= MOST_ABSENT {
                self.absent.clear();
            }
            self.absent.insert(gathering.hash, sought.clone());
            return;
        }
        let found = Found {
            sought: sought.clone(),
            hash: gathering.hash,
            rows,
            taken: 0,
        };
        self.bytes += found.bytes();
        self.found.push_back(found);
    }

    /// Whether a key that was found waits for room.
    pub(super) fn has_found(&self) -> bool {
        !self.found.is_empty()
    }

    /// Hands over the next row of the key that was found first; whether there was one.
    pub(super) fn admit_next(
        &mut self,
        admit: &mut dyn FnMut(&Row<'_>) -> Result<(), StateError>,
    ) -> Result<bool, StateError> {
        let Some(found) = self.found.front_mut() else {
            return Ok(false);
        };
        let Some((namespace, value)) = found.rows.get_mut(found.taken) else {
            return Ok(false);
        };
        found.taken += 1;
        let value = value.take().unwrap_or_default();
        self.bytes -= value.len() as u64;
        admit(&Row {
            group: KeyGroup(found.sought.group),
            key: &found.sought.key,
            namespace,
            value: Some(&value),
        })?;
        Ok(true)
    }

    /// How many entries the key that was found first has.
    pub(super) fn first_found(&self) -> usize {
        self.found.front().map_or(0, |found| found.rows.len())
    }

    /// All of the key that was found first is in memory.
    pub(super) fn take_found(&mut self) -> Option<Found> {
        let found = self.found.pop_front()?;
        self.bytes -= found.bytes();
        self.standing.remove(&found.sought);
        Some(found)
    }

    /// Keys with this hash may be in runs from now on.
    pub(super) fn may_be_in_runs(&mut self, hash: KeyHash) {
        self.absent.remove(&hash);
    }
}

impl Gathering {
    fn new(hash: KeyHash) -> Gathering {
        Gathering {
            hash,
            rows: BTreeMap::new(),
            asked: 0,
            runs: 0,
            last: None,
            is_whole: false,
            bytes: 0,
        }
    }

    /// The place of the run that is asked next.
    fn next_of(&mut self, runs: &Runs) -> usize {
        let Some(last) = &self.last else {
            return 0;
        };
        let place = runs.list.iter().position(|run| Rc::ptr_eq(run, last));
        let Some(place) = place else {
            // It was merged with others meanwhile: all are looked through from the start, but graves say what they
            // said.
            self.rows.retain(|_, (rank, _)| rank.0 == 0);
            return 0;
        };
        place + 1
    }

    /// Takes the rows of the key in a block.
    fn take(&mut self, piece: &Piece, block: &[u8]) -> Result<(), (usize, &'static str)> {
        let mut cursor = RowCursor::new(piece.run.index.states());
        let sought = (piece.run.state.0, piece.sought.group);
        let (age, section) = piece.rank;
        loop {
            let start = cursor.position();
            if !cursor.advance(block).map_err(|what| (start, what))? {
                return Ok(());
            }
            let there = (cursor.state(), cursor.group());
            if there < sought {
                continue;
            }
            let row = cursor.row(block);
            if there > sought || row.key > &piece.sought.key[..] {
                return Ok(());
            }
            if row.key == piece.sought.key {
                self.is_whole |= !row.is_tombstone() && piece.run.is_whole();
                let rank = (age, row.is_tombstone(), section);
                let newer = self.rows.get(row.namespace).is_none_or(|it| rank < it.0);
                if newer {
                    let value = row.value.map(<[u8]>::to_vec);
                    self.rows.insert(row.namespace.to_vec(), (rank, value));
                }
            }
        }
    }
}

impl Found {
    /// Its rows, without their values.
    pub(super) fn places(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(namespace, _)| Row {
            group: KeyGroup(self.sought.group),
            key: &self.sought.key,
            namespace,
            value: None,
        })
    }

    /// Bytes of namespaces and values that are not taken in.
    fn bytes(&self) -> u64 {
        let of = |(namespace, value): &(Vec<u8>, Option<Vec<u8>>)| {
            namespace.len() + value.as_ref().map_or(0, Vec::len) + 48
        };
        self.rows.iter().map(of).sum::<usize>() as u64
    }
}

/// Where some blocks that lie side by side begin, and how many bytes they are.
fn extent_of(places: &[BlockPlace]) -> Option<(u64, u64)> {
    let (first, last) = (places.first()?, places.last()?);
    let end = last.offset + u64::from(last.length);
    Some((first.offset, end - first.offset))
}

/// The blocks of a section, as many together as are read at once.
fn in_pieces(places: Vec<BlockPlace>) -> Vec<Vec<BlockPlace>> {
    let mut pieces: Vec<Vec<BlockPlace>> = Vec::new();
    for place in places {
        let fits = |piece: &&mut Vec<BlockPlace>| {
            let bytes = extent_of(piece).map_or(0, |(_, bytes)| bytes);
            bytes + u64::from(place.length) <= PIECE_BYTES
        };
        match pieces.last_mut().filter(fits) {
            Some(piece) => piece.push(place),
            None => pieces.push(vec![place]),
        }
    }
    pieces
}
