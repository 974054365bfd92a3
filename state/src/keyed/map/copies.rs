//! Maps in copies of the state: their entries, of which the index is made anew.
//!
//! Entered at a cut, between turns, and when an operator opens from a copy. Invariant: after `restored`
//! the index has each entry at the number it had when the copy was cut, so that walks go as before. Lives
//! on one shard's thread.

use std::ops::ControlFlow;

use thalweg_core::Epoch;
use thalweg_memory::{Key, Record, RecordKey};

use super::super::aging::Aging;
use super::super::held::Tables;
use super::entries::MapEntries;
use crate::error::StateError;
use crate::snapshot::{CutKind, Row, RowSink, Snapshot, StateSize};
use crate::table::{Namespace, Scan, ScanCursor};

/// Entries that are looked at in one step when the index is made.
const STEP: usize = 1 << 12;

impl<K, UK, UV, N, A> Snapshot for MapEntries<K, UK, UV, N, A>
where
    K: Key,
    UK: RecordKey + Eq,
    UV: Record,
    N: Namespace,
    A: Aging<UV>,
{
    fn size(&self) -> StateSize {
        StateSize::in_memory(self.entries(), self.memory_bytes())
    }

    fn freeze(&mut self, epoch: Epoch, kind: CutKind) -> CutKind {
        self.table.freeze(epoch, kind)
    }

    fn is_cutting(&self) -> bool {
        self.table.is_cutting()
    }

    fn emit(&mut self, budget: usize, out: &mut dyn RowSink) -> Result<Scan, StateError> {
        self.table.emit(budget, out)
    }

    fn cut_failed(&mut self) {
        self.table.cut_failed();
    }

    fn expect_rows(&mut self, about: u64, at_most: u64) {
        self.table.expect_rows(about, at_most);
    }

    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError> {
        self.table.restore(row)
    }

    fn restored(&mut self) -> Result<(), StateError> {
        let (index, mut cursor) = (&mut self.index, ScanCursor::new());
        index.table.clear();
        loop {
            let mut refused = Ok(());
            let scanned = self.table.scan(&mut cursor, STEP, |entry| {
                let hash = K::hash(&entry.key);
                let (place, number) = (entry.namespace, entry.value.2);
                refused = index.put_back(hash, &entry.key, &place.namespace, number, place.id);
                match refused {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            });
            refused?;
            if scanned? == Scan::Done {
                return Ok(());
            }
        }
    }

    fn forget_copies(&mut self) {
        self.table.forget_copies();
    }
}
