//! Where in a run an entry may lie, told from memory alone.
//!
//! Entered for each entry that is not in the hot layer, before anything is read. Made by the writer of the
//! run, or from its file when it is taken over. Invariant: an entry that is in the run lies in one of the
//! places that are named, the place that counts first. Lives on one shard's thread.

use std::collections::BTreeSet;
use std::ops::Range;

use thalweg_core::{KeyGroup, KeyHash};

use crate::run::{
    Address, BlockEntry, Footer, ReadAt, RunError, RunReader, SectionEntry, SectionIndex,
    StateNumber, checksum, filter_hash, seek,
};

/// Footer and indexes of one run.
pub(crate) struct RunIndex {
    footer: Footer,
    indexes: Vec<SectionIndex>,
    /// For each key group where its sections begin in `sections`, and one more for the end.
    starts: Vec<u32>,
    /// Numbers of sections by key group; one that holds rows of several groups stands in each.
    sections: Vec<u32>,
    /// Each section lies behind the one before: then one of them at most may hold an entry.
    ordered: bool,
}

/// A block in which an entry may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockPlace {
    /// Which of the places for an entry it is, in the order in which they are asked for.
    pub(crate) nth: usize,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    checksum: u32,
}

/// What a block says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InBlock<'b> {
    Put(&'b [u8]),
    Tombstone,
    Absent,
}

impl RunIndex {
    pub(crate) fn new(footer: Footer, indexes: Vec<SectionIndex>) -> RunIndex {
        let groups_of = |section: &SectionEntry| {
            let first = section.extents.iter().map(|extent| extent.first.0).min();
            let last = section.extents.iter().map(|extent| extent.last.0).max();
            first.unwrap_or(0)..last.map_or(0, |last| last + 1)
        };
        let ranges: Vec<Range<u16>> = footer.sections.iter().map(groups_of).collect();
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        let mut starts = vec![0_u32; usize::from(end) + 1];
        for group in ranges.iter().cloned().flatten() {
            starts[usize::from(group) + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut sections = vec![0; starts.last().map_or(0, |all| *all as usize)];
        for (number, range) in ranges.into_iter().enumerate() {
            for group in range {
                let place = &mut next[usize::from(group)];
                sections[*place as usize] = number as u32;
                *place += 1;
            }
        }
        let ordered = (footer.sections).is_sorted_by(|one, next| one.last() < next.first());
        RunIndex {
            footer,
            indexes,
            starts,
            sections,
            ordered,
        }
    }

    /// Reads what a search for entries of some key groups needs of a run.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub(crate) fn of<R: ReadAt>(
        run: &RunReader<R>,
        groups: &[Range<u16>],
    ) -> Result<RunIndex, RunError> {
        let mut footer = run.footer().clone();
        footer.sections.retain(|section| {
            let mut extents = section.extents.iter();
            extents.any(|extent| groups.iter().any(|groups| extent.meets(groups)))
        });
        let mut bytes = Vec::new();
        let sections = footer.sections.iter();
        let indexes = sections.map(|section| run.read_index(section, &mut bytes));
        let indexes = indexes.collect::<Result<_, _>>()?;
        footer.sections.shrink_to_fit();
        Ok(RunIndex::new(footer, indexes))
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let indexes = self.indexes.iter().map(SectionIndex::memory_bytes);
        let numbers = (self.starts.capacity() + self.sections.capacity()) * size_of::<u32>();
        self.footer.memory_bytes() + indexes.sum::<usize>() + numbers
    }

    fn sections_of(&self, group: u16) -> &[u32] {
        let at = usize::from(group);
        let ends = self.starts.get(at).zip(self.starts.get(at + 1));
        ends.map_or(&[], |(start, end)| {
            &self.sections[*start as usize..*end as usize]
        })
    }

    /// The next block, from place number `from` on, that may hold the row of `address`; `hash` is what
    /// filters know it by.
    pub(crate) fn block_of(
        &self,
        address: Address<'_>,
        hash: KeyHash,
        from: usize,
    ) -> Option<BlockPlace> {
        let mut sections = self.sections_of(address.group.0);
        if self.ordered {
            // Of sections in order it is the last that does not begin behind the entry.
            let behind = sections.partition_point(|number| {
                self.footer.sections[*number as usize].first() <= Some(address)
            });
            sections = &sections[behind.saturating_sub(1)..behind];
        }
        // Within a run the latest section counts.
        for (nth, number) in sections.iter().rev().enumerate().skip(from) {
            let (section, index) = (
                &self.footer.sections[*number as usize],
                &self.indexes[*number as usize],
            );
            let within = section.first() <= Some(address) && Some(address) <= section.last();
            if !within || !index.filter.may_hold(hash) {
                continue;
            }
            let Some(block) = index.block_of(address) else {
                continue;
            };
            let entry = &index.blocks[block];
            return Some(BlockPlace {
                nth,
                offset: section.offset + entry.offset,
                length: entry.length,
                checksum: entry.checksum,
            });
        }
        None
    }

    /// Looks for the row of `address` in a block that was read; the answer says what is wrong with it and
    /// where in it.
    pub(crate) fn look<'b>(
        &self,
        place: BlockPlace,
        block: &'b [u8],
        address: Address<'_>,
    ) -> Result<InBlock<'b>, (usize, &'static str)> {
        if !place.is_whole(block) {
            return Err((0, "a block has another checksum"));
        }
        let found = seek(block, self.footer.states.len(), address)?;
        Ok(match found.map(|row| row.row(block).value) {
            None => InBlock::Absent,
            Some(None) => InBlock::Tombstone,
            Some(Some(value)) => InBlock::Put(value),
        })
    }

    /// Where the blocks lie that may hold rows of one state and some key groups, by section, the latest last.
    pub(crate) fn blocks_of(&self, state: StateNumber, groups: Range<u16>) -> Vec<Vec<BlockPlace>> {
        let mut places = Vec::new();
        let sections = groups.clone().flat_map(|group| self.sections_of(group));
        let sections: BTreeSet<u32> = sections.copied().collect();
        for number in sections {
            let (section, index) = (
                &self.footer.sections[number as usize],
                &self.indexes[number as usize],
            );
            if section.extent(state.0).is_none() {
                continue;
            }
            let blocks = index.seek(state.0, groups.start)..index.end_of(state.0, groups.end);
            let blocks = index.blocks[blocks].iter();
            places.push(blocks.map(|entry| BlockPlace::of(section, entry)).collect());
        }
        places
    }

    /// Where the blocks lie that may hold rows of a key of one state, by section, the latest last.
    pub(crate) fn blocks_of_key(
        &self,
        state: StateNumber,
        (group, key): (u16, &[u8]),
    ) -> Vec<Vec<BlockPlace>> {
        let sought = (state.0, KeyGroup(group), key);
        // Filters of runs of version 1 do not know keys.
        let known = self.footer.known_by_key.contains(&state.0);
        let hash = known.then(|| filter_hash(state.0, key, &[]));
        let mut sections = self.sections_of(group);
        if self.ordered {
            let first = sections.partition_point(|number| {
                let last = self.footer.sections[*number as usize].last();
                last.is_some_and(|last| place_of(last) < sought)
            });
            sections = &sections[first..];
        }
        let mut places = Vec::new();
        for number in sections {
            let (section, index) = (
                &self.footer.sections[*number as usize],
                &self.indexes[*number as usize],
            );
            let (first, last) = (section.first().map(place_of), section.last().map(place_of));
            if self.ordered && first > Some(sought) {
                break;
            }
            let within = first <= Some(sought) && Some(sought) <= last;
            if !within || hash.is_some_and(|hash| !index.filter.may_hold(hash)) {
                continue;
            }
            // The rows of a key may begin at the end of a block.
            let begin = |block: &BlockEntry| place_of(index.first(block)) < sought;
            let begin = index.blocks.partition_point(begin).saturating_sub(1);
            let end = |block: &BlockEntry| place_of(index.first(block)) <= sought;
            let end = index.blocks.partition_point(end);
            let blocks = index.blocks[begin..end].iter();
            places.push(blocks.map(|entry| BlockPlace::of(section, entry)).collect());
        }
        places
    }

    /// Whether it has all values of a key in a state, if it has any.
    pub(crate) fn is_whole_by_key(&self, state: StateNumber) -> bool {
        self.footer.whole_by_key.contains(&state.0)
    }

    /// States of the run.
    pub(crate) fn states(&self) -> usize {
        self.footer.states.len()
    }
}

/// What keys are ordered by.
fn place_of(at: Address<'_>) -> (u16, KeyGroup, &[u8]) {
    (at.state, at.group, at.key)
}

impl BlockPlace {
    /// A block of a section, asked for by itself.
    fn of(section: &SectionEntry, entry: &BlockEntry) -> BlockPlace {
        BlockPlace {
            nth: 0,
            offset: section.offset + entry.offset,
            length: entry.length,
            checksum: entry.checksum,
        }
    }

    /// Whether a block that was read from here is what was written.
    pub(crate) fn is_whole(&self, block: &[u8]) -> bool {
        checksum(block) == self.checksum
    }
}
