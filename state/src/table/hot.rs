//! The table: one native value per (key group, key, namespace), stamped and accounted.
//!
//! Entered once per record by keyed operators, in two passes over a chunk of 32 to 128 records: first
//! [`KeyedTable::prefetch_batch`] with all hashes, then one [`KeyedTable::upsert`] or
//! [`KeyedTable::fold`] each. Nothing is allocated per record in steady state.
//!
//! Invariants: an entry is stamped with the epoch of its last change; memory is reserved before it is
//! taken, so a refusal leaves the table as it was; `len` is the number of entries in all pages. Lives on
//! one shard's thread.

use std::ops::Range;

use thalweg_core::simd::prefetch_write;
use thalweg_core::{Epoch, KeyHash, MaxParallelism};
use thalweg_memory::{Budget, Key, Record};

use super::account::Account;
use super::directory::{Directory, PageIndex, Place};
use super::entry::{Bucket, Entry, Stamp};
use super::namespace::Namespace;
use super::page::{Page, Seat};
use super::probe::tag_of;
use super::scan::{Scan, ScanCursor, ScanEntry};
use crate::error::StateError;

/// Tables smaller than this stay in the caches by themselves: prefetching would only cost.
const PREFETCH_FROM_BYTES: u64 = 256 << 10;

/// Keyed values of the key groups of one subtask.
///
/// ```
/// use thalweg_core::{KeyHash, MaxParallelism};
/// use thalweg_memory::{Budget, Key, Str};
/// use thalweg_state::KeyedTable;
///
/// let budget = Budget::new("slot-0", 1 << 20);
/// let mut counts = KeyedTable::<Str, u64>::new(0..128, MaxParallelism::default(), budget)?;
/// for word in "to be or not to be".split(' ') {
///     let hash = Str::hash(&word);
///     counts.upsert(hash, &word, || 1, |count| *count += 1)?;
/// }
/// assert_eq!(counts.get(Str::hash(&"be"), &"be"), Some(&2));
/// assert_eq!(counts.len(), 4);
/// # Ok::<(), thalweg_state::StateError>(())
/// ```
pub struct KeyedTable<K: Key, V: Record, N: Namespace = ()> {
    pub(super) directory: Directory<K::Stored, N, V>,
    pub(super) account: Account,
    len: usize,
    epoch: Epoch,
    pub(super) stamp: Stamp,
    /// Counts what moves entries, so that a scan notices.
    shape: u64,
}

impl<K: Key, V: Record, N: Namespace> KeyedTable<K, V, N> {
    /// An empty table for `groups` of `max` key groups, whose memory counts in `budget`.
    ///
    /// # Errors
    /// When the budget has no room for the directory of so many groups.
    ///
    /// # Panics
    /// When `groups` ends above `max`.
    pub fn new(
        groups: Range<u16>,
        max: MaxParallelism,
        budget: Budget,
    ) -> Result<Self, StateError> {
        let mut account = Account::new(budget);
        account.reserve(groups.len() as u64 * Directory::<K::Stored, N, V>::header_bytes())?;
        let epoch = Epoch(0);
        let directory = Directory::new(groups, max);
        Ok(KeyedTable {
            directory,
            account,
            len: 0,
            epoch,
            stamp: Stamp::of(epoch),
            shape: 0,
        })
    }

    /// Entries that change from now on are stamped with `epoch`.
    ///
    /// # Panics
    /// In debug builds, when epochs go backwards.
    pub fn set_epoch(&mut self, epoch: Epoch) {
        debug_assert!(epoch >= self.epoch, "epochs only count up");
        self.epoch = epoch;
        self.stamp = Stamp::of(epoch);
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes held: pages, and what keys and values have on the heap.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.account.bytes()
    }

    /// Brings the places of all `hashes` near, for calls with no namespace beside the key.
    #[inline]
    pub fn prefetch_batch(&self, hashes: &[KeyHash]) {
        if self.account.bytes() < PREFETCH_FROM_BYTES {
            return;
        }
        for hash in hashes {
            self.prefetch_spread(*hash, 0);
        }
    }

    /// Brings the place of one entry near.
    #[inline]
    pub fn prefetch_in(&self, hash: KeyHash, namespace: &N) {
        self.prefetch_spread(hash, namespace.spread());
    }

    #[inline(always)]
    fn prefetch_spread(&self, hash: KeyHash, spread: u64) {
        let place = self.directory.place(hash, spread);
        let index = self.directory.index(place);
        let Some(bucket) = self.directory.page(index).home_bucket(place.0, index.shift) else {
            return;
        };
        prefetch_write(&bucket.tags);
        // The other lines of the bucket; of a large one not all, as slots are filled from the lowest.
        if size_of::<Bucket<K::Stored, N, V>>() > 64 {
            prefetch_write(&bucket.slots[3]);
        }
        if size_of::<Bucket<K::Stored, N, V>>() > 128 {
            prefetch_write(&bucket.slots[1]);
        }
    }

    #[inline(always)]
    fn spot(&self, hash: KeyHash, namespace: &N) -> (Place, PageIndex, u8) {
        let spread = namespace.spread();
        let place = self.directory.place(hash, spread);
        (
            place,
            self.directory.index(place),
            tag_of(hash.0 ^ spread >> 32),
        )
    }

    #[inline(always)]
    pub(super) fn find(
        &self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> Option<(PageIndex, Seat)> {
        let (place, index, tag) = self.spot(hash, namespace);
        let seat = self
            .directory
            .page(index)
            .find(place.0, index.shift, tag, |entry| {
                entry.namespace == *namespace && K::same(&entry.key, key)
            })?;
        Some((index, seat))
    }

    /// The value of `key` in `namespace`.
    #[inline]
    #[must_use]
    pub fn get_in(&self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> Option<&V> {
        let (index, seat) = self.find(hash, key, namespace)?;
        let slot = &self.directory.page(index).buckets[seat.bucket].slots[seat.slot];
        slot.as_ref().map(|entry| &entry.value)
    }

    /// Makes `item` part of the value of `key` in `namespace`: by `insert` where there is none, by
    /// `update` where there is one. Answers the new value.
    ///
    /// # Errors
    /// When the budget has no room: nothing is inserted. Where `update` made the value larger than fits,
    /// the change stays and the error says that it did not fit.
    #[inline]
    pub fn fold_in<A>(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        item: A,
        insert: impl FnOnce(A) -> V,
        update: impl FnOnce(&mut V, A),
    ) -> Result<&V, StateError> {
        let (index, seat) = match self.find(hash, key, namespace) {
            Some((index, seat)) => {
                let entry = self.directory.page_mut(index).at(seat);
                entry.stamp = self.stamp;
                let before = entry.value.heap_bytes();
                update(&mut entry.value, item);
                self.account.follow(before, entry.value.heap_bytes())?;
                (index, seat)
            }
            None => self.insert(hash, K::store(key), *namespace, insert(item))?,
        };
        Ok(&self.directory.page_mut(index).at(seat).value)
    }

    /// Changes the value of `key` in `namespace`, if there is one, and answers what `change` does.
    ///
    /// # Errors
    /// When the value became larger than the budget allows; the change stays.
    #[inline]
    pub fn update_in<R>(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<Option<R>, StateError> {
        let Some((index, seat)) = self.find(hash, key, namespace) else {
            return Ok(None);
        };
        let entry = self.directory.page_mut(index).at(seat);
        entry.stamp = self.stamp;
        let before = entry.value.heap_bytes();
        let answer = change(&mut entry.value);
        self.account.follow(before, entry.value.heap_bytes())?;
        Ok(Some(answer))
    }

    /// Takes out the value of `key` in `namespace`.
    pub fn remove_in(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> Option<V> {
        let (index, seat) = self.find(hash, key, namespace)?;
        let page = self.directory.page_mut(index);
        let entry = page.take(index.shift, seat);
        let shrunk = page.shrunk();
        self.account
            .release(heap_bytes::<K, V>(&entry.key, &entry.value));
        self.len -= 1;
        if let Some(room) = shrunk {
            // A refusal only means that the page stays as large as it is.
            let _ = self.rebuild(index, room + room / 2);
        }
        Some(entry.value)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn insert(
        &mut self,
        hash: KeyHash,
        key: K::Stored,
        namespace: N,
        value: V,
    ) -> Result<(PageIndex, Seat), StateError> {
        let heap = heap_bytes::<K, V>(&key, &value);
        self.account.reserve(heap)?;
        if self.directory.wants_split(self.len + 1) {
            self.split_next();
        }
        let (place, index, tag) = self.spot(hash, &namespace);
        let page = self.directory.page(index);
        if page.is_full() {
            let room = page.room_after_growth();
            self.rebuild(index, room)
                .inspect_err(|_| self.account.release(heap))?;
        }
        let entry = Entry {
            stamp: self.stamp,
            place: place.0 as u32,
            key,
            namespace,
            value,
        };
        let seat = self.directory.page_mut(index).put(index.shift, tag, entry);
        self.len += 1;
        Ok((index, seat))
    }

    /// Makes a page larger or smaller. Old and new exist at once, so both are reserved for a moment.
    fn rebuild(&mut self, index: PageIndex, room: usize) -> Result<(), StateError> {
        let bytes = Page::<K::Stored, N, V>::bytes_with_room(room);
        self.account.reserve(bytes)?;
        let page = self.directory.page_mut(index);
        let old = page.bytes();
        page.rebuild(index.shift, room);
        debug_assert_eq!(page.bytes(), bytes, "what was reserved is what was taken");
        self.account.release(old);
        self.shape += 1;
        Ok(())
    }

    /// Splits the page whose turn it is. Without memory for it the pages grow larger instead, until one
    /// of them is refused.
    #[cold]
    #[inline(never)]
    fn split_next(&mut self) {
        self.shape += 1;
        let Some(split) = self.directory.next_split() else {
            return;
        };
        let bytes = Page::<K::Stored, N, V>::bytes_with_room(split.low)
            + Page::<K::Stored, N, V>::bytes_with_room(split.high)
            + Directory::<K::Stored, N, V>::header_bytes();
        if self.account.reserve(bytes).is_ok() {
            self.directory.split(&split);
            self.account.release(split.old_bytes);
        }
    }

    /// Visits entries in the order of key groups from where `cursor` stands, at most `budget` of them
    /// (a vacant bucket counts as one, so that a slice is bounded), until `visit` breaks; the entry at
    /// which it broke counts as visited.
    ///
    /// Entries inserted between two slices may be visited or not.
    ///
    /// # Errors
    /// When entries moved since the cursor's last slice, because the table grew or shrank.
    pub fn scan(
        &self,
        cursor: &mut ScanCursor,
        budget: usize,
        visit: impl FnMut(ScanEntry<'_, K, V, N>) -> std::ops::ControlFlow<()>,
    ) -> Result<Scan, StateError> {
        cursor.advance(&self.directory, self.shape, self.epoch, budget, visit)
    }

    /// The key groups this table is for.
    #[must_use]
    pub fn groups(&self) -> Range<u16> {
        self.directory.groups()
    }
}

impl<K: Key, V: Record> KeyedTable<K, V> {
    /// Brings the place of one key near.
    #[inline]
    pub fn prefetch(&self, hash: KeyHash) {
        self.prefetch_in(hash, &());
    }

    /// The value of `key`.
    #[inline]
    #[must_use]
    pub fn get(&self, hash: KeyHash, key: &K::Of<'_>) -> Option<&V> {
        self.get_in(hash, key, &())
    }

    /// Inserts a value for `key` or updates the one there is; answers the new value.
    ///
    /// # Errors
    /// As [`KeyedTable::fold_in`].
    #[inline]
    pub fn upsert(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        insert: impl FnOnce() -> V,
        update: impl FnOnce(&mut V),
    ) -> Result<&V, StateError> {
        self.fold_in(hash, key, &(), (), |()| insert(), |value, ()| update(value))
    }

    /// Makes `item` part of the value of `key`; answers the new value.
    ///
    /// # Errors
    /// As [`KeyedTable::fold_in`].
    #[inline]
    pub fn fold<A>(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        item: A,
        insert: impl FnOnce(A) -> V,
        update: impl FnOnce(&mut V, A),
    ) -> Result<&V, StateError> {
        self.fold_in(hash, key, &(), item, insert, update)
    }

    /// Changes the value of `key`, if there is one.
    ///
    /// # Errors
    /// As [`KeyedTable::update_in`].
    #[inline]
    pub fn update<R>(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<Option<R>, StateError> {
        self.update_in(hash, key, &(), change)
    }

    /// Takes out the value of `key`.
    pub fn remove(&mut self, hash: KeyHash, key: &K::Of<'_>) -> Option<V> {
        self.remove_in(hash, key, &())
    }
}

fn heap_bytes<K: Key, V: Record>(key: &K::Stored, value: &V) -> u64 {
    (K::stored_heap_bytes(key) + value.heap_bytes()) as u64
}

#[cfg(test)]
#[path = "hot_tests.rs"]
mod tests;
