//! Bytes of another process become a buffer, after every record in them was checked.
//!
//! Invariant: what is adopted can be read in place like what was written here. Lives on the shard's thread.

use super::{Buffer, BufferWriter, shape_of};
use crate::entry::{EntryLayout, HEADER, archive_start, entry_align, fixed_root, fixed_stride};
use crate::mark::Mark;
use crate::record::{Damaged, Wire};
use crate::segment::Segment;

impl Buffer {
    /// Makes a buffer of bytes that came from another process, after checking every record in them.
    ///
    /// # Errors
    /// When the bytes are not records of this type and layout; the segment comes back.
    pub fn adopt<W: Wire>(
        segment: Segment,
        layout: EntryLayout,
        used: usize,
        marks: &[(u32, Mark)],
    ) -> Result<Buffer, (Segment, Damaged)> {
        let records = match check_entries::<W>(&segment, layout, used) {
            Ok(records) => records,
            Err(damage) => return Err((segment, damage)),
        };
        let mut writer = BufferWriter::new(segment);
        let mut last = 0;
        for (index, mark) in marks {
            if *index < last || *index > records {
                let damage = Damaged::new(format!("a mark stands at {index} of {records} records"));
                return Err((writer.segment, damage));
            }
            last = *index;
            writer.marks.push(*index, *mark);
        }
        writer.used = used;
        writer.records = records;
        writer.shape = shape_of::<W>(layout);
        Ok(writer.seal())
    }
}

/// Checks every entry in `0..used` of bytes from elsewhere; answers how many there are.
fn check_entries<W: Wire>(
    segment: &Segment,
    layout: EntryLayout,
    used: usize,
) -> Result<u32, Damaged> {
    let Some(bytes) = segment.bytes().get(..used) else {
        return Err(Damaged::new(format!(
            "{used} bytes in a segment of {}",
            segment.len()
        )));
    };
    let (mut rest, mut records) = (bytes, 0);
    while !rest.is_empty() {
        let length = check_entry::<W>(rest, layout)?;
        rest = &rest[length..];
        records += 1;
    }
    Ok(records)
}

/// Checks the entry at the start of `rest`; answers its length.
pub(super) fn check_entry<W: Wire>(rest: &[u8], layout: EntryLayout) -> Result<usize, Damaged> {
    if W::FIXED.is_some() {
        check_fixed::<W>(rest, layout)
    } else {
        check_one::<W>(rest, layout)
    }
}

/// Checks the fixed entry at the start of `rest`; answers its length.
fn check_fixed<W: Wire>(rest: &[u8], layout: EntryLayout) -> Result<usize, Damaged> {
    let stride = fixed_stride::<W>(layout);
    let Some(entry) = rest.get(..stride) else {
        return Err(Damaged::new("the last record is cut off"));
    };
    let root = fixed_root::<W>(layout);
    W::check(&entry[root..], 0)?;
    Ok(stride)
}

/// Checks the entry with a header at the start of `rest`; answers its length.
fn check_one<W: Wire>(rest: &[u8], layout: EntryLayout) -> Result<usize, Damaged> {
    let archive = archive_start(layout);
    let Some((header, _)) = rest.split_first_chunk::<HEADER>() else {
        return Err(Damaged::new("the last record is cut off"));
    };
    let header = u64::from_le_bytes(*header);
    let (length, root) = ((header as u32) as usize, (header >> 32) as usize);
    if length < archive || length > rest.len() || !length.is_multiple_of(entry_align::<W>()) {
        return Err(Damaged::new(format!("an entry says it has {length} bytes")));
    }
    if root < archive || root > length {
        return Err(Damaged::new(format!(
            "an entry of {length} bytes has its root at {root}"
        )));
    }
    W::check(&rest[archive..length], root - archive)?;
    Ok(length)
}
