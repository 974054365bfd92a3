//! A walk over the rows of a run in the order in which they lie, clipped to states and key groups.
//!
//! Entered by restores and by the sorted walk. Invariant: sections and blocks that can hold none of the
//! rows asked for are not read; a walk that met damage stays with it, it does not go on behind it. Lives
//! where its reader lives.

use std::ops::Range;

use thalweg_core::MaxParallelism;

use super::error::RunError;
use super::format::block::RowCursor;
use super::format::footer::{Extent, SectionEntry};
use super::format::index::SectionIndex;
use super::order::StateNumber;
use super::reader::RunReader;
use super::source::ReadAt;
use crate::snapshot::Row;

/// Which rows of a run are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    pub(crate) state: Option<StateNumber>,
    pub(crate) groups: Range<u16>,
    puts: bool,
    tombstones: bool,
}

impl Clip {
    /// All rows.
    #[must_use]
    pub fn all() -> Clip {
        Clip {
            state: None,
            groups: 0..MaxParallelism::LIMIT as u16,
            puts: true,
            tombstones: true,
        }
    }

    /// Only the rows of one state.
    #[must_use]
    pub fn of_state(mut self, state: StateNumber) -> Clip {
        self.state = Some(state);
        self
    }

    /// Only the rows of `groups`.
    #[must_use]
    pub fn within(mut self, groups: Range<u16>) -> Clip {
        self.groups = groups;
        self
    }

    /// Only the rows with a value.
    #[must_use]
    pub fn puts(mut self) -> Clip {
        self.tombstones = false;
        self
    }

    /// Only the tombstones. Where there are none, nothing is read.
    #[must_use]
    pub fn tombstones(mut self) -> Clip {
        self.puts = false;
        self
    }

    /// Whether some rows of an extent are asked for.
    pub(crate) fn meets(&self, extent: &Extent) -> bool {
        let kind = self.puts && extent.puts > 0 || self.tombstones && extent.tombstones > 0;
        let state = self.state.is_none_or(|state| state.0 == extent.state);
        kind && state && !self.groups.is_empty() && extent.meets(&self.groups)
    }

    #[inline]
    fn takes(&self, row: &RowCursor) -> bool {
        self.groups.contains(&row.group())
            && self.state.is_none_or(|state| state.0 == row.state())
            && if row.is_put() {
                self.puts
            } else {
                self.tombstones
            }
    }
}

/// A walk over one run.
pub struct RunWalk<'r, R> {
    run: &'r RunReader<R>,
    clip: Clip,
    /// Sections not opened yet.
    sections: Range<usize>,
    section: Option<&'r SectionEntry>,
    index: SectionIndex,
    /// Blocks of the section not read yet, the next range last.
    blocks: Vec<Range<usize>>,
    block: Vec<u8>,
    block_at: u64,
    cursor: RowCursor,
    failed: Option<RunError>,
}

impl<'r, R: ReadAt> RunWalk<'r, R> {
    pub(crate) fn new(run: &'r RunReader<R>, clip: Clip, sections: Range<usize>) -> Self {
        RunWalk {
            run,
            clip,
            sections,
            section: None,
            index: SectionIndex::default(),
            blocks: Vec::new(),
            block: Vec::new(),
            block_at: 0,
            cursor: RowCursor::new(run.states().len()),
            failed: None,
        }
    }

    /// The next row with the number of its state; `None` at the end.
    ///
    /// # Errors
    /// When the run is damaged or cannot be read. The same error comes back from there on.
    #[inline]
    pub fn next_row(&mut self) -> Result<Option<(StateNumber, Row<'_>)>, RunError> {
        let there = self.advance()?;
        Ok(there.then(|| (StateNumber(self.cursor.state()), self.row())))
    }

    /// Goes to the next row; `false` at the end.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<bool, RunError> {
        loop {
            match self.cursor.advance(&self.block) {
                Ok(true) if self.clip.takes(&self.cursor) => return Ok(true),
                Ok(true) => {}
                Ok(false) => {
                    if !self.next_block()? {
                        return Ok(false);
                    }
                }
                Err(what) => return Err(self.bad_row(what)),
            }
        }
    }

    /// The row to which [`RunWalk::advance`] went.
    #[inline]
    pub(crate) fn row(&self) -> Row<'_> {
        self.cursor.row(&self.block)
    }

    #[cold]
    fn bad_row(&mut self, what: &'static str) -> RunError {
        let error = self
            .run
            .damaged(self.block_at + self.cursor.position() as u64, what);
        self.stay_with(error)
    }

    #[cold]
    fn stay_with(&mut self, error: RunError) -> RunError {
        self.block.clear();
        self.cursor = RowCursor::new(0);
        self.failed = Some(error.clone());
        error
    }

    /// Reads the next block with rows that are asked for; `false` when there is none.
    fn next_block(&mut self) -> Result<bool, RunError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let found = self.find_block();
        found.map_err(|error| self.stay_with(error))
    }

    fn find_block(&mut self) -> Result<bool, RunError> {
        loop {
            while let Some(range) = self.blocks.last_mut() {
                if let (Some(block), Some(section)) = (range.next(), self.section) {
                    self.block_at =
                        self.run
                            .read_block(section, &self.index, block, &mut self.block)?;
                    self.cursor = RowCursor::new(self.run.states().len());
                    return Ok(true);
                }
                self.blocks.pop();
            }
            if !self.next_section()? {
                self.block.clear();
                self.cursor = RowCursor::new(0);
                return Ok(false);
            }
        }
    }

    fn next_section(&mut self) -> Result<bool, RunError> {
        let run = self.run;
        for section in self.sections.by_ref() {
            let section = &run.sections()[section];
            if !section.extents.iter().any(|extent| self.clip.meets(extent)) {
                continue;
            }
            self.index = run.read_index(section, &mut self.block)?;
            self.block.clear();
            self.section = Some(section);
            self.choose_blocks(section);
            return Ok(true);
        }
        Ok(false)
    }

    /// Notes which blocks of a section may hold rows that are asked for.
    fn choose_blocks(&mut self, section: &SectionEntry) {
        let mut from = 0;
        for extent in section
            .extents
            .iter()
            .filter(|extent| self.clip.meets(extent))
        {
            let start = self
                .index
                .seek(extent.state, self.clip.groups.start)
                .max(from);
            let end = self.index.end_of(extent.state, self.clip.groups.end);
            self.blocks.push(start..end.max(start));
            from = end.max(from);
        }
        self.blocks.reverse();
    }
}
