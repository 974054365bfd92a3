//! The stamp that says when an entry last changed.
//!
//! Invariant: a stamp is never taken for older than it is. Stamps are epochs modulo 2^32, so an entry
//! untouched for that many epochs looks changed again: it is then copied once more than needed, and
//! nothing is missed. Plain data, lives on any thread.

use thalweg_core::Epoch;

/// The epoch of an entry's last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) u32);

impl Stamp {
    pub(crate) fn of(epoch: Epoch) -> Stamp {
        Stamp(epoch.0 as u32)
    }

    /// Whether an entry stamped so changed in epoch `since` or later, seen from epoch `now`.
    pub(crate) fn changed_since(self, since: Epoch, now: Epoch) -> bool {
        debug_assert!(since <= now, "the past is asked for");
        let age = (now.0 as u32).wrapping_sub(self.0);
        u64::from(age) <= now.0 - since.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_from_its_epoch_on_even_around_the_end_of_the_stamps() {
        for base in [0, u64::from(u32::MAX) - 2, 1 << 40] {
            let changed = Stamp::of(Epoch(base + 2));
            let now = Epoch(base + 5);
            for (since, seen) in [(base + 3, false), (base + 2, true), (base, true)] {
                assert_eq!(
                    changed.changed_since(Epoch(since), now),
                    seen,
                    "{base} {since}"
                );
            }
        }
    }
}
