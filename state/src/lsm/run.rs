//! One file of entries that are not in memory, or were not when it was written.
//!
//! Invariant: the file is there as long as somebody holds the run: lookups, merges and checkpoints keep it
//! beyond its time in the table's list. Lives on one shard's thread.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use thalweg_core::KeyHash;
use thalweg_memory::SpillFile;
use thalweg_memory::spill::{BulkWriter, IoQueue};

use super::hot::Unit;
use super::index::{BlockPlace, RunIndex};
use crate::descriptor::StateDescriptor;
use crate::error::StateError;
use crate::run::{Address, RunError, RunOptions, RunWriter, StateHeader, StateNumber};

/// A run whose indexes are in memory.
pub(crate) struct ColdRun {
    pub(super) file: SpillFile,
    pub(super) index: RunIndex,
    /// The number of the table's state in it.
    pub(super) state: StateNumber,
    /// The key groups for which it counts.
    pub(super) groups: Vec<Range<u16>>,
    pub(super) bytes: u64,
    pub(super) checksum: u32,
    /// Rows of the table's state.
    pub(super) rows: u64,
    /// Whether the copy on which cuts build holds all of it.
    pub(super) copied: Cell<bool>,
    /// Whether all of it is in the file.
    pub(super) written: Cell<bool>,
}

/// Of what a table's runs are.
pub(super) struct RunForm {
    pub(super) descriptor: StateDescriptor,
    pub(super) unit: Unit,
}

impl ColdRun {
    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        (size_of::<ColdRun>() + self.index.memory_bytes()) as u64
    }

    pub(super) fn counts_for(&self, group: u16) -> bool {
        self.groups.iter().any(|groups| groups.contains(&group))
    }

    /// The next block, from place number `from` on, in which an entry may be.
    pub(super) fn block_of(
        &self,
        address: Address<'_>,
        hash: KeyHash,
        from: usize,
    ) -> Option<BlockPlace> {
        if !self.counts_for(address.group.0) {
            return None;
        }
        self.index.block_of(address, hash, from)
    }

    /// Where the blocks lie that may hold rows of a key, by section; none where there are surely none.
    pub(super) fn blocks_of_key(&self, group: u16, key: &[u8]) -> Vec<Vec<BlockPlace>> {
        if !self.counts_for(group) {
            return Vec::new();
        }
        self.index.blocks_of_key(self.state, (group, key))
    }

    /// Whether nothing older counts for a key of which it has a value.
    pub(super) fn is_whole(&self) -> bool {
        self.index.is_whole_by_key(self.state)
    }

    /// Damage at a place of a block of it.
    pub(super) fn damaged(&self, place: BlockPlace, at: usize, what: &'static str) -> RunError {
        RunError::Damaged {
            file: self.file.path().display().to_string(),
            offset: place.offset + at as u64,
            what,
        }
    }
}

/// Bits of filter for each row of a run that comes from memory. There are many such runs, of few rows each, and nearly
/// all of them are asked for what is not in memory: a false answer costs a read. Those that are merged of them are few,
/// have most of the rows, and the usual number of bits.
const FRESH_FILTER_BITS: u32 = 16;

/// How a run is written that comes from memory.
pub(super) fn fresh() -> RunOptions {
    RunOptions::default().with_filter_bits(FRESH_FILTER_BITS)
}

/// Writes a cold run of this form: its state is the only one in it. Keys of which only all entries leave are whole in
/// it, unless it is made of runs in which they are not.
pub(super) fn writer_of(
    form: &RunForm,
    whole: bool,
    options: RunOptions,
) -> Result<RunWriter, RunError> {
    let descriptor = &form.descriptor;
    let mut writer = RunWriter::to_be_searched(options);
    let mut described = Vec::new();
    descriptor.encode(&mut described);
    let header = StateHeader {
        name: descriptor.name().to_owned(),
        descriptor: described,
        full: false,
    };
    match form.unit {
        Unit::Key if whole => writer.declare_whole_by_key(header)?,
        Unit::Key => writer.declare_known_by_key(header)?,
        Unit::Entry | Unit::Part => writer.declare(header)?,
    };
    Ok(writer)
}

/// Hands the last bytes of a run of these key groups to the disk.
pub(super) fn finish(
    writer: RunWriter,
    file: &mut BulkWriter,
    queue: &mut IoQueue,
    groups: &Range<u16>,
) -> Result<Rc<ColdRun>, StateError> {
    let (last, summary, footer, indexes) = writer.finish_searched()?;
    file.append(queue, &last)?;
    file.flush(queue)?;
    Ok(Rc::new(ColdRun {
        file: file.file().clone(),
        index: RunIndex::new(footer, indexes),
        state: StateNumber(0),
        groups: vec![groups.clone()],
        bytes: summary.bytes,
        checksum: summary.checksum,
        rows: summary.rows(),
        copied: Cell::new(false),
        written: Cell::new(false),
    }))
}
