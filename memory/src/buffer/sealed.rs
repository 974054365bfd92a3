//! A sealed segment: its records found, its marks taken, its segment given back.
//!
//! Invariant: nobody writes to it. Moves between threads whole.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;

use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::ShardId;
use thalweg_core::key_group::KeyHash;

use super::{BufferWriter, Records, TooLarge, foreign_entry, next_serial, shape_of, type_tag};
use crate::entry::{
    Cursor, Entry, EntryLayout, HEADER, archive_start, entry_align, fixed_root, fixed_stride,
};
use crate::mark::{Mark, Marks};
use crate::record::{ArchivedOf, Archiver, Wire};
use crate::segment::Segment;

/// Records and marks, sealed: read in place by whoever owns it.
pub struct Buffer {
    /// The first byte of `segment`; dangling without one.
    pub(super) base: NonNull<u8>,
    pub(super) used: u32,
    pub(super) records: u32,
    pub(super) shape: u64,
    pub(super) serial: u32,
    pub(super) oversize: bool,
    pub(super) marks: Marks,
    pub(super) segment: Option<Segment>,
}

// SAFETY: a buffer owns its segment, which is Send; `base` is the segment's own address and is used only
// through the buffer. The bytes hold archives (`Portable`: plain data), of records that are Send.
unsafe impl Send for Buffer {}

impl Buffer {
    /// No records, no segment: to carry events alone.
    #[must_use]
    pub fn empty() -> Buffer {
        Buffer {
            base: NonNull::dangling(),
            used: 0,
            records: 0,
            shape: 0,
            serial: next_serial(),
            oversize: false,
            marks: Marks::default(),
            segment: None,
        }
    }

    /// A mark without records or segment.
    #[must_use]
    pub fn of_mark(mark: Mark) -> Buffer {
        let mut buffer = Buffer::empty();
        buffer.marks.push(0, mark);
        buffer
    }

    /// One record in memory of its own, for records longer than a segment.
    ///
    /// # Errors
    /// When the entry would be longer than `limit` bytes.
    pub fn oversize<W: Wire>(
        layout: EntryLayout,
        hash: KeyHash,
        at: Timestamp,
        item: &W::Of<'_>,
        limit: usize,
    ) -> Result<Buffer, TooLarge> {
        let (size, scratch) = if W::FIXED.is_some() {
            (fixed_stride::<W>(layout), 0)
        } else {
            let start = archive_start(layout);
            let need = Archiver::measure::<ArchivedOf<W>, _>(start, |to| W::serialize(item, to))
                .map_err(|size| TooLarge { size, limit })?;
            (need.end.next_multiple_of(entry_align::<W>()), need.scratch)
        };
        if size > limit {
            return Err(TooLarge { size, limit });
        }
        let mut writer = BufferWriter::new(Segment::oversize(ShardId(0), size + scratch));
        if writer.put::<W>(layout, hash, at, item).is_err() {
            // Only a record that is not the same when serialised twice comes here.
            return Err(TooLarge {
                size: writer.capacity + 1,
                limit,
            });
        }
        debug_assert_eq!(writer.used, size, "a record is as long as it was measured");
        let mut buffer = writer.seal();
        buffer.oversize = true;
        Ok(buffer)
    }

    /// Records in it.
    #[inline]
    #[must_use]
    pub fn records(&self) -> usize {
        self.records as usize
    }

    /// Bytes its records take.
    #[inline]
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used as usize
    }

    /// The bytes of its records, as they go over the wire or to disk.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: base..base+used lies in the segment and is initialised; nobody writes to a sealed
        // buffer. Without a segment, used is 0 and base dangling, as an empty slice wants it.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.used as usize) }
    }

    /// Its marks: each with the index of the record it stands before.
    pub fn marks(&self) -> impl Iterator<Item = (u32, Mark)> {
        self.marks.iter()
    }

    /// Whether it is one record in memory of its own.
    #[must_use]
    pub fn is_oversize(&self) -> bool {
        self.oversize
    }

    /// The segment, to be given back; `None` for an oversize record (freed here) or an empty buffer.
    #[must_use]
    pub fn into_segment(self) -> Option<Segment> {
        if self.oversize { None } else { self.segment }
    }

    /// Whether records written with this layout and type are in it; true for a buffer without records.
    #[must_use]
    pub fn holds<W: Wire>(&self, layout: EntryLayout) -> bool {
        self.records == 0 || self.shape == shape_of::<W>(layout)
    }

    /// Finds the next entries, with their hashes and times, and moves the cursor behind them: as many as
    /// `out` takes, but not beyond the next mark not yet taken. Answers how many; 0 at a mark (see
    /// [`Buffer::take_mark`]) and at the end.
    ///
    /// # Panics
    /// When the buffer holds records of another type or layout, or the cursor is another buffer's.
    #[inline]
    pub fn scan<W: Wire>(
        &self,
        layout: EntryLayout,
        cursor: &mut Cursor,
        out: &mut [Entry],
    ) -> usize {
        self.claim(cursor);
        let end = match self.marks.get(cursor.mark) {
            Some((index, _)) => index,
            None => self.records,
        };
        debug_assert!(
            cursor.record <= end && end <= self.records,
            "cursors stop at marks"
        );
        let count = out.len().min((end - cursor.record) as usize);
        if count == 0 {
            return 0;
        }
        assert!(
            self.shape == shape_of::<W>(layout),
            "the buffer holds other records than expected"
        );
        let out = &mut out[..count];
        let next = if W::FIXED.is_some() {
            self.scan_fixed::<W>(layout, cursor.offset, out)
        } else {
            self.scan_archives(layout, cursor.offset, out)
        };
        debug_assert!(next <= self.used, "entries lie in what is used");
        cursor.offset = next;
        cursor.record += count as u32;
        count
    }

    #[inline(always)]
    fn scan_fixed<W: Wire>(&self, layout: EntryLayout, start: u32, out: &mut [Entry]) -> u32 {
        let stride = fixed_stride::<W>(layout) as u32;
        let root = fixed_root::<W>(layout) as u32;
        let mut offset = start;
        for entry in out {
            // SAFETY: the shape was checked and the cursor is this buffer's: offset is the start of one
            // of its entries, whose prefix lies before its root.
            let (hash, at) = unsafe { self.read_prefix(offset as usize, layout) };
            *entry = Entry {
                serial: self.serial,
                offset: offset + root,
                hash,
                at,
            };
            offset += stride;
        }
        offset
    }

    #[inline(always)]
    fn scan_archives(&self, layout: EntryLayout, start: u32, out: &mut [Entry]) -> u32 {
        let mut offset = start;
        for entry in out {
            // SAFETY: as in `scan_fixed`; entries of this shape begin with a header.
            let header = unsafe { self.read_word(offset as usize) };
            // SAFETY: the prefix follows the header.
            let (hash, at) = unsafe { self.read_prefix(offset as usize + HEADER, layout) };
            let (length, root) = (header as u32, (header >> 32) as u32);
            debug_assert!(
                (root as usize) >= HEADER && root <= length,
                "the root is in the entry"
            );
            *entry = Entry {
                serial: self.serial,
                offset: offset + root,
                hash,
                at,
            };
            offset += length;
        }
        offset
    }

    /// # Safety
    /// `start` is where the prefix of an entry of this buffer begins, and `layout` is the buffer's.
    #[inline(always)]
    unsafe fn read_prefix(&self, start: usize, layout: EntryLayout) -> (KeyHash, Timestamp) {
        let mut start = start;
        let (mut hash, mut at) = (KeyHash(0), Timestamp::NONE);
        if layout.hash {
            // SAFETY: the caller's promise.
            hash = KeyHash(unsafe { self.read_word(start) });
            start += 8;
        }
        if layout.timestamp {
            // SAFETY: the caller's promise.
            at = Timestamp(unsafe { self.read_word(start) } as i64);
        }
        (hash, at)
    }

    /// # Safety
    /// `at` is a multiple of 8 and `at + 8 <= used`.
    #[inline(always)]
    unsafe fn read_word(&self, at: usize) -> u64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.used as usize);
        let place = self.base.as_ptr().wrapping_add(at).cast::<u64>();
        // SAFETY: inside the initialised part of the segment by the caller's promise, aligned as base is.
        u64::from_le(unsafe { place.read() })
    }

    /// Its records, to be read one by one as those of `W`: what is the same for all of them is checked once.
    ///
    /// # Panics
    /// When it holds records of another type; without records it may be read as any.
    #[inline(always)]
    #[must_use]
    pub fn read_as<W: Wire>(&self) -> Records<'_, W> {
        if self.records > 0 && (self.shape & !0b11) != type_tag::<W>() {
            foreign_entry();
        }
        Records {
            base: self.base,
            serial: self.serial,
            buffer: PhantomData,
            record: PhantomData,
        }
    }

    /// The record of an entry, in place.
    ///
    /// # Panics
    /// When the entry is another buffer's, or of another type.
    #[inline(always)]
    #[must_use]
    pub fn item<W: Wire>(&self, entry: &Entry) -> W::Of<'_> {
        self.read_as::<W>().item(entry)
    }

    /// Takes the next mark if the cursor has come to it.
    #[inline]
    pub fn take_mark(&self, cursor: &mut Cursor) -> Option<Mark> {
        let (index, mark) = self.marks.get(cursor.mark)?;
        self.claim(cursor);
        if index != cursor.record {
            return None;
        }
        cursor.mark += 1;
        Some(mark)
    }

    /// Whether the cursor has passed all records and taken all marks.
    #[inline]
    #[must_use]
    pub fn is_read(&self, cursor: &Cursor) -> bool {
        cursor.record == self.records && self.marks.get(cursor.mark).is_none()
    }

    /// Makes a fresh cursor this buffer's own.
    #[inline(always)]
    fn claim(&self, cursor: &mut Cursor) {
        if cursor.serial != self.serial {
            assert!(*cursor == Cursor::default(), "the cursor of another buffer");
            cursor.serial = self.serial;
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.oversize { ", oversize" } else { "" };
        write!(
            f,
            "Buffer({} records, {} bytes{kind})",
            self.records, self.used
        )
    }
}
