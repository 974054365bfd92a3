//! The rows of one section of a run and of some key groups, in the order in which they lie.
//!
//! Entered by what goes through several runs at once: merges, and walks over the keys of a state. Invariants: rows
//! come in order, each once; a stream stands still before a block that is not here, and gives up those behind it.
//! Lives on one shard's thread.

use std::cmp::Ordering;
use std::ops::Range;

use super::super::index::BlockPlace;
use super::super::run::ColdRun;
use crate::run::RowCursor;
use crate::snapshot::Row;

/// What is wrong with a row: in which block, where in it, and what.
pub(in crate::lsm) type BadRow = (BlockPlace, usize, &'static str);

/// Where a stream stands after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lsm) enum Stand {
    /// At a row.
    AtRow,
    /// Before this block, which is not here.
    Away(BlockPlace),
    /// Behind the last row.
    AtEnd,
}

/// The rows of one section and some key groups, in order.
pub(in crate::lsm) struct Stream {
    /// Of the run, 0 the newest.
    pub(in crate::lsm) age: usize,
    /// The number of the section.
    section: usize,
    state: u16,
    states: usize,
    groups: Range<u16>,
    pub(in crate::lsm) places: Vec<BlockPlace>,
    blocks: Vec<Option<Vec<u8>>>,
    /// Bytes of the blocks that are here.
    held: u64,
    at: usize,
    cursor: RowCursor,
}

impl Stream {
    /// The streams of a run, of those of these key groups for which it counts.
    pub(in crate::lsm) fn all_of<'a>(
        age: usize,
        run: &'a ColdRun,
        groups: &'a Range<u16>,
    ) -> impl Iterator<Item = Stream> + 'a {
        let shared = (run.groups.iter())
            .map(|counting| counting.start.max(groups.start)..counting.end.min(groups.end))
            .filter(|shared| !shared.is_empty());
        shared.flat_map(move |groups| {
            let sections = run.index.blocks_of(run.state, groups.clone());
            (sections.into_iter().enumerate()).map(move |(section, places)| {
                Stream::new((age, section), run, groups.clone(), places)
            })
        })
    }

    fn new(
        (age, section): (usize, usize),
        run: &ColdRun,
        groups: Range<u16>,
        places: Vec<BlockPlace>,
    ) -> Stream {
        Stream {
            age,
            section,
            state: run.state.0,
            states: run.index.states(),
            groups,
            blocks: vec![None; places.len()],
            places,
            held: 0,
            at: 0,
            cursor: RowCursor::new(run.index.states()),
        }
    }

    /// Takes in a block that was read.
    pub(in crate::lsm) fn put(&mut self, at: usize, block: Vec<u8>) {
        self.held += block.len() as u64;
        self.blocks[at] = Some(block);
    }

    /// Takes in blocks that lie side by side and were read at once; answers the place of one that is damaged.
    pub(in crate::lsm) fn put_piece(
        &mut self,
        blocks: Range<usize>,
        bytes: &[u8],
    ) -> Option<BlockPlace> {
        let mut start = 0;
        for at in blocks {
            let place = self.places[at];
            let end = start + place.length as usize;
            let block = bytes[start..end].to_vec();
            start = end;
            if !place.is_whole(&block) {
                return Some(place);
            }
            self.put(at, block);
        }
        None
    }

    /// The blocks that come next, as many as lie side by side in so many bytes.
    pub(in crate::lsm) fn next_blocks(&self, bytes: u64) -> Option<(Range<usize>, u64)> {
        self.blocks_from(self.at, bytes)
    }

    /// The blocks from number `from` on, as many as lie side by side in so many bytes, one at least; and how many bytes
    /// they are. None behind the last.
    pub(in crate::lsm) fn blocks_from(
        &self,
        from: usize,
        bytes: u64,
    ) -> Option<(Range<usize>, u64)> {
        let (mut end, mut length) = (from, 0);
        let first = self.places.get(from)?.offset;
        while let Some(place) = self.places.get(end) {
            let longer = length + u64::from(place.length);
            if end > from && (place.offset != first + length || longer > bytes) {
                break;
            }
            (end, length) = (end + 1, longer);
        }
        Some((from..end, length))
    }

    /// Bytes of memory without blocks.
    pub(in crate::lsm) fn memory_bytes(&self) -> u64 {
        let each = size_of::<BlockPlace>() + size_of::<Option<Vec<u8>>>();
        (size_of::<Stream>() + self.places.len() * each) as u64
    }

    /// Bytes of the blocks that are here.
    pub(in crate::lsm) fn held(&self) -> u64 {
        self.held
    }

    /// Goes to the next row of its groups.
    pub(in crate::lsm) fn advance(&mut self) -> Result<Stand, BadRow> {
        while let Some(block) = self.blocks.get(self.at) {
            let place = self.places[self.at];
            let Some(block) = block else {
                return Ok(Stand::Away(place));
            };
            let start = self.cursor.position();
            let bad = |what| (place, start, what);
            if !self.cursor.advance(block).map_err(bad)? {
                self.held -= block.len() as u64;
                self.blocks[self.at] = None;
                self.at += 1;
                self.cursor = RowCursor::new(self.states);
            } else if self.cursor.state() == self.state
                && self.groups.contains(&self.cursor.group())
            {
                return Ok(Stand::AtRow);
            }
        }
        Ok(Stand::AtEnd)
    }

    /// The row at which it stands.
    pub(in crate::lsm) fn row(&self) -> Row<'_> {
        match &self.blocks[self.at] {
            Some(block) => self.cursor.row(block),
            None => unreachable!("a stream that stands at a row has its block"),
        }
    }

    /// What counts first comes first.
    pub(in crate::lsm) fn compare(&self, other: &Stream) -> Ordering {
        let (row, others) = (self.row(), other.row());
        (
            row.group,
            row.key,
            row.namespace,
            self.age,
            row.is_tombstone(),
        )
            .cmp(&(
                others.group,
                others.key,
                others.namespace,
                other.age,
                others.is_tombstone(),
            ))
            .then_with(|| other.section.cmp(&self.section))
    }
}

/// Puts a stream that stands at a row where it belongs among others, of which that whose row comes first is the last.
pub(in crate::lsm) fn put_in_order(order: &mut Vec<usize>, streams: &[Stream], number: usize) {
    let behind = |other: &usize| streams[*other].compare(&streams[number]) == Ordering::Greater;
    let at = order.partition_point(behind);
    order.insert(at, number);
}
