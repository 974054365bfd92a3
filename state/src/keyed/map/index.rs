//! Which entries a map has, by number, so that it can be walked and cleared.
//!
//! Entered when an entry comes or goes. The ids of a map's entries stand in a row without gaps, cut into
//! chunks that are table entries of their own; where one goes, the last takes its place. The first chunk
//! also says how many there are. Invariant: a map without entries has no chunks. Lives on one shard's
//! thread.

use thalweg_core::KeyHash;
use thalweg_memory::Key;

use super::super::chunk::Chunk;
use crate::error::StateError;
use crate::table::{KeyedTable, Namespace};

/// Ids of a full chunk.
const FULL: u64 = 256;

/// Number of ids in all chunks (only in the first), ids.
type Ids = (u64, Vec<u64>);

/// The ids of the entries of all maps of one state.
pub(super) struct Index<K: Key, N: Namespace> {
    pub(super) table: KeyedTable<K, Ids, Chunk<N>>,
}

impl<K: Key, N: Namespace> Index<K, N> {
    pub(super) fn len(&self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> u64 {
        let first = self.table.get_in(hash, key, &Chunk::first(namespace));
        first.map_or(0, |first| first.0)
    }

    /// The ids of each chunk, in order.
    pub(super) fn chunks<'a>(
        &'a self,
        hash: KeyHash,
        key: &'a K::Of<'_>,
        namespace: &'a N,
    ) -> impl Iterator<Item = &'a [u64]> {
        let chunks = self.len(hash, key, namespace).div_ceil(FULL);
        (0..chunks).map(move |number| {
            let chunk = self.table.get_in(hash, key, &Chunk::of(namespace, number));
            chunk.map_or(&[][..], |chunk| &chunk.1)
        })
    }

    /// Bytes that a key takes in it, at most, with so many entries.
    pub(super) fn bytes_for(&self, entries: usize) -> u64 {
        let chunks = entries as u64 / FULL + 1;
        let places = self
            .table
            .bytes_for(usize::try_from(chunks).unwrap_or(usize::MAX));
        // The last chunk may have room for twice as many.
        (chunks + 1) * FULL * size_of::<u64>() as u64 + places
    }

    /// Adds an id at the end; answers its number.
    pub(super) fn push(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        id: u64,
    ) -> Result<u64, StateError> {
        let number = self.len(hash, key, namespace);
        let place = (number % FULL) as usize;
        let chunk = Chunk::of(namespace, number / FULL);
        self.table.fold_in(
            hash,
            key,
            &chunk,
            id,
            |id| (0, vec![id]),
            |ids, id| {
                // An id whose addition was refused may still be there.
                ids.1.truncate(place);
                ids.1.push(id);
            },
        )?;
        self.set_len(hash, key, namespace, number + 1)?;
        Ok(number)
    }

    /// Puts an id at its number, whichever of the others are there already. When all numbers have one, the
    /// index is whole.
    pub(super) fn put_back(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        number: u64,
        id: u64,
    ) -> Result<(), StateError> {
        let place = (number % FULL) as usize;
        let chunk = Chunk::of(namespace, number / FULL);
        let put = |ids: &mut Ids| {
            ids.1.resize(ids.1.len().max(place + 1), 0);
            ids.1[place] = id;
        };
        let create = |()| {
            let mut ids = (0, Vec::new());
            put(&mut ids);
            ids
        };
        self.table
            .fold_in(hash, key, &chunk, (), create, |ids, ()| put(ids))?;
        let first = Chunk::first(namespace);
        self.table.fold_in(
            hash,
            key,
            &first,
            (),
            |()| (1, Vec::new()),
            |ids, ()| ids.0 += 1,
        )?;
        Ok(())
    }

    /// Puts another id where one stands.
    pub(super) fn set(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        number: u64,
        id: u64,
    ) -> Result<(), StateError> {
        let chunk = Chunk::of(namespace, number / FULL);
        let place = (number % FULL) as usize;
        self.table.update_in(hash, key, &chunk, |ids| {
            if let Some(there) = ids.1.get_mut(place) {
                *there = id;
            }
        })?;
        Ok(())
    }

    /// Removes an id; answers the one that took its place.
    pub(super) fn remove(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        number: u64,
    ) -> Result<Option<u64>, StateError> {
        let last = self.len(hash, key, namespace).saturating_sub(1);
        debug_assert!(number <= last, "the entry is in the index");
        let chunk = Chunk::of(namespace, last / FULL);
        let place = (last % FULL) as usize;
        let taken = self.table.update_in(hash, key, &chunk, |ids| {
            ids.1.truncate(place + 1);
            let id = ids.1.pop();
            if ids.1.capacity() > 16 && ids.1.len() < ids.1.capacity() / 4 {
                ids.1.shrink_to(ids.1.len() * 2);
            }
            id
        })?;
        if place == 0 {
            self.table.remove_in(hash, key, &chunk);
        }
        if last > 0 {
            self.set_len(hash, key, namespace, last)?;
        }
        match taken.flatten() {
            Some(id) if number < last => {
                self.set(hash, key, namespace, number, id)?;
                Ok(Some(id))
            }
            _ => Ok(None),
        }
    }

    fn set_len(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        len: u64,
    ) -> Result<(), StateError> {
        let first = Chunk::first(namespace);
        self.table
            .update_in(hash, key, &first, |first| first.0 = len)?;
        Ok(())
    }

    /// Removes all ids.
    pub(super) fn clear(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) {
        let chunks = self.len(hash, key, namespace).div_ceil(FULL);
        for number in 0..chunks {
            self.table
                .remove_in(hash, key, &Chunk::of(namespace, number));
        }
    }

    /// Removes all ids, which have these numbers or fewer.
    pub(super) fn clear_numbers(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        numbers: impl Iterator<Item = u64>,
    ) {
        for number in numbers.chain([0]) {
            let chunk = Chunk::of(namespace, number / FULL);
            self.table.remove_in(hash, key, &chunk);
        }
    }
}
