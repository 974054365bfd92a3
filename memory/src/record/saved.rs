//! One record as bytes of its own, as copies of the state hold it.
//!
//! Entered for each row that is written into a copy, and for each one that is taken back. The bytes are
//! the archive alone, its root at the end, so they need nothing beside them but their length; read from
//! wherever they lie, they are brought to the alignment they were written with first. Invariant: bytes
//! become a record only after they were checked. Nothing is allocated per record in steady state. Lives
//! on one shard's thread.

use std::mem::{align_of, size_of};
use std::ptr::NonNull;

use rkyv::Archive;

use super::Record;
use super::archive::{Archiver, Damaged, check_archive, revive};
use super::view::Wire;

/// What every archive is aligned to, bytes.
const ALIGN: usize = size_of::<u128>();

/// Aligned memory in which records are archived and from which they are revived, one at a time.
///
/// ```
/// use thalweg_memory::SavedRecord;
///
/// let mut saved = SavedRecord::new();
/// let bytes = saved.archive(&("sum".to_owned(), 7_u64)).to_vec();
/// assert_eq!(saved.revive::<(String, u64)>(&bytes), Ok(("sum".to_owned(), 7)));
/// assert!(saved.revive::<(String, u64)>(&bytes[1..]).is_err());
/// ```
#[derive(Debug, Default)]
pub struct SavedRecord {
    words: Vec<u128>,
}

impl SavedRecord {
    /// Without memory; it takes what records need and keeps it.
    #[must_use]
    pub fn new() -> SavedRecord {
        SavedRecord::default()
    }

    /// The archive of `record`, until the next call. Equal records of plain fields have equal bytes.
    ///
    /// # Panics
    /// When the archive is longer than a gibibyte.
    pub fn archive<R: Record>(&mut self, record: &R) -> &[u8] {
        let root = match self.write(record) {
            Some(root) => root,
            None => self.make_room_and_write(record),
        };
        &self.bytes()[..root + size_of::<R::Archived>()]
    }

    /// Makes room for a record that found too little, and writes it.
    #[cold]
    fn make_room_and_write<R: Record>(&mut self, record: &R) -> usize {
        let measured = Archiver::measure::<R::Archived, _>(0, |to| R::serialize(record, to));
        let Ok(size) = measured else {
            panic!("a record of state is longer than a gibibyte");
        };
        // Scratch is taken in blocks of the record's own alignment, from the end.
        let words = (size.end + size.scratch).div_ceil(ALIGN) + 2;
        self.words.resize(words.max(self.words.len() * 2), 0);
        match self.write(record) {
            Some(root) => root,
            None => unreachable!("what was measured fits"),
        }
    }

    /// Writes a record if it fits; answers where its root is.
    #[inline]
    fn write<R: Record>(&mut self, record: &R) -> Option<usize> {
        let base = NonNull::from(self.words.as_mut_slice()).cast::<u8>();
        // SAFETY: the base is that of words of 16 bytes, hence aligned to 16, or dangling with a capacity
        // of 0 and the same alignment; all bytes of the words are initialised and ours alone to write
        // while `self` is borrowed; 0 is not above the capacity.
        let mut archiver = unsafe { Archiver::new(base, 0, self.words.len() * ALIGN) };
        R::write(record, &mut archiver).ok()
    }

    /// The bytes of all words.
    fn bytes(&self) -> &[u8] {
        let start = self.words.as_ptr().cast::<u8>();
        // SAFETY: the words lie there, initialised, and bytes need no alignment.
        unsafe { std::slice::from_raw_parts(start, self.words.len() * ALIGN) }
    }

    /// The record whose archive `bytes` are, wherever they lie.
    ///
    /// # Errors
    /// When they are not an archive of an `R`.
    pub fn revive<R: Record>(&mut self, bytes: &[u8]) -> Result<R, Damaged> {
        const {
            assert!(
                align_of::<R::Archived>() <= ALIGN,
                "a record's alignment is at most 16 bytes"
            )
        };
        let Some(root) = bytes.len().checked_sub(size_of::<R::Archived>()) else {
            return Err(Damaged::new("it is shorter than its root"));
        };
        if bytes.as_ptr().addr().is_multiple_of(ALIGN) {
            return read(bytes, root);
        }
        self.words.clear();
        self.words.extend(bytes.chunks(ALIGN).map(|chunk| {
            let mut word = [0; ALIGN];
            word[..chunk.len()].copy_from_slice(chunk);
            u128::from_ne_bytes(word)
        }));
        read(&self.bytes()[..bytes.len()], root)
    }
}

/// Checks an archive and revives its record.
fn read<R: Record>(bytes: &[u8], root: usize) -> Result<R, Damaged> {
    check_archive::<R::Archived>(bytes, root)?;
    let at = bytes
        .as_ptr()
        .wrapping_add(root)
        .cast::<<R as Archive>::Archived>();
    // SAFETY: `check_archive` has found that a valid archive of this type lies there, aligned and within
    // `bytes`, with all its parts.
    let archived = unsafe { &*at };
    Ok(revive(archived))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn archives_of_all_sizes_come_back_from_every_address() {
        let mut saved = SavedRecord::new();
        for length in [0, 1, 8, 9, 100, 5_000, 70_000] {
            let record = (
                7_u128,
                "x".repeat(length),
                vec![Some(length as u64); length / 3],
                (
                    1_u8,
                    BTreeMap::from([(3_u64, vec!["y".to_owned(); length % 7])]),
                ),
            );
            let bytes = saved.archive(&record).to_vec();
            for shift in 0..17 {
                let moved: Vec<u8> = vec![0; shift].into_iter().chain(bytes.clone()).collect();
                assert_eq!(saved.revive(&moved[shift..]), Ok(record.clone()));
            }
        }
        assert_eq!(saved.archive(&()), []);
        assert_eq!(saved.revive::<()>(&[]), Ok(()));
        assert_eq!(saved.archive(&7_u64), 7_u64.to_le_bytes());
    }

    proptest! {
        #[test]
        fn damage_is_an_error_or_another_record_and_never_more(
            record in any::<(String, Vec<Option<Vec<u16>>>, bool)>(),
            flip in any::<prop::sample::Index>(),
            bit in 0..8_u32,
            cut in any::<prop::sample::Index>(),
        ) {
            let mut saved = SavedRecord::new();
            let bytes = saved.archive(&record).to_vec();
            prop_assert_eq!(saved.revive(&bytes), Ok(record.clone()));
            let mut flipped = bytes.clone();
            flipped[flip.index(bytes.len())] ^= 1 << bit;
            // Whatever comes back is a whole record: it can be compared, archived and dropped.
            if let Ok(other) = saved.revive::<(String, Vec<Option<Vec<u16>>>, bool)>(&flipped) {
                prop_assert_ne!(saved.archive(&other).len(), 0);
            }
            let short = &bytes[..cut.index(bytes.len())];
            if let Ok(other) = saved.revive::<(String, Vec<Option<Vec<u16>>>, bool)>(short) {
                prop_assert_ne!(saved.archive(&other).len(), 0);
            }
        }
    }
}
