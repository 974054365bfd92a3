//! Which stretches of buckets may hold what a cut of changes has to write.
//!
//! Set where an entry changes first after a barrier, and where one is put; asked by the walk of a cut, which
//! passes over stretches without a mark: of ten million entries of which a hundredth changed it looks at a
//! thirtieth. Invariant: a mark may be set for nothing, and is never missing. Plain data, lives on any thread.

/// Buckets of a stretch: a pair, of which processors tend to fetch both.
const STRETCH: usize = 2;
/// Stretches of a word.
const WORD: usize = u64::BITS as usize;

/// A bit for each stretch of an array of buckets.
#[derive(Debug, Default)]
pub(super) struct Marks {
    words: Box<[u64]>,
}

impl Marks {
    /// With a mark on every stretch: nothing is known of so many buckets.
    pub(super) fn on_all(buckets: usize) -> Marks {
        let words = buckets.div_ceil(STRETCH).div_ceil(WORD);
        Marks {
            words: vec![u64::MAX; words].into(),
        }
    }

    /// Bytes of two of them for so many buckets.
    pub(super) fn bytes_of_both(buckets: usize) -> u64 {
        let words = buckets.div_ceil(STRETCH).div_ceil(WORD);
        (2 * words * size_of::<u64>()) as u64
    }

    /// Marks the stretch of a bucket.
    #[inline(always)]
    pub(super) fn set(&mut self, bucket: usize) {
        let stretch = bucket / STRETCH;
        if let Some(word) = self.words.get_mut(stretch / WORD) {
            *word |= 1 << (stretch % WORD);
        }
    }

    /// Takes all marks away.
    pub(super) fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Marks what `other` marks too.
    pub(super) fn join(&mut self, other: &Marks) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// The first bucket from `bucket` on whose stretch has a mark; one behind the last stretch where none has.
    #[inline]
    pub(super) fn next(&self, bucket: usize) -> usize {
        let stretch = bucket / STRETCH;
        let (at, bit) = (stretch / WORD, stretch % WORD);
        let Some(rest) = self.words.get(at).map(|word| word >> bit) else {
            return bucket;
        };
        if rest & 1 != 0 {
            return bucket;
        }
        if rest != 0 {
            return (stretch + rest.trailing_zeros() as usize) * STRETCH;
        }
        let behind = &self.words[at + 1..];
        match behind.iter().position(|word| *word != 0) {
            Some(on) => {
                let first = behind[on].trailing_zeros() as usize;
                ((at + 1 + on) * WORD + first) * STRETCH
            }
            None => self.words.len() * WORD * STRETCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The buckets a walk looks at.
    fn seen(marks: &Marks, buckets: usize) -> Vec<usize> {
        let mut seen = Vec::new();
        let mut bucket = marks.next(0);
        while bucket < buckets {
            seen.push(bucket);
            bucket = marks.next(bucket + 1);
        }
        seen
    }

    proptest! {
        #[test]
        fn a_walk_sees_the_stretches_with_a_mark_and_no_others(
            buckets in 1..3_000_usize,
            first in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
            second in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let mut marks = Marks::on_all(buckets);
            prop_assert_eq!(seen(&marks, buckets).len(), buckets);
            marks.clear();
            let mut other = Marks::on_all(buckets);
            other.clear();
            let mut expected = BTreeSet::new();
            for (marks, places) in [(&mut marks, first), (&mut other, second)] {
                for place in places {
                    let bucket = place.index(buckets);
                    marks.set(bucket);
                    let start = bucket / STRETCH * STRETCH;
                    expected.extend((start..start + STRETCH).filter(|bucket| *bucket < buckets));
                }
            }
            marks.join(&other);
            prop_assert_eq!(seen(&marks, buckets), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
