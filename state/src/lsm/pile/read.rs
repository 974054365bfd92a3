//! Piles read through for some key groups.
//!
//! Entered between turns: some pieces are on their way ahead of the one in work. Invariants: piles come one after
//! the other in the order in which they were given; every row of the groups comes once for each time its pile was
//! given; memory is a few pieces. Lives on one shard's thread.

use std::collections::VecDeque;
use std::ops::Range;

use thalweg_memory::SpillError;
use thalweg_memory::spill::{IoDone, RequestId};

use super::super::index::BlockPlace;
use super::{Answer, Pile, Piles};
use crate::error::StateError;
use crate::run::RowCursor;
use crate::snapshot::Row;

/// Bytes of neighbouring blocks that are read at once.
const PIECE_BYTES: u64 = 128 << 10;
/// Bytes that are asked for ahead of the piece in work.
const AHEAD_BYTES: u64 = 512 << 10;

/// Which rows of a pile are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that say that something is gone.
    Tombstones,
    /// Those with a value.
    Values,
    /// All of them, as they were written.
    All,
}

impl Which {
    fn wants(self, value: bool) -> bool {
        match self {
            Which::Tombstones => !value,
            Which::Values => value,
            Which::All => true,
        }
    }
}

/// How far the reading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// There may be more rows at once.
    More,
    /// The disk is at work.
    Waiting,
    /// All rows were shown.
    Done,
}

/// Neighbouring blocks of one pile.
struct Piece {
    source: usize,
    places: Vec<BlockPlace>,
    bytes: u64,
    request: Option<RequestId>,
    read: Option<Vec<u8>>,
}

/// Reads piles through.
pub struct PileReader {
    sources: Vec<(Pile, Which)>,
    groups: Range<u16>,
    /// What comes next first; those that were asked for first of all.
    pieces: VecDeque<Piece>,
    /// Where in the first piece it stands: which block, and the row in it.
    block: usize,
    cursor: Option<RowCursor>,
}

impl PileReader {
    /// Reads the rows of these key groups from piles, given in the order in which they are to be shown.
    #[must_use]
    pub fn new(sources: Vec<(Pile, Which)>, groups: Range<u16>) -> PileReader {
        let mut pieces = VecDeque::new();
        for (source, (pile, _)) in sources.iter().enumerate() {
            for counting in &pile.run.groups {
                let shared = counting.start.max(groups.start)..counting.end.min(groups.end);
                if shared.is_empty() {
                    continue;
                }
                for places in pile.run.index.blocks_of(pile.run.state, shared) {
                    join(source, places, &mut pieces);
                }
            }
        }
        PileReader {
            sources,
            groups,
            pieces,
            block: 0,
            cursor: None,
        }
    }

    /// The key groups.
    #[must_use]
    pub fn groups(&self) -> Range<u16> {
        self.groups.clone()
    }

    /// Bytes of memory.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let asked = self.pieces.iter().take_while(|piece| piece.is_asked());
        asked.map(|piece| piece.bytes).sum()
    }

    /// Takes an answer of the disk; whether it was one of its own.
    ///
    /// # Errors
    /// What could not be read, and damage.
    pub fn answered(&mut self, (request, answer): Answer) -> Result<bool, StateError> {
        let asked = self.pieces.iter_mut();
        let Some(piece) = asked
            .take_while(|piece| piece.is_asked())
            .find(|piece| piece.request == Some(request))
        else {
            return match answer {
                Ok(_) => Ok(false),
                Err(error) => Err(error.into()),
            };
        };
        if let IoDone::Read(bytes) = answer.map_err(|error: SpillError| error)? {
            let run = &self.sources[piece.source].0.run;
            let mut at = 0;
            for place in &piece.places {
                let block = at..at + place.length as usize;
                at = block.end;
                if !place.is_whole(&bytes[block]) {
                    return Err(run
                        .damaged(*place, 0, "a block has another checksum")
                        .into());
                }
            }
            piece.read = Some(bytes);
        }
        Ok(true)
    }

    /// Asks for what comes next.
    fn ask(&mut self, piles: &mut Piles) {
        let mut ahead = 0;
        for piece in &mut self.pieces {
            if ahead >= AHEAD_BYTES {
                return;
            }
            ahead += piece.bytes;
            if !piece.is_asked()
                && let Some(first) = piece.places.first()
            {
                let file = &self.sources[piece.source].0.run.file;
                let request = piles.queue.read(file, first.offset, piece.bytes as usize);
                piece.request = Some(request);
            }
        }
    }

    /// Shows rows that are there, about `budget` of them, with the number of their pile among those given. No row is
    /// shown behind one at which `show` failed.
    ///
    /// # Errors
    /// Damage, and what `show` answers.
    pub fn read(
        &mut self,
        piles: &mut Piles,
        budget: &mut usize,
        mut show: impl FnMut(usize, Row<'_>) -> Result<(), StateError>,
    ) -> Result<Reading, StateError> {
        loop {
            self.ask(piles);
            let Some(piece) = self.pieces.front() else {
                return Ok(Reading::Done);
            };
            let Some(bytes) = &piece.read else {
                return Ok(Reading::Waiting);
            };
            let (pile, which) = &self.sources[piece.source];
            let Some(place) = piece.places.get(self.block) else {
                self.block = 0;
                self.pieces.pop_front();
                continue;
            };
            let start = (place.offset - piece.places[0].offset) as usize;
            let block = &bytes[start..start + place.length as usize];
            let states = pile.run.index.states();
            let cursor = self.cursor.get_or_insert_with(|| RowCursor::new(states));
            loop {
                if *budget == 0 {
                    return Ok(Reading::More);
                }
                let at = cursor.position();
                let there = cursor.advance(block);
                if !there.map_err(|what| pile.run.damaged(*place, at, what))? {
                    break;
                }
                *budget -= 1;
                let group = cursor.group();
                let wanted = cursor.state() == pile.run.state.0
                    && which.wants(cursor.is_put())
                    && self.groups.contains(&group)
                    && pile.run.counts_for(group);
                if wanted {
                    show(piece.source, cursor.row(block))?;
                }
            }
            self.cursor = None;
            self.block += 1;
        }
    }
}

impl Piece {
    fn is_asked(&self) -> bool {
        self.request.is_some()
    }
}

/// Puts blocks that lie side by side into pieces.
fn join(source: usize, places: Vec<BlockPlace>, pieces: &mut VecDeque<Piece>) {
    let mut open: Option<Piece> = None;
    for place in places {
        let length = u64::from(place.length);
        let beside = |piece: &Piece| {
            let first = piece.places.first();
            first.is_some_and(|first| first.offset + piece.bytes == place.offset)
                && piece.bytes + length <= PIECE_BYTES
        };
        match &mut open {
            Some(piece) if beside(piece) => {
                piece.places.push(place);
                piece.bytes += length;
            }
            _ => {
                pieces.extend(open.take());
                open = Some(Piece {
                    source,
                    places: vec![place],
                    bytes: length,
                    request: None,
                    read: None,
                });
            }
        }
    }
    pieces.extend(open);
}
