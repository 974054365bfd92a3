//! To a smaller array, where the memory of a slot has come to be shared in another way and entries have left.
//!
//! There is no memory for two arrays then: the smaller one has its bytes of the larger one, whose pages go back to the
//! system as its entries move. Entries keep their order, so the front of both is what moves first.

use thalweg_memory::{Key, Record};

use super::super::buckets::{Buckets, limit_of};
use super::super::hot::KeyedTable;
use super::super::namespace::Namespace;
use super::{FIRST, Leaving};

/// Bytes that go back to the system at once.
const GIVEN_BACK: u64 = 1 << 20;
/// An array shrinks by one part in so many at least, or it is not worth it.
const WORTH: usize = 8;

impl<E> Leaving<E> {
    /// Gives back what has become empty, in a table that shrinks.
    pub(super) fn follow_shrinking(&mut self) {
        if self.held == self.buckets.bytes() {
            return;
        }
        let emptied = self.moved - self.given_back;
        if Buckets::<E>::bytes_of(emptied) >= GIVEN_BACK {
            self.given_back = self.buckets.give_back(self.given_back, self.moved);
        }
    }
}

impl<K: Key, V: Record, N: Namespace> KeyedTable<K, V, N> {
    /// Begins the move into an array of about this part of the buckets there are, if what is in memory fits there and
    /// nothing moves yet. Whether it did. The move goes on as that of a growth does.
    pub(crate) fn shrink(&mut self, (part, of): (u64, u64)) -> bool {
        if self.leaving.is_some() {
            return false;
        }
        let buckets = self.buckets.len();
        let wanted = u128::from(part) * buckets as u128 / u128::from(of.max(1));
        let wanted = usize::try_from(wanted).unwrap_or(buckets) & !1;
        let wanted = wanted.max(FIRST);
        // The next entry must find a place before the move is over.
        let full = self.len >= limit_of(wanted) || self.len > self.places_in(wanted);
        if wanted > buckets - buckets / WORTH || full {
            return false;
        }
        let Ok(smaller) = Buckets::new(wanted, self.groups.scale(wanted)) else {
            // The system has none to lend for the time being.
            return false;
        };
        self.give_up_growth();
        let bytes = smaller.bytes();
        self.move_into(smaller);
        if let Some(leaving) = &mut self.leaving {
            leaving.held -= bytes;
        }
        true
    }

    /// How many entries a table takes that has so many buckets, if they leave.
    pub(crate) fn places_in(&self, buckets: usize) -> usize {
        let limit = limit_of(buckets);
        match limit <= Self::FEW {
            true => limit,
            false => limit / Self::UNEVEN.1 * Self::UNEVEN.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use thalweg_core::{KeyHash, MaxParallelism};
    use thalweg_memory::Budget;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Put(u64),
        Remove(u64),
        RemoveMany(u64),
        Shrink(u64),
        Move(usize),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            40 => (0_u64..40_000).prop_map(Op::Put),
            10 => (0_u64..40_000).prop_map(Op::Remove),
            1 => (2_u64..6).prop_map(Op::RemoveMany),
            2 => (1_u64..8).prop_map(Op::Shrink),
            4 => (1_usize..4_000).prop_map(Op::Move),
        ];
        proptest::collection::vec(op, 1..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_table_that_shrinks_and_grows_is_what_a_map_is(ops in ops(), begins in 0_u64..30_000) {
            let budget = Budget::new("slot-0", 1 << 30);
            let mut table =
                KeyedTable::<u64, u64>::new(0..128, MaxParallelism::default(), budget.clone()).unwrap();
            let mut model = BTreeMap::new();
            let put = |table: &mut KeyedTable<u64, u64>, model: &mut BTreeMap<u64, u64>, key: u64| {
                let hash = KeyHash::of_u64(key);
                table.upsert(hash, &key, || 1, |count| *count += 1).unwrap();
                *model.entry(key).or_insert(0) += 1;
            };
            for key in 0..begins {
                put(&mut table, &mut model, key);
            }
            for op in ops {
                let used = budget.used();
                match op {
                    Op::Put(key) => (0..50).for_each(|more| put(&mut table, &mut model, key + more)),
                    Op::Remove(key) => {
                        prop_assert_eq!(table.remove(KeyHash::of_u64(key), &key), model.remove(&key));
                    }
                    Op::RemoveMany(kept) => {
                        for key in (0..40_100).filter(|key| key % kept != 0) {
                            let gone = table.remove(KeyHash::of_u64(key), &key);
                            prop_assert_eq!(gone, model.remove(&key));
                        }
                    }
                    Op::Shrink(part) => {
                        table.shrink((part, 8));
                        prop_assert!(budget.used() <= used, "nothing is reserved");
                    }
                    Op::Move(buckets) => {
                        table.settle(buckets);
                    }
                }
                let key = model.len() as u64 * 7 % 40_000;
                prop_assert_eq!(table.get(KeyHash::of_u64(key), &key), model.get(&key));
                prop_assert_eq!(table.len(), model.len());
            }
            for key in 0..40_100 {
                prop_assert_eq!(table.get(KeyHash::of_u64(key), &key), model.get(&key));
            }
            while !table.settle(1_000) {}
            prop_assert_eq!(budget.used(), table.memory_bytes());
            let arrays = table.buckets.bytes() + table.coming.as_ref().map_or(0, |it| it.bytes());
            prop_assert_eq!(budget.used(), arrays);
        }
    }

    #[test]
    fn a_table_that_shrinks_has_room_for_one_more() {
        let budget = Budget::new("slot-0", 1 << 30);
        let mut shrunk = 0;
        for kept in 1..200_u64 {
            let mut table =
                KeyedTable::<u64, u64>::new(0..128, MaxParallelism::default(), budget.clone())
                    .unwrap();
            let put = |table: &mut KeyedTable<u64, u64>, key: u64| {
                table
                    .upsert(KeyHash::of_u64(key), &key, || key, |_| {})
                    .map(|_| ())
            };
            (0..400).try_for_each(|key| put(&mut table, key)).unwrap();
            while !table.settle(1_000) {}
            for key in kept..400 {
                table.remove(KeyHash::of_u64(key), &key);
            }
            for part in 1..8 {
                shrunk += u32::from(table.shrink((part, 8)));
                (400..404).try_for_each(|key| put(&mut table, key)).unwrap();
                while !table.settle(1_000) {}
                for key in 400..404 {
                    assert_eq!(table.remove(KeyHash::of_u64(key), &key), Some(key));
                }
            }
            for key in 0..kept {
                assert_eq!(table.get(KeyHash::of_u64(key), &key), Some(&key));
            }
        }
        assert!(shrunk > 200, "{shrunk} times");
    }

    #[test]
    fn a_table_whose_entries_have_left_gives_half_of_its_array_back() {
        let budget = Budget::new("slot-0", 1 << 30);
        let mut table =
            KeyedTable::<u64, u64>::new(0..128, MaxParallelism::default(), budget.clone()).unwrap();
        for key in 0..200_000_u64 {
            table
                .upsert(KeyHash::of_u64(key), &key, || key, |_| {})
                .unwrap();
        }
        while !table.settle(10_000) {}
        let full = budget.used();
        assert!(!table.shrink((1, 2)), "too many entries");
        for key in 80_000..200_000_u64 {
            table.remove(KeyHash::of_u64(key), &key);
        }
        assert!(table.shrink((1, 2)));
        assert!(!table.shrink((1, 2)), "one after the other");
        while !table.settle(10_000) {}
        assert!(
            budget.used() <= full / 2 + full / 8,
            "{} of {full}",
            budget.used()
        );
        for key in 0..80_000_u64 {
            assert_eq!(table.get(KeyHash::of_u64(key), &key), Some(&key));
        }
    }
}
