//! A walk over a table that changes entries and takes out those that are done with.
//!
//! Entered by operators that look at every key now and then (the keys of a sliding window), a slice
//! per turn. Invariants are those of a scan; what is changed is stamped and its memory followed.
//! Lives on one shard's thread.

use std::ops::ControlFlow;

use thalweg_memory::hash::SLOTS;
use thalweg_memory::{Key, Record};

use super::buckets::Seat;
use super::hot::KeyedTable;
use super::namespace::Namespace;
use super::scan::{Scan, ScanCursor, Standing, spend};
use crate::error::StateError;

/// What becomes of an entry a sweep has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// It stays.
    Kept,
    /// It is taken out.
    Removed,
}

/// An entry as a sweep shows it.
pub struct SweepEntry<'a, K: Key, V: Record, N: Namespace> {
    /// The key, lent by the table.
    pub key: K::Of<'a>,
    /// What it is kept under besides the key.
    pub namespace: &'a N,
    /// The value, to be changed.
    pub value: &'a mut V,
}

impl<K: Key, V: Record, N: Namespace> KeyedTable<K, V, N> {
    /// Shows entries from where `cursor` stands, at most `budget` of them (a vacant bucket counts as
    /// one), until `visit` breaks; the entry at which it broke has been swept.
    ///
    /// The bounds of the cursor (epochs, key groups) are not looked at: every entry is shown.
    ///
    /// # Errors
    /// As [`KeyedTable::scan`]; and when a value became larger than the budget allows: the change stays.
    pub fn sweep(
        &mut self,
        cursor: &mut ScanCursor,
        mut budget: usize,
        mut visit: impl FnMut(SweepEntry<'_, K, V, N>) -> ControlFlow<Swept, Swept>,
    ) -> Result<Scan, StateError> {
        if self.leaving.is_some() {
            self.move_some(budget);
            return Ok(Scan::More);
        }
        let at = cursor.at.get_or_insert(Standing {
            shape: self.shape,
            bucket: 0,
            slot: 0,
        });
        if at.shape != self.shape {
            return Err(StateError::ScanOvertaken);
        }
        while at.bucket < self.buckets.len() {
            while at.slot < SLOTS {
                let (bucket, slot) = (at.bucket, at.slot);
                at.slot += 1;
                let taken = self.buckets.bucket(bucket);
                if taken.is_none_or(|taken| taken.get(slot).is_none()) {
                    continue;
                }
                let ended = self.sweep_one(Seat { bucket, slot }, &mut visit)?;
                if ended || spend(&mut budget) {
                    return Ok(Scan::More);
                }
            }
            (at.bucket, at.slot) = (at.bucket + 1, 0);
            if spend(&mut budget) {
                return Ok(Scan::More);
            }
        }
        Ok(Scan::Done)
    }

    /// Shows the entry at a taken seat; whether the visit ends here.
    #[inline(always)]
    fn sweep_one(
        &mut self,
        seat: Seat,
        visit: &mut impl FnMut(SweepEntry<'_, K, V, N>) -> ControlFlow<Swept, Swept>,
    ) -> Result<bool, StateError> {
        self.before_change(seat);
        let entry = self.buckets.at_mut(seat, self.stamp);
        let before = entry.value.heap_bytes();
        let told = visit(SweepEntry {
            key: K::lend(&entry.key),
            namespace: &entry.namespace,
            value: &mut entry.value,
        });
        let after = entry.value.heap_bytes();
        self.account.follow(before, after)?;
        let (swept, ended) = match told {
            ControlFlow::Continue(swept) => (swept, false),
            ControlFlow::Break(swept) => (swept, true),
        };
        if swept == Swept::Removed {
            if self.cut.is_some() {
                self.bury(seat);
            }
            drop(self.take_out(seat));
        }
        Ok(ended)
    }

    /// Drops every entry and keeps the memory of the table for new ones, unless a cut needs it.
    pub fn clear(&mut self) {
        self.shape += 1;
        self.give_up_growth();
        if self.bury_all() {
            self.len = 0;
            return;
        }
        if let Some(leaving) = self.leaving.take() {
            self.account.release(leaving.held);
        }
        self.buckets.clear();
        let heap = self.account.bytes() - self.buckets.bytes();
        self.account.release(heap);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_core::{KeyHash, MaxParallelism};
    use thalweg_memory::Budget;

    fn table(entries: u64) -> (KeyedTable<u64, Vec<u64>>, Budget) {
        let budget = Budget::new("slot-0", 1 << 24);
        let mut table = KeyedTable::new(0..128, MaxParallelism::default(), budget.clone()).unwrap();
        for key in 0..entries {
            let hash = KeyHash::of_u64(key);
            table.upsert(hash, &key, || vec![key], |_| ()).unwrap();
        }
        (table, budget)
    }

    #[test]
    fn a_sweep_shows_every_entry_once_and_takes_out_what_is_done_with() {
        let (mut table, _budget) = table(1_000);
        let mut seen = Vec::new();
        let mut cursor = ScanCursor::new();
        loop {
            let swept = table.sweep(&mut cursor, 7, |entry| {
                seen.push(entry.key);
                entry.value.push(entry.key + 1);
                ControlFlow::Continue(match entry.key % 3 {
                    0 => Swept::Removed,
                    _ => Swept::Kept,
                })
            });
            if swept.unwrap() == Scan::Done {
                break;
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
        assert_eq!(table.len(), 666);
        for key in 0..1_000_u64 {
            let found = table.get(KeyHash::of_u64(key), &key);
            let kept = (key % 3 != 0).then(|| vec![key, key + 1]);
            assert_eq!(found, kept.as_ref());
        }
    }

    #[test]
    fn a_cleared_table_is_empty_and_used_again() {
        let (mut table, budget) = table(1_000);
        table.clear();
        assert!(table.is_empty() && table.get(KeyHash::of_u64(3), &3).is_none());
        let kept = budget.used();
        assert_eq!(table.memory_bytes(), kept);
        for key in 0..500_u64 {
            let hash = KeyHash::of_u64(key);
            table.upsert(hash, &key, Vec::new, |_| ()).unwrap();
        }
        assert_eq!((table.len(), budget.used()), (500, kept));
        drop(table);
        assert_eq!(budget.used(), 0);
    }
}
