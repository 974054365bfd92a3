//! What of a buffer has not been read, copied out, and the way back into a buffer.
//!
//! An unaligned checkpoint keeps what its barrier overtook. Whoever copies does not need to know the type of the
//! records, whoever revives does. Invariants: a remainder begins with a whole entry; what is revived was
//! checked like bytes of another process. Plain data; a buffer that was revived lives on its shard's thread.

use thalweg_core::ids::ShardId;
use thalweg_core::key_group::KeyHash;

use super::Buffer;
use super::adopt::check_entry;
use crate::entry::{Cursor, EntryLayout, HEADER};
use crate::mark::Mark;
use crate::record::{Damaged, Wire};
use crate::segment::Segment;

/// Entries and marks of a buffer from some place on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remainder {
    /// Whole entries, one after the other.
    pub bytes: Vec<u8>,
    /// Each mark with the index of the entry it stands before.
    pub marks: Vec<(u32, Mark)>,
}

impl Remainder {
    /// Whether there is neither an entry nor a mark.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.marks.is_empty()
    }
}

impl Buffer {
    /// Copies all that is behind `cursor`.
    ///
    /// # Panics
    /// When the cursor is another buffer's.
    #[must_use]
    pub fn remainder(&self, cursor: &Cursor) -> Remainder {
        assert!(
            cursor.serial == self.serial || *cursor == Cursor::default(),
            "the cursor of another buffer"
        );
        let marks = self.marks().skip(cursor.mark as usize);
        Remainder {
            bytes: self.bytes()[cursor.offset as usize..].to_vec(),
            marks: marks
                .map(|(index, mark)| (index - cursor.record, mark))
                .collect(),
        }
    }

    /// Makes a buffer of those entries whose hashes are to be kept, after checking every one, and of all marks.
    /// Its memory is of the allocator and belongs to no pool.
    ///
    /// # Errors
    /// When the bytes are not records of this type and layout, or the marks do not stand between them.
    pub fn revive<W: Wire>(
        from: &Remainder,
        layout: EntryLayout,
        mut keep: impl FnMut(KeyHash) -> bool,
    ) -> Result<Buffer, Damaged> {
        let mut segment = Segment::oversize(ShardId(0), from.bytes.len());
        segment.bytes_mut()[..from.bytes.len()].copy_from_slice(&from.bytes);
        let (mut kept, mut marks) = (0, from.marks.iter().peekable());
        let mut placed = Vec::with_capacity(from.marks.len());
        let (mut read, mut entry, mut records) = (0, 0, 0);
        while read < from.bytes.len() {
            place_marks(&mut marks, entry, records, &mut placed)?;
            let rest = &segment.bytes()[read..from.bytes.len()];
            let length = check_entry::<W>(rest, layout)?;
            if keep(hash_of::<W>(rest, layout)) {
                segment.bytes_mut().copy_within(read..read + length, kept);
                kept += length;
                records += 1;
            }
            read += length;
            entry += 1;
        }
        place_marks(&mut marks, entry, records, &mut placed)?;
        if let Some((index, _)) = marks.next() {
            return Err(Damaged::new(format!(
                "a mark stands at {index} of {entry} records"
            )));
        }
        Buffer::adopt::<W>(segment, layout, kept, &placed).map_err(|(_, damage)| damage)
    }
}

/// Takes the marks that stand before the entry `entry`, of which `records` are kept.
fn place_marks<'m>(
    marks: &mut std::iter::Peekable<impl Iterator<Item = &'m (u32, Mark)>>,
    entry: u32,
    records: u32,
    placed: &mut Vec<(u32, Mark)>,
) -> Result<(), Damaged> {
    while let Some((index, mark)) = marks.next_if(|(index, _)| *index <= entry) {
        if *index < entry {
            return Err(Damaged::new(format!(
                "a mark at {index} comes after one at {entry}"
            )));
        }
        placed.push((records, *mark));
    }
    Ok(())
}

/// The hash in the checked entry at the start of `entry`; 0 where the layout has none.
fn hash_of<W: Wire>(entry: &[u8], layout: EntryLayout) -> KeyHash {
    let start = if W::FIXED.is_some() { 0 } else { HEADER };
    let hash = entry.get(start..).and_then(<[u8]>::first_chunk::<8>);
    match hash {
        Some(hash) if layout.hash => KeyHash(u64::from_le_bytes(*hash)),
        _ => KeyHash(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_core::event_time::{Timestamp, Watermark};

    use super::*;
    use crate::buffer::BufferWriter;
    use crate::entry::Entry;

    const LAYOUT: EntryLayout = EntryLayout {
        hash: true,
        timestamp: true,
    };

    fn mark(at: i64) -> Mark {
        Mark::Watermark(Watermark(Timestamp(at)))
    }

    /// Texts of many lengths, with a mark before every third.
    fn buffer(count: u64) -> Buffer {
        let mut writer = BufferWriter::new(Segment::overdraft(ShardId(1), 1 << 15));
        for number in 0..count {
            if number % 3 == 0 {
                writer.mark(mark(number as i64));
            }
            let text = "x".repeat(number as usize % 40);
            let at = Timestamp(number as i64);
            let put = writer.put::<String>(LAYOUT, KeyHash(number), at, &text);
            assert!(put.is_ok());
        }
        writer.mark(mark(count as i64));
        writer.seal()
    }

    /// Every record as its hash, with the marks between them as negative numbers.
    fn read(buffer: &Buffer, cursor: &mut Cursor, most: usize) -> Vec<i64> {
        let mut seen = Vec::new();
        let mut entries = [Entry::default(); 1];
        while seen.len() < most && !buffer.is_read(cursor) {
            while let Some(Mark::Watermark(Watermark(at))) = buffer.take_mark(cursor) {
                seen.push(-1 - at.0);
            }
            if buffer.scan::<String>(LAYOUT, cursor, &mut entries) == 1 {
                let text = buffer.item::<String>(&entries[0]);
                assert_eq!(text.len() as u64, entries[0].hash.0 % 40);
                seen.push(entries[0].hash.0 as i64);
            }
        }
        seen
    }

    proptest! {
        /// Whatever was read before, the rest is the same when it was revived, but for what is not kept.
        #[test]
        fn the_rest_is_revived(count in 0..60_u64, before in 0..60_usize, every in 1..5_u64) {
            let buffer = buffer(count);
            let mut cursor = Cursor::default();
            read(&buffer, &mut cursor, before);
            let rest = buffer.remainder(&cursor);
            let left = read(&buffer, &mut cursor, usize::MAX);
            let revived = Buffer::revive::<String>(&rest, LAYOUT, |hash| hash.0.is_multiple_of(every)).unwrap();
            let found = read(&revived, &mut Cursor::default(), usize::MAX);
            let is_kept = |seen: &&i64| **seen < 0 || (**seen as u64).is_multiple_of(every);
            let mut expected: Vec<i64> = left.iter().filter(is_kept).copied().collect();
            // Watermarks that have become neighbours melt together.
            let melted = |pair: &[i64], at: usize| pair[at] < 0 && pair.get(at + 1).is_some_and(|next| *next < 0);
            expected = (0..expected.len()).filter(|at| !melted(&expected, *at)).map(|at| expected[at]).collect();
            prop_assert_eq!(found, expected);
        }

        /// Damage of any kind is an answer, never a record that cannot be read.
        #[test]
        fn damage_is_refused_or_read(at in 0..1_200_usize, bit in 0..8_u8, cut in 0..1_200_usize) {
            let mut rest = buffer(20).remainder(&Cursor::default());
            let length = rest.bytes.len();
            rest.bytes[at % length] ^= 1 << bit;
            rest.bytes.truncate(length - cut % length);
            if let Ok(revived) = Buffer::revive::<String>(&rest, LAYOUT, |_| true) {
                let mut entries = [Entry::default(); 4];
                let mut cursor = Cursor::default();
                while !revived.is_read(&cursor) {
                    while revived.take_mark(&mut cursor).is_some() {}
                    let found = revived.scan::<String>(LAYOUT, &mut cursor, &mut entries);
                    for entry in &entries[..found] {
                        let _ = revived.item::<String>(entry).len();
                    }
                }
            }
        }
    }

    #[test]
    fn marks_that_stand_nowhere_are_refused() {
        let mut rest = buffer(4).remainder(&Cursor::default());
        rest.marks = vec![(9, Mark::Idle)];
        assert!(Buffer::revive::<String>(&rest, LAYOUT, |_| true).is_err());
        rest.marks = vec![(2, Mark::Idle), (1, Mark::Active)];
        assert!(Buffer::revive::<String>(&rest, LAYOUT, |_| true).is_err());
    }
}
