//! From a full array to a larger one, a few buckets with each insertion.
//!
//! While entries move there are two arrays: new entries go into the larger one, lookups ask both. Moved
//! entries are placed by hashing their key again. Invariant: the move ends long before the larger array
//! is full. Lives on one shard's thread.

use thalweg_memory::{Key, Record};

use super::account::Account;
use super::buckets::{Buckets, Entry, limit_of};
use super::hot::KeyedTable;
use super::namespace::Namespace;
use crate::error::StateError;

/// Buckets of a table's first array.
const FIRST: usize = 4;
/// Buckets moved with each insertion: at most 3 entries each.
pub(super) const MOVED_PER_INSERT: usize = 4;

/// The smaller array while its entries move.
pub(super) struct Leaving<E> {
    pub(super) buckets: Buckets<E>,
    /// Buckets before this one are empty.
    pub(super) moved: usize,
}

/// Buckets of the next larger array: a half more, so that memory is at most half empty.
pub(super) fn larger(buckets: usize) -> usize {
    (buckets + buckets / 2).next_multiple_of(2).max(FIRST)
}

/// Buckets of an array that so many entries do not fill; none beyond what can be counted.
fn buckets_for(entries: usize) -> Option<usize> {
    let per_hundred = limit_of(100);
    let buckets = entries.checked_mul(100)?.div_ceil(per_hundred);
    // Two more than a full one has, for what is rounded down.
    buckets.checked_add(2)?.checked_next_multiple_of(2)
}

impl<K: Key, V: Record, N: Namespace> KeyedTable<K, V, N> {
    /// Makes room for one more entry and moves a few on the way.
    ///
    /// # Errors
    /// When the budget or the system has no memory for a larger array; nothing has changed.
    #[inline(never)]
    pub(super) fn make_room(&mut self) -> Result<(), StateError> {
        if self.buckets.is_full() {
            self.grow()?;
        }
        self.move_some(MOVED_PER_INSERT);
        Ok(())
    }

    fn grow(&mut self) -> Result<(), StateError> {
        // A table this full whose last move has not ended is one that shrank in between.
        self.move_some(usize::MAX);
        self.grow_to(larger(self.buckets.len()))
    }

    /// Makes room for about so many more entries at once.
    ///
    /// Rows come back in the order of key groups, which is that of the array: in one that grew as they come, all
    /// of them would be crowded into its front, every new one at the end of a longer chain. Where the budget has
    /// no room the array stays: rows that take the place of others may fit all the same.
    pub(super) fn make_room_for(&mut self, rows: u64) {
        self.move_some(usize::MAX);
        let entries = self
            .len
            .saturating_add(usize::try_from(rows).unwrap_or(usize::MAX));
        let Some(wanted) = buckets_for(entries) else {
            return;
        };
        if wanted > self.buckets.len() && self.grow_to(wanted).is_ok() {
            self.move_some(usize::MAX);
        }
    }

    /// Begins the move into an array of so many buckets, while none is under way.
    fn grow_to(&mut self, wanted: usize) -> Result<(), StateError> {
        debug_assert!(self.leaving.is_none(), "the move before has ended");
        debug_assert!(limit_of(wanted) > self.buckets.entries());
        let bytes = Buckets::<Entry<K::Stored, N, V>>::bytes_of(wanted);
        self.account.reserve(bytes)?;
        let larger = Buckets::new(wanted, self.groups.scale(wanted)).map_err(|error| {
            self.account.release(bytes);
            StateError::NoMemory {
                bytes,
                cause: error.to_string(),
            }
        })?;
        let buckets = std::mem::replace(&mut self.buckets, larger);
        self.leaving = Some(Leaving { buckets, moved: 0 });
        self.shape += 1;
        Ok(())
    }

    /// Moves the entries of at most so many buckets.
    pub(super) fn move_some(&mut self, buckets: usize) {
        let Some(leaving) = &mut self.leaving else {
            return;
        };
        let end = leaving
            .buckets
            .len()
            .min(leaving.moved.saturating_add(buckets));
        for bucket in leaving.moved..end {
            leaving.buckets.empty(bucket, |tag, stamp, entry| {
                let hash = K::hash(&K::lend(&entry.key));
                let place = self.groups.place(hash, entry.namespace.spread());
                self.buckets.put(place, tag, stamp, entry);
            });
        }
        leaving.moved = end;
        if end == leaving.buckets.len() {
            debug_assert_eq!(leaving.buckets.entries(), 0, "everything was moved");
            release(&mut self.account, &leaving.buckets);
            self.leaving = None;
        }
        self.shape += 1;
    }

    /// Gives the memory of an empty table back.
    pub(super) fn clear_if_empty(&mut self) {
        if self.len == 0 && self.buckets.len() > FIRST {
            release(&mut self.account, &self.buckets);
            if let Some(leaving) = self.leaving.take() {
                release(&mut self.account, &leaving.buckets);
            }
            self.buckets = Self::nothing(&self.groups);
            self.shape += 1;
        }
    }
}

fn release<E>(account: &mut Account, buckets: &Buckets<E>) {
    account.release(buckets.bytes());
}

#[cfg(test)]
mod tests {
    use thalweg_core::{KeyHash, MaxParallelism};
    use thalweg_memory::Budget;

    use super::*;

    fn table(bytes: u64) -> KeyedTable<u64, u64> {
        let budget = Budget::new("slot-0", bytes);
        KeyedTable::new(0..128, MaxParallelism::default(), budget).unwrap()
    }

    /// Keys in the order of the array.
    fn in_order(table: &KeyedTable<u64, u64>, count: u64) -> Vec<u64> {
        let mut keys: Vec<u64> = (0..count).collect();
        keys.sort_by_key(|key| table.groups.place(KeyHash::of_u64(*key), 0));
        keys
    }

    #[test]
    fn what_is_expected_fits_without_growth_and_lies_where_it_belongs() {
        const KEYS: u64 = 30_000;
        let mut table = table(1 << 30);
        table.make_room_for(KEYS);
        let buckets = table.buckets.len();
        for key in in_order(&table, KEYS) {
            table
                .upsert(KeyHash::of_u64(key), &key, || key, |_| {})
                .unwrap();
            assert!(table.leaving.is_none(), "nothing moves");
        }
        assert_eq!(table.buckets.len(), buckets);
        assert!(!table.buckets.is_full());
        // Far ones would be those of an array that is too small for its front.
        let far = in_order(&table, KEYS).into_iter().filter(|key| {
            let hash = KeyHash::of_u64(*key);
            let (place, tag) = (
                table.groups.place(hash, 0),
                thalweg_memory::hash::Tag::of(hash.0),
            );
            let seat = table
                .buckets
                .find(place, tag, |entry| entry.key == *key)
                .unwrap();
            seat.bucket.abs_diff(table.buckets.home(place)) > 8
        });
        assert!(far.count() < KEYS as usize / 1000);
    }

    #[test]
    fn what_is_expected_beyond_the_budget_changes_nothing() {
        let mut table = table(1 << 16);
        for rows in [1 << 20, u64::MAX] {
            table.make_room_for(rows);
            assert_eq!(table.buckets.len(), 0);
            assert_eq!(table.memory_bytes(), 0);
        }
        table.upsert(KeyHash::of_u64(1), &1, || 1, |_| {}).unwrap();
        assert_eq!(table.len(), 1);
    }
}
