//! Where a record lies in a buffer, and what lies beside it.
//!
//! Types only; the buffer reads and writes them. An [`Entry`] and a [`Cursor`] carry the serial number
//! of the buffer they were made by, so that using one with another buffer is caught at run time and can
//! never read a record where there is none.
//!
//! Layout of records without out-of-line data, one after the other at a fixed stride:
//! `[hash 8]? [timestamp 8]? [archived record] [padding to 8, or to 16 if the type needs it]`.
//! All others: `[entry length 4] [root offset 4] [hash 8]? [timestamp 8]? [archive] [padding]`.
//! Numbers are little-endian.

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;

use crate::record::Wire;

/// What lies beside each record of an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntryLayout {
    /// The key's hash (edges into keyed operators).
    pub hash: bool,
    /// The event time (where timestamps are assigned).
    pub timestamp: bool,
}

impl EntryLayout {
    /// Bytes beside each record.
    #[inline(always)]
    pub(crate) const fn prefix(self) -> usize {
        8 * (self.hash as usize + self.timestamp as usize)
    }

    /// Two bits that tell the layouts apart.
    #[inline(always)]
    pub(crate) const fn bits(self) -> u64 {
        self.hash as u64 | (self.timestamp as u64) << 1
    }
}

/// How far a reader has come in a buffer. Starts as `Cursor::default()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) serial: u32,
    pub(crate) offset: u32,
    pub(crate) record: u32,
    pub(crate) mark: u32,
}

impl Cursor {
    /// Records passed so far.
    #[inline]
    #[must_use]
    pub fn record(&self) -> u32 {
        self.record
    }

    /// Offset of the next entry in bytes.
    #[inline]
    #[must_use]
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Marks taken so far.
    #[inline]
    #[must_use]
    pub fn marks(&self) -> u32 {
        self.mark
    }
}

/// The place of a record, with what lies beside it. Made by [`Buffer::scan`](crate::Buffer::scan).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(crate) serial: u32,
    pub(crate) offset: u32,
    /// The key's hash, or 0 where the edge carries none.
    pub hash: KeyHash,
    /// The event time, or [`Timestamp::NONE`] where the edge carries none.
    pub at: Timestamp,
}

impl Entry {
    /// Offset of the record's root in its buffer, bytes.
    #[inline]
    #[must_use]
    pub fn offset(&self) -> u32 {
        self.offset
    }
}

impl Default for Entry {
    /// An entry of no buffer, to fill arrays with.
    fn default() -> Entry {
        Entry {
            serial: 0,
            offset: 0,
            hash: KeyHash(0),
            at: Timestamp::NONE,
        }
    }
}

/// Bytes before the hash in an entry of a type with out-of-line data: its length and the root's offset.
pub(crate) const HEADER: usize = 8;

/// The alignment of entries of `W`, bytes: 8, or 16 where the type needs it.
#[inline(always)]
pub(crate) const fn entry_align<W: Wire>() -> usize {
    const { assert!(W::ALIGN <= 16, "a record's alignment is at most 16 bytes") };
    if W::ALIGN > 8 { 16 } else { 8 }
}

/// From the start of a fixed entry to its record, bytes.
#[inline(always)]
pub(crate) const fn fixed_root<W: Wire>(layout: EntryLayout) -> usize {
    layout.prefix().next_multiple_of(entry_align::<W>())
}

/// The part of a fixed entry that holds the record, padding included, bytes; never 0.
#[inline(always)]
pub(crate) const fn fixed_body<W: Wire>() -> usize {
    let size = match W::FIXED {
        Some(size) => size.next_multiple_of(entry_align::<W>()),
        None => 0,
    };
    // A record without bytes must still move the cursor.
    if size == 0 { 8 } else { size }
}

/// From one fixed entry to the next, bytes.
#[inline(always)]
pub(crate) const fn fixed_stride<W: Wire>(layout: EntryLayout) -> usize {
    fixed_root::<W>(layout) + fixed_body::<W>()
}

/// From the start of an entry with out-of-line data to its archive, bytes.
#[inline(always)]
pub(crate) const fn archive_start(layout: EntryLayout) -> usize {
    HEADER + layout.prefix()
}
