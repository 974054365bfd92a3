//! A run opened: its footer in memory, everything else read when it is asked for.
//!
//! Entered by restores, searches and merges. Invariant: nothing is taken from a byte that was not checked,
//! first its checksum, then what it says. Memory is the footer, and for each walk or search one index and
//! one block. Reading waits for its [`ReadAt`]. Lives where its source lives.

use std::ops::Range;

use thalweg_core::ErrorKind;

use super::error::RunError;
use super::format::VERSION;
use super::format::checksum::checksum;
use super::format::envelope::{HEADER_BYTES, Header, TRAILER_BYTES, Trailer, read_header};
use super::format::footer::{Footer, SectionEntry, StateHeader};
use super::format::index::SectionIndex;
use super::order::StateNumber;
use super::source::ReadAt;
use super::walk::{Clip, RunWalk};

/// One run, read from `R`.
pub struct RunReader<R> {
    file: String,
    source: R,
    length: u64,
    version: u32,
    footer: Footer,
}

impl<R: ReadAt> RunReader<R> {
    /// Opens a run; `file` is what errors call it.
    ///
    /// # Errors
    /// When the bytes are no run, one of a later format, damaged, or cannot be read.
    pub fn open(file: impl Into<String>, source: R) -> Result<RunReader<R>, RunError> {
        let (file, length) = (file.into(), source.length());
        let footer = Footer::default();
        let mut run = RunReader {
            file,
            source,
            length,
            version: VERSION,
            footer,
        };
        run.version = run.check_header()?;
        let trailer_at = length.saturating_sub(TRAILER_BYTES as u64);
        let mut last = [0; TRAILER_BYTES];
        if trailer_at < HEADER_BYTES as u64 {
            return Err(run.damaged(length, "the file ends too early"));
        }
        run.fill(trailer_at, &mut last)?;
        let Some(trailer) = Trailer::read(&last, run.version) else {
            return Err(run.damaged(trailer_at, "the file does not end as a run does"));
        };
        let footer_at = trailer_at.checked_sub(trailer.footer_bytes);
        let Some(footer_at) = footer_at.filter(|&at| at >= HEADER_BYTES as u64) else {
            return Err(run.damaged(trailer_at, "the footer is longer than the file"));
        };
        let mut bytes = Vec::new();
        run.read(footer_at, trailer.footer_bytes, &mut bytes)?;
        if checksum(&bytes) != trailer.footer_checksum {
            return Err(run.damaged(footer_at, "the footer has another checksum"));
        }
        run.footer =
            Footer::read(&bytes, run.version).map_err(|what| run.damaged(footer_at, what))?;
        if run.footer.offset() != footer_at {
            return Err(run.damaged(footer_at, "the sections do not fill the file"));
        }
        Ok(run)
    }

    /// Answers the version.
    fn check_header(&self) -> Result<u32, RunError> {
        let mut first = [0; HEADER_BYTES];
        let there = self.length.min(HEADER_BYTES as u64) as usize;
        self.fill(0, &mut first[..there])?;
        match read_header(&first) {
            Header::Run(version @ 1..=VERSION) => Ok(version),
            Header::Run(0) | Header::Damaged => {
                Err(self.damaged(0, "the header has another checksum"))
            }
            Header::Run(found) => {
                let file = self.file.clone();
                Err(RunError::Newer {
                    file,
                    found,
                    known: VERSION,
                })
            }
            Header::Foreign if there < HEADER_BYTES => {
                Err(self.damaged(self.length, "the file ends too early"))
            }
            Header::Foreign => Err(RunError::NotARun {
                file: self.file.clone(),
            }),
        }
    }

    /// The name of the file, as errors call it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The states, in the order of their numbers.
    #[must_use]
    pub fn states(&self) -> &[StateHeader] {
        &self.footer.states
    }

    /// The number of the state of a name.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<StateNumber> {
        let place = self
            .footer
            .states
            .iter()
            .position(|state| state.name == name);
        place.map(|place| StateNumber(place as u16))
    }

    /// Whether filters know the keys of a state too, without the namespaces of its rows.
    #[must_use]
    pub fn is_known_by_key(&self, state: StateNumber) -> bool {
        self.footer.known_by_key.contains(&state.0)
    }

    /// Whether it has all values of a key in a state, if it has any, so that older runs do not count for that key.
    #[must_use]
    pub fn is_whole_by_key(&self, state: StateNumber) -> bool {
        self.footer.whole_by_key.contains(&state.0)
    }

    /// Rows of all states, tombstones included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let extents = self
            .footer
            .sections
            .iter()
            .flat_map(|section| &section.extents);
        extents.map(|extent| extent.rows()).sum()
    }

    /// Rows of one state, tombstones included.
    #[must_use]
    pub fn rows_of(&self, state: StateNumber) -> u64 {
        let sections = self.footer.sections.iter();
        let extents = sections.filter_map(|section| section.extent(state.0));
        extents.map(|extent| extent.rows()).sum()
    }

    /// Adds the rows with a value that a state has in each of some key groups to `counts`, whose place is the
    /// group's number; roughly: what a section holds of several groups is taken to lie evenly in them.
    ///
    /// # Panics
    /// If `counts` ends before the groups.
    pub fn count_about(&self, state: StateNumber, groups: Range<u16>, counts: &mut [u64]) {
        for section in &self.footer.sections {
            let Some(extent) = section.extent(state.0) else {
                continue;
            };
            let of_extent = u64::from(extent.last.0 - extent.first.0) + 1;
            let each = u64::from(extent.puts).div_ceil(of_extent);
            let from = extent.first.0.max(groups.start);
            for group in from..groups.end.min(extent.last.0 + 1) {
                counts[usize::from(group)] += each;
            }
        }
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.file.capacity() + self.footer.memory_bytes()
    }

    /// Walks over the rows of `clip` in the order in which they were written: from section to section, and
    /// in order within each.
    #[must_use]
    pub fn walk(&self, clip: Clip) -> RunWalk<'_, R> {
        RunWalk::new(self, clip, 0..self.footer.sections.len())
    }

    pub(crate) fn walk_sections(&self, clip: Clip, sections: Range<usize>) -> RunWalk<'_, R> {
        RunWalk::new(self, clip, sections)
    }

    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    pub(crate) fn sections(&self) -> &[SectionEntry] {
        &self.footer.sections
    }

    /// Bytes of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn damaged(&self, offset: u64, what: &'static str) -> RunError {
        let file = self.file.clone();
        RunError::Damaged { file, offset, what }
    }

    fn fill(&self, offset: u64, into: &mut [u8]) -> Result<(), RunError> {
        let bytes = into.len();
        self.source
            .read_at(offset, into)
            .map_err(|error| RunError::Read {
                file: self.file.clone(),
                offset,
                bytes,
                cause: error.to_string(),
                kind: ErrorKind::of_io(&error),
            })
    }

    /// Reads `length` bytes at `offset` in place of what `into` held.
    pub(crate) fn read(
        &self,
        offset: u64,
        length: u64,
        into: &mut Vec<u8>,
    ) -> Result<(), RunError> {
        into.clear();
        let end = offset.checked_add(length).filter(|&end| end <= self.length);
        let (Some(_), Ok(length)) = (end, usize::try_from(length)) else {
            return Err(self.damaged(offset, "something is longer than the file"));
        };
        into.resize(length, 0);
        self.fill(offset, into)
    }

    /// Reads the index of a section; `bytes` holds it afterwards.
    pub(crate) fn read_index(
        &self,
        section: &SectionEntry,
        bytes: &mut Vec<u8>,
    ) -> Result<SectionIndex, RunError> {
        let offset = section.index_offset();
        self.read(offset, u64::from(section.index_bytes), bytes)?;
        if checksum(bytes) != section.index_checksum {
            return Err(self.damaged(offset, "the index of a section has another checksum"));
        }
        let Some(index) = SectionIndex::read(bytes) else {
            return Err(self.damaged(offset, "the index of a section ends too early or too late"));
        };
        if index.blocks_bytes() != section.blocks_bytes {
            return Err(self.damaged(offset, "the blocks of a section do not fill it"));
        }
        Ok(index)
    }

    /// Reads a block of a section; answers where it lies in the file.
    pub(crate) fn read_block(
        &self,
        section: &SectionEntry,
        index: &SectionIndex,
        block: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<u64, RunError> {
        let entry = &index.blocks[block];
        let offset = section.offset + entry.offset;
        self.read(offset, u64::from(entry.length), bytes)?;
        if checksum(bytes) != entry.checksum {
            return Err(self.damaged(offset, "a block has another checksum"));
        }
        Ok(offset)
    }
}
