//! Which buckets a round takes: a pair here and there all over the array, and not all in one place.
//!
//! Emptied from one end to the other, an array is nearly empty behind the hand and full ahead of it. There what is
//! absent is sought through all that is full, and buckets that too many entries have passed count as passed for ever:
//! in the end every search for what is absent goes through the whole array. So a round takes one pair of each so many,
//! and rounds that follow each other take pairs that lie apart: beside a full pair is one that was emptied lately.
//! Invariant: the rounds of a sweep take each bucket once. Plain data.

use std::ops::Range;

use super::ROUNDS;

/// The fewest buckets of a round.
const FEW_BUCKETS: usize = 64;

/// Every so many-th pair of an array's buckets.
#[derive(Clone, Copy, Debug)]
pub(in crate::lsm) struct Stride {
    first: usize,
    rounds: usize,
    pairs: usize,
}

impl Stride {
    /// Rounds of a sweep over so many buckets, a power of two.
    pub(in crate::lsm) fn rounds_of(buckets: usize) -> usize {
        let most = (buckets / FEW_BUCKETS).clamp(1, ROUNDS);
        1 << most.ilog2()
    }

    /// What the round of this number takes; the first follows the last.
    pub(in crate::lsm) fn of_round(number: usize, buckets: usize) -> Stride {
        let rounds = Stride::rounds_of(buckets);
        let number = if number < rounds { number } else { 0 };
        // Of numbers that follow each other the bits turned round are far apart.
        let turned = number
            .reverse_bits()
            .checked_shr(usize::BITS - rounds.ilog2());
        Stride {
            first: turned.unwrap_or(0),
            rounds,
            pairs: buckets / 2,
        }
    }

    /// How many buckets it takes.
    pub(in crate::lsm) fn len(&self) -> usize {
        2 * self.pairs.saturating_sub(self.first).div_ceil(self.rounds)
    }

    /// The buckets at these places of it.
    pub(in crate::lsm) fn buckets(self, places: Range<usize>) -> impl Iterator<Item = usize> {
        places.map(move |at| 2 * (self.first + at / 2 * self.rounds) + at % 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rounds_of_a_sweep_take_each_bucket_once_and_none_that_is_not_there() {
        for buckets in [4, 62, 64, 126, 128, 130, 1_000, 1_024, 4_794, 100_002] {
            let mut taken = vec![0; buckets];
            for number in 0..Stride::rounds_of(buckets) {
                let stride = Stride::of_round(number, buckets);
                (stride.buckets(0..stride.len())).for_each(|bucket| taken[bucket] += 1);
            }
            assert!(taken.iter().all(|times| *times == 1), "{buckets} buckets");
        }
    }

    #[test]
    fn a_sweep_has_as_many_rounds_as_leave_each_enough() {
        let rounds = [4, 64, 127, 128, 1_000, 1_024, 1 << 20].map(Stride::rounds_of);
        assert_eq!(rounds, [1, 1, 1, 2, 8, ROUNDS, ROUNDS]);
    }

    #[test]
    fn rounds_that_follow_each_other_lie_apart() {
        let buckets = 1 << 12;
        let first = |number| Stride::of_round(number, buckets).first;
        for number in 1..ROUNDS {
            assert!(first(number).abs_diff(first(number - 1)) > 1, "{number}");
        }
        assert_eq!(first(ROUNDS), first(0), "then it begins again");
    }
}
