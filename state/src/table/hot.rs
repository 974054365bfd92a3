//! The table: one native value per (key group, key, namespace), stamped and accounted.
//!
//! Entered once per record by keyed operators, after [`KeyedTable::approach`] and
//! [`KeyedTable::locate`] have brought its entry near: one [`KeyedTable::upsert`] or
//! [`KeyedTable::fold`] each. Nothing is allocated per record in steady state.
//!
//! Invariants: an entry is stamped when it changes, after a cut that still needs it has written it; memory is reserved before it is
//! taken, so a refusal leaves the table as it was; `len` is the number of entries in all pages. Lives on
//! one shard's thread.

use std::ops::Range;

use thalweg_core::{KeyHash, MaxParallelism};
use thalweg_memory::hash::Tag;
use thalweg_memory::{Budget, Key, Record};

use super::account::Account;
use super::buckets::{Buckets, Entry, Seat};
use super::cut::CutOf;
use super::evict::OverByNow;
use super::grow::{Coming, Leaving, MOVED_PER_INSERT};
use super::namespace::Namespace;
use super::near::{PREFETCH_FROM_BYTES, Seats};
use super::place::{Groups, Place};
use super::scan::{GroupsCursor, Scan, ScanCursor, ScanEntry};
use super::stamp::{Generation, Stamp};
use crate::error::StateError;

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
    pub(super) buckets: Buckets<Entry<K::Stored, N, V>>,
    /// The next larger array, while its memory is touched.
    pub(super) coming: Option<Coming<Entry<K::Stored, N, V>>>,
    /// The smaller array, while its entries move.
    pub(super) leaving: Option<Leaving<Entry<K::Stored, N, V>>>,
    pub(super) groups: Groups,
    pub(super) account: Account,
    pub(super) len: usize,
    /// Buckets of the array that all entries that are expected need; 0 where nothing is.
    pub(super) expected: usize,
    /// The stamp of changes.
    pub(super) stamp: Stamp,
    /// Whether a cut is being written: then entries are looked at before they are changed.
    pub(super) cutting: bool,
    /// What is known of copies, once there was a cut or something was restored.
    pub(super) cut: Option<CutOf<K, V, N>>,
    pub(super) seats: Seats,
    /// Counts what moves entries, so that a scan notices.
    pub(super) shape: u64,
    /// What merges of cold runs leave out.
    pub(super) left_out: Option<OverByNow<V>>,
}

impl<K: Key, V: Record, N: Namespace> KeyedTable<K, V, N> {
    /// An empty table for `groups` of `max` key groups, whose memory counts in `budget`.
    ///
    /// # Errors
    /// None today: an empty table has no memory. Later the backend may refuse.
    ///
    /// # Panics
    /// When `groups` ends above `max`.
    pub fn new(
        groups: Range<u16>,
        max: MaxParallelism,
        budget: Budget,
    ) -> Result<Self, StateError> {
        let groups = Groups::new(groups, max);
        Ok(KeyedTable {
            buckets: Self::nothing(&groups),
            coming: None,
            leaving: None,
            groups,
            account: Account::new(budget),
            len: 0,
            expected: 0,
            stamp: Stamp::of(Generation::FIRST, 0),
            cutting: false,
            cut: None,
            seats: Seats::new(),
            shape: 0,
            left_out: None,
        })
    }

    /// An array without buckets.
    pub(super) fn nothing(groups: &Groups) -> Buckets<Entry<K::Stored, N, V>> {
        match Buckets::new(0, groups.scale(0)) {
            Ok(buckets) => buckets,
            Err(error) => unreachable!("no buckets need no memory: {error}"),
        }
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

    /// Bytes held: pages, what keys and values have on the heap, and rows kept for cuts.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let kept_for_cuts = self.cut.as_ref().map_or(0, |cut| cut.account.bytes());
        self.account.bytes() + kept_for_cuts
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

    /// Brings the places of all `hashes` in one namespace near.
    #[inline]
    pub fn prefetch_batch_in(&self, hashes: &[KeyHash], namespace: &N) {
        if self.account.bytes() < PREFETCH_FROM_BYTES {
            return;
        }
        let spread = namespace.spread();
        for hash in hashes {
            self.prefetch_spread(*hash, spread);
        }
    }

    /// Brings the place of one entry near.
    #[inline]
    pub fn prefetch_in(&self, hash: KeyHash, namespace: &N) {
        self.prefetch_spread(hash, namespace.spread());
    }

    #[inline(always)]
    fn prefetch_spread(&self, hash: KeyHash, spread: u64) {
        let place = self.groups.place(hash, spread);
        self.buckets.ask_for(self.buckets.home(place));
    }

    #[inline(always)]
    fn spot(&self, hash: KeyHash, namespace: &N) -> (Place, Tag) {
        let spread = namespace.spread();
        (self.groups.place(hash, spread), Tag::of(hash.0 ^ spread))
    }

    /// Finds an entry; one that has not moved yet is moved first, so that all that is found lies in the
    /// larger array.
    #[inline(always)]
    pub(super) fn find_mut(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> Option<Seat> {
        if size_of::<N>() > 0 {
            return self.search_mut(hash, key, namespace);
        }
        let same = |entry: &Entry<K::Stored, N, V>| K::same(&entry.key, key);
        match self.buckets.confirm(self.seats.expected(), same) {
            Some(seat) => Some(seat),
            None => self.search_mut_far(hash, key, namespace),
        }
    }

    /// The search for an entry that was not found ahead.
    #[inline(never)]
    fn search_mut_far(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> Option<Seat> {
        self.search_mut(hash, key, namespace)
    }

    #[inline(always)]
    fn search_mut(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> Option<Seat> {
        let (place, tag) = self.spot(hash, namespace);
        let same = |entry: &Entry<K::Stored, N, V>| {
            entry.namespace == *namespace && K::same(&entry.key, key)
        };
        match self.buckets.find(place, tag, same) {
            Some(seat) => Some(seat),
            None if self.leaving.is_none() => None,
            None => self.bring(hash, key, namespace),
        }
    }

    /// Moves one entry out of the smaller array, if it is there, and a few more: so the move ends even
    /// if nothing new is inserted.
    #[inline(never)]
    fn bring(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> Option<Seat> {
        let (place, tag) = self.spot(hash, namespace);
        self.move_some(MOVED_PER_INSERT);
        let moved = self.buckets.find(place, tag, |entry| {
            entry.namespace == *namespace && K::same(&entry.key, key)
        });
        if moved.is_some() {
            return moved;
        }
        let leaving = self.leaving.as_mut()?;
        let seat = leaving.buckets.find(place, tag, |entry| {
            entry.namespace == *namespace && K::same(&entry.key, key)
        })?;
        let stamp = leaving.buckets.stamp(seat);
        let entry = leaving.buckets.take(place, seat)?;
        self.shape += 1;
        Some(self.buckets.put(place, tag, stamp, entry))
    }

    /// The value of `key` in `namespace`.
    #[inline]
    #[must_use]
    pub fn get_in(&self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> Option<&V> {
        let same = |entry: &Entry<K::Stored, N, V>| {
            entry.namespace == *namespace && K::same(&entry.key, key)
        };
        if size_of::<N>() == 0
            && let Some(seat) = self.buckets.confirm(self.seats.expected(), same)
        {
            return Some(&self.buckets.at(seat).value);
        }
        let (place, tag) = self.spot(hash, namespace);
        if let Some(seat) = self.buckets.find(place, tag, same) {
            return Some(&self.buckets.at(seat).value);
        }
        let leaving = self.leaving.as_ref()?;
        let seat = leaving.buckets.find(place, tag, same)?;
        Some(&leaving.buckets.at(seat).value)
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
        let Some(seat) = self.find_mut(hash, key, namespace) else {
            let seat = self.insert(hash, K::store(key), *namespace, insert(item))?;
            return Ok(&self.buckets.at(seat).value);
        };
        self.before_change(seat);
        let value = &mut self.buckets.at_mut(seat, self.stamp).value;
        let before = value.heap_bytes();
        update(value, item);
        self.account.follow(before, value.heap_bytes())?;
        Ok(value)
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
        let Some(seat) = self.find_mut(hash, key, namespace) else {
            return Ok(None);
        };
        self.before_change(seat);
        let value = &mut self.buckets.at_mut(seat, self.stamp).value;
        let before = value.heap_bytes();
        let answer = change(value);
        self.account.follow(before, value.heap_bytes())?;
        Ok(Some(answer))
    }

    /// To be called before an entry is changed: a cut may need it as it is.
    #[inline(always)]
    pub(super) fn before_change(&mut self, seat: Seat) {
        if self.cutting {
            self.write_aside(seat);
        }
    }

    /// Takes out the value of `key` in `namespace`.
    pub fn remove_in(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N) -> Option<V> {
        let (value, _) = self.remove_told(hash, key, namespace)?;
        Some(value)
    }

    /// The same; answers too whether a copy or a cold run may hold the entry.
    pub(crate) fn remove_told(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
    ) -> Option<(V, bool)> {
        let seat = self.find_mut(hash, key, namespace)?;
        if self.cut.is_some() {
            self.bury(seat);
        }
        // A cut that was about to write it has its row now.
        let held = !self.buckets.stamp(seat).is_new();
        let (place, _) = self.spot(hash, namespace);
        let value = self.take_from(place, seat);
        self.clear_if_empty();
        Some((value, held))
    }

    /// Takes out the entry at a taken seat.
    pub(super) fn take_out(&mut self, seat: Seat) -> V {
        let entry = self.buckets.at(seat);
        let hash = K::hash(&K::lend(&entry.key));
        let place = self.groups.place(hash, entry.namespace.spread());
        self.take_from(place, seat)
    }

    /// The same; `place` is where it belongs.
    fn take_from(&mut self, place: Place, seat: Seat) -> V {
        let Some(entry) = self.buckets.take(place, seat) else {
            unreachable!("the seat was taken a moment ago");
        };
        self.account
            .release(heap_bytes::<K, V>(&entry.key, &entry.value));
        self.len -= 1;
        entry.value
    }

    #[cold]
    #[inline(never)]
    pub(super) fn insert(
        &mut self,
        hash: KeyHash,
        key: K::Stored,
        namespace: N,
        value: V,
    ) -> Result<Seat, StateError> {
        let heap = heap_bytes::<K, V>(&key, &value);
        self.account.reserve(heap)?;
        self.make_room()
            .inspect_err(|_| self.account.release(heap))?;
        let (place, tag) = self.spot(hash, &namespace);
        let entry = Entry {
            key,
            namespace,
            value,
        };
        self.len += 1;
        Ok(self.buckets.put(place, tag, self.stamp.made_new(), entry))
    }

    /// Visits entries in the order of key groups (what has a namespace: in any order) from where `cursor`
    /// stands, at most `budget` of them
    /// (a vacant bucket counts as one, so that a slice is bounded), until `visit` breaks; the entry at
    /// which it broke counts as visited.
    ///
    /// Entries inserted between two slices may be visited or not. While the table grows, the first slices
    /// end its growth and visit nothing.
    ///
    /// # Errors
    /// When entries moved since the cursor's last slice, because the table grew or shrank.
    pub fn scan(
        &mut self,
        cursor: &mut ScanCursor,
        budget: usize,
        visit: impl FnMut(ScanEntry<'_, K, V, N>) -> std::ops::ControlFlow<()>,
    ) -> Result<Scan, StateError> {
        if self.leaving.is_some() {
            // Entries are shown in order only when all are in one array: that comes first, in slices too.
            self.move_some(budget);
            return Ok(Scan::More);
        }
        cursor.advance::<K, V, N>(&self.buckets, &self.groups, self.shape, budget, visit)
    }

    /// Visits the keys of the entries of some key groups whose namespaces have no spread, from where `cursor` stands, in
    /// at most so many buckets. What is not of these groups is hardly looked at.
    ///
    /// # Errors
    /// As [`KeyedTable::scan`].
    pub(crate) fn scan_groups(
        &mut self,
        cursor: &mut GroupsCursor,
        buckets: usize,
        visit: impl FnMut(KeyHash, &K::Of<'_>, &N),
    ) -> Result<Scan, StateError> {
        if self.leaving.is_some() {
            self.move_some(buckets);
            return Ok(Scan::More);
        }
        cursor.advance::<K, V, N>(&self.buckets, &self.groups, (self.shape, buckets), visit)
    }

    /// The key groups this table is for.
    #[must_use]
    pub fn groups(&self) -> Range<u16> {
        self.groups.range()
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
