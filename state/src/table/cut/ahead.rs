//! The buckets a walk over changes comes to next, asked for before it is there.
//!
//! Entered by the walk of a cut. Those buckets lie far apart, so each is a wait for memory unless many are on their
//! way at once. Invariant: they come in order, each once, and none with a mark is left out; what is asked for is a
//! hint. Lives on one shard's thread, for one slice of a walk.

use super::super::buckets::Buckets;

/// How many are on their way.
const AHEAD: usize = 16;

/// The next buckets that may hold what is pending.
pub(super) struct Ahead {
    /// A ring, the next at `at`.
    buckets: [usize; AHEAD],
    at: usize,
    /// Behind the last of them.
    behind: usize,
}

impl Ahead {
    /// Those from this one on.
    pub(super) fn from<E>(buckets: &Buckets<E>, bucket: usize) -> Ahead {
        let mut ahead = Ahead {
            buckets: [0; AHEAD],
            at: 0,
            behind: bucket,
        };
        ahead.buckets = std::array::from_fn(|_| Self::ask(&mut ahead.behind, buckets));
        ahead
    }

    /// The next one; one behind the last bucket where there is none.
    #[inline]
    pub(super) fn next<E>(&mut self, buckets: &Buckets<E>) -> usize {
        let far = Self::ask(&mut self.behind, buckets);
        let next = std::mem::replace(&mut self.buckets[self.at], far);
        self.at = (self.at + 1) % AHEAD;
        next
    }

    #[inline]
    fn ask<E>(behind: &mut usize, buckets: &Buckets<E>) -> usize {
        let next = buckets.next_pending(*behind);
        buckets.ask_for(next);
        *behind = next + 1;
        next
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::{KeyHash, MaxParallelism};
    use thalweg_memory::hash::Tag;

    use super::super::super::place::Groups;
    use super::super::super::stamp::Stamp;
    use super::*;

    #[test]
    fn all_that_is_pending_comes_once_and_in_order_from_wherever_a_slice_begins() {
        let groups = Groups::new(0..128, MaxParallelism::default());
        for (len, keys) in [(2, 1), (1_000, 0), (1_000, 1), (1_000, 40), (4_000, 900)] {
            let mut buckets = Buckets::new(len, groups.scale(len)).unwrap();
            // What is on all before the first barrier is on some from the next one on.
            buckets.begin_marks();
            for key in 0..keys {
                let place = groups.place(KeyHash::of_u64(key), 0);
                buckets.put(place, Tag::of(key), Stamp(0), key);
            }
            buckets.begin_marks();
            let buckets = &buckets;
            let pending = |from: usize| {
                let mut next = buckets.next_pending(from);
                std::iter::from_fn(move || {
                    let here = next;
                    next = buckets.next_pending(here + 1);
                    (here < len).then_some(here)
                })
            };
            assert!(pending(0).count() >= usize::from(keys > 0) && pending(0).count() <= len);
            for from in [0, 1, len / 3, len - 1, len] {
                let mut ahead = Ahead::from(buckets, from);
                let mut seen = Vec::new();
                let mut next = ahead.next(buckets);
                while next < len {
                    seen.push(next);
                    next = ahead.next(buckets);
                }
                assert!(ahead.next(buckets) >= len, "the end stays the end");
                assert_eq!(seen, pending(from).collect::<Vec<_>>());
            }
        }
    }
}
