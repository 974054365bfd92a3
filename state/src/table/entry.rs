//! A slot, what lies in it, and the stamp that says when it last changed.
//!
//! Invariant: a stamp is never taken for older than it is. Stamps are epochs modulo 2^32 - 1, so an entry
//! untouched for that many epochs looks changed again: it is then copied once more than needed, and
//! nothing is missed. Plain data, lives on any thread.

use std::num::NonZeroU32;

use thalweg_core::Epoch;

use super::probe::{SLOTS, TagWord};

const EPOCHS: u64 = u32::MAX as u64;

/// The epoch of an entry's last change, small and never 0 so that a vacant slot costs no extra word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(NonZeroU32);

impl Stamp {
    pub(crate) fn of(epoch: Epoch) -> Stamp {
        Stamp(NonZeroU32::MIN.saturating_add((epoch.0 % EPOCHS) as u32))
    }

    /// Whether an entry stamped so changed in epoch `since` or later, seen from epoch `now`.
    pub(crate) fn changed_since(self, since: Epoch, now: Epoch) -> bool {
        debug_assert!(since <= now, "the past is asked for");
        let age = (now.0 % EPOCHS + EPOCHS - (self.0.get() as u64 - 1)) % EPOCHS;
        age <= now.0.saturating_sub(since.0)
    }
}

/// One entry: key, namespace, value, and what finds them again without hashing.
pub(crate) struct Entry<S, N, V> {
    pub(crate) stamp: Stamp,
    /// Where it belongs within its key group: the low half of its [`super::directory::Place`].
    pub(crate) place: u32,
    pub(crate) key: S,
    pub(crate) namespace: N,
    pub(crate) value: V,
}

/// An entry or its absence, in the same bytes: the stamp is the niche.
pub(crate) type Slot<S, N, V> = Option<Entry<S, N, V>>;

/// Slots with their tags in front, so that a lookup touches one place in memory.
#[repr(C, align(64))]
pub(crate) struct Bucket<S, N, V> {
    pub(crate) tags: TagWord,
    pub(crate) slots: [Slot<S, N, V>; SLOTS],
}

impl<S, N, V> Bucket<S, N, V> {
    pub(crate) fn vacant() -> Self {
        Bucket {
            tags: TagWord::default(),
            slots: [const { None }; SLOTS],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vacant_slot_costs_no_extra_word() {
        assert_eq!(size_of::<Slot<u64, (), u64>>(), 24);
        assert_eq!(size_of::<Bucket<u64, (), u64>>(), 128);
    }

    #[test]
    fn tags_lie_before_the_slots_so_that_prefetching_both_ends_fetches_all() {
        type Small = Bucket<u64, (), u64>;
        assert_eq!(std::mem::offset_of!(Small, tags), 0);
        assert_eq!(std::mem::offset_of!(Small, slots), 8);
        type Text = Bucket<[u64; 3], (), u64>;
        assert_eq!(std::mem::offset_of!(Text, tags), 0);
    }

    #[test]
    fn stamps_wrap_without_ever_looking_older() {
        for now in [5, EPOCHS - 1, EPOCHS, EPOCHS + 3, 7 * EPOCHS + 2] {
            for age in 0..6 {
                let Some(changed) = u64::checked_sub(now, age) else {
                    continue;
                };
                let stamp = Stamp::of(Epoch(changed));
                for back in 0..6u64 {
                    let since = Epoch(now.saturating_sub(back));
                    assert_eq!(
                        stamp.changed_since(since, Epoch(now)),
                        changed >= since.0,
                        "changed in {changed}, asked at {now} since {}",
                        since.0
                    );
                }
            }
        }
        // Older than all stamps: looks changed, which is the safe side.
        assert!(Stamp::of(Epoch(0)).changed_since(Epoch(EPOCHS - 1), Epoch(EPOCHS)));
    }
}
