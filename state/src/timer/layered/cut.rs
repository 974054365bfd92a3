//! Timers on disk as a part of a checkpoint.
//!
//! Timers in memory are written in full at each cut, those that were deleted as tombstones, and piles are carried as
//! they are: they are older than both. A copy is taken back as a bank that has to be read before anything else.
//! Invariant: what is on its way is in no cut, so a barrier waits for it. Lives on one shard's thread.

use thalweg_core::Epoch;
use thalweg_memory::Key;

use super::load::Loading;
use super::{LayeredTimers, OnDisk};
use crate::error::StateError;
use crate::lsm::{AdoptedRun, CarriedRun, Pile};
use crate::snapshot::{Adopts, CutKind, Row, RowSink, Snapshot, StateSize};
use crate::table::{Namespace, Scan};

/// Rows of timers that were deleted.
struct AsTombstones<'o>(&'o mut dyn RowSink);

impl RowSink for AsTombstones<'_> {
    fn row(&mut self, row: Row<'_>) {
        self.0.row(Row { value: None, ..row });
    }
}

impl<K: Key, N: Namespace> LayeredTimers<K, N> {
    fn disk(&self) -> Option<&OnDisk<K, N>> {
        self.disk.as_deref()
    }
}

impl<K: Key, N: Namespace> Snapshot for LayeredTimers<K, N> {
    fn size(&self) -> StateSize {
        let mut size = self.hot.size();
        if let Some(disk) = self.disk() {
            size.memory_bytes += disk.gone.memory_bytes();
            size += disk.banks.size();
        }
        size
    }

    fn freeze(&mut self, epoch: Epoch, kind: CutKind) -> CutKind {
        debug_assert!(!self.is_moving(), "a barrier waits");
        if let Some(disk) = &mut self.disk {
            disk.gone.freeze(epoch, kind);
        }
        self.hot.freeze(epoch, kind)
    }

    fn begins_anew(&self) -> bool {
        self.disk().is_some_and(|disk| !disk.banks.is_empty())
    }

    fn carried(&self) -> Vec<CarriedRun> {
        let piles = self
            .disk()
            .into_iter()
            .flat_map(|disk| disk.banks.piles().rev());
        piles.flat_map(Pile::carried).collect()
    }

    fn is_cutting(&self) -> bool {
        self.hot.is_cutting() || self.disk().is_some_and(|disk| disk.gone.is_cutting())
    }

    fn emit(&mut self, budget: usize, out: &mut dyn RowSink) -> Result<Scan, StateError> {
        if let Some(disk) = &mut self.disk
            && disk.gone.is_cutting()
        {
            disk.gone.emit(budget, &mut AsTombstones(out))?;
            return Ok(Scan::More);
        }
        self.hot.emit(budget, out)
    }

    fn cut_failed(&mut self) {
        self.hot.cut_failed();
        if let Some(disk) = &mut self.disk {
            disk.gone.cut_failed();
        }
    }

    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError> {
        self.hot.restore(row)
    }

    fn adopts(&self, _bytes: u64) -> Adopts {
        match self.disk {
            Some(_) => Adopts::Runs,
            None => Adopts::Rows,
        }
    }

    fn adopt(&mut self, runs: Vec<AdoptedRun>) -> Result<(), StateError> {
        let Some(disk) = &mut self.disk else {
            return Err(StateError::AdoptsNoRuns);
        };
        if !runs.is_empty() {
            let piles = disk.piles();
            let adopted = runs.into_iter().map(|run| Pile::adopt(run, piles));
            let mut oldest_first: Vec<Pile> = adopted.collect();
            oldest_first.reverse();
            disk.loading = Some(Loading::new(oldest_first, self.hot.groups()));
        }
        Ok(())
    }

    fn forget_copies(&mut self) {}
}
