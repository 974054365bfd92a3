//! Rows go in, the bytes of a run come out.
//!
//! Entered while a cut is written out, and by merging. Rows come in any order and from all states mixed;
//! they are gathered in sections, and a full section is sorted and written. Invariant: what was taken out
//! once is never changed again, so the bytes can be on their way to a disk while the rest is made; the
//! writer holds one section, what was not taken out, and a line for each section. Lives on one shard's
//! thread.

use std::collections::BTreeSet;

use thalweg_core::simd::on_this_cpu;
use thalweg_core::{KeyGroup, KeyHash, MaxParallelism};

use super::error::RunError;
use super::format::MOST_STATES;
use super::format::block::{ROW_OVERHEAD, RowEncoder};
use super::format::checksum::{checksum, checksum_onward};
use super::format::envelope::{Trailer, header};
use super::format::filter::{Filter, filter_hash};
use super::format::footer::{EndOfSection, Extent, Footer, SectionEntry, StateHeader};
use super::format::index::{SectionIndex, put_block};
use super::order::{Address, StateNumber};
use super::section::{Gathered, SectionBuffer};
use super::summary::{RunSummary, StateSummary};
use crate::snapshot::{Row, RowSink};

/// The most bytes of key, namespace and value of one row: 1 GiB.
pub const MOST_ROW_BYTES: usize = 1 << 30;
/// The most that is sorted at once: with one more row its places fit 32 bits.
const MOST_SECTION_BYTES: usize = 1 << 30;

/// How large the parts of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    section_bytes: usize,
    block_bytes: usize,
    filter_bits: u32,
}

impl Default for RunOptions {
    /// Sections of 64 KiB, blocks of 4 KiB, 10 bits for each row in the filter. A section of small rows is
    /// sorted and written in about 0.15 ms, which is less than a turn.
    fn default() -> Self {
        RunOptions {
            section_bytes: 64 << 10,
            block_bytes: 4 << 10,
            filter_bits: 10,
        }
    }
}

impl RunOptions {
    /// Memory for the rows gathered before they are sorted, in bytes; kept between 1 KiB and 1 GiB. Larger
    /// sections overlap less and take longer to sort.
    #[must_use]
    pub fn with_section_bytes(mut self, bytes: usize) -> RunOptions {
        self.section_bytes = bytes.clamp(1 << 10, MOST_SECTION_BYTES);
        self
    }

    /// What is read and checked at once, in bytes; kept between 64 bytes and 1 MiB.
    #[must_use]
    pub fn with_block_bytes(mut self, bytes: usize) -> RunOptions {
        self.block_bytes = bytes.clamp(64, 1 << 20);
        self
    }

    /// Bits of filter for each row, at most 32; none where a run is never searched for single entries.
    #[must_use]
    pub fn with_filter_bits(mut self, bits: u32) -> RunOptions {
        self.filter_bits = bits.min(32);
        self
    }
}

/// Writes one run.
///
/// ```
/// use thalweg_core::{KeyGroup, MaxParallelism};
/// use thalweg_state::run::{Clip, RunOptions, RunReader, RunWriter, StateHeader};
/// use thalweg_state::{Row, RowSink};
///
/// let mut writer = RunWriter::new(RunOptions::default());
/// let header = StateHeader { name: "clicks".to_owned(), descriptor: vec![], full: true };
/// let clicks = writer.declare(header)?;
/// let row = Row { group: KeyGroup(7), key: b"me", namespace: b"", value: Some(b"42") };
/// writer.rows_of(clicks)?.row(row);
/// let (bytes, summary) = writer.finish()?;
/// assert_eq!((summary.bytes, summary.rows()), (bytes.len() as u64, 1));
///
/// let reader = RunReader::open("run-1", bytes)?;
/// let mut walk = reader.walk(Clip::all());
/// assert_eq!(walk.next_row()?, Some((clicks, row)));
/// assert_eq!(walk.next_row()?, None);
/// # Ok::<(), thalweg_state::run::RunError>(())
/// ```
pub struct RunWriter {
    options: RunOptions,
    footer: Footer,
    totals: Vec<StateSummary>,
    section: SectionBuffer,
    /// Kept for the index of a section while its blocks are written.
    index: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of `output` that are in `checksum`.
    summed: usize,
    taken: u64,
    checksum: u32,
    refused: Option<RunError>,
    /// The indexes of the sections written, where they are kept for searching.
    indexes: Option<Vec<SectionIndex>>,
}

impl RunWriter {
    /// A run without states.
    #[must_use]
    pub fn new(options: RunOptions) -> RunWriter {
        RunWriter {
            options,
            footer: Footer::default(),
            totals: Vec::new(),
            section: SectionBuffer::default(),
            index: Vec::new(),
            output: header().to_vec(),
            summed: 0,
            taken: 0,
            checksum: 0,
            refused: None,
            indexes: None,
        }
    }

    /// The same; what a search needs of the run is kept in memory, so that it need not be read back.
    pub(crate) fn to_be_searched(options: RunOptions) -> RunWriter {
        let indexes = Some(Vec::new());
        let writer = RunWriter::new(options);
        RunWriter { indexes, ..writer }
    }

    /// Declares a state, with rows or without; answers its number in this run.
    ///
    /// # Errors
    /// When the run has a state of that name, or no number is left.
    pub fn declare(&mut self, state: StateHeader) -> Result<StateNumber, RunError> {
        let states = &mut self.footer.states;
        if states.iter().any(|other| other.name == state.name) {
            return Err(RunError::DeclaredTwice { state: state.name });
        }
        let Some(number) = u16::try_from(states.len()).ok() else {
            let limit = MOST_STATES;
            return Err(RunError::TooManyStates {
                state: state.name,
                limit,
            });
        };
        let (name, full) = (state.name.clone(), state.full);
        self.totals.push(StateSummary {
            name,
            full,
            puts: 0,
            tombstones: 0,
        });
        states.push(state);
        Ok(StateNumber(number))
    }

    /// Declares a state all of whose rows of a key are sought at once: filters know its keys too, without namespaces.
    ///
    /// # Errors
    /// As [`RunWriter::declare`].
    pub fn declare_known_by_key(&mut self, state: StateHeader) -> Result<StateNumber, RunError> {
        let number = self.declare(state)?;
        self.footer.known_by_key.insert(number.0);
        Ok(number)
    }

    /// The same for a state of which the run has all values of a key, if it has any, but for those of younger runs.
    ///
    /// # Errors
    /// As [`RunWriter::declare`].
    pub fn declare_whole_by_key(&mut self, state: StateHeader) -> Result<StateNumber, RunError> {
        let number = self.declare_known_by_key(state)?;
        self.footer.whole_by_key.insert(number.0);
        Ok(number)
    }

    /// Takes rows of one state.
    ///
    /// # Errors
    /// When the number was given by another run.
    pub fn rows_of(&mut self, state: StateNumber) -> Result<StateRows<'_>, RunError> {
        let states = self.footer.states.len();
        if usize::from(state.0) >= states {
            return Err(RunError::NoSuchState {
                number: state.0,
                states,
            });
        }
        Ok(StateRows {
            state: state.0,
            writer: self,
        })
    }

    #[inline]
    fn take(&mut self, state: u16, row: Row<'_>) {
        if row.bytes() > MOST_ROW_BYTES || u32::from(row.group.0) >= MaxParallelism::LIMIT {
            self.refuse(state, &row);
            return;
        }
        self.section.push(state, &row);
        if self.section.size() >= self.options.section_bytes {
            self.seal();
        }
    }

    #[cold]
    fn refuse(&mut self, state: u16, row: &Row<'_>) {
        let state = self.footer.states[usize::from(state)].name.clone();
        let (bytes, limit) = (row.bytes(), MOST_ROW_BYTES);
        self.refused.get_or_insert(if bytes > limit {
            RunError::RowTooLong {
                state,
                bytes,
                limit,
            }
        } else {
            let (group, limit) = (row.group.0, MaxParallelism::LIMIT);
            RunError::NoSuchGroup {
                state,
                group,
                limit,
            }
        });
    }

    /// Sorts the section and writes it.
    fn seal(&mut self) {
        if self.section.is_empty() {
            return;
        }
        self.section.sort();
        let (rows, bytes) = self.section.rows();
        let most = bytes.len() + rows.len() * ROW_OVERHEAD;
        self.output
            .reserve(most.min(2 * self.options.section_bytes));
        let start = self.output.len();
        let filter = self.write_blocks();
        let blocks_bytes = (self.output.len() - start) as u64;
        let index_at = self.output.len();
        self.output.append(&mut self.index);
        filter.write(&mut self.output);
        let index = &self.output[index_at..];
        if let Some(indexes) = &mut self.indexes {
            match SectionIndex::read(index) {
                Some(index) => indexes.push(index),
                None => unreachable!("an index that was just written is whole"),
            }
        }
        let entry = SectionEntry {
            offset: self.taken + start as u64,
            blocks_bytes,
            index_bytes: index.len() as u32,
            index_checksum: checksum(index),
            ..describe(&self.section)
        };
        for Extent {
            state,
            puts,
            tombstones,
            ..
        } in &entry.extents
        {
            let total = &mut self.totals[usize::from(*state)];
            total.puts += u64::from(*puts);
            total.tombstones += u64::from(*tombstones);
        }
        self.footer.sections.push(entry);
        self.section.clear();
        self.sum();
    }

    /// Writes the rows of the section as blocks, and the entries of the blocks into the index; answers the filter.
    fn write_blocks(&mut self) -> Filter {
        let (rows, bytes) = self.section.rows();
        let keys = keys_of(rows, bytes, &self.footer.known_by_key).count();
        let mut filter = Filter::with_room(rows.len() + keys, self.options.filter_bits);
        let mut blocks = 0_u32;
        self.index.extend_from_slice(&blocks.to_le_bytes());
        let mut rest = rows;
        while let Some(first) = rest.first() {
            let start = self.output.len();
            let taken = write_block(&mut self.output, rest, bytes, self.options.block_bytes);
            let block = &self.output[start..];
            let size = (block.len() as u32, checksum(block), taken as u32);
            put_block(&mut self.index, size, first.address(bytes));
            if self.options.filter_bits > 0 {
                fill(&mut filter, &rest[..taken], bytes);
                for key in keys_of(&rest[..taken], bytes, &self.footer.known_by_key) {
                    filter.insert(key);
                }
            }
            rest = &rest[taken..];
            blocks += 1;
        }
        self.index[..4].copy_from_slice(&blocks.to_le_bytes());
        filter
    }

    /// Brings the checksum of the file up to the end of the output.
    fn sum(&mut self) {
        self.checksum = checksum_onward(self.checksum, &self.output[self.summed..]);
        self.summed = self.output.len();
    }

    /// Bytes that are ready to be taken out.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.output.len()
    }

    /// Takes out what is ready: the next bytes of the file.
    #[must_use]
    pub fn take_output(&mut self) -> Vec<u8> {
        self.sum();
        self.summed = 0;
        self.taken += self.output.len() as u64;
        std::mem::take(&mut self.output)
    }

    /// Bytes of memory held, what was not taken out included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let section = self.section.memory_bytes() + self.index.capacity();
        section + self.output.capacity() + self.footer.memory_bytes()
    }

    /// Writes what is left; answers the last bytes of the file, and what the file is.
    ///
    /// # Errors
    /// When a row could not be taken: the bytes given out are no run.
    pub fn finish(self) -> Result<(Vec<u8>, RunSummary), RunError> {
        let (last, summary, ..) = self.finish_searched()?;
        Ok((last, summary))
    }

    /// The same, with what a search needs, where that was kept.
    ///
    /// # Errors
    /// As [`RunWriter::finish`].
    pub(crate) fn finish_searched(mut self) -> Result<Searched, RunError> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        self.seal();
        let start = self.output.len();
        self.footer.write(&mut self.output);
        let footer = &self.output[start..];
        let (footer_bytes, footer_checksum) = (footer.len() as u64, checksum(footer));
        let trailer = Trailer {
            footer_bytes,
            footer_checksum,
        };
        self.output.extend_from_slice(&trailer.to_bytes());
        let last = self.take_output();
        let extents = || {
            self.footer
                .sections
                .iter()
                .flat_map(|section| &section.extents)
        };
        let first = extents().map(|extent| extent.first).min();
        let end = extents().map(|extent| extent.last).max();
        let groups = match (first, end) {
            (Some(KeyGroup(first)), Some(KeyGroup(last))) => first..last + 1,
            _ => 0..0,
        };
        let (bytes, checksum, states) = (self.taken, self.checksum, self.totals);
        let summary = RunSummary {
            bytes,
            checksum,
            groups,
            states,
        };
        Ok((last, summary, self.footer, self.indexes.unwrap_or_default()))
    }
}

/// The last bytes of a run, what it is, and what a search needs of it.
pub(crate) type Searched = (Vec<u8>, RunSummary, Footer, Vec<SectionIndex>);

/// Puts rows into the filter of their section. The eight words of each are one vector where the CPU has them.
fn fill(filter: &mut Filter, rows: &[Gathered], bytes: &[u8]) {
    on_this_cpu(
        #[inline(always)]
        || {
            for row in rows {
                let Address {
                    state,
                    key,
                    namespace,
                    ..
                } = row.address(bytes);
                filter.insert(filter_hash(state, key, namespace));
            }
        },
    );
}

/// What filters know the keys of rows by, of the states that are known by key.
fn keys_of<'a>(
    rows: &'a [Gathered],
    bytes: &'a [u8],
    known_by_key: &'a BTreeSet<u16>,
) -> impl Iterator<Item = KeyHash> + 'a {
    // Most runs have no such state.
    let rows = if known_by_key.is_empty() { &[] } else { rows };
    let keys = rows.chunk_by(|one, next| one.same_key(next, bytes));
    let known = keys.filter(|rows| known_by_key.contains(&rows[0].state()));
    known.map(|rows| {
        let Address { state, key, .. } = rows[0].address(bytes);
        filter_hash(state, key, &[])
    })
}

/// Appends one block with the first of `rows`; answers how many went in, one at least.
fn write_block(out: &mut Vec<u8>, rows: &[Gathered], bytes: &[u8], block_bytes: usize) -> usize {
    let full = out.len() + block_bytes;
    let mut encoder = RowEncoder::default();
    let mut before: Option<&Gathered> = None;
    for (taken, gathered) in rows.iter().enumerate() {
        let row = gathered.row(bytes);
        if taken > 0 && out.len() + row.bytes() + ROW_OVERHEAD > full {
            return taken;
        }
        let same_key = before.is_some_and(|before| before.same_key(gathered, bytes));
        encoder.put(out, gathered.state(), &row, same_key);
        before = Some(gathered);
    }
    rows.len()
}

/// What is in a sorted section; where it lies is not said.
fn describe(section: &SectionBuffer) -> SectionEntry {
    let (rows, bytes) = section.rows();
    let mut extents: Vec<Extent> = Vec::new();
    for gathered in rows {
        let (state, row) = (gathered.state(), gathered.row(bytes));
        let (put, tombstone) = (
            u32::from(!row.is_tombstone()),
            u32::from(row.is_tombstone()),
        );
        match extents.last_mut().filter(|extent| extent.state == state) {
            Some(extent) => {
                extent.last = row.group;
                extent.puts += put;
                extent.tombstones += tombstone;
            }
            None => extents.push(Extent {
                state,
                first: row.group,
                last: row.group,
                puts: put,
                tombstones: tombstone,
            }),
        }
    }
    let end = |gathered: Option<&Gathered>| {
        gathered.map_or_else(EndOfSection::default, |gathered| {
            let row = gathered.row(bytes);
            let (key, namespace) = (row.key.to_owned(), row.namespace.to_owned());
            EndOfSection { key, namespace }
        })
    };
    let (first, last) = (end(rows.first()), end(rows.last()));
    SectionEntry {
        offset: 0,
        blocks_bytes: 0,
        index_bytes: 0,
        index_checksum: 0,
        extents,
        first,
        last,
    }
}

/// Takes the rows of one state into a run.
///
/// A row that no run can hold is left out, and the run refuses to be finished.
pub struct StateRows<'a> {
    state: u16,
    writer: &'a mut RunWriter,
}

impl RowSink for StateRows<'_> {
    #[inline]
    fn row(&mut self, row: Row<'_>) {
        self.writer.take(self.state, row);
    }
}
