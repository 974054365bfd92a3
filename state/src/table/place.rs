//! Where a key belongs: key group first, then its place within the group; with a namespace, anywhere.
//!
//! Invariant: places without a namespace are ordered by key group, and an array of any length keeps that
//! order, so that a group is a run of buckets in it. What a key keeps under namespaces is spread over the
//! whole array: there may be any number of them, and within the run of one group they would crowd each
//! other out (10,000 namespaces of one key: 19 µs for each insertion). Plain data, lives on any thread.

use std::ops::Range;

use thalweg_core::{KeyGroup, KeyHash, MaxParallelism};

/// A number whose upper half is the key group, counted from the first of the table's, and whose lower
/// half spreads keys within the group; with a namespace any number below the last group's end.
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

    /// The place of a hash and a namespace's spread, which is 0 where there is no namespace.
    #[inline(always)]
    pub(crate) fn place(&self, hash: KeyHash, spread: u64) -> Place {
        if spread != 0 {
            // The remix depends on the bits of the hash that the groups of one subtask have not fixed.
            let anywhere = KeyHash(hash.0 ^ spread).table_index() >> 32;
            return Place(anywhere * self.range.len() as u64);
        }
        let scaled = (hash.0 >> 32) * self.max - self.first;
        debug_assert!(
            scaled >> 32 < self.range.len() as u64,
            "the key of another subtask"
        );
        Place(scaled)
    }

    /// The key group of a hash.
    #[inline]
    pub(crate) fn group_of(&self, hash: KeyHash) -> KeyGroup {
        KeyGroup((((hash.0 >> 32) * self.max) >> 32) as u16)
    }

    /// The places of some key groups, of what has no namespace: from the first on, and that behind the last.
    pub(crate) fn places_of(&self, groups: &Range<u16>) -> (Place, Place) {
        let start_of = |group: u16| {
            let group = group.clamp(self.range.start, self.range.end) - self.range.start;
            Place(u64::from(group) << 32)
        };
        (start_of(groups.start), start_of(groups.end))
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
        // The high half of the product of both, from products of halves, of which vectors have many
        // lanes. Nothing overflows: a place has 47 bits, and a scale less than 63.
        let low = |word: u64| word & u64::from(u32::MAX);
        let (group, within) = (place.0 >> 32, low(place.0));
        let (whole, part) = (self.0 >> 32, low(self.0));
        let middle = group * part + within * whole + ((within * part) >> 32);
        (group * whole + (middle >> 32)) as usize
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
                        assert_eq!(groups.group_of(hash), group);
                        assert!(scale.home(place) < buckets);
                    }
                }
            }
        }
    }
}
