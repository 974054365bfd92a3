//! The slices as one state of a checkpoint: every row with the slice it lies in as its namespace.
//!
//! A slice lives for a window or two and goes as a whole, so there is little to be gained from writing only
//! what changed: each cut writes all there is. Invariant: slices made after the cut are not in it, those that
//! go after it are. Lives on one shard's thread.

use thalweg_core::Epoch;
use thalweg_memory::DamagedKey;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{
    CutKind, KeyedTable, Namespace, Row, RowSink, Scan, Snapshot, StateError, StateSize,
};

use super::aligned::AlignedWindows;
use super::store::{Part, Slices};
use crate::window::TimeWindow;

/// The slices of one subtask, to be copied or given back.
pub(super) struct CopyOfSlices<'s, K: Key, A: Record> {
    pub(super) slices: &'s mut Slices<K, A>,
    pub(super) windows: AlignedWindows,
}

/// Rows of one table on their way out, with the slice beside the key.
struct InSlice<'o> {
    namespace: Vec<u8>,
    out: &'o mut dyn RowSink,
}

impl RowSink for InSlice<'_> {
    fn row(&mut self, row: Row<'_>) {
        debug_assert!(row.namespace.is_empty(), "slices keep by key alone");
        self.out.row(Row {
            namespace: &self.namespace,
            ..row
        });
    }
}

/// The namespace of a table's rows: the slice, and which of its tables.
fn namespace_of(span: TimeWindow, part: Part) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(17);
    span.encode(&mut bytes);
    bytes.push(u8::from(part == Part::Patch));
    bytes
}

fn parse(bytes: &[u8]) -> Result<(TimeWindow, Part), StateError> {
    let Some((part, mut span)) = bytes.split_last() else {
        return Err(DamagedKey::new("a slice of windows has no span").into());
    };
    let part = match part {
        0 => Part::Whole,
        1 => Part::Patch,
        _ => return Err(DamagedKey::new("a slice is neither whole nor a patch").into()),
    };
    let span = TimeWindow::decode(&mut span)?;
    Ok((span, part))
}

fn other_windows() -> StateError {
    DamagedKey::new("a slice of other windows: size, slide or offset were changed").into()
}

impl<K: Key, A: Record> CopyOfSlices<'_, K, A> {
    /// Every table with rows that are still to be written.
    fn tables(&mut self) -> impl Iterator<Item = (TimeWindow, Part, &mut KeyedTable<K, A>)> {
        let line = self.slices.iter_mut().flat_map(|slice| {
            let span = slice.span;
            let patch = slice.patch.as_mut().map(|patch| (span, Part::Patch, patch));
            [Some((span, Part::Whole, &mut slice.table)), patch]
        });
        line.flatten()
    }
}

impl<K: Key, A: Record> Snapshot for CopyOfSlices<'_, K, A> {
    fn size(&self) -> StateSize {
        let mut size = StateSize::default();
        for slice in self.slices.iter() {
            size += slice.table.size();
            if let Some(patch) = &slice.patch {
                size += patch.size();
            }
        }
        for leaving in &self.slices.leaving {
            size.memory_bytes += leaving.table.memory_bytes();
        }
        size
    }

    fn freeze(&mut self, epoch: Epoch, kind: CutKind) -> CutKind {
        self.slices.leaving.clear();
        // The tables need not know what is in earlier checkpoints.
        for (_, _, table) in self.tables() {
            table.freeze(epoch, CutKind::Copy);
        }
        match kind {
            CutKind::Changes => CutKind::Everything,
            full => full,
        }
    }

    fn is_cutting(&self) -> bool {
        let of_slice =
            |patch: &Option<KeyedTable<K, A>>| patch.as_ref().is_some_and(Snapshot::is_cutting);
        !self.slices.leaving.is_empty()
            || (self.slices.iter()).any(|slice| slice.table.is_cutting() || of_slice(&slice.patch))
    }

    fn emit(&mut self, budget: usize, out: &mut dyn RowSink) -> Result<Scan, StateError> {
        if let Some(leaving) = self.slices.leaving.last_mut() {
            let namespace = namespace_of(leaving.span, leaving.part);
            let scan = leaving
                .table
                .emit(budget, &mut InSlice { namespace, out })?;
            if scan == Scan::Done
                && let Some(leaving) = self.slices.leaving.pop()
            {
                self.slices.recycle(leaving.table);
            }
            return Ok(Scan::More);
        }
        let next = self.tables().find(|(_, _, table)| table.is_cutting());
        let Some((span, part, table)) = next else {
            return Ok(Scan::Done);
        };
        let namespace = namespace_of(span, part);
        table.emit(budget, &mut InSlice { namespace, out })?;
        Ok(Scan::More)
    }

    fn cut_failed(&mut self) {
        // The next cut writes all there is anyway.
        self.slices.leaving.clear();
    }

    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError> {
        let (span, part) = parse(row.namespace)?;
        let ends = (self.windows.first_end(span), self.windows.last_end(span));
        let (Some(first), Some(last)) = ends else {
            return Err(other_windows());
        };
        if self.windows.slice_of(span.start) != span {
            return Err(other_windows());
        }
        let place = self.slices.find_or_make(span, (first, last))?;
        let row = Row {
            namespace: &[],
            ..row
        };
        if part == Part::Whole {
            return self.slices.at(place).table.restore(row);
        }
        if self.slices.at(place).patch.is_none() {
            let patch = self.slices.fresh_table()?;
            self.slices.at(place).patch = Some(patch);
        }
        match &mut self.slices.at(place).patch {
            Some(patch) => patch.restore(row),
            None => Ok(()),
        }
    }

    fn restored(&mut self) -> Result<(), StateError> {
        self.tables().try_for_each(|(_, _, table)| table.restored())
    }

    fn forget_copies(&mut self) {}
}

#[cfg(test)]
mod tests {
    use thalweg_core::event_time::Timestamp;

    use super::*;

    #[test]
    fn a_slice_comes_back_from_its_namespace_and_damage_is_named() {
        let span = TimeWindow::new(Timestamp(-5), Timestamp(7));
        for part in [Part::Whole, Part::Patch] {
            let bytes = namespace_of(span, part);
            assert_eq!(parse(&bytes).unwrap(), (span, part));
            assert!(parse(&bytes[1..]).is_err());
        }
        assert!(parse(&[]).is_err());
    }
}
