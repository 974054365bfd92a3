//! Maps in copies of the state: their entries, of which the index is made anew.
//!
//! Entered at a cut, between turns, and when an operator opens from a copy. Invariant: after `restored`
//! the index has each entry at the number it had when the copy was cut, so that walks go as before; what was taken
//! over on disk gets its index when it comes to memory. Lives on one shard's thread.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use thalweg_core::Epoch;
use thalweg_memory::{Key, Record, RecordKey};

use super::super::aging::Aging;
use super::super::held::Tables;
use super::entries::MapEntries;
use super::paged::MapLayer;
use super::whole::Whole;
use crate::error::StateError;
use crate::lsm::{AdoptedRun, CarriedRun};
use crate::migration::Migration;
use crate::snapshot::{Adopts, CutKind, Row, RowSink, Snapshot, StateSize};
use crate::table::{KeyedTable, Namespace, Scan, ScanCursor};

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
        StateSize {
            memory_bytes: self.memory_bytes(),
            ..self.table.size()
        }
    }

    fn freeze(&mut self, epoch: Epoch, kind: CutKind) -> CutKind {
        self.table.freeze(epoch, kind)
    }

    fn begins_anew(&self) -> bool {
        self.table.begins_anew()
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

    fn cut_durable(&mut self) {
        self.table.cut_durable();
    }

    fn carried(&self) -> Vec<CarriedRun> {
        self.table.carried()
    }

    fn adopts(&self, bytes: u64) -> Adopts {
        self.table.adopts(bytes)
    }

    fn has_room_for(&self, rows: u64, bytes: u64) -> bool {
        self.table.has_room_for(rows, bytes)
    }

    fn is_coming_back(&self) -> bool {
        self.table.is_coming_back()
    }

    fn adopt(&mut self, runs: Vec<AdoptedRun>) -> Result<(), StateError> {
        self.table.adopt(runs)
    }

    fn restored(&mut self) -> Result<(), StateError> {
        self.table.restored()?;
        self.index.table.clear();
        let index = &mut self.index;
        look_at_all(self.table.hot_mut(), |key, place, entry| {
            index.put_back(K::hash(key), key, &place.namespace, entry.2, place.id)
        })?;
        if A::AGES {
            self.make_whole()?;
        }
        Ok(())
    }

    fn restored_by(&mut self, migration: &Migration, ages: bool) -> Result<(), StateError> {
        self.table.restored_by(migration, ages)?;
        self.restored()
    }

    fn forget_copies(&mut self) {
        self.table.forget_copies();
    }
}

/// A map by the bytes of its key and namespace; then both, and its entries.
type Torn<K, N> = BTreeMap<Vec<u8>, (<K as Key>::Stored, N, Whole)>;

impl<K, UK, UV, N, A> MapEntries<K, UK, UV, N, A>
where
    K: Key,
    UK: RecordKey + Eq,
    UV: Record,
    N: Namespace,
    A: Aging<UV>,
{
    /// Makes maps whole of which entries are gone whose time had passed.
    fn make_whole(&mut self) -> Result<(), StateError> {
        let (index, mut torn): (_, Torn<K, N>) = (&self.index, Torn::<K, N>::new());
        let bytes_of = |key: &K::Of<'_>, namespace: &N| {
            let mut bytes = Vec::new();
            K::encode(key, &mut bytes);
            namespace.encode(&mut bytes);
            bytes
        };
        look_at_all(self.table.hot_mut(), |key, place, entry| {
            let namespace = place.namespace;
            let beyond = entry.2 >= index.len(K::hash(key), key, &namespace);
            if beyond || entry.0.key_hash().0 != place.id {
                let map = (K::store(key), namespace, Whole::default());
                torn.insert(bytes_of(key, &namespace), map);
            }
            Ok(())
        })?;
        if torn.is_empty() {
            return Ok(());
        }
        look_at_all(self.table.hot_mut(), |key, place, entry| {
            if let Some((.., whole)) = torn.get_mut(&bytes_of(key, &place.namespace)) {
                whole.add(entry.2, place.id, &entry.0);
            }
            Ok(())
        })?;
        for (stored, namespace, whole) in torn.into_values() {
            let key = K::lend(&stored);
            let (table, index) = (self.table.hot_mut(), &mut self.index);
            // What has moved is no more in the next copy where it was.
            MapLayer { table, index }.index_anew((K::hash(&key), &key), namespace, whole)?;
        }
        Ok(())
    }
}

/// Shows all entries in memory.
fn look_at_all<K: Key, V: Record, N: Namespace>(
    table: &mut KeyedTable<K, V, N>,
    mut show: impl FnMut(&K::Of<'_>, &N, &V) -> Result<(), StateError>,
) -> Result<(), StateError> {
    let mut cursor = ScanCursor::new();
    loop {
        let mut refused = Ok(());
        let scanned = table.scan(&mut cursor, STEP, |entry| {
            refused = show(&entry.key, entry.namespace, entry.value);
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
