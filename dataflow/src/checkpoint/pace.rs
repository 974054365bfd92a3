//! How much of a turn the writing of a cut takes while there are records.
//!
//! Asked once in each turn in which rows are written. While a cut is written, every record that changes an entry first
//! pays for a copy of it, and its checkpoint waits: so what is soon written is written at once, for as long as the
//! records of the same turn took. A cut that takes longer goes on with little of each turn, for records not to wait.
//! Invariant: a cut gets on in every turn, whatever its records took. Plain data, lives on one shard's thread.

/// How much of a turn a cut takes at least, in ns.
const LITTLE_NS: u64 = 50_000;
/// How much of a turn it takes at most, in ns: with a turn of records and the sorting of a section, which nothing
/// interrupts, far less than a millisecond.
const MUCH_NS: u64 = 200_000;
/// Time of a shard for which a cut may take more than little of its turns, in ns: with the rows of a hundredth of ten
/// million entries it is over by then.
const BRISK_NS: u64 = 10_000_000;

/// The pace of one cut.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Time it has taken so far, in ns.
    taken: u64,
}

impl Pace {
    /// For how long rows may be written in a turn whose records took `records`, in ns.
    pub(super) fn share(&self, records: u64) -> u64 {
        match self.taken < BRISK_NS {
            true => records.clamp(LITTLE_NS, MUCH_NS),
            false => LITTLE_NS,
        }
    }

    /// Rows were written for so long.
    pub(super) fn took(&mut self, ns: u64) {
        self.taken = self.taken.saturating_add(ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time a shard with turns of records like this takes to write a cut of so much work.
    fn over_after(work: u64, records: u64) -> u64 {
        let (mut pace, mut left, mut passed) = (Pace::default(), work, 0);
        while left > 0 {
            let wrote = pace.share(records).min(left);
            pace.took(wrote);
            left -= wrote;
            passed += records + wrote;
        }
        passed
    }

    #[test]
    fn a_short_cut_takes_as_long_as_the_records_beside_it() {
        let work = 5_000_000;
        assert_eq!(over_after(work, 200_000), 2 * work);
        assert_eq!(over_after(work, 100_000), 2 * work);
        // Where records are few their turns are short, and none waits for more than little.
        assert_eq!(Pace::default().share(1_000), LITTLE_NS);
        assert_eq!(Pace::default().share(0), LITTLE_NS);
        assert_eq!(Pace::default().share(5_000_000), MUCH_NS);
    }

    #[test]
    fn a_long_cut_goes_on_with_little_of_each_turn() {
        let (long, turn) = (1_000_000_000, 200_000);
        let little = (long - BRISK_NS) * (turn + LITTLE_NS) / LITTLE_NS;
        assert_eq!(over_after(long, turn), little + 2 * BRISK_NS);
        let mut pace = Pace::default();
        pace.took(BRISK_NS - 1);
        assert_eq!(pace.share(turn), turn);
        pace.took(1);
        assert_eq!(pace.share(turn), LITTLE_NS);
        pace.took(u64::MAX);
        assert_eq!(pace.share(turn), LITTLE_NS);
    }
}
