//! One entry looked for in a run.
//!
//! Entered where entries are brought back one by one. Invariant: a section is read only where its ends, its
//! filter and the first rows of its blocks leave it possible that the entry is in it, and then one block of
//! it. Memory is the indexes of all sections and one block. Lives where its source lives.

use thalweg_core::KeyGroup;

use super::error::RunError;
use super::format::block::RowCursor;
use super::format::filter::filter_hash;
use super::format::index::SectionIndex;
use super::order::{Address, StateNumber};
use super::reader::RunReader;
use super::source::ReadAt;

/// What a run says of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// It has this value.
    Put(&'a [u8]),
    /// It was removed.
    Tombstone,
    /// Nothing: an older run may know it.
    Absent,
}

/// A run with its indexes in memory.
pub struct RunSearch<R> {
    run: RunReader<R>,
    indexes: Vec<SectionIndex>,
    block: Vec<u8>,
}

impl<R: ReadAt> RunSearch<R> {
    /// Reads the indexes of all sections.
    ///
    /// # Errors
    /// When one is damaged or cannot be read.
    pub fn open(run: RunReader<R>) -> Result<RunSearch<R>, RunError> {
        let mut block = Vec::new();
        let indexes = run
            .sections()
            .iter()
            .map(|section| run.read_index(section, &mut block));
        let indexes = indexes.collect::<Result<_, _>>()?;
        Ok(RunSearch {
            run,
            indexes,
            block,
        })
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &RunReader<R> {
        &self.run
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let indexes = self
            .indexes
            .iter()
            .map(SectionIndex::memory_bytes)
            .sum::<usize>();
        self.run.memory_bytes() + indexes + self.block.capacity()
    }

    /// Looks for an entry.
    ///
    /// # Errors
    /// When a block is damaged or cannot be read.
    pub fn find(
        &mut self,
        state: StateNumber,
        group: KeyGroup,
        key: &[u8],
        namespace: &[u8],
    ) -> Result<Found<'_>, RunError> {
        let address = Address {
            state: state.0,
            group,
            key,
            namespace,
        };
        let hash = filter_hash(state.0, key, namespace);
        let mut found = Found::Absent;
        // Within a run the latest put counts, and a tombstone only where there is no put.
        for (section, index) in self.run.sections().iter().zip(&self.indexes).rev() {
            let within = section.first() <= Some(address) && Some(address) <= section.last();
            if !within || !index.filter.may_hold(hash) {
                continue;
            }
            let Some(block) = index.block_of(address) else {
                continue;
            };
            let offset = self
                .run
                .read_block(section, index, block, &mut self.block)?;
            let states = self.run.states().len();
            let row = seek(&self.block, states, address);
            match row.map_err(|(at, what)| self.run.damaged(offset + at as u64, what))? {
                Some(row) if row.is_put() => {
                    let value = row.row(&self.block).value;
                    return Ok(value.map_or(Found::Tombstone, Found::Put));
                }
                Some(_) => found = Found::Tombstone,
                None => {}
            }
        }
        Ok(found)
    }
}

/// The row of an address in a block.
pub(crate) fn seek(
    block: &[u8],
    states: usize,
    address: Address<'_>,
) -> Result<Option<RowCursor>, (usize, &'static str)> {
    let mut cursor = RowCursor::new(states);
    let place = (address.state, address.group.0);
    loop {
        let start = cursor.position();
        if !cursor.advance(block).map_err(|what| (start, what))? {
            return Ok(None);
        }
        if (cursor.state(), cursor.group()) < place {
            continue;
        }
        let there = Address::of(cursor.state(), &cursor.row(block));
        if there >= address {
            return Ok((there == address).then_some(cursor));
        }
    }
}
