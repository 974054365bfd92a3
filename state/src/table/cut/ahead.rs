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
