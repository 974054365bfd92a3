//! The part of a cut that lies in runs, and tables taken back without reading them.
//!
//! Entered as any other state is at a barrier and when an operator opens. The rows of the cut are those of
//! the hot layer; besides, the runs that came since the last cut that became durable belong to it as they
//! are, or all of them where the cut is a full one. Invariant: what is dropped from memory before a barrier
//! is in a run that this cut or one before it has carried; what the cut has still to write is not dropped. Lives on one shard's thread.

use std::cell::Cell;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

use thalweg_core::Epoch;
use thalweg_memory::{IoManager, Key, Record, SpillFile};

use super::index::RunIndex;
use super::layered::LayeredTable;
use super::overflow::Overflow;
use super::run::ColdRun;
use crate::error::StateError;
use crate::migration::Migration;
use crate::run::{ReadAt, RunReader, StateNumber};
#[cfg(test)]
use crate::snapshot::planted::{self, Bug};
use crate::snapshot::{Adopts, CutKind, Row, RowSink, Snapshot, StateSize};
use crate::table::{Namespace, Scan};

/// A run that belongs to a cut as it is: a checkpoint copies its file.
pub struct CarriedRun {
    run: Rc<ColdRun>,
    groups: Range<u16>,
}

impl CarriedRun {
    /// A run as a part of a cut, for some of the key groups for which it counts.
    pub(super) fn of(run: &Rc<ColdRun>, groups: Range<u16>) -> CarriedRun {
        CarriedRun {
            run: Rc::clone(run),
            groups,
        }
    }

    /// Where its file lies; it stays as long as this does.
    #[must_use]
    pub fn file(&self) -> &SpillFile {
        &self.run.file
    }

    /// Whether all of it is in the file: a round that the cut ended may still be writing.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.run.written.get()
    }

    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.run.bytes
    }

    /// CRC-32C over all its bytes.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.run.checksum
    }

    /// Rows of its state in it.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.run.rows
    }

    /// The state for which it counts, where its file holds rows of others too: a run of a copy that was taken over.
    /// Those are older than what others carry of their own, and must not be read in their place.
    #[must_use]
    pub fn only(&self) -> Option<StateNumber> {
        (self.run.index.states() > 1).then_some(self.run.state)
    }

    /// The key groups for which it counts.
    #[must_use]
    pub fn groups(&self) -> Range<u16> {
        self.groups.clone()
    }
}

/// A run of a copy that a table takes over as it is.
pub struct AdoptedRun {
    /// Where its file lies.
    pub path: PathBuf,
    /// Bytes of the file.
    pub bytes: u64,
    /// CRC-32C over all its bytes.
    pub checksum: u32,
    index: RunIndex,
    rows: u64,
    state: StateNumber,
    groups: Vec<Range<u16>>,
}

impl AdoptedRun {
    /// The run that `reader` reads, for one state and the key groups for which it counts.
    ///
    /// # Errors
    /// When its indexes are damaged or cannot be read.
    pub fn new<R: ReadAt>(
        (path, bytes, checksum): (PathBuf, u64, u32),
        reader: &RunReader<R>,
        state: StateNumber,
        groups: Vec<Range<u16>>,
    ) -> Result<AdoptedRun, StateError> {
        Ok(AdoptedRun {
            path,
            bytes,
            checksum,
            index: RunIndex::of(reader, &groups)?,
            rows: reader.rows_of(state),
            state,
            groups,
        })
    }

    /// The same as a run of a state that is on disk.
    pub(super) fn into_cold(self, manager: &IoManager) -> Rc<ColdRun> {
        Rc::new(ColdRun {
            file: manager.foreign(self.path, self.bytes),
            index: self.index,
            state: self.state,
            groups: self.groups,
            bytes: self.bytes,
            checksum: self.checksum,
            rows: self.rows,
            copied: Cell::new(true),
            written: Cell::new(true),
        })
    }
}

impl Overflow {
    /// What the cut that is frozen now carries: everything, or what no cut has carried before. Rows that a
    /// round has gathered so far are as old as the cut, and those it would go on to gather are not: it ends
    /// here. What was removed is in a burial that is younger.
    fn take_carried(&mut self, kind: CutKind) -> Result<(), StateError> {
        let gathering = match &mut self.round {
            Some(round) => round.seal(&mut self.queue, &self.groups)?,
            None => None,
        };
        self.bury_graves()?;
        let made = self.graves.runs().cloned().chain(gathering);
        let runs = made.chain(self.runs.list.iter().cloned());
        self.was_copied = true;
        let carried = runs.filter(|run| kind.is_full() || !run.copied.get());
        self.carried = carried.collect();
        self.beside = kind == CutKind::Copy;
        if kind != CutKind::Copy {
            self.runs_are_carried();
        }
        if kind == CutKind::Everything {
            self.left_out_before = std::mem::take(&mut self.left_out);
        }
        Ok(())
    }

    /// What the last cut carried is part of a copy on which later cuts build.
    fn carried_is_copied(&mut self) {
        self.left_out_before = false;
        for run in (self.carried.drain(..)).chain(self.made_of_carried.drain(..)) {
            if !self.beside {
                run.copied.set(true);
            }
        }
    }

    /// What the last cut carried is not part of a copy.
    fn drop_carried(&mut self) {
        self.carried.clear();
        self.made_of_carried.clear();
        self.left_out |= std::mem::take(&mut self.left_out_before);
    }

    /// Takes runs of a copy over, newest first.
    fn adopt(&mut self, runs: Vec<AdoptedRun>) {
        let manager = self.queue.files().clone();
        let adopted = runs.into_iter().map(|run| run.into_cold(&manager));
        self.runs.list = adopted.collect();
        self.was_copied = true;
        for run in &self.runs.list {
            // Opened at once: its owner may remove it.
            self.queue.read(&run.file, 0, 0);
        }
        self.runs.version += 1;
        self.follow_memory();
    }
}

impl<K: Key, V: Record, N: Namespace> LayeredTable<K, V, N> {
    /// See [`Snapshot::emit`]; what `keep` refuses is not written, as where a table does it.
    pub(crate) fn emit_kept(
        &mut self,
        budget: usize,
        keep: impl Fn(&V) -> bool,
        out: &mut dyn RowSink,
    ) -> Result<Scan, StateError> {
        if let Some(overflow) = &mut self.overflow
            && let Some(failed) = overflow.failed.take()
        {
            return Err(failed);
        }
        self.table.emit_kept(budget, keep, out)
    }
}

impl<K: Key, V: Record, N: Namespace> Snapshot for LayeredTable<K, V, N> {
    fn size(&self) -> StateSize {
        let overflow = self.overflow.as_ref();
        StateSize {
            disk_rows: overflow.map_or(0, |overflow| overflow.disk_rows()),
            disk_bytes: overflow.map_or(0, |overflow| overflow.disk_bytes()),
            ..StateSize::in_memory(self.table.len(), self.memory_bytes())
        }
    }

    fn freeze(&mut self, epoch: Epoch, kind: CutKind) -> CutKind {
        let kind = self.table.freeze(epoch, kind);
        if let Some(overflow) = &mut self.overflow {
            // What a cut carried that was given up is carried by this one.
            overflow.drop_carried();
            if let Err(error) = overflow.take_carried(kind) {
                overflow.failed.get_or_insert(error);
            }
        }
        kind
    }

    fn begins_anew(&self) -> bool {
        let overflow = self.overflow.as_ref();
        let left_out = overflow.is_some_and(|it| it.left_out || it.left_out_before);
        #[cfg(test)]
        let left_out = left_out && !planted::is_in(Bug::CutsBuildOnExpired);
        left_out || self.has_spilled() && self.table.would_be_everything()
    }

    fn is_cutting(&self) -> bool {
        self.table.is_cutting()
    }

    fn emit(&mut self, budget: usize, out: &mut dyn RowSink) -> Result<Scan, StateError> {
        self.emit_kept(budget, |_| true, out)
    }

    fn cut_failed(&mut self) {
        self.table.cut_failed();
        if let Some(overflow) = &mut self.overflow {
            overflow.drop_carried();
        }
    }

    fn cut_durable(&mut self) {
        if let Some(overflow) = &mut self.overflow {
            overflow.carried_is_copied();
        }
    }

    fn carried(&self) -> Vec<CarriedRun> {
        let runs = self.overflow.iter().flat_map(|overflow| &overflow.carried);
        let parts = runs.flat_map(|run| {
            let groups = run.groups.iter();
            groups.map(|groups| CarriedRun::of(run, groups.clone()))
        });
        parts.collect()
    }

    fn expect_rows(&mut self, about: u64, at_most: u64) {
        self.table.expect_rows(about, at_most);
    }

    fn approach_row(&mut self, row: &Row<'_>) {
        self.table.approach_row(row);
    }

    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError> {
        self.table.restore(row)
    }

    fn restored(&mut self) -> Result<(), StateError> {
        self.table.restored()
    }

    fn restored_by(&mut self, migration: &Migration, ages: bool) -> Result<(), StateError> {
        if self.has_spilled() {
            // Values are made anew where their rows were taken back, and these were not.
            return Err(StateError::AdoptsNoRuns);
        }
        self.table.restored_by(migration, ages)
    }

    fn adopts(&self, bytes: u64) -> Adopts {
        match (&self.overflow, &self.restoring) {
            (Some(_), _) => Adopts::Runs,
            (None, Some(restoring)) if restoring.takes(bytes) => Adopts::RunsForNow,
            (None, _) => Adopts::Rows,
        }
    }

    fn has_room_for(&self, rows: u64, bytes: u64) -> bool {
        self.table.has_room_for_rows(rows, bytes)
    }

    fn is_coming_back(&self) -> bool {
        let restoring = self.restoring.as_ref();
        restoring.is_some_and(|restoring| restoring.is_active())
    }

    fn adopt(&mut self, runs: Vec<AdoptedRun>) -> Result<(), StateError> {
        if let Some(restoring) = &mut self.restoring {
            self.table.build_on_copy();
            restoring.adopt(runs);
            return Ok(());
        }
        let Some(overflow) = &mut self.overflow else {
            return Err(StateError::AdoptsNoRuns);
        };
        self.table.build_on_copy();
        overflow.spill_from_now_on(&mut self.table);
        overflow.adopt(runs);
        Ok(())
    }

    fn forget_copies(&mut self) {
        self.table.forget_copies();
        if let Some(overflow) = &self.overflow {
            for run in &overflow.runs.list {
                run.copied.set(false);
            }
        }
    }
}
