//! The order of many small numbers, by their digits.
//!
//! Entered when a section is sealed, with what decides most comparisons of its rows. Sorting 1,300 rows by
//! comparing them costs 40 ns for each, most of it guesses of the CPU that turn out wrong; counting digits has
//! no branch that depends on them. Invariant: numbers that are alike stay in the order in which they came.
//! Lives on one shard's thread.

/// Bits of a digit.
const DIGIT: u32 = 8;
const DIGITS: usize = 1 << DIGIT;
/// The lowest bit of the number beside its place: half a word for each.
const NUMBER: u32 = u32::BITS;

/// Memory for ordering, kept between sections.
#[derive(Default)]
pub(super) struct Radix {
    /// Each number, and the place at which it came, in the lower half.
    pairs: Vec<u64>,
    /// The same on their way to the next order.
    spare: Vec<u64>,
}

/// A number and the place at which it came.
#[derive(Clone, Copy)]
pub(super) struct Placed(u64);

impl Placed {
    pub(super) fn number(self) -> u32 {
        (self.0 >> NUMBER) as u32
    }

    pub(super) fn place(self) -> usize {
        self.0 as u32 as usize
    }
}

impl Radix {
    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> usize {
        (self.pairs.capacity() + self.spare.capacity()) * size_of::<u64>()
    }

    /// Orders numbers of at most so many bits; there are fewer of them than 32 bits can count.
    pub(super) fn order(
        &mut self,
        numbers: impl Iterator<Item = u32>,
        bits: u32,
    ) -> impl ExactSizeIterator<Item = Placed> + Clone + '_ {
        self.pairs.clear();
        let placed = numbers.zip(0_u64..);
        self.pairs
            .extend(placed.map(|(number, place)| u64::from(number) << NUMBER | place));
        self.spare.clear();
        self.spare.resize(self.pairs.len(), 0);
        for shift in (0..bits.min(u32::BITS)).step_by(DIGIT as usize) {
            self.order_by_digit(NUMBER + shift);
        }
        self.pairs.iter().copied().map(Placed)
    }

    /// Orders by one digit, and leaves those alike in it as they are.
    fn order_by_digit(&mut self, shift: u32) {
        let digit = |pair: u64| (pair >> shift) as usize % DIGITS;
        let mut starts = [0_u32; DIGITS];
        for pair in &self.pairs {
            starts[digit(*pair)] += 1;
        }
        let mut before = 0;
        for start in &mut starts {
            before += std::mem::replace(start, before);
        }
        for pair in &self.pairs {
            let start = &mut starts[digit(*pair)];
            self.spare[*start as usize] = *pair;
            *start += 1;
        }
        std::mem::swap(&mut self.pairs, &mut self.spare);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_in_their_order_and_those_alike_as_they_came(
            lists in prop::collection::vec((prop::collection::vec(any::<u32>(), 0..300), 0..=32_u32), 1..4)
        ) {
            let mut radix = Radix::default();
            for (numbers, bits) in lists {
                let small = |number: u32| number.checked_shr(u32::BITS - bits).unwrap_or(0);
                let numbers: Vec<u32> = numbers.into_iter().map(small).collect();
                let mut expected: Vec<_> = numbers.iter().copied().zip(0..).collect();
                expected.sort_by_key(|(number, _)| *number);
                let ordered = radix.order(numbers.iter().copied(), bits);
                let ordered: Vec<_> = ordered.map(|placed| (placed.number(), placed.place())).collect();
                prop_assert_eq!(ordered, expected);
            }
        }
    }
}
