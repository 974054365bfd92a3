//! An open segment, filled record by record.
//!
//! Invariant: what is written stays inside the segment, and every record before `used` is whole. Lives on the
//! shard's thread.

use std::fmt;
use std::ptr::NonNull;

use rkyv::Place;
use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;

use super::{Block, Buffer, next_serial, shape_of};
use crate::entry::{
    EntryLayout, HEADER, archive_start, entry_align, fixed_body, fixed_root, fixed_stride,
};
use crate::mark::{Mark, Marks};
use crate::record::{ArchivedOf, Archiver, Full, Wire};
use crate::segment::Segment;

/// An open segment being filled by its one owner.
pub struct BufferWriter {
    /// The segment's first byte, beside the segment to spare a step.
    pub(super) base: NonNull<u8>,
    pub(super) used: usize,
    pub(super) capacity: usize,
    pub(super) shape: u64,
    pub(super) records: u32,
    pub(super) marks: Marks,
    pub(super) segment: Segment,
}

impl BufferWriter {
    /// Opens `segment`; what it held before is forgotten.
    #[inline]
    #[must_use]
    pub fn new(segment: Segment) -> BufferWriter {
        BufferWriter {
            base: segment.start(),
            used: 0,
            capacity: segment.len(),
            shape: 0,
            records: 0,
            marks: Marks::default(),
            segment,
        }
    }

    /// Adds a record with its hash and time, as far as `layout` keeps them.
    ///
    /// # Errors
    /// `Full` when the rest of the segment is too small; nothing has changed then. Full on an empty
    /// writer: the record needs [`Buffer::oversize`].
    ///
    /// # Panics
    /// When type or layout differ from the records already there: an edge carries one type.
    #[inline(always)]
    pub fn put<W: Wire>(
        &mut self,
        layout: EntryLayout,
        hash: KeyHash,
        at: Timestamp,
        item: &W::Of<'_>,
    ) -> Result<(), Full> {
        let shape = shape_of::<W>(layout);
        if self.shape != shape {
            self.take_shape(shape);
        }
        if W::FIXED.is_some() {
            self.put_fixed::<W>(layout, hash, at, item)
        } else if const { size_of::<ArchivedOf<W>>() == 8 && entry_align::<W>() == 8 }
            && let Some(word) = W::word(item)
        {
            self.put_word(layout, hash, at, word)
        } else {
            self.put_archive::<W>(layout, hash, at, item)
        }
    }

    #[inline(always)]
    fn put_fixed<W: Wire>(
        &mut self,
        layout: EntryLayout,
        hash: KeyHash,
        at: Timestamp,
        item: &W::Of<'_>,
    ) -> Result<(), Full> {
        let start = self.used;
        let next = start + fixed_stride::<W>(layout);
        if next > self.capacity {
            return Err(Full);
        }
        // SAFETY: start..next lies in the segment, which is ours alone, and start is a multiple of the
        // entry's alignment, because all before it are entries of this shape.
        unsafe { write_fixed::<W>(self.base, start, layout, hash, at, item) };
        self.used = next;
        self.records += 1;
        Ok(())
    }

    /// Adds those records of a block whose bits are set in `picked`, the lowest bit first, as
    /// [`BufferWriter::put`] would one by one, until one does not fit; answers the bits of those left.
    ///
    /// Faster than one by one where records are of fixed length: what is the same for all of them stays in
    /// registers.
    ///
    /// # Panics
    /// As [`BufferWriter::put`].
    #[inline(always)]
    pub fn put_picked<W: Wire>(
        &mut self,
        layout: EntryLayout,
        block: &Block<'_, '_, W>,
        picked: u64,
    ) -> u64 {
        let mut left = picked;
        if W::FIXED.is_none() {
            while left != 0 {
                let (hash, at, item) = block.get(left.trailing_zeros());
                if self.put::<W>(layout, hash, at, item).is_err() {
                    break;
                }
                left &= left - 1;
            }
            return left;
        }
        let shape = shape_of::<W>(layout);
        if self.shape != shape {
            self.take_shape(shape);
        }
        let (base, capacity) = (self.base, self.capacity);
        let stride = fixed_stride::<W>(layout);
        let mut used = self.used;
        while left != 0 && used + stride <= capacity {
            let (hash, at, item) = block.get(left.trailing_zeros());
            // SAFETY: as in `put_fixed`.
            unsafe { write_fixed::<W>(base, used, layout, hash, at, item) };
            used += stride;
            left &= left - 1;
        }
        self.used = used;
        self.records += picked.count_ones() - left.count_ones();
        left
    }

    /// What [`BufferWriter::put_archive`] writes for a record whose archive is one word.
    #[inline(always)]
    fn put_word(
        &mut self,
        layout: EntryLayout,
        hash: KeyHash,
        at: Timestamp,
        word: u64,
    ) -> Result<(), Full> {
        let start = self.used;
        let root = archive_start(layout);
        let length = root + size_of::<u64>();
        if start + length > self.capacity {
            return Err(Full);
        }
        let header = length as u64 | (root as u64) << 32;
        // SAFETY: start and root are multiples of 8, and HEADER <= root < length <= capacity - start.
        unsafe { self.write_word(start, header) };
        // SAFETY: archive_start leaves prefix() bytes between the header and the root.
        unsafe { self.write_prefix(start + HEADER, layout, hash, at) };
        // SAFETY: start + root + 8 = start + length <= capacity.
        unsafe { self.write_word(start + root, word) };
        self.used = start + length;
        self.records += 1;
        Ok(())
    }

    #[inline]
    fn put_archive<W: Wire>(
        &mut self,
        layout: EntryLayout,
        hash: KeyHash,
        at: Timestamp,
        item: &W::Of<'_>,
    ) -> Result<(), Full> {
        let start = self.used;
        let archive = start + archive_start(layout);
        if archive > self.capacity {
            return Err(Full);
        }
        // SAFETY: base is aligned to 512, archive <= capacity = the segment's length, and the segment is
        // ours alone.
        let mut archiver = unsafe { Archiver::new(self.base, archive, self.capacity) };
        let root = W::write(item, &mut archiver)?;
        let next = archiver.position().next_multiple_of(entry_align::<W>());
        if next > self.capacity {
            return Err(Full);
        }
        archiver.zero_to(next);
        let header = (next - start) as u64 | ((root - start) as u64) << 32;
        // SAFETY: start + HEADER <= archive <= capacity; start is a multiple of 8.
        unsafe { self.write_word(start, header) };
        // SAFETY: archive_start leaves prefix() bytes between the header and the archive.
        unsafe { self.write_prefix(start + HEADER, layout, hash, at) };
        self.used = next;
        self.records += 1;
        Ok(())
    }

    /// Writes what lies beside the record.
    ///
    /// # Safety
    /// `start` is a multiple of 8 and `start + layout.prefix() <= capacity`.
    #[inline(always)]
    unsafe fn write_prefix(
        &mut self,
        start: usize,
        layout: EntryLayout,
        hash: KeyHash,
        at: Timestamp,
    ) {
        // SAFETY: the caller's promise; the segment is ours alone.
        unsafe { write_prefix(self.base, start, layout, hash, at) };
    }

    /// # Safety
    /// `at` is a multiple of 8 and `at + 8 <= capacity`.
    #[inline(always)]
    unsafe fn write_word(&mut self, at: usize, word: u64) {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.capacity);
        // SAFETY: the caller's promise; the segment is ours alone.
        unsafe { write_word(self.base, at, word) };
    }

    #[cold]
    #[inline(never)]
    fn take_shape(&mut self, shape: u64) {
        assert!(
            self.records == 0,
            "records of another type or layout are in this buffer"
        );
        self.shape = shape;
    }

    /// Sets a mark after the records put so far.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.push(self.records, mark);
    }

    /// Records put so far.
    #[inline]
    #[must_use]
    pub fn records(&self) -> usize {
        self.records as usize
    }

    /// Whether there is neither a record nor a mark in it.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0 && self.marks.is_empty()
    }

    /// Bytes written so far.
    #[inline]
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used
    }

    /// Ends writing.
    #[must_use]
    pub fn seal(self) -> Buffer {
        debug_assert!(
            self.used <= self.capacity,
            "a writer stays inside its segment"
        );
        Buffer {
            base: self.base,
            used: self.used as u32,
            records: self.records,
            shape: self.shape,
            serial: next_serial(),
            oversize: false,
            marks: self.marks,
            segment: Some(self.segment),
        }
    }

    /// The segment back, for a writer that was opened in vain.
    ///
    /// # Panics
    /// When something was written: that would be lost.
    #[must_use]
    pub fn into_segment(self) -> Segment {
        assert!(self.is_empty(), "a writer with records must be sealed");
        self.segment
    }
}

/// Writes an entry of fixed length at `start` of the segment that begins at `base`.
///
/// # Safety
/// The segment is the caller's alone, `start + fixed_stride` lies in it, `base` is aligned to 512 and `start`
/// is a multiple of the entry's alignment.
#[inline(always)]
unsafe fn write_fixed<W: Wire>(
    base: NonNull<u8>,
    start: usize,
    layout: EntryLayout,
    hash: KeyHash,
    at: Timestamp,
    item: &W::Of<'_>,
) {
    let root = start + fixed_root::<W>(layout);
    // SAFETY: root is inside the segment, which is the caller's alone; the archiver has no room, so it
    // writes nothing, whatever the record's serialisation does.
    let mut nowhere = unsafe { Archiver::new(base, root, root) };
    let Ok(resolver) = W::serialize(item, &mut nowhere) else {
        claims_to_be_fixed()
    };
    // SAFETY: prefix() bytes lie between start and root.
    unsafe { write_prefix(base, start, layout, hash, at) };
    let out = base.as_ptr().wrapping_add(root);
    // SAFETY: root..root + fixed_body = start + fixed_stride lies in the segment. Zeroed, so that padding is
    // the same in every run; the compiler drops what the record overwrites.
    unsafe { out.write_bytes(0, fixed_body::<W>()) };
    // SAFETY: the place is inside the segment, initialised just now, and aligned: base is aligned to
    // 512, root to entry_align, which is a multiple of the type's.
    let out = unsafe { Place::new_unchecked(root, out.cast::<ArchivedOf<W>>()) };
    W::resolve(item, resolver, out);
}

/// Writes what lies beside a record.
///
/// # Safety
/// The segment that begins at `base` is the caller's alone, `start` is a multiple of 8, and
/// `start + layout.prefix()` lies in it.
#[inline(always)]
unsafe fn write_prefix(
    base: NonNull<u8>,
    start: usize,
    layout: EntryLayout,
    hash: KeyHash,
    at: Timestamp,
) {
    let mut start = start;
    if layout.hash {
        // SAFETY: the caller's promise: the first 8 bytes of the prefix.
        unsafe { write_word(base, start, hash.0) };
        start += 8;
    }
    if layout.timestamp {
        // SAFETY: the caller's promise: the last 8 bytes of the prefix.
        unsafe { write_word(base, start, at.0 as u64) };
    }
}

/// # Safety
/// The segment that begins at `base` is the caller's alone, `at` is a multiple of 8 and `at + 8` lies in it.
#[inline(always)]
unsafe fn write_word(base: NonNull<u8>, at: usize, word: u64) {
    let place = base.as_ptr().wrapping_add(at).cast::<u64>();
    // SAFETY: inside the segment by the caller's promise, aligned as base is.
    unsafe { place.write(word.to_le()) };
}

impl fmt::Debug for BufferWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "BufferWriter({} records, {} of {} bytes)",
            self.records, self.used, self.capacity
        )
    }
}

#[cold]
#[inline(never)]
fn claims_to_be_fixed() -> ! {
    panic!("a record with `OUT_OF_LINE = false` writes data beside its root")
}
