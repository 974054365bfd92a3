//! An entry held open: found or made by its key first, changed afterwards.
//!
//! Entered by keyed operators whose key borrows from the record they are about to take apart: the key is
//! needed only to open the entry, and the record only to change it. Invariant: the change is stamped and
//! its memory followed, as in every other call. Lives on one shard's thread.

use thalweg_core::KeyHash;
use thalweg_memory::{Key, Record};

use super::account::Account;
use super::buckets::{Entry, Seat};
use super::hot::KeyedTable;
use crate::error::StateError;

/// The entry of one key, to be changed once.
#[must_use = "an opened entry is stamped as changed"]
pub struct OpenEntry<'a, K: Key, V: Record> {
    entry: &'a mut Entry<K::Stored, (), V>,
    account: &'a mut Account,
}

impl<'a, K: Key, V: Record> OpenEntry<'a, K, V> {
    /// An entry that is stamped as changed.
    #[inline(always)]
    pub(super) fn new(entry: &'a mut Entry<K::Stored, (), V>, account: &'a mut Account) -> Self {
        OpenEntry { entry, account }
    }

    /// Changes the value; answers the key as the table lends it, and the value now.
    ///
    /// # Errors
    /// When the value became larger than the budget allows; the change stays.
    #[inline(always)]
    pub fn change(self, change: impl FnOnce(&mut V)) -> Result<(K::Of<'a>, &'a V), StateError> {
        let before = self.entry.value.heap_bytes();
        change(&mut self.entry.value);
        self.account.follow(before, self.entry.value.heap_bytes())?;
        Ok((K::lend(&self.entry.key), &self.entry.value))
    }
}

impl<K: Key, V: Record> KeyedTable<K, V> {
    /// Opens the entry of `key`, made by `create` where there is none.
    ///
    /// # Errors
    /// When the budget has no room for a new entry: nothing is inserted.
    #[inline(always)]
    pub fn open(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        create: impl FnOnce() -> V,
    ) -> Result<OpenEntry<'_, K, V>, StateError> {
        let same = |entry: &Entry<K::Stored, (), V>| K::same(&entry.key, key);
        // Twice the same, so that where it was found ahead nothing is looked at twice.
        let entry = match self.buckets.confirm(self.seats.expected(), same) {
            Some(seat) => {
                self.before_change(seat);
                self.buckets.at_mut(seat, self.stamp)
            }
            None => {
                let seat = self.open_sought(hash, key, create)?;
                self.buckets.at_mut(seat, self.stamp)
            }
        };
        let account = &mut self.account;
        Ok(OpenEntry { entry, account })
    }

    /// The seat of an entry that was not found ahead.
    #[inline(never)]
    fn open_sought(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        create: impl FnOnce() -> V,
    ) -> Result<Seat, StateError> {
        match self.find_mut(hash, key, &()) {
            Some(found) => {
                self.before_change(found);
                Ok(found)
            }
            None => self.insert(hash, K::store(key), (), create()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_core::MaxParallelism;
    use thalweg_memory::{Budget, Str};

    #[test]
    fn an_opened_entry_is_made_once_and_lends_its_key() -> Result<(), StateError> {
        let budget = Budget::new("slot-0", 1 << 20);
        let mut table = KeyedTable::<Str, Vec<u8>>::new(0..128, MaxParallelism::default(), budget)?;
        let hash = Str::hash(&"key");
        let empty = table.memory_bytes();
        for round in 1..=3_usize {
            let (key, value) = table.open(hash, &"key", Vec::new)?.change(|v| v.push(7))?;
            assert_eq!((key, value.len()), ("key", round));
        }
        assert_eq!(table.len(), 1);
        assert!(
            table.memory_bytes() > empty,
            "the value's heap is accounted"
        );
        Ok(())
    }
}
