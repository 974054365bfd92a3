//! Which entries are surely not in a section: a split block Bloom filter.
//!
//! Filled while a section is written, asked before one of its blocks is read. Each entry sets one bit in
//! each of the eight words of one block of 32 bytes, so that asking touches half a cache line. With ten
//! bits for each row about one answer in a hundred is a false "maybe".
//!
//! Invariant: an entry that was put in is never denied. Plain data, lives on any thread.

use thalweg_core::key_group::{KEY_HASH_VERSION, KeyHash};

use super::fields::Fields;

/// A filter is part of the file: other hashes would need another version of the format.
const _: () = assert!(KEY_HASH_VERSION == 1 && super::VERSION == 2);

/// Words of a block.
const WORDS: usize = 8;
/// Odd factors that choose the bit of each word; they are those of Parquet's filters.
const SALT: [u32; WORDS] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// The filter of one section; empty where none was asked for, and then it denies nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    blocks: Vec<[u32; WORDS]>,
}

/// What an entry is known by in a filter.
#[inline]
pub(crate) fn filter_hash(state: u16, key: &[u8], namespace: &[u8]) -> KeyHash {
    let hash = KeyHash::of_bytes(key).combine(KeyHash(u64::from(state)));
    if namespace.is_empty() {
        hash
    } else {
        hash.combine(KeyHash::of_bytes(namespace))
    }
}

impl Filter {
    /// An empty filter for `rows` entries of `bits` bits each.
    pub(crate) fn with_room(rows: usize, bits: u32) -> Filter {
        let bits = rows as u64 * u64::from(bits);
        let blocks = bits.div_ceil(32 * WORDS as u64) as usize;
        Filter {
            blocks: vec![[0; WORDS]; blocks],
        }
    }

    #[inline]
    fn place(&self, hash: KeyHash) -> usize {
        (((hash.0 >> 32) * self.blocks.len() as u64) >> 32) as usize
    }

    /// Puts an entry in.
    #[inline(always)]
    pub(crate) fn insert(&mut self, hash: KeyHash) {
        let place = self.place(hash);
        if let Some(block) = self.blocks.get_mut(place) {
            for (word, salt) in block.iter_mut().zip(SALT) {
                *word |= 1 << ((hash.0 as u32).wrapping_mul(salt) >> 27);
            }
        }
    }

    /// Whether an entry may have been put in.
    #[inline]
    pub(crate) fn may_hold(&self, hash: KeyHash) -> bool {
        let Some(block) = self.blocks.get(self.place(hash)) else {
            return true;
        };
        let mut missing = 0;
        for (word, salt) in block.iter().zip(SALT) {
            missing |= !word & 1 << ((hash.0 as u32).wrapping_mul(salt) >> 27);
        }
        missing == 0
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<[u32; WORDS]>()
    }

    /// Appends the number of blocks and their words.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.blocks.len() as u32).to_le_bytes());
        for word in self.blocks.as_flattened() {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Reads what [`Filter::write`] wrote.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Option<Filter> {
        let count = fields.u32()? as usize;
        let bytes = fields.bytes(count.checked_mul(size_of::<[u32; WORDS]>())?)?;
        let (words, _) = bytes.as_chunks::<4>();
        let (blocks, _) = words.as_chunks::<WORDS>();
        let blocks = blocks
            .iter()
            .map(|words| words.map(u32::from_le_bytes))
            .collect();
        Some(Filter { blocks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(i: u64) -> KeyHash {
        filter_hash(3, &i.to_be_bytes(), b"")
    }

    fn filled(rows: u64, bits: u32) -> Filter {
        let mut filter = Filter::with_room(rows as usize, bits);
        (0..rows).for_each(|i| filter.insert(hash(i)));
        filter
    }

    #[test]
    fn no_entry_is_denied_and_about_one_in_a_hundred_others_is_not() {
        for (bits, at_most) in [(8, 0.036), (10, 0.014), (12, 0.0065), (16, 0.0018)] {
            let filter = filled(10_000, bits);
            assert!((0..10_000).all(|i| filter.may_hold(hash(i))));
            let others = 200_000;
            let wrong = (10_000..10_000 + others)
                .filter(|&i| filter.may_hold(hash(i)))
                .count();
            let share = wrong as f64 / others as f64;
            println!(
                "{bits} bits for each row: {:.3} % false answers",
                100.0 * share
            );
            assert!(share <= at_most, "{bits} bits: {share}");
        }
    }

    #[test]
    fn state_key_and_namespace_each_make_another_entry() {
        let one = filter_hash(1, b"key", b"namespace");
        assert_ne!(one, filter_hash(2, b"key", b"namespace"));
        assert_ne!(one, filter_hash(1, b"keyn", b"amespace"));
        assert_ne!(one, filter_hash(1, b"key", b""));
    }

    #[test]
    fn a_filter_comes_back_and_its_cut_does_not() {
        for filter in [Filter::default(), filled(100, 10)] {
            let mut bytes = Vec::new();
            filter.write(&mut bytes);
            assert_eq!(Filter::read(&mut Fields::new(&bytes)), Some(filter.clone()));
            bytes.pop();
            assert_eq!(Filter::read(&mut Fields::new(&bytes)), None);
        }
        let endless = u32::MAX.to_le_bytes();
        assert_eq!(Filter::read(&mut Fields::new(&endless)), None);
    }

    #[test]
    fn without_a_filter_everything_may_be_there() {
        assert!(Filter::with_room(1_000, 0).may_hold(hash(1)));
    }
}
