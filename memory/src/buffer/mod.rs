//! A segment filled once, sealed, then read in place, here or on another shard.
//!
//! [`BufferWriter`] owns an open segment and puts records into it; [`BufferWriter::seal`] makes it a
//! [`Buffer`], which may move to another thread, is only read, and gives its segment back at the end.
//! This is the record path: everything on it is inlined, nothing allocates, `Full` is the only error.
//!
//! Invariants, on which reading in place rests:
//! - all records of a buffer have one *shape* (archived type and entry layout), kept beside them; bytes
//!   `0..used` were written by a `BufferWriter` of that shape, or passed [`Buffer::adopt`]'s check;
//! - an [`Entry`](crate::Entry) can only be made by [`Buffer::scan`], and carries the buffer's serial number: it marks
//!   the root of a record of that buffer. [`Buffer::item`] checks serial and type on every call;
//! - a put that fails leaves `used` and `records` as they were.

mod adopt;
mod block;
mod records;
mod remainder;
mod sealed;
mod writer;

use std::any::TypeId;
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

pub use block::{BLOCK, Block};
pub use records::Records;
pub use remainder::Remainder;
pub use sealed::Buffer;
pub use writer::BufferWriter;

use crate::entry::EntryLayout;
use crate::record::Wire;

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
#[cold]
#[inline(never)]
fn foreign_entry() -> ! {
    panic!("an entry of another buffer, or of another type")
}
