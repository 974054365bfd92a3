//! Where the keys of each kind of state are found: in the table in memory that tells of them, and below it.
//!
//! Entered by [`KeysOfState`](super::KeysOfState). Of what a key may have many of, one part tells that it has
//! something: the first chunk of a list, the first of a map's index. Lives on one shard's thread.

use std::ops::{ControlFlow, Range};

use thalweg_core::KeyHash;
use thalweg_memory::{Key, Record, RecordKey};

use super::super::aging::Aging;
use super::super::cells::Cells;
use super::super::chunk::Chunk;
use super::super::list::ListChunks;
use super::super::map::MapEntries;
use super::FoundKey;
use crate::error::StateError;
use crate::lsm::{LayeredTable, Reading};
use crate::table::{GroupsCursor, KeyedTable, Namespace, Scan, ScanCursor};

/// Tables of one state that can find their keys.
#[doc(hidden)]
pub trait FindKeys<K: Key> {
    /// Those of which something is in memory.
    fn above(&mut self) -> &mut dyn KeysAbove<K>;

    /// Those of which something is elsewhere.
    fn below(&mut self) -> &mut dyn KeysBelow<K>;

    /// Whether a key, all of which is in memory or nowhere, has something that may be shown.
    fn has(&self, hash: KeyHash, key: &K::Of<'_>) -> bool;
}

/// A table in memory that tells of keys.
#[doc(hidden)]
pub trait KeysAbove<K: Key> {
    /// Adds the keys of the next `budget` entries to `found`.
    ///
    /// # Errors
    /// When entries moved since the cursor's last slice.
    fn find(
        &mut self,
        cursor: &mut ScanCursor,
        budget: usize,
        found: &mut Vec<FoundKey<K>>,
    ) -> Result<Scan, StateError>;

    /// The same for some key groups, in the next `buckets`.
    ///
    /// # Errors
    /// When entries moved since the cursor's last slice.
    fn find_in_groups(
        &mut self,
        cursor: &mut GroupsCursor,
        buckets: usize,
        found: &mut Vec<FoundKey<K>>,
    ) -> Result<Scan, StateError>;

    /// The key groups.
    fn groups(&self) -> Range<u16>;

    /// How many entries there are.
    fn entries(&self) -> usize;
}

/// What lies below a table.
#[doc(hidden)]
pub trait KeysBelow<K: Key> {
    /// Whether something may be there at some time.
    fn may_spill(&self) -> bool;

    /// Whether something may be there.
    fn has_spilled(&self) -> bool;

    /// Begins a walk over the keys of some groups. Those above were found.
    fn begin(&mut self, groups: &Range<u16>);

    /// Shows each key that is told of by the next `rows`, whether or not it is above too.
    ///
    /// # Errors
    /// What could not be read, and damage.
    fn find(&mut self, rows: usize, show: &mut dyn FnMut(K::Stored))
    -> Result<Reading, StateError>;

    /// Whoever visits keys holds copies of so many bytes.
    fn holds_copies(&mut self, bytes: u64);
}

/// Namespaces of which one tells of a key.
#[doc(hidden)]
pub trait TellsOfKey: Namespace {
    /// Whether it is this one.
    fn tells(&self) -> bool;
}

impl TellsOfKey for () {
    fn tells(&self) -> bool {
        true
    }
}

impl TellsOfKey for Chunk<()> {
    fn tells(&self) -> bool {
        self.number == 0
    }
}

impl<K: Key, V: Record, N: TellsOfKey> KeysAbove<K> for KeyedTable<K, V, N> {
    fn find(
        &mut self,
        cursor: &mut ScanCursor,
        budget: usize,
        found: &mut Vec<FoundKey<K>>,
    ) -> Result<Scan, StateError> {
        self.scan(cursor, budget, |entry| {
            if entry.namespace.tells() {
                found.push((K::hash(&entry.key), K::store(&entry.key)));
            }
            ControlFlow::Continue(())
        })
    }

    fn find_in_groups(
        &mut self,
        cursor: &mut GroupsCursor,
        buckets: usize,
        found: &mut Vec<FoundKey<K>>,
    ) -> Result<Scan, StateError> {
        self.scan_groups(cursor, buckets, |hash, key, namespace| {
            if namespace.tells() {
                found.push((hash, K::store(key)));
            }
        })
    }

    fn groups(&self) -> Range<u16> {
        KeyedTable::groups(self)
    }

    fn entries(&self) -> usize {
        self.len()
    }
}

impl<K: Key, V: Record, N: Namespace> KeysBelow<K> for LayeredTable<K, V, N> {
    fn may_spill(&self) -> bool {
        self.overflow().is_some()
    }

    fn has_spilled(&self) -> bool {
        LayeredTable::has_spilled(self)
    }

    fn begin(&mut self, groups: &Range<u16>) {
        self.walk_keys_on_disk(groups);
    }

    fn find(
        &mut self,
        rows: usize,
        show: &mut dyn FnMut(K::Stored),
    ) -> Result<Reading, StateError> {
        self.next_keys_on_disk(rows, show)
    }

    fn holds_copies(&mut self, bytes: u64) {
        self.holds_copies_of_keys(bytes);
    }
}

/// Values without a time to live.
impl<K: Key, V: Record> FindKeys<K> for LayeredTable<K, V> {
    fn above(&mut self) -> &mut dyn KeysAbove<K> {
        self.hot_mut()
    }

    fn below(&mut self) -> &mut dyn KeysBelow<K> {
        self
    }

    fn has(&self, hash: KeyHash, key: &K::Of<'_>) -> bool {
        self.hot().get_in(hash, key, &()).is_some()
    }
}

impl<K: Key, V: Record, A: Aging<V>> FindKeys<K> for Cells<K, V, (), A> {
    fn above(&mut self) -> &mut dyn KeysAbove<K> {
        self.table_mut().hot_mut()
    }

    fn below(&mut self) -> &mut dyn KeysBelow<K> {
        self.table_mut()
    }

    fn has(&self, hash: KeyHash, key: &K::Of<'_>) -> bool {
        self.has_shown(hash, key, &())
    }
}

impl<K: Key, V: Record, A: Aging<V>> FindKeys<K> for ListChunks<K, V, (), A> {
    fn above(&mut self) -> &mut dyn KeysAbove<K> {
        self.table_mut().hot_mut()
    }

    fn below(&mut self) -> &mut dyn KeysBelow<K> {
        self.table_mut()
    }

    fn has(&self, hash: KeyHash, key: &K::Of<'_>) -> bool {
        self.has_shown(hash, key, &())
    }
}

impl<K, UK, UV, A> FindKeys<K> for MapEntries<K, UK, UV, (), A>
where
    K: Key,
    UK: RecordKey + Eq,
    UV: Record,
    A: Aging<UV>,
{
    fn above(&mut self) -> &mut dyn KeysAbove<K> {
        self.index_mut()
    }

    fn below(&mut self) -> &mut dyn KeysBelow<K> {
        self.table_mut()
    }

    fn has(&self, hash: KeyHash, key: &K::Of<'_>) -> bool {
        self.has_shown(hash, key, &())
    }
}
