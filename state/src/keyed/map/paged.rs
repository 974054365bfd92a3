//! Maps larger than their memory: all entries of a key leave together, and come back together.
//!
//! Entered at the ends of turns by what takes entries out of memory, and for each record ahead. A map's index is in
//! memory as long as its entries are, and is made anew of them when they come back: on disk there are entries alone,
//! as in any copy of the state. Invariant: a key is in the index, and all of its entries in memory, or it is not, and
//! none is but those that are coming back. Lives on one shard's thread.

use thalweg_core::KeyHash;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::hash::SLOTS;
use thalweg_memory::{Key, Record, RecordKey};

use super::super::aging::Aging;
use super::super::sought::Layers;
use super::entries::{Entry, EntryOf, MapEntries};
use super::index::Index;
use super::whole::Whole;
use crate::error::StateError;
use crate::lsm::{Candidate, HotLayer, Overflow, Pick, Pressure};
use crate::snapshot::{Row, RowSink, Snapshot};
use crate::table::{Filling, Gone, KeyedTable, Namespace, OverflowRows};

/// The entries of maps in memory, with their index.
pub(super) struct MapLayer<'a, K: Key, UK: RecordKey, E: Record, N: Namespace> {
    pub(super) table: &'a mut KeyedTable<K, Entry<UK, E>, EntryOf<N>>,
    pub(super) index: &'a mut Index<K, N>,
}

impl<K: Key, UK: RecordKey, E: Record, N: Namespace> MapLayer<'_, K, UK, E, N> {
    /// The keys whose maps leave with some buckets: those of the index that begin in them.
    fn keys(&self, buckets: impl Iterator<Item = usize>) -> Vec<(KeyHash, K::Stored)> {
        let first = |chunk: &super::super::chunk::Chunk<N>| chunk.number == 0;
        self.index.table.keys_in_buckets(buckets, first)
    }
}

/// The namespace of states that have none: only those overflow.
fn only<N: Namespace>() -> N {
    match N::ONLY {
        Some(only) => only,
        None => unreachable!("maps of namespaces stay in memory"),
    }
}

/// All that the key with this hash has.
fn all_of(key: KeyHash) -> Candidate {
    Candidate {
        slot: 0,
        key,
        entry: key,
    }
}

impl<K: Key, UK: RecordKey, E: Record, N: Namespace> HotLayer for MapLayer<'_, K, UK, E, N> {
    const SLICE_BUCKETS: usize = 1;
    // The index has, whatever the entries are.
    const HAS_HEAP: bool = true;

    fn filling(&self, more: usize) -> Filling {
        self.table.filling(more)
    }

    fn beside(&self, more: usize) -> Option<Filling> {
        Some(self.index.table.filling(more))
    }

    fn memory_bytes(&self) -> u64 {
        self.table.memory_bytes() + self.index.table.memory_bytes()
    }

    fn is_cutting(&self) -> bool {
        Snapshot::is_cutting(self.table)
    }

    fn bucket_count(&self) -> usize {
        self.index.table.bucket_count()
    }

    fn slots(&self) -> usize {
        self.table.bucket_count() * SLOTS
    }

    fn settle(&mut self, buckets: usize) -> bool {
        let entries = self.table.settle(buckets);
        self.index.table.settle(buckets) && entries
    }

    fn shrink(&mut self, part: (u64, u64)) -> bool {
        let entries = self.table.shrink(part);
        self.index.table.shrink(part) || entries
    }

    fn bury_elsewhere(&mut self) {
        self.table.bury_elsewhere();
    }

    fn flush_buckets(
        &mut self,
        buckets: impl Iterator<Item = usize>,
        rows: &mut OverflowRows,
        pick: &mut Pick<'_>,
        out: &mut dyn RowSink,
    ) -> usize {
        let (mut written, namespace) = (0, only::<N>());
        for (hash, key) in self.keys(buckets) {
            if !pick(all_of(hash)) {
                continue;
            }
            let key = K::lend(&key);
            let ids = || self.index.chunks(hash, &key, &namespace).flatten();
            let places = || ids().map(|id| EntryOf { namespace, id: *id });
            // All of them or none: then one run has all of the map.
            if places().all(|place| self.table.is_cold(hash, &key, &place)) {
                continue;
            }
            for place in places() {
                self.table.flush_entry((hash, &key), &place, rows, out);
                written += 1;
            }
        }
        written
    }

    fn drop_buckets(
        &mut self,
        buckets: impl Iterator<Item = usize>,
        rows: &mut OverflowRows,
        pick: &mut Pick<'_>,
        gone: &mut Gone<'_>,
    ) -> usize {
        let (mut dropped, namespace) = (0, only::<N>());
        let over = self.table.over_by_now();
        for (hash, key) in self.keys(buckets) {
            if !pick(all_of(hash)) {
                continue;
            }
            let key = K::lend(&key);
            let places = |index: &Index<K, N>| {
                let ids = index.chunks(hash, &key, &namespace).flatten();
                let places = ids.map(|id| EntryOf { namespace, id: *id });
                places.collect::<Vec<_>>()
            };
            let places = places(self.index);
            let mut entries = places.iter();
            if !entries.all(|place| self.table.may_leave(hash, &key, place)) {
                continue;
            }
            for place in &places {
                let entry = (hash, &key, place);
                self.table.drop_entry(entry, over.as_ref(), rows, gone);
            }
            self.index.clear(hash, &key, &namespace);
            dropped += places.len();
        }
        dropped
    }

    fn admit(&mut self, row: &Row<'_>, rows: &mut OverflowRows) -> Result<(), StateError> {
        self.table.admit(row, rows)
    }

    fn bytes_to_be_back(&self, entries: usize) -> u64 {
        self.index.bytes_for(entries)
    }

    fn is_back(
        &mut self,
        rows: &mut dyn Iterator<Item = Row<'_>>,
    ) -> Result<Vec<Vec<u8>>, StateError> {
        let (mut whole, mut stored) = (Whole::default(), None);
        for row in rows {
            let added = |key: &K::Of<'_>, place: &EntryOf<N>, entry: &Entry<UK, E>| {
                whole.add(entry.2, place.id, &entry.0);
                stored.get_or_insert_with(|| K::store(key));
            };
            self.table.entry_of(&row, added)?;
        }
        let Some(stored) = stored else {
            return Ok(Vec::new());
        };
        let key = K::lend(&stored);
        let left = self.index_anew((K::hash(&key), &key), only::<N>(), whole)?;
        let encoded = left.iter().map(|place| {
            let mut bytes = Vec::new();
            place.encode(&mut bytes);
            bytes
        });
        Ok(encoded.collect())
    }
}

impl<K, UK, UV, N, A> MapEntries<K, UK, UV, N, A>
where
    K: Key,
    UK: RecordKey + Eq,
    UV: Record,
    N: Namespace,
    A: Aging<UV>,
{
    /// Works on what is in memory and what takes what it does not hold, if there is that; and says whether something
    /// is wanting of it.
    fn with_overflow<R>(
        &mut self,
        work: impl FnOnce(&mut MapLayer<'_, K, UK, A::Kept, N>, &mut Overflow, &mut bool) -> R,
    ) -> Option<R> {
        let index = &mut self.index;
        let (table, overflow) = self.table.split();
        let (overflow, wanting) = overflow?;
        Some(work(&mut MapLayer { table, index }, overflow, wanting))
    }

    /// Seeks the map of what is ahead at a place; whether all of it is there, or nowhere.
    pub(in crate::keyed) fn seek(
        &mut self,
        place: usize,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> bool {
        let whole = self.is_whole(hash, key, namespace);
        let found = self.with_overflow(|layer, overflow, wanting| {
            let group = layer.table.group_of(hash);
            let state = (whole, layer.slots());
            let found = overflow.seek_key::<K>(place, (hash, group), key, state);
            *wanting |= !found;
            found
        });
        found.unwrap_or(true)
    }
}

impl<K, UK, UV, N, A> Layers for MapEntries<K, UK, UV, N, A>
where
    K: Key,
    UK: RecordKey + Eq,
    UV: Record,
    N: Namespace,
    A: Aging<UV>,
{
    fn is_active(&mut self) -> bool {
        let active = self.with_overflow(|layer, overflow, _| overflow.is_active(layer));
        active.unwrap_or(false)
    }

    fn has_room(&mut self, records: usize) -> bool {
        let room = self.with_overflow(|layer, overflow, wanting| {
            overflow.first_comes();
            let room = overflow.has_room(layer, records);
            *wanting |= !room;
            room
        });
        room.unwrap_or(true)
    }

    fn let_in(&mut self, records: usize, parts: u64) -> usize {
        let room = self.with_overflow(|layer, overflow, wanting| {
            let room = overflow.let_in(layer, records, parts);
            *wanting |= room < records;
            room
        });
        room.unwrap_or(records)
    }

    fn begin_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        let begun = self.with_overflow(|layer, overflow, wanting| {
            *wanting = false;
            overflow.begin_turn(layer, context)
        });
        begun.unwrap_or(Ok(()))
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let ended = self.with_overflow(|layer, overflow, wanting| {
            if waiting && *wanting {
                overflow.stall();
            }
            overflow.end_turn(layer, context)
        });
        ended.unwrap_or(Ok(Pressure::None))
    }

    fn overflow(&self) -> Option<&Overflow> {
        self.table.overflow()
    }
}
