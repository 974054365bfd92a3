//! What windows in the making hold as a state of a checkpoint, where it may be on disk.
//!
//! Invariant: it is in memory, or on disk, or on its way there between two windows; a table that takes the place of
//! another was in no cut, so that the next one says all there is. Lives on one shard's thread.

use thalweg_core::Epoch;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{
    AdoptedRun, Adopts, CarriedRun, CutKind, Pile, Row, RowSink, Scan, Snapshot, StateError,
    StateSize,
};

use super::super::assembly::Assembly;
use super::{Goal, OnDisk};

/// What windows in the making hold, where that may be on disk.
pub(in crate::window::slice) struct CopyOfGathered<'s, K: Key, A: Record> {
    pub(in crate::window::slice) assembly: &'s mut Assembly<K, A>,
    pub(in crate::window::slice) on_disk: &'s mut OnDisk<K, A>,
}

impl<K: Key, A: Record> CopyOfGathered<'_, K, A> {
    /// The table that is on its way to the disk.
    fn spilling(&mut self) -> Option<&mut dyn Snapshot> {
        let spilling = self.on_disk.spilling.as_mut();
        let spilling = spilling.filter(|it| it.goal == Goal::Gathered)?;
        spilling.table.as_state()
    }
}

impl<K: Key, A: Record> Snapshot for CopyOfGathered<'_, K, A> {
    fn size(&self) -> StateSize {
        let mut size = self.on_disk.size_of_gathered();
        size += self.assembly.size();
        size
    }

    fn freeze(&mut self, epoch: Epoch, kind: CutKind) -> CutKind {
        self.on_disk.leaving.clear();
        let mut kind = kind;
        if let Some(spilling) = self.spilling() {
            // The table in its place was in no cut: together they are all there is.
            if kind == CutKind::Changes {
                kind = CutKind::Everything;
            }
            spilling.freeze(epoch, kind);
        }
        match self.assembly.as_state() {
            Some(assembly) => assembly.freeze(epoch, kind),
            None => kind,
        }
    }

    fn begins_anew(&self) -> bool {
        !self.on_disk.gathered.is_empty()
    }

    fn carried(&self) -> Vec<CarriedRun> {
        let gathered = self.on_disk.gathered.iter();
        gathered.flat_map(Pile::carried).collect()
    }

    fn is_cutting(&self) -> bool {
        let spilling = self.on_disk.spilling.as_ref();
        let spilling = spilling.filter(|it| it.goal == Goal::Gathered);
        !self.on_disk.leaving.is_empty()
            || self.assembly.is_cutting()
            || spilling.is_some_and(|it| it.table.is_cutting())
    }

    fn emit(&mut self, budget: usize, out: &mut dyn RowSink) -> Result<Scan, StateError> {
        if self.on_disk.emit_leaving(budget, out)? {
            return Ok(Scan::More);
        }
        if let Some(spilling) = self.spilling()
            && spilling.is_cutting()
        {
            spilling.emit(budget, out)?;
            return Ok(Scan::More);
        }
        match self.assembly.as_state() {
            Some(assembly) => assembly.emit(budget, out),
            None => Ok(Scan::Done),
        }
    }

    fn cut_failed(&mut self) {
        self.on_disk.leaving.clear();
        if let Some(assembly) = self.assembly.as_state() {
            assembly.cut_failed();
        }
        if let Some(spilling) = self.spilling() {
            spilling.cut_failed();
        }
    }

    fn expect_rows(&mut self, about: u64, at_most: u64) {
        if let Some(assembly) = self.assembly.as_state() {
            assembly.expect_rows(about, at_most);
        }
    }

    fn approach_row(&mut self, row: &Row<'_>) {
        if let Some(assembly) = self.assembly.as_state() {
            assembly.approach_row(row);
        }
    }

    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError> {
        match self.assembly.as_state() {
            Some(assembly) => assembly.restore(row),
            None => Ok(()),
        }
    }

    fn adopts(&self, _bytes: u64) -> Adopts {
        Adopts::Runs
    }

    fn adopt(&mut self, runs: Vec<AdoptedRun>) -> Result<(), StateError> {
        let piles = &mut self.on_disk.piles;
        let adopted = runs.into_iter().map(|run| Pile::adopt(run, piles));
        self.on_disk.gathered = adopted.collect();
        Ok(())
    }

    fn forget_copies(&mut self) {
        if let Some(assembly) = self.assembly.as_state() {
            assembly.forget_copies();
        }
    }
}
