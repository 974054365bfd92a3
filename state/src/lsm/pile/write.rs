//! A pile being written: the rows of one table, or of several one after the other.
//!
//! Entered between turns, some buckets at a time. Invariants: the rows of a table come in the order of key groups, so
//! that a part of the groups is read from one place; a table that was written belongs to nobody who changes it. Lives
//! on one shard's thread.

use std::ops::Range;
use std::rc::Rc;

use thalweg_memory::Key;
use thalweg_memory::SpillError;
use thalweg_memory::record::Record;
use thalweg_memory::spill::{BulkWriter, IoDone, RequestId};

use super::super::run::{ColdRun, finish};
use super::{Pile, Piles};
use crate::descriptor::StateDescriptor;
use crate::error::StateError;
use crate::run::{RunOptions, RunWriter, StateHeader, StateNumber};
use crate::snapshot::Row;
use crate::table::{KeyedTable, OverflowRows, Scan};

/// Bytes that are sorted and written at once, at most, and at least: one part in so many of the memory. What is held
/// in memory of a pile is a line for each of them and for each block.
const MOST_PIECE_BYTES: u64 = 256 << 10;
const LEAST_PIECE_BYTES: u64 = 16 << 10;
const PIECE_SHARE: u64 = 32;
/// Bytes that are read and checked at once where what is read is nearly all there is of some key groups.
const BLOCK_BYTES: usize = 16 << 10;
/// Buckets of a slice.
const SLICE_BUCKETS: usize = 64;

/// What a pile is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PileUse {
    /// All rows of some key groups.
    ReadThrough,
    /// Single keys, beside that.
    Sought,
}

/// Writes one pile.
pub struct PileWriter {
    writer: Option<Box<RunWriter>>,
    file: BulkWriter,
    groups: Range<u16>,
    rows: OverflowRows,
    namespace: Vec<u8>,
    piece_bytes: usize,
    /// The next bucket of the table in work.
    bucket: usize,
    run: Option<Rc<ColdRun>>,
}

impl PileWriter {
    /// A pile of the state so described, whose rows get this namespace.
    ///
    /// # Errors
    /// None today: one state fits every run.
    pub fn new(
        descriptor: &StateDescriptor,
        namespace: Vec<u8>,
        (piles, used): (&Piles, PileUse),
    ) -> Result<PileWriter, StateError> {
        let piece_bytes = piles.limit() / PIECE_SHARE;
        PileWriter::with_pieces(piece_bytes, descriptor, namespace, (piles, used))
    }

    /// The same, sorted in pieces of about so many bytes.
    pub(crate) fn with_pieces(
        bytes: u64,
        descriptor: &StateDescriptor,
        namespace: Vec<u8>,
        (piles, used): (&Piles, PileUse),
    ) -> Result<PileWriter, StateError> {
        let piece_bytes = bytes.clamp(LEAST_PIECE_BYTES, MOST_PIECE_BYTES) as usize;
        let options = RunOptions::default().with_section_bytes(piece_bytes);
        let options = match used {
            PileUse::ReadThrough => options.with_block_bytes(BLOCK_BYTES).with_filter_bits(0),
            PileUse::Sought => options,
        };
        let mut writer = RunWriter::to_be_searched(options);
        let mut described = Vec::new();
        descriptor.encode(&mut described);
        writer.declare(StateHeader {
            name: descriptor.name().to_owned(),
            descriptor: described,
            full: false,
        })?;
        Ok(PileWriter {
            writer: Some(Box::new(writer)),
            file: BulkWriter::new(piles.queue.files().file(), piece_bytes),
            groups: piles.groups(),
            rows: OverflowRows::new(),
            namespace,
            piece_bytes,
            bucket: 0,
            run: None,
        })
    }

    /// Whether the disk has to catch up first.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.file.is_full()
    }

    /// Writes some more rows of a table, which is not changed until all of them are; the next table comes then.
    ///
    /// # Errors
    /// When the room on disk is used up.
    pub fn write<K: Key, V: Record>(
        &mut self,
        table: &mut KeyedTable<K, V>,
        piles: &mut Piles,
    ) -> Result<Scan, StateError> {
        let Some(writer) = &mut self.writer else {
            return Ok(Scan::Done);
        };
        if !table.settle(16 * SLICE_BUCKETS) {
            return Ok(Scan::More);
        }
        let end = table.bucket_count();
        let slice = self.bucket..end.min(self.bucket + SLICE_BUCKETS);
        self.bucket = slice.end;
        let namespace = &self.namespace;
        let mut out = writer.rows_of(StateNumber(0))?;
        let mut out =
            |row: Row<'_>| crate::snapshot::RowSink::row(&mut out, Row { namespace, ..row });
        table.flush_buckets(slice, &mut self.rows, |_| true, &mut out);
        self.hand_on(piles)?;
        if self.bucket < end {
            return Ok(Scan::More);
        }
        self.bucket = 0;
        Ok(Scan::Done)
    }

    /// Writes one row, with the namespace it has.
    ///
    /// # Errors
    /// As [`PileWriter::write`].
    pub(crate) fn push(&mut self, row: Row<'_>, piles: &mut Piles) -> Result<(), StateError> {
        if let Some(writer) = &mut self.writer {
            crate::snapshot::RowSink::row(&mut writer.rows_of(StateNumber(0))?, row);
        }
        self.hand_on(piles)
    }

    /// Hands what is ready to the disk.
    fn hand_on(&mut self, piles: &mut Piles) -> Result<(), StateError> {
        if let Some(writer) = &mut self.writer
            && writer.ready() >= self.piece_bytes
        {
            self.file.append(&mut piles.queue, &writer.take_output())?;
        }
        Ok(())
    }

    /// No more rows come.
    ///
    /// # Errors
    /// When the room on disk is used up, or a row is too long for a run.
    pub fn seal(&mut self, piles: &mut Piles) -> Result<(), StateError> {
        if let Some(writer) = self.writer.take() {
            let (queue, groups) = (&mut piles.queue, &self.groups);
            self.run = Some(finish(*writer, &mut self.file, queue, groups)?);
        }
        Ok(())
    }

    /// The pile, once it was sealed and all of it is on the disk.
    pub fn take(&mut self) -> Option<Pile> {
        if !self.file.is_written() {
            return None;
        }
        let run = self.run.take()?;
        run.written.set(true);
        Some(Pile {
            run,
            namespace: self.namespace.as_slice().into(),
            adopted: false,
        })
    }

    /// Takes an answer of the disk; whether it was one of its own.
    ///
    /// # Errors
    /// What could not be written.
    pub fn answered(
        &mut self,
        request: RequestId,
        answer: &Result<IoDone, SpillError>,
    ) -> Result<bool, StateError> {
        Ok(self.file.answered(request, answer)?)
    }

    /// Bytes of memory.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let writer = self.writer.as_ref();
        writer.map_or(0, |writer| writer.memory_bytes() as u64)
    }
}
