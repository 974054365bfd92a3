//! The tag word of a bucket: one byte per slot, compared all at once, and an overflow count.
//!
//! Entered by every lookup, before any key is compared. Byte `i` of the word belongs to slot `i`: 0 when
//! it is vacant, else a tag with its top bit set. The top byte counts the entries that wanted this bucket
//! but had to go on to a later one; a lookup goes on only while it is not 0, and removing an entry takes
//! its counts back, so that there are no tombstones. Invariant: a count that reached 255 stays (until the
//! page is rebuilt), so it is never too low. Plain numbers, lives on any thread.

/// Slots of a bucket. With keys and values of 8 bytes a bucket is two cache lines.
pub(crate) const SLOTS: usize = 5;

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = ONES << 7;
const USED: u64 = u64::MAX >> (64 - 8 * SLOTS);
const COUNT_ONE: u64 = 1 << 56;
const COUNT_MAX: u64 = 255;

/// The tags of a bucket's slots and its overflow count.
#[derive(Clone, Copy, Default)]
pub(crate) struct TagWord(u64);

/// Slots that may hold what is looked for, lowest first. A slot above a true match may be in it wrongly.
#[derive(Clone, Copy)]
pub(crate) struct Candidates(u64);

impl Candidates {
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize / 8;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// The tag of a hash: never 0.
#[inline(always)]
pub(crate) fn tag_of(hash: u64) -> u8 {
    hash as u8 | 0x80
}

impl TagWord {
    /// The slots whose byte is `tag`, and perhaps others above them.
    #[inline(always)]
    pub(crate) fn candidates(self, tag: u8) -> Candidates {
        Candidates(Self::zero_bytes(self.0 ^ (ONES * tag as u64)))
    }

    /// The lowest vacant slot.
    #[inline(always)]
    pub(crate) fn vacant(self) -> Option<usize> {
        // The lowest zero byte found is always a true one.
        Candidates(Self::zero_bytes(self.0)).next()
    }

    #[inline(always)]
    fn zero_bytes(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & TOPS & USED
    }

    #[inline(always)]
    pub(crate) fn tag(self, slot: usize) -> u8 {
        debug_assert!(slot < SLOTS, "a slot of the bucket");
        (self.0 >> (8 * slot)) as u8
    }

    /// Whether no slot is taken.
    #[inline(always)]
    pub(crate) fn is_vacant(self) -> bool {
        self.0 & USED == 0
    }

    /// Whether some entry that wanted this bucket lies in a later one.
    #[inline(always)]
    pub(crate) fn overflowed(self) -> bool {
        self.0 >= COUNT_ONE
    }

    pub(crate) fn occupy(&mut self, slot: usize, tag: u8) {
        debug_assert_eq!(self.tag(slot), 0, "only a vacant slot is taken");
        debug_assert_ne!(tag, 0, "0 means vacant");
        self.0 |= (tag as u64) << (8 * slot);
    }

    pub(crate) fn vacate(&mut self, slot: usize) {
        debug_assert_ne!(self.tag(slot), 0, "only a taken slot is vacated");
        self.0 &= !(0xFF << (8 * slot));
    }

    pub(crate) fn count_overflow(&mut self) {
        if self.0 >> 56 < COUNT_MAX {
            self.0 += COUNT_ONE;
        }
    }

    pub(crate) fn uncount_overflow(&mut self) {
        debug_assert!(self.overflowed(), "every entry that passed was counted");
        if self.0 >> 56 < COUNT_MAX {
            self.0 -= COUNT_ONE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_hold_every_match_and_the_lowest_is_true() {
        let tags = [0x80u8, 0x81, 0xFF, 0x81, 0x80];
        for taken in 0..1 << SLOTS {
            let mut word = TagWord::default();
            let is_taken = |slot: &usize| taken >> slot & 1 == 1;
            (0..SLOTS)
                .filter(is_taken)
                .for_each(|slot| word.occupy(slot, tags[slot]));
            assert_eq!(word.vacant(), (0..SLOTS).find(|slot| !is_taken(slot)));
            assert_eq!(word.is_vacant(), taken == 0);
            for tag in [0x80, 0x81, 0xFF, 0x90] {
                let mut candidates = word.candidates(tag);
                let found: Vec<usize> = std::iter::from_fn(|| candidates.next()).collect();
                let wanted: Vec<usize> = (0..SLOTS)
                    .filter(is_taken)
                    .filter(|slot| tags[*slot] == tag)
                    .collect();
                assert!(wanted.iter().all(|slot| found.contains(slot)));
                assert_eq!(found.first(), wanted.first());
            }
        }
    }

    #[test]
    fn the_overflow_count_sticks_at_its_maximum() {
        let mut word = TagWord::default();
        (0..300).for_each(|_| word.count_overflow());
        word.occupy(SLOTS - 1, 0xFF);
        (0..400).for_each(|_| word.uncount_overflow());
        assert!(
            word.overflowed(),
            "300 passed, so the count cannot be trusted to reach 0"
        );
        word.vacate(SLOTS - 1);
        assert!(word.is_vacant());
    }
}
