//! From a full array to a larger one, a little with each insertion.
//!
//! First the memory of the larger array is touched, a little with each insertion: the system zeroes it then, 2 MiB
//! at a time where pages are huge, and if the first keys did that wherever they belong, one turn would wait for
//! all of it. Then entries move; while they do, new entries go into the larger array, lookups ask both. Moved
//! entries are placed by hashing their key again. Invariant: both end long before an array is filled to its last
//! slot. `shrink` is the way back, to a smaller array. Lives on one shard's thread.

mod shrink;

use thalweg_memory::hash::Bucket;
use thalweg_memory::{Key, Record};

use super::account::Account;
use super::buckets::{Buckets, Entry, limit_of};
use super::hot::KeyedTable;
use super::namespace::Namespace;
use crate::error::StateError;

/// Buckets of a table's first array.
pub(super) const FIRST: usize = 4;
/// Buckets moved with each insertion: at most 3 entries each. A quarter of a microsecond, so that a turn whose records are
/// all new is not much longer than others; with few of them a table has two arrays, and lookups that miss the caches in
/// both, for much of the time it grows.
pub(super) const MOVED_PER_INSERT: usize = 16;
/// Bytes of a small page.
const PAGE: usize = 4096;
/// Buckets whose memory is touched with each insertion: all of it before the array is filled to two thirds, and hardly more
/// than one huge page in a turn whose records are all new.
const TOUCHED_PER_INSERT: usize = 8;

/// How many times as large the next array is at most, where that many entries are expected. Its memory is touched
/// from the moment the smaller one is half full, and so before that one is full.
const LEAP: usize = 8;

/// An array for which there is no memory is tried with one part in so many less.
const LESS: usize = 8;

/// The larger array before it takes entries.
pub(super) struct Coming<E> {
    buckets: Buckets<E>,
    /// The memory of buckets before this one has been touched.
    touched: usize,
}

impl<E> Coming<E> {
    pub(super) fn bytes(&self) -> u64 {
        self.buckets.bytes()
    }

    /// Touches some more of it; whether none is left.
    fn touch(&mut self) -> bool {
        let bucket = size_of::<Bucket<E>>();
        let until = self.touched + TOUCHED_PER_INSERT;
        for first in (self.touched..until).step_by((PAGE / bucket).max(1)) {
            self.buckets.touch(first);
        }
        self.touched = until;
        self.touched >= self.buckets.len()
    }
}

/// The array before, while its entries move.
pub(super) struct Leaving<E> {
    pub(super) buckets: Buckets<E>,
    /// Buckets before this one are empty.
    pub(super) moved: usize,
    /// Bytes that are accounted for it: if the array behind it is smaller, that one has of its bytes what it needs.
    pub(super) held: u64,
    /// The memory of buckets before this one has been given back to the system, in a table that shrinks.
    given_back: usize,
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
    /// Makes room for one more entry and goes on with a growth on the way.
    ///
    /// # Errors
    /// When the budget or the system has no memory for a larger array; nothing has changed.
    #[inline(never)]
    pub(super) fn make_room(&mut self) -> Result<(), StateError> {
        if self.coming.is_some() || self.buckets.is_full() {
            self.grow()?;
        } else if self.leaps() && self.grow().is_err() {
            // It grows as others do.
            self.expected = 0;
        }
        self.move_some(MOVED_PER_INSERT);
        Ok(())
    }

    /// So many entries are expected: the table gets there in few leaps, in which a small part of them moves, instead of
    /// growing by halves, in which each moves twice. Memory is taken as it grows, and if there is none for a leap it
    /// grows as if nothing had been said.
    pub fn expect(&mut self, entries: usize) {
        self.expected = buckets_for(entries).unwrap_or(0);
    }

    /// Whether a leap is to begin.
    #[inline]
    fn leaps(&self) -> bool {
        let buckets = self.buckets.len();
        self.expected > larger(buckets) && self.buckets.entries() >= limit_of(buckets) / 2
    }

    /// Buckets of the next array.
    pub(super) fn next_len(&self) -> usize {
        let buckets = self.buckets.len();
        let leap = self.expected.min(buckets.saturating_mul(LEAP)) & !1;
        leap.max(larger(buckets))
    }

    fn grow(&mut self) -> Result<(), StateError> {
        let coming = match &mut self.coming {
            Some(coming) => coming,
            None => {
                // A table this full whose last move has not ended is one that shrank in between.
                self.move_some(usize::MAX);
                let buckets = self.array_of(self.next_len())?;
                self.coming.insert(Coming {
                    buckets,
                    touched: 0,
                })
            }
        };
        // An array without buckets has no slot for what comes meanwhile.
        let ready = coming.touch() || self.buckets.len() == 0;
        if ready && let Some(coming) = self.coming.take() {
            self.move_into(coming.buckets);
        }
        Ok(())
    }

    /// Makes room for about so many more entries at once.
    ///
    /// Rows come back in the order of key groups, which is that of the array: in one that grew as they come, all
    /// of them would be crowded into its front, every new one at the end of a longer chain. Where the budget has no
    /// room for all, it becomes as large as there is room for: rows may be fewer than expected, or take the place of
    /// others.
    pub(super) fn make_room_for(&mut self, rows: u64) {
        self.give_up_growth();
        self.move_some(usize::MAX);
        let entries = self
            .len
            .saturating_add(usize::try_from(rows).unwrap_or(usize::MAX));
        let Some(mut wanted) = buckets_for(entries) else {
            return;
        };
        while wanted > self.buckets.len() {
            if let Ok(buckets) = self.array_of(wanted) {
                self.move_into(buckets);
                self.move_some(usize::MAX);
                return;
            }
            wanted = (wanted - wanted.div_ceil(LESS)) & !1;
        }
    }

    /// Whether the budget has room for so many more entries, which are so many bytes where they are written down.
    pub(crate) fn has_room_for_rows(&self, rows: u64, bytes: u64) -> bool {
        let entries = usize::try_from(rows).ok();
        let buckets = entries.and_then(|rows| buckets_for(self.len.checked_add(rows)?));
        let Some(buckets) = buckets else {
            return false;
        };
        let array = Buckets::<Entry<K::Stored, N, V>>::bytes_of(buckets);
        let heap = match Self::HAS_HEAP {
            true => bytes,
            false => 0,
        };
        let more = array.saturating_sub(self.buckets.bytes());
        more.saturating_add(heap) <= self.account.budget().left()
    }

    /// Rows that come back have crowded into a part of the array: there are more of them than was expected. It becomes
    /// larger, though never larger than all that may come need. Otherwise those of the first key groups would fill
    /// the room of all others, each at the end of a longer chain, before the array as a whole is full.
    #[cold]
    pub(super) fn spread_out(&mut self) {
        self.buckets.bear_crowding();
        let at_most = self.cut.as_ref().map_or(0, |cut| cut.rows_at_most());
        let most = usize::try_from(at_most).ok().and_then(buckets_for);
        let wanted = larger(self.buckets.len()).min(most.unwrap_or(usize::MAX));
        if wanted <= self.buckets.len() {
            return;
        }
        self.give_up_growth();
        self.move_some(usize::MAX);
        if let Ok(buckets) = self.array_of(wanted) {
            self.move_into(buckets);
            self.move_some(usize::MAX);
        }
    }

    /// The same in a table at work: its growth begins, and goes on with the next insertions.
    #[cold]
    pub(super) fn spread_out_meanwhile(&mut self) {
        self.buckets.bear_crowding();
        let at_most = self.cut.as_ref().map_or(0, |cut| cut.rows_at_most());
        let most = usize::try_from(at_most).ok().and_then(buckets_for);
        let moves = self.coming.is_some() || self.leaving.is_some();
        if !moves && self.buckets.len() < most.unwrap_or(usize::MAX) {
            // Without memory for it entries lie further from where they belong, and are found all the same.
            let _ = self.grow();
        }
    }

    /// A vacant array, whose memory is reserved.
    fn array_of(&mut self, buckets: usize) -> Result<Buckets<Entry<K::Stored, N, V>>, StateError> {
        let bytes = Buckets::<Entry<K::Stored, N, V>>::bytes_of(buckets);
        self.account.reserve(bytes)?;
        Buckets::new(buckets, self.groups.scale(buckets)).map_err(|error| {
            self.account.release(bytes);
            StateError::NoMemory {
                bytes,
                cause: error.to_string(),
            }
        })
    }

    /// Begins the move into a larger array, while none is under way.
    fn move_into(&mut self, larger: Buckets<Entry<K::Stored, N, V>>) {
        debug_assert!(self.leaving.is_none(), "the move before has ended");
        debug_assert!(limit_of(larger.len()) > self.buckets.entries());
        let buckets = std::mem::replace(&mut self.buckets, larger);
        self.leaving = Some(Leaving {
            held: buckets.bytes(),
            buckets,
            moved: 0,
            given_back: 0,
        });
        self.shape += 1;
    }

    /// Gives an array back that has taken no entry yet.
    pub(super) fn give_up_growth(&mut self) {
        if let Some(coming) = self.coming.take() {
            self.account.release(coming.bytes());
        }
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
        leaving.follow_shrinking();
        if end == leaving.buckets.len() {
            debug_assert_eq!(leaving.buckets.entries(), 0, "everything was moved");
            self.account.release(leaving.held);
            self.leaving = None;
        }
        self.shape += 1;
    }

    /// Gives the memory of an empty table back.
    pub(super) fn clear_if_empty(&mut self) {
        if self.len == 0 && self.buckets.len() > FIRST {
            release(&mut self.account, &self.buckets);
            self.give_up_growth();
            if let Some(leaving) = self.leaving.take() {
                self.account.release(leaving.held);
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
    fn large_entries_have_a_larger_array_before_the_smaller_one_is_full() {
        let budget = Budget::new("slot-0", 1 << 30);
        let mut table =
            KeyedTable::<u64, [u64; 700]>::new(0..128, MaxParallelism::default(), budget).unwrap();
        for key in 0..5_000 {
            let value = || [key; 700];
            table
                .upsert(KeyHash::of_u64(key), &key, value, |_| {})
                .unwrap();
            assert!(table.buckets.entries() * 10 <= table.buckets.len() * 3 * 7);
        }
        assert_eq!(table.len(), 5_000);
    }

    #[test]
    fn a_table_that_is_cleared_while_it_grows_gives_the_larger_array_back() {
        let budget = Budget::new("slot-0", 1 << 30);
        let mut table =
            KeyedTable::<u64, u64>::new(0..128, MaxParallelism::default(), budget.clone()).unwrap();
        let mut keys = 0_u64;
        while table.coming.is_none() || keys < 10_000 {
            table
                .upsert(KeyHash::of_u64(keys), &keys, || 0, |_| {})
                .unwrap();
            keys += 1;
        }
        table.clear();
        assert!(table.coming.is_none());
        assert_eq!(budget.used(), table.buckets.bytes());
        for key in 0..keys {
            table
                .upsert(KeyHash::of_u64(key), &key, || 0, |_| {})
                .unwrap();
        }
        for key in 0..keys {
            assert_eq!(table.remove(KeyHash::of_u64(key), &key), Some(0));
        }
        drop(table);
        assert_eq!(budget.used(), 0);
    }

    /// The sizes of the arrays there are while so many keys come.
    fn arrays_of(table: &mut KeyedTable<u64, u64>, keys: u64) -> Vec<usize> {
        let mut arrays = Vec::new();
        for key in 0..keys {
            let hash = KeyHash::of_u64(key);
            table.upsert(hash, &key, || key, |_| {}).unwrap();
            let buckets = table.buckets.len();
            // The next one is there before this one is hard to search.
            assert!(table.buckets.entries() * 100 <= buckets * 3 * 80);
            if arrays.last() != Some(&buckets) {
                arrays.push(buckets);
            }
        }
        arrays
    }

    #[test]
    fn where_many_are_expected_the_table_leaps() {
        const KEYS: u64 = 300_000;
        let mut table = table(1 << 30);
        table.expect(KEYS as usize);
        let arrays = arrays_of(&mut table, KEYS);
        assert!(arrays.len() <= 7, "{arrays:?}");
        assert!(arrays.is_sorted_by(|one, next| *next <= one * LEAP));
        assert!(!table.buckets.is_full(), "what is expected fits");
        assert_eq!(
            arrays_of(&mut table, KEYS * 2).len(),
            3,
            "beyond that it grows as ever"
        );
    }

    #[test]
    fn without_memory_for_a_leap_a_table_grows_as_if_nothing_was_expected() {
        let fits = |expected: usize| {
            let mut table = table(1 << 16);
            table.expect(expected);
            let keys = (0..).find(|key| {
                let hash = KeyHash::of_u64(*key);
                table.upsert(hash, key, || *key, |_| {}).is_err()
            });
            keys.unwrap_or(0)
        };
        let plain = fits(0);
        for expected in [usize::MAX, 1 << 40, 1 << 20, 5_000, 1_000] {
            assert!(fits(expected) * 2 > plain, "{expected}");
        }
    }

    #[test]
    fn what_is_expected_beyond_the_budget_gets_what_there_is() {
        let mut table = table(1 << 16);
        for rows in [1 << 20, u64::MAX] {
            table.make_room_for(rows);
            assert!(table.memory_bytes() > 1 << 15);
            assert!(table.memory_bytes() <= 1 << 16);
        }
        table.upsert(KeyHash::of_u64(1), &1, || 1, |_| {}).unwrap();
        assert_eq!(table.len(), 1);
    }
}
