//! Entries of a table as rows, and rows as entries.
//!
//! Entered for each entry a cut writes and for each row that is restored. Invariant: a row is made in
//! memory that is reused, so writing one allocates nothing in steady state. Lives on one shard's thread.

use thalweg_core::KeyHash;
use thalweg_memory::{DamagedKey, Key, Record, SavedRecord};

use super::super::buckets::Entry;
use super::super::namespace::Namespace;
use super::super::place::Groups;
use crate::error::StateError;
use crate::snapshot::Row;

/// Makes rows of entries.
pub(in crate::table) struct RowWriter {
    key: Vec<u8>,
    namespace: Vec<u8>,
    value: SavedRecord,
}

impl RowWriter {
    pub(in crate::table) fn new() -> RowWriter {
        RowWriter {
            key: Vec::new(),
            namespace: Vec::new(),
            value: SavedRecord::new(),
        }
    }

    /// The row of an entry.
    #[inline]
    pub(in crate::table) fn row<'a, K: Key, V: Record, N: Namespace>(
        &'a mut self,
        groups: &Groups,
        entry: &Entry<K::Stored, N, V>,
    ) -> Row<'a> {
        let hash = self.encode::<K, V, N>(entry);
        Row {
            group: groups.group_of(hash),
            key: &self.key,
            namespace: &self.namespace,
            value: Some(self.value.archive(&entry.value)),
        }
    }

    /// The row that says that an entry is gone.
    pub(in crate::table) fn tombstone<'a, K: Key, V: Record, N: Namespace>(
        &'a mut self,
        groups: &Groups,
        entry: &Entry<K::Stored, N, V>,
    ) -> Row<'a> {
        let hash = self.encode::<K, V, N>(entry);
        Row {
            group: groups.group_of(hash),
            key: &self.key,
            namespace: &self.namespace,
            value: None,
        }
    }

    #[inline]
    fn encode<K: Key, V: Record, N: Namespace>(
        &mut self,
        entry: &Entry<K::Stored, N, V>,
    ) -> KeyHash {
        self.key.clear();
        self.namespace.clear();
        let key = K::lend(&entry.key);
        K::encode(&key, &mut self.key);
        entry.namespace.encode(&mut self.namespace);
        K::hash(&key)
    }

    /// The value of a row.
    pub(in crate::table) fn value<V: Record>(&mut self, bytes: &[u8]) -> Result<V, StateError> {
        Ok(self.value.revive(bytes)?)
    }
}

/// Key and namespace of a row.
pub(crate) fn place_of<K: Key, N: Namespace>(row: &Row<'_>) -> Result<(K::Stored, N), DamagedKey> {
    let (mut key, mut namespace) = (row.key, row.namespace);
    let place = (K::decode(&mut key)?, N::decode(&mut namespace)?);
    if key.is_empty() && namespace.is_empty() {
        Ok(place)
    } else {
        Err(DamagedKey::new("something follows it"))
    }
}
