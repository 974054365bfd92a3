//! One key looked for in piles.
//!
//! Entered by an operator that needs what some piles have of a key; which of their blocks may hold it is told from
//! memory alone. Invariants: nothing is asked for before it is said how much may be under way; of a block no more is
//! kept than the row of the key; a pile has one such row at most, so what was found comes in the order in which the
//! piles were named. Lives on one shard's thread.

use std::collections::VecDeque;
use std::rc::Rc;

use thalweg_core::KeyGroup;
use thalweg_memory::Key;
use thalweg_memory::record::Record;
use thalweg_memory::spill::{IoDone, RequestId};

use super::super::index::{BlockPlace, InBlock};
use super::super::run::ColdRun;
use super::{Answer, Pile, Piles};
use crate::error::StateError;
use crate::run::{Address, filter_hash};
use crate::table::OverflowRows;

/// A block in which the key may be.
struct Block {
    /// The pile's number among those that were named.
    source: usize,
    run: Rc<ColdRun>,
    namespace: Rc<[u8]>,
    place: BlockPlace,
    request: Option<RequestId>,
}

/// A key that is looked for.
pub struct PileSeek {
    group: KeyGroup,
    key: Vec<u8>,
    sources: usize,
    /// Blocks that were not looked through yet; those that were asked for first of all.
    blocks: VecDeque<Block>,
    /// The number of a pile, and the value it has.
    found: Vec<(usize, Vec<u8>)>,
}

impl PileSeek {
    /// Looks for a key of this key group.
    #[must_use]
    pub fn new<K: Key>(group: KeyGroup, key: &K::Of<'_>) -> PileSeek {
        let mut bytes = Vec::new();
        K::encode(key, &mut bytes);
        PileSeek {
            group,
            key: bytes,
            sources: 0,
            blocks: VecDeque::new(),
            found: Vec::new(),
        }
    }

    /// Looks for it in one pile more.
    pub fn within(&mut self, pile: &Pile) {
        debug_assert!(!pile.adopted, "in a pile of a copy are rows of many");
        let (run, source) = (&pile.run, self.sources);
        self.sources += 1;
        let address = address_of(run, self.group, &self.key, &pile.namespace);
        let hash = filter_hash(run.state.0, &self.key, &pile.namespace);
        let mut from = 0;
        while let Some(place) = run.block_of(address, hash, from) {
            from = place.nth + 1;
            self.blocks.push_back(Block {
                source,
                run: Rc::clone(run),
                namespace: Rc::clone(&pile.namespace),
                place,
                request: None,
            });
        }
    }

    /// Whether every block was looked through in which it may be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Asks for blocks, as long as fewer than so many bytes are under way: `left` is taken down to what may still be
    /// asked for.
    pub fn ask(&mut self, piles: &mut Piles, left: &mut u64) {
        for block in &mut self.blocks {
            if *left == 0 {
                return;
            }
            *left = left.saturating_sub(u64::from(block.place.length));
            if block.request.is_none() {
                let (offset, length) = (block.place.offset, block.place.length as usize);
                block.request = Some(piles.queue.read(&block.run.file, offset, length));
            }
        }
    }

    /// Whether it is this that a block was asked for by.
    #[must_use]
    pub fn has_asked(&self, request: RequestId) -> bool {
        let mut asked = self.blocks.iter().map_while(|block| block.request);
        asked.any(|other| other == request)
    }

    /// Takes an answer of the disk.
    ///
    /// # Errors
    /// What could not be read, and damage.
    pub fn answered(&mut self, (request, answer): Answer) -> Result<(), StateError> {
        let answer = answer?;
        let asked = |block: &Block| block.request == Some(request);
        let (Some(at), IoDone::Read(bytes)) = (self.blocks.iter().position(asked), answer) else {
            return Ok(());
        };
        let Some(block) = self.blocks.remove(at) else {
            return Ok(());
        };
        let (run, place) = (&block.run, block.place);
        let address = address_of(run, self.group, &self.key, &block.namespace);
        let looked = run.index.look(place, &bytes, address);
        match looked.map_err(|(at, what)| run.damaged(place, at, what))? {
            InBlock::Put(value) => self.found.push((block.source, value.to_vec())),
            InBlock::Tombstone | InBlock::Absent => {}
        }
        Ok(())
    }

    /// What was found, with the number of its pile among those that were named.
    ///
    /// # Errors
    /// When a row is of another type.
    pub fn into_found<A: Record>(
        mut self,
        rows: &mut OverflowRows,
    ) -> Result<Vec<(usize, A)>, StateError> {
        self.found.sort_unstable_by_key(|(source, _)| *source);
        let found = self.found.iter();
        let found = found.map(|(source, value)| Ok((*source, rows.value(value)?)));
        found.collect()
    }

    /// Bytes of memory, about.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let blocks = self.blocks.iter().map(|block| match block.request {
            Some(_) => size_of::<Block>() as u64 + u64::from(block.place.length),
            None => size_of::<Block>() as u64,
        });
        let found = self.found.iter().map(|(_, value)| value.len() as u64 + 32);
        blocks.sum::<u64>() + found.sum::<u64>() + self.key.len() as u64
    }
}

fn address_of<'a>(
    run: &ColdRun,
    group: KeyGroup,
    key: &'a [u8],
    namespace: &'a [u8],
) -> Address<'a> {
    Address {
        state: run.state.0,
        group,
        key,
        namespace,
    }
}
