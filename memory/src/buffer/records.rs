//! The records of a sealed buffer, read one by one.
//!
//! The hot end of reading: what is the same for all records of a buffer was checked before. Lives on the
//! shard's thread.

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::{Buffer, foreign_entry};
use crate::entry::Entry;
use crate::record::{ArchivedOf, Wire};

/// The records of one buffer, read in place as those of `W`.
pub struct Records<'b, W> {
    /// The first byte of the buffer's segment.
    pub(super) base: NonNull<u8>,
    pub(super) serial: u32,
    pub(super) buffer: PhantomData<&'b Buffer>,
    pub(super) record: PhantomData<fn() -> W>,
}

impl<'b, W: Wire> Records<'b, W> {
    /// The record of an entry.
    ///
    /// # Panics
    /// When the entry is another buffer's.
    #[inline(always)]
    #[must_use]
    pub fn item(&self, entry: &Entry) -> W::Of<'b> {
        if entry.serial != self.serial {
            foreign_entry();
        }
        let root = self.base.as_ptr().wrapping_add(entry.offset as usize);
        // SAFETY: only `scan` makes entries with a serial, so offset is the root of a record of this very
        // buffer, which `read_as` was called on; it has a record, so its shape was found to be that of
        // archives of `W::Form`, written by `put` or checked by `adopt`: aligned, initialised and valid. The
        // buffer is borrowed for 'b and not written meanwhile.
        let archived = unsafe { &*root.cast::<ArchivedOf<W>>() };
        W::read(archived)
    }
}
