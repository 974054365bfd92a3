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
        let wanted = larger(self.buckets.len());
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
