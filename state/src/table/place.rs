//! Where a key belongs: key group first, then its place within the group.
//!
//! Invariant: places are ordered by key group, and an array of any length keeps that order, so that a
//! group is a run of buckets in it. Plain data, lives on any thread.

use std::ops::Range;

use thalweg_core::{KeyGroup, KeyHash, MaxParallelism};

/// A number whose upper half is the key group, counted from the first of the table's, and whose lower
/// half spreads keys and namespaces within the group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place(u64);

/// The key groups of a table.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    range: Range<u16>,
    first: u64,
    max: u64,
}

impl Groups {
    pub(crate) fn new(range: Range<u16>, max: MaxParallelism) -> Groups {
        assert!(
            u32::from(range.end) <= max.get(),
            "key groups {range:?} of {max:?}"
        );
        let first = u64::from(range.start) << 32;
        Groups {
            range,
            first,
            max: u64::from(max.get()),
        }
    }

    pub(crate) fn range(&self) -> Range<u16> {
        self.range.clone()
    }

    /// The place of a hash and a namespace's spread.
    #[inline(always)]
    pub(crate) fn place(&self, hash: KeyHash, spread: u64) -> Place {
        let scaled = (hash.0 >> 32) * self.max - self.first;
        debug_assert!(
            scaled >> 32 < self.range.len() as u64,
            "the key of another subtask"
        );
        Place(scaled ^ (spread >> 32))
    }

    pub(crate) fn group_of(&self, place: Place) -> KeyGroup {
        KeyGroup(self.range.start + (place.0 >> 32) as u16)
    }

    /// How places are scaled to an array of so many buckets.
    pub(crate) fn scale(&self, buckets: usize) -> Scale {
        let groups = self.range.len().max(1) as u128;
        Scale((((buckets as u128) << 32) / groups) as u64)
    }
}

/// Scales places to the buckets of one array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale(u64);

impl Scale {
    /// The bucket where a place belongs.
    #[inline(always)]
    pub(crate) fn home(self, place: Place) -> usize {
        ((u128::from(place.0) * u128::from(self.0)) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_groups_and_fit_every_array() {
        for (range, max) in [(0..128, 128), (43..86, 128), (0..1, 1), (5..6, 32_768)] {
            let max = MaxParallelism::new(max).unwrap();
            let groups = Groups::new(range.clone(), max);
            for buckets in [1, 2, 3, 100, 4097] {
                let scale = groups.scale(buckets);
                for key in 0..5_000 {
                    let hash = KeyHash::of_u64(key);
                    let group = max.key_group(hash);
                    if !range.contains(&group.0) {
                        continue;
                    }
                    for spread in [0, u64::MAX, 12_345 << 33] {
                        let place = groups.place(hash, spread);
                        assert_eq!(groups.group_of(place), group);
                        assert!(scale.home(place) < buckets);
                    }
                }
            }
        }
    }
}
