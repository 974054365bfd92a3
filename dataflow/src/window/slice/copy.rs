//! The slices as one state of a checkpoint: every row with the slice it lies in as its namespace.
//!
//! A slice lives for a window or two and goes as a whole, so there is little to be gained from writing only
//! what changed: each cut writes all there is. What is on disk is carried as it is; rows of a key and slice that lie in
//! several places are told apart by a number, as none takes the place of another. Invariant: slices made after the cut
//! are not in it, those that go after it are. Lives on one shard's thread.

use thalweg_core::Epoch;
use thalweg_memory::DamagedKey;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{
    AdoptedRun, Adopts, CarriedRun, CutKind, KeyedTable, Namespace, OverflowRows, Pile, Row,
    RowSink, Scan, Snapshot, StateDescriptor, StateError, StateSize,
};

use super::aligned::AlignedWindows;
use super::assembly::Assembly;
use super::disk::{Goal, OnDisk, Refill};
use super::panes::Combine;
use super::store::{Part, Slice, Slices};
use crate::window::TimeWindow;

/// How the slices of a subtask are described.
pub(super) fn descriptor_of_slices<K: Key, A: Record>() -> StateDescriptor {
    StateDescriptor::aggregating::<A>("thalweg.slices").of_keys::<K, TimeWindow>()
}

/// The slices of one subtask, to be copied or given back.
pub(super) struct CopyOfSlices<'s, K: Key, A: Record, C> {
    pub(super) slices: &'s mut Slices<K, A>,
    pub(super) windows: AlignedWindows,
    pub(super) on_disk: Option<&'s mut OnDisk<K, A>>,
    /// Puts together what was in several places.
    pub(super) by: C,
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

/// The namespace of a table's rows: the slice, which of its tables, and what tells them from others.
pub(super) fn namespace_of(span: TimeWindow, part: Part, number: Option<u32>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(21);
    span.encode(&mut bytes);
    bytes.push(u8::from(part == Part::Patch));
    if let Some(number) = number {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes
}

/// Slice and table of a row, and whether it may be one of several of its key there.
pub(super) fn parse(mut bytes: &[u8]) -> Result<(TimeWindow, Part, bool), StateError> {
    let span = TimeWindow::decode(&mut bytes)?;
    let (part, number) = match bytes.split_first() {
        Some((0, number)) => (Part::Whole, number),
        Some((1, number)) => (Part::Patch, number),
        _ => return Err(DamagedKey::new("a slice is neither whole nor a patch").into()),
    };
    match number.len() {
        0 => Ok((span, part, false)),
        NUMBER_BYTES => Ok((span, part, true)),
        _ => Err(DamagedKey::new("a slice of windows is followed by something").into()),
    }
}

/// Bytes of what tells rows of a key and slice from others.
const NUMBER_BYTES: usize = size_of::<u32>();

pub(super) fn other_windows() -> StateError {
    DamagedKey::new("a slice of other windows: size, slide or offset were changed").into()
}

impl<K: Key, A: Record, C> CopyOfSlices<'_, K, A, C> {
    /// Every table with rows that are still to be written, with what tells them from others.
    fn tables(
        &mut self,
    ) -> impl Iterator<Item = (TimeWindow, Part, Option<u32>, &mut KeyedTable<K, A>)> {
        let cut = self.on_disk.as_ref().map(|on_disk| on_disk.cut);
        let line = self.slices.iter_mut().flat_map(move |slice| {
            let span = slice.span;
            let patch = slice.patch.as_mut();
            let patch = patch.map(|patch| (span, Part::Patch, cut, patch));
            [Some((span, Part::Whole, cut, &mut slice.table)), patch]
        });
        let spilling = self.on_disk.as_mut().and_then(|it| it.spilling.as_mut());
        let leaving = spilling.and_then(|it| match (it.goal, &mut it.table) {
            (Goal::Slice(span, part), Assembly::Running(table)) => {
                Some((span, part, Some(it.number), table))
            }
            _ => None,
        });
        line.flatten().chain(leaving)
    }

    /// Every pile.
    fn piles(&self) -> impl Iterator<Item = &Pile> {
        self.slices.iter().flat_map(Slice::all_piles)
    }
}

impl<K: Key, A: Record, C: Combine<A>> CopyOfSlices<'_, K, A, C> {
    /// Takes a row back that may be one of several of its key and slice.
    fn join(&mut self, span: TimeWindow, part: Part, row: &Row<'_>) -> Result<(), StateError> {
        let place = self.slices.place_of_copy(span, self.windows)?;
        let table = self.slices.at(place).table_of(part);
        let mut rows = OverflowRows::new();
        let (hash, key, held) = table.read_row::<A>(row, &mut rows)?;
        let Some(held) = held else { return Ok(()) };
        let entry = table.open(hash, &K::lend(&key), || self.by.create())?;
        let merge = |into: &mut A| self.by.merge(into, &held);
        entry.change(merge).map(|_| ())
    }
}

impl<K: Key, A: Record, C: Combine<A>> Snapshot for CopyOfSlices<'_, K, A, C> {
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
        self.piles().for_each(|pile| size += pile.size());
        size
    }

    fn freeze(&mut self, epoch: Epoch, kind: CutKind) -> CutKind {
        self.slices.leaving.clear();
        if let Some(on_disk) = &mut self.on_disk {
            on_disk.cut = on_disk.next_number();
        }
        // The tables need not know what is in earlier checkpoints.
        for (.., table) in self.tables() {
            table.freeze(epoch, CutKind::Copy);
        }
        match kind {
            CutKind::Changes => CutKind::Everything,
            full => full,
        }
    }

    fn begins_anew(&self) -> bool {
        self.piles().next().is_some()
    }

    fn carried(&self) -> Vec<CarriedRun> {
        self.piles().flat_map(Pile::carried).collect()
    }

    fn is_cutting(&self) -> bool {
        let of_slice =
            |patch: &Option<KeyedTable<K, A>>| patch.as_ref().is_some_and(Snapshot::is_cutting);
        let on_disk = self.on_disk.as_ref();
        let spilling = on_disk.and_then(|on_disk| on_disk.spilling.as_ref());
        !self.slices.leaving.is_empty()
            || spilling.is_some_and(|it| it.goal != Goal::Gathered && it.table.is_cutting())
            || (self.slices.iter()).any(|slice| slice.table.is_cutting() || of_slice(&slice.patch))
    }

    fn emit(&mut self, budget: usize, out: &mut dyn RowSink) -> Result<Scan, StateError> {
        let cut = self.on_disk.as_ref().map(|on_disk| on_disk.cut);
        if let Some(leaving) = self.slices.leaving.last_mut() {
            let namespace = namespace_of(leaving.span, leaving.part, leaving.number.or(cut));
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
        let next = self.tables().find(|(.., table)| table.is_cutting());
        let Some((span, part, number, table)) = next else {
            return Ok(Scan::Done);
        };
        let namespace = namespace_of(span, part, number);
        table.emit(budget, &mut InSlice { namespace, out })?;
        Ok(Scan::More)
    }

    fn cut_failed(&mut self) {
        // The next cut writes all there is anyway.
        self.slices.leaving.clear();
    }

    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError> {
        let (span, part, numbered) = parse(row.namespace)?;
        let place = self.slices.place_of_copy(span, self.windows)?;
        if part == Part::Patch && self.slices.at(place).patch.is_none() {
            let patch = self.slices.fresh_table()?;
            self.slices.at(place).patch = Some(patch);
        }
        if numbered {
            return self.join(span, part, &row);
        }
        let row = Row {
            namespace: &[],
            ..row
        };
        self.slices.at(place).table_of(part).restore(row)
    }

    fn restored(&mut self) -> Result<(), StateError> {
        self.tables().try_for_each(|(.., table)| table.restored())
    }

    fn adopts(&self, _bytes: u64) -> Adopts {
        match self.on_disk {
            Some(_) => Adopts::Runs,
            None => Adopts::Rows,
        }
    }

    fn adopt(&mut self, runs: Vec<AdoptedRun>) -> Result<(), StateError> {
        let Some(on_disk) = &mut self.on_disk else {
            return Err(StateError::AdoptsNoRuns);
        };
        if !runs.is_empty() {
            let adopted = runs.into_iter();
            let adopted = adopted.map(|run| Pile::adopt(run, &mut on_disk.piles));
            let adopted: Vec<Pile> = adopted.collect();
            on_disk.refill = Some(Refill::new(adopted, on_disk.piles.groups()));
        }
        Ok(())
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
            for number in [None, Some(0), Some(u32::MAX)] {
                let bytes = namespace_of(span, part, number);
                assert_eq!(parse(&bytes).unwrap(), (span, part, number.is_some()));
                assert!(parse(&bytes[1..]).is_err());
                assert!(parse(&[&bytes[..], &[0]].concat()).is_err());
            }
        }
        assert!(parse(&[]).is_err());
    }
}
