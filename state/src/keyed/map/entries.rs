//! The entries of maps: each user key a table entry of its own.
//!
//! An entry lies in the namespace of its *id*, which is the hash of its user key, or the next number that
//! is free where two user keys have one hash. The index knows the ids of a map, an entry its number in the
//! index. So a map may be as large as the table, and finding an entry is one lookup. Invariants: an entry
//! is found from the hash of its user key on without a gap; entries and index have the same ids. Lives on
//! one shard's thread.

use thalweg_core::KeyHash;
use thalweg_memory::{DamagedKey, Key, Record, RecordKey, SchemaWriter};

use super::super::aging::Aging;
use super::super::cells::find_in_slice;
use super::super::held::Tables;
use super::index::Index;
use crate::error::StateError;
use crate::lsm::LayeredTable;
use crate::table::{KeyedTable, Namespace, ScanCursor};

/// A namespace and the id of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryOf<N> {
    pub(super) namespace: N,
    pub(super) id: u64,
}

impl<N: Namespace> Namespace for EntryOf<N> {
    #[inline(always)]
    fn spread(&self) -> u64 {
        KeyHash(self.namespace.spread()).combine(KeyHash(self.id)).0
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.namespace.encode(out);
        self.id.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DamagedKey> {
        Ok(EntryOf {
            namespace: N::decode(input)?,
            id: Namespace::decode(input)?,
        })
    }

    fn describe(to: &mut SchemaWriter) {
        to.text("(");
        N::describe(to);
        to.text(", u64)");
    }
}

/// User key, value, number in the index.
pub(super) type Entry<UK, E> = (UK, E, u64);

/// The maps of one state.
pub(crate) struct MapEntries<K: Key, UK: RecordKey, UV: Record, N: Namespace, A: Aging<UV>> {
    pub(super) table: LayeredTable<K, Entry<UK, A::Kept>, EntryOf<N>>,
    pub(super) index: Index<K, N>,
    pub(super) aging: A,
    cleaning: ScanCursor,
}

impl<K, UK, UV, N, A> MapEntries<K, UK, UV, N, A>
where
    K: Key,
    UK: RecordKey + Eq,
    UV: Record,
    N: Namespace,
    A: Aging<UV>,
{
    pub(crate) fn new(
        mut table: LayeredTable<K, Entry<UK, A::Kept>, EntryOf<N>>,
        index: KeyedTable<K, (u64, Vec<u64>), super::super::chunk::Chunk<N>>,
        aging: A,
    ) -> Self {
        if A::AGES {
            let aging = aging.clone();
            table.leave_out(move || {
                let is_expired = aging.is_expired_by_now();
                move |entry: &Entry<UK, A::Kept>| is_expired(&entry.1)
            });
        }
        MapEntries {
            table,
            index: Index { table: index },
            aging,
            cleaning: ScanCursor::new(),
        }
    }

    /// Which entries there are, by chunks of their numbers.
    pub(crate) fn index_mut(
        &mut self,
    ) -> &mut KeyedTable<K, (u64, Vec<u64>), super::super::chunk::Chunk<N>> {
        &mut self.index.table
    }

    /// Whether all entries of a map are in memory, if there are any.
    pub(super) fn is_whole(&self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> bool {
        self.index.len(hash, key, namespace) > 0
    }

    /// The entries.
    pub(crate) fn table_mut(&mut self) -> &mut LayeredTable<K, Entry<UK, A::Kept>, EntryOf<N>> {
        &mut self.table
    }

    /// Where the entry of a user key is or would be, and whether it is there.
    #[inline]
    fn locate(
        &self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        user_key: &UK,
    ) -> (EntryOf<N>, bool) {
        let mut place = EntryOf {
            namespace: *namespace,
            id: user_key.key_hash().0,
        };
        loop {
            match self.table.hot().get_in(hash, key, &place) {
                Some(entry) if entry.0 == *user_key => return (place, true),
                Some(_) => place.id = place.id.wrapping_add(1),
                None => return (place, false),
            }
        }
    }

    /// Reads the value of a user key, and removes it if its time has passed.
    #[inline]
    pub(super) fn read<R>(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        user_key: &UK,
        read: impl FnOnce(Option<&UV>) -> R,
    ) -> Result<R, StateError> {
        let (place, there) = self.locate(hash, key, namespace, user_key);
        if !there {
            return Ok(read(None));
        }
        if A::AGES {
            if self.expired_at(hash, key, &place) {
                let gone = self.remove_at(hash, key, place)?;
                let shown = gone.as_ref().filter(|kept| !self.aging.is_hidden(kept));
                return Ok(read(shown.map(A::value)));
            }
            if self.aging.refreshes_on_read() {
                self.refresh_at(hash, key, &place)?;
            }
        }
        let entry = self.table.hot().get_in(hash, key, &place);
        Ok(read(entry.map(|entry| A::value(&entry.1))))
    }

    fn expired_at(&self, hash: KeyHash, key: &K::Of<'_>, place: &EntryOf<N>) -> bool {
        let entry = self.table.hot().get_in(hash, key, place);
        entry.is_some_and(|entry| self.aging.is_expired(&entry.1))
    }

    fn refresh_at(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        place: &EntryOf<N>,
    ) -> Result<(), StateError> {
        let aging = &self.aging;
        self.table
            .hot_mut()
            .update_in(hash, key, place, |entry| aging.refresh(&mut entry.1))?;
        Ok(())
    }

    /// Makes `item` part of the value of a user key: by `insert` where there is none, by `update` where
    /// there is one.
    #[inline]
    pub(super) fn fold<T>(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        (user_key, item): (UK, T),
        insert: impl FnOnce(T) -> UV,
        update: impl FnOnce(&mut UV, T),
    ) -> Result<(), StateError> {
        let (place, there) = self.locate(hash, key, namespace, &user_key);
        let aging = &self.aging;
        if there {
            self.table.hot_mut().update_in(hash, key, &place, |entry| {
                if aging.is_hidden(&entry.1) {
                    entry.1 = aging.keep(insert(item));
                } else {
                    update(A::value_mut(&mut entry.1), item);
                    aging.refresh(&mut entry.1);
                }
            })?;
            return Ok(());
        }
        let value = aging.keep(insert(item));
        let number = self.index.push(hash, key, namespace, place.id)?;
        let entry = (user_key, value, number);
        let refused = self
            .table
            .hot_mut()
            .fold_in(hash, key, &place, entry, |entry| entry, |_, _| {})
            .err();
        match refused {
            Some(error) => {
                self.index.remove(hash, key, namespace, number)?;
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Removes the entry of a user key.
    pub(super) fn remove(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        user_key: &UK,
    ) -> Result<Option<UV>, StateError> {
        let (place, there) = self.locate(hash, key, namespace, user_key);
        if !there {
            return Ok(None);
        }
        let kept = self.remove_at(hash, key, place)?;
        let shown = kept.filter(|kept| !self.aging.is_hidden(kept));
        Ok(shown.map(A::into_value))
    }

    /// Removes the entry at a place, from the index too.
    fn remove_at(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        place: EntryOf<N>,
    ) -> Result<Option<A::Kept>, StateError> {
        let Some((_, value, number)) = self.table.remove_in(hash, key, &place) else {
            return Ok(None);
        };
        let moved = self.index.remove(hash, key, &place.namespace, number)?;
        if let Some(id) = moved {
            let last = EntryOf { id, ..place };
            self.table
                .hot_mut()
                .update_in(hash, key, &last, |entry| entry.2 = number)?;
        }
        self.close_gap(hash, key, place)?;
        Ok(Some(value))
    }

    /// Moves entries behind a gap to where their search still finds them.
    fn close_gap(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        mut gap: EntryOf<N>,
    ) -> Result<(), StateError> {
        let mut next = gap;
        loop {
            next.id = next.id.wrapping_add(1);
            let Some(entry) = self.table.hot().get_in(hash, key, &next) else {
                return Ok(());
            };
            let home = entry.0.key_hash().0;
            // It stays where its search begins behind the gap.
            if next.id.wrapping_sub(home) < next.id.wrapping_sub(gap.id) {
                continue;
            }
            let Some(entry) = self.table.remove_in(hash, key, &next) else {
                return Ok(());
            };
            self.index.set(hash, key, &gap.namespace, entry.2, gap.id)?;
            self.table
                .hot_mut()
                .fold_in(hash, key, &gap, entry, |entry| entry, |_, _| {})?;
            gap.id = next.id;
        }
    }

    /// Calls `visit` with every entry that may be shown. Removes those whose time has passed.
    pub(super) fn for_each(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        mut visit: impl FnMut(&UK, &UV),
    ) -> Result<(), StateError> {
        let (mut expired, mut alive) = (Vec::new(), Vec::new());
        for id in self.index.chunks(hash, key, namespace).flatten().copied() {
            let place = EntryOf {
                namespace: *namespace,
                id,
            };
            let Some((user_key, kept, _)) = self.table.hot().get_in(hash, key, &place) else {
                continue;
            };
            if !self.aging.is_hidden(kept) {
                visit(user_key, A::value(kept));
            }
            if A::AGES && self.aging.is_expired(kept) {
                expired.push(user_key.key_hash().0);
            } else if A::AGES && self.aging.refreshes_on_read() {
                alive.push(place);
            }
        }
        for place in alive {
            self.refresh_at(hash, key, &place)?;
        }
        for home in expired {
            self.remove_expired_from(hash, key, namespace, home)?;
        }
        Ok(())
    }

    /// Removes the first expired entry that is found from a hash on: entries may have moved since it was
    /// seen.
    fn remove_expired_from(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        home: u64,
    ) -> Result<(), StateError> {
        let mut place = EntryOf {
            namespace: *namespace,
            id: home,
        };
        while let Some(entry) = self.table.hot().get_in(hash, key, &place) {
            if self.aging.is_expired(&entry.1) {
                return self.remove_at(hash, key, place).map(|_| ());
            }
            place.id = place.id.wrapping_add(1);
        }
        Ok(())
    }

    /// Whether there is an entry that may be shown.
    pub(in crate::keyed) fn has_shown(
        &self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> bool {
        let mut ids = self.index.chunks(hash, key, namespace).flatten();
        ids.any(|id| {
            let (namespace, id) = (*namespace, *id);
            let entry = (self.table.hot()).get_in(hash, key, &EntryOf { namespace, id });
            entry.is_some_and(|(_, kept, _)| !self.aging.is_hidden(kept))
        })
    }

    /// The number of entries.
    pub(super) fn len(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> Result<u64, StateError> {
        if A::AGES {
            let mut shown = 0;
            self.for_each(hash, key, namespace, |_, _| shown += 1)?;
            return Ok(shown);
        }
        Ok(self.index.len(hash, key, namespace))
    }

    /// Removes all entries.
    pub(super) fn clear(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) {
        for id in self.index.chunks(hash, key, namespace).flatten().copied() {
            let place = EntryOf {
                namespace: *namespace,
                id,
            };
            self.table.remove_in(hash, key, &place);
        }
        self.index.clear(hash, key, namespace);
    }
}

impl<K, UK, UV, N, A> Tables for MapEntries<K, UK, UV, N, A>
where
    K: Key,
    UK: RecordKey + Eq,
    UV: Record,
    N: Namespace,
    A: Aging<UV>,
{
    fn prefetch_batch(&self, hashes: &[KeyHash]) {
        self.index.table.prefetch_batch(hashes);
    }

    fn entries(&self) -> usize {
        self.table.hot().len()
    }

    fn memory_bytes(&self) -> u64 {
        self.table.memory_bytes() + self.index.table.memory_bytes()
    }

    fn clean_expired(&mut self, budget: usize) -> Result<usize, StateError> {
        if !A::AGES {
            return Ok(0);
        }
        let aging = &self.aging;
        let expired = find_in_slice(
            self.table.hot_mut(),
            &mut self.cleaning,
            budget,
            |_, entry| aging.is_expired(&entry.1),
        )?;
        let mut removed = 0;
        for (key, place) in expired {
            let key = K::lend(&key);
            let hash = K::hash(&key);
            // Another removal may have moved the entry; the next round finds it. What is being read back is not all
            // there yet.
            let whole = self.is_whole(hash, &key, &place.namespace);
            if whole && self.expired_at(hash, &key, &place) {
                self.remove_at(hash, &key, place)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}
