//! The end of a section: where its blocks lie, with what each begins, and which entries are not there.
//!
//! Written when a section is sealed, read before its blocks. Invariant: it is checked against the checksum
//! in the footer before it is read, and names the checksum of every block, so that trust goes from the end
//! of the file down to each row. Plain data, lives on any thread.

use std::ops::Range;

use thalweg_core::KeyGroup;

use super::fields::{Fields, put_string};
use super::filter::Filter;
use crate::run::order::Address;

/// One block of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    /// Bytes from the start of the section.
    pub(crate) offset: u64,
    /// Bytes of the block.
    pub(crate) length: u32,
    /// CRC-32C of the block.
    pub(crate) checksum: u32,
    /// Rows in it.
    pub(crate) rows: u32,
    state: u16,
    group: KeyGroup,
    /// Where its first key and first namespace lie among the bytes of the index.
    key: Range<usize>,
    namespace: Range<usize>,
}

/// The blocks of a section and its filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SectionIndex {
    pub(crate) blocks: Vec<BlockEntry>,
    pub(crate) filter: Filter,
    firsts: Vec<u8>,
}

/// Appends the index of one block: its size, and the address of its first row.
pub(crate) fn put_block(
    out: &mut Vec<u8>,
    (length, checksum, rows): (u32, u32, u32),
    first: Address<'_>,
) {
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&rows.to_le_bytes());
    out.extend_from_slice(&first.state.to_le_bytes());
    out.extend_from_slice(&first.group.0.to_le_bytes());
    put_string(out, first.key);
    put_string(out, first.namespace);
}

impl SectionIndex {
    /// Reads an index: the number of blocks, each block, the filter.
    pub(crate) fn read(bytes: &[u8]) -> Option<SectionIndex> {
        let mut fields = Fields::new(bytes);
        let mut index = SectionIndex::default();
        let mut offset = 0;
        for _ in 0..fields.u32()? {
            let (length, checksum, rows) = (fields.u32()?, fields.u32()?, fields.u32()?);
            let (state, group) = (fields.u16()?, KeyGroup(fields.u16()?));
            let key = index.keep(fields.string()?);
            let namespace = index.keep(fields.string()?);
            let entry = BlockEntry {
                offset,
                length,
                checksum,
                rows,
                state,
                group,
                key,
                namespace,
            };
            index.blocks.push(entry);
            offset += u64::from(length);
        }
        index.filter = Filter::read(&mut fields)?;
        (fields.left() == 0).then_some(index)
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.firsts.len();
        self.firsts.extend_from_slice(bytes);
        start..self.firsts.len()
    }

    /// The address of the first row of a block.
    pub(crate) fn first(&self, block: &BlockEntry) -> Address<'_> {
        Address {
            state: block.state,
            group: block.group,
            key: &self.firsts[block.key.clone()],
            namespace: &self.firsts[block.namespace.clone()],
        }
    }

    /// Bytes of all blocks.
    pub(crate) fn blocks_bytes(&self) -> u64 {
        self.blocks
            .last()
            .map_or(0, |last| last.offset + u64::from(last.length))
    }

    /// The first block that may hold rows of `state` from `group` on.
    pub(crate) fn seek(&self, state: u16, group: u16) -> usize {
        self.end_of(state, group).saturating_sub(1)
    }

    /// The first block that holds no rows of `state` before `group`, nor do those behind it.
    pub(crate) fn end_of(&self, state: u16, group: u16) -> usize {
        let before = |block: &BlockEntry| (block.state, block.group.0) < (state, group);
        self.blocks.partition_point(before)
    }

    /// The one block that may hold a row of `address`.
    pub(crate) fn block_of(&self, address: Address<'_>) -> Option<usize> {
        let not_behind = |block: &BlockEntry| self.first(block) <= address;
        self.blocks.partition_point(not_behind).checked_sub(1)
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<BlockEntry>()
            + self.firsts.capacity()
            + self.filter.memory_bytes()
    }
}
