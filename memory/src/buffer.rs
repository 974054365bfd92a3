//! A segment filled once, sealed, then read in place, here or on another shard.
//!
//! [`BufferWriter`] owns an open segment and puts records into it; [`BufferWriter::seal`] makes it a
//! [`Buffer`], which may move to another thread, is only read, and gives its segment back at the end.
//! This is the record path: everything on it is inlined, nothing allocates, `Full` is the only error.
//!
//! Invariants, on which reading in place rests:
//! - all records of a buffer have one *shape* (archived type and entry layout), kept beside them; bytes
//!   `0..used` were written by a `BufferWriter` of that shape, or passed [`Buffer::adopt`]'s check;
//! - an [`Entry`] can only be made by [`Buffer::scan`], and carries the buffer's serial number: it marks
//!   the root of a record of that buffer. [`Buffer::item`] checks serial and type on every call;
//! - a put that fails leaves `used` and `records` as they were.

use std::any::TypeId;
use std::cell::Cell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use rkyv::Place;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::ShardId;
use thalweg_core::key_group::KeyHash;

use crate::entry::{
    Cursor, Entry, EntryLayout, HEADER, archive_start, entry_align, fixed_body, fixed_root,
    fixed_stride,
};
use crate::mark::{Mark, Marks};
use crate::record::{ArchivedOf, Archiver, Damaged, Full, Wire};
use crate::segment::Segment;

/// A record is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record needs {size} bytes, more than the {limit} allowed: raise taskmanager.memory.max-record-size \
     or split the record"
)]
pub struct TooLarge {
    /// Bytes the record needs (at least).
    pub size: usize,
    /// Bytes allowed.
    pub limit: usize,
}

/// A number for the archived type of `W`: the same for an item and the record it borrows from.
#[inline(always)]
fn type_tag<W: Wire>() -> u64 {
    /// A type's id is a hash already; take its word as it is.
    struct Word(u64);
    impl Hasher for Word {
        #[inline(always)]
        fn finish(&self) -> u64 {
            self.0
        }
        #[inline(always)]
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
            }
        }
        #[inline(always)]
        fn write_u64(&mut self, word: u64) {
            self.0 = word;
        }
    }
    let mut word = Word(0);
    TypeId::of::<W::Form>().hash(&mut word);
    // Two bits make room for the layout; the lowest of the rest is set, so that no tag is 0.
    word.finish() & !0b11 | 0b100
}

/// Type and layout in one word; 0 is no shape.
#[inline(always)]
fn shape_of<W: Wire>(layout: EntryLayout) -> u64 {
    type_tag::<W>() | layout.bits()
}

/// A number no living buffer has. Taken from the process in blocks, so that sealing is thread-local.
fn next_serial() -> u32 {
    const BLOCK: u32 = 1 << 12;
    static BLOCKS: AtomicU32 = AtomicU32::new(1);
    thread_local! {
        static NEXT: Cell<u32> = const { Cell::new(0) };
    }
    let mut serial = NEXT.get();
    while serial.is_multiple_of(BLOCK) {
        // Also skips 0, the serial of no buffer, when the numbers wrap round. The first of every block
        // is left out, which marks the end of the block before.
        serial = BLOCKS.fetch_add(1, Ordering::Relaxed).wrapping_mul(BLOCK) + 1;
    }
    NEXT.set(serial.wrapping_add(1));
    serial
}

/// An open segment being filled by its one owner.
pub struct BufferWriter {
    /// The segment's first byte, beside the segment to spare a step.
    base: NonNull<u8>,
    used: usize,
    capacity: usize,
    shape: u64,
    records: u32,
    marks: Marks,
    segment: Segment,
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
        let root = start + fixed_root::<W>(layout);
        let next = root + fixed_body::<W>();
        if next > self.capacity {
            return Err(Full);
        }
        // SAFETY: pos = capacity = root is inside the segment, which is ours alone; the archiver has no
        // room, so it writes nothing, whatever the record's serialisation does.
        let mut nowhere = unsafe { Archiver::new(self.base, root, root) };
        let Ok(resolver) = W::serialize(item, &mut nowhere) else {
            claims_to_be_fixed()
        };
        // SAFETY: start < root <= next <= capacity, and prefix() bytes lie between start and root.
        unsafe { self.write_prefix(start, layout, hash, at) };
        let out = self.base.as_ptr().wrapping_add(root);
        // SAFETY: root..root + fixed_body = next lies in the segment. Zeroed, so that padding is the
        // same in every run; the compiler drops what the record overwrites.
        unsafe { out.write_bytes(0, fixed_body::<W>()) };
        // SAFETY: the place is inside the segment, initialised just now, and aligned: base is aligned to
        // 512, root to entry_align, which is a multiple of the type's.
        let out = unsafe { Place::new_unchecked(root, out.cast::<ArchivedOf<W>>()) };
        W::resolve(item, resolver, out);
        self.used = next;
        self.records += 1;
        Ok(())
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
        let mut start = start;
        if layout.hash {
            // SAFETY: the caller's promise: the first 8 bytes of the prefix.
            unsafe { self.write_word(start, hash.0) };
            start += 8;
        }
        if layout.timestamp {
            // SAFETY: the caller's promise: the last 8 bytes of the prefix.
            unsafe { self.write_word(start, at.0 as u64) };
        }
    }

    /// # Safety
    /// `at` is a multiple of 8 and `at + 8 <= capacity`.
    #[inline(always)]
    unsafe fn write_word(&mut self, at: usize, word: u64) {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.capacity);
        let place = self.base.as_ptr().wrapping_add(at).cast::<u64>();
        // SAFETY: inside the segment by the caller's promise, aligned as base is, and ours alone.
        unsafe { place.write(word.to_le()) };
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

/// Records and marks, sealed: read in place by whoever owns it.
pub struct Buffer {
    /// The first byte of `segment`; dangling without one.
    base: NonNull<u8>,
    used: u32,
    records: u32,
    shape: u64,
    serial: u32,
    oversize: bool,
    marks: Marks,
    segment: Option<Segment>,
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

    /// The record of an entry, in place.
    ///
    /// # Panics
    /// When the entry is another buffer's, or of another type.
    #[inline(always)]
    #[must_use]
    pub fn item<W: Wire>(&self, entry: &Entry) -> W::Of<'_> {
        if entry.serial != self.serial || (self.shape & !0b11) != type_tag::<W>() {
            foreign_entry();
        }
        let root = self.base.as_ptr().wrapping_add(entry.offset as usize);
        debug_assert!(entry.offset as usize + size_of::<ArchivedOf<W>>() <= self.used as usize);
        // SAFETY: only `scan` makes entries with a serial, so offset is the root of a record of this very
        // buffer, and the shape says that it is an archive of `W::Form`, written by `put` or checked by
        // `adopt`: aligned, initialised and valid. It is not written while self is borrowed.
        let archived = unsafe { &*root.cast::<ArchivedOf<W>>() };
        W::read(archived)
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

#[cold]
#[inline(never)]
fn foreign_entry() -> ! {
    panic!("an entry of another buffer, or of another type")
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
        let length = if W::FIXED.is_some() {
            check_fixed::<W>(rest, layout)?
        } else {
            check_one::<W>(rest, layout)?
        };
        rest = &rest[length..];
        records += 1;
    }
    Ok(records)
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
