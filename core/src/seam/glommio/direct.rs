//! Memory for reads that go past the page cache.
//!
//! The kernel reads whole blocks into aligned memory then; a read of some bytes in between goes into a slot here and is
//! copied out, which for the few KiB of a block of state costs a fraction of a microsecond. The slots are registered with
//! the ring where the limit of locked memory allows it, so that the kernel does not pin their pages for each read.
//! Invariant: a slot is with one read at a time, from [`DirectBuffers::take`] to [`DirectBuffers::give_back`]; its memory
//! stays where it is until this is dropped, and the ring is dropped before. Lives on the shard's thread.

use std::ptr::NonNull;

use io_uring::Submitter;

/// What offset, length and address are multiples of: no device asks for more.
const ALIGNED: usize = 4096;
/// Bytes of a slot: of a longer read, and of one that would need more, the page cache is used.
const SLOT: usize = 16 << 10;
/// Slots of a shard: 2 MiB.
const SLOTS: usize = 128;

#[repr(C, align(4096))]
#[derive(Clone)]
struct Block([u8; ALIGNED]);

/// The slots of one shard.
pub(super) struct DirectBuffers {
    /// The blocks of all slots, one behind the other: a box that was taken apart.
    blocks: NonNull<Block>,
    vacant: Vec<u16>,
    /// Whether the ring knows them, as its buffer 0.
    pub(super) registered: bool,
}

/// A read on its way into a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectRead {
    slot: u16,
    /// Where the slot lies.
    pub(super) at: *mut u8,
    /// From which byte of the file on.
    pub(super) offset: u64,
    /// How many bytes.
    pub(super) length: u32,
    /// Bytes in front of those that were asked for.
    skip: usize,
}

impl DirectBuffers {
    /// Slots, registered with a ring if that can be.
    pub(super) fn new(submitter: &Submitter<'_>) -> DirectBuffers {
        let blocks = vec![Block([0; ALIGNED]); SLOTS * SLOT / ALIGNED].into_boxed_slice();
        let blocks: NonNull<Block> = NonNull::from(Box::leak(blocks)).cast();
        let all = libc::iovec {
            iov_base: blocks.as_ptr().cast(),
            iov_len: SLOTS * SLOT,
        };
        // SAFETY: the memory is one allocation of that length, which stays until `self` is dropped, after the ring.
        let registered = unsafe { submitter.register_buffers(&[all]) };
        if let Err(error) = &registered {
            tracing::warn!(
                %error,
                bytes = SLOTS * SLOT,
                "buffers for direct reads cannot be registered, so each read pins its pages anew: raise the limit of \
                 locked memory (ulimit -l, LimitMEMLOCK=) of each shard by as much"
            );
        }
        DirectBuffers {
            blocks,
            vacant: (0..SLOTS as u16).rev().collect(),
            registered: registered.is_ok(),
        }
    }

    /// A slot for a read of so many bytes; none where it does not fit one, or all are taken.
    pub(super) fn take(&mut self, offset: u64, length: usize) -> Option<DirectRead> {
        let skip = (offset % ALIGNED as u64) as usize;
        let whole = (skip + length).checked_next_multiple_of(ALIGNED)?;
        if whole > SLOT || length == 0 {
            return None;
        }
        let slot = self.vacant.pop()?;
        // SAFETY: there are `SLOTS` slots of so many bytes each behind the first block, and only their numbers are vacant.
        let at = unsafe {
            self.blocks
                .as_ptr()
                .cast::<u8>()
                .add(usize::from(slot) * SLOT)
        };
        Some(DirectRead {
            slot,
            at,
            offset: offset - skip as u64,
            length: whole as u32,
            skip,
        })
    }

    /// Copies what a read brought, of which the kernel says how many bytes it was, and gives the slot back. Answers the
    /// bytes copied.
    pub(super) fn finish(&mut self, read: &DirectRead, read_bytes: usize, to: &mut [u8]) -> usize {
        let read_bytes = read_bytes.min(read.length as usize);
        // SAFETY: the slot is this read's and the kernel is done with it; `take` has seen to it that a slot holds `length`,
        // and all of its bytes were zeroed or written by the kernel.
        let brought = unsafe { std::slice::from_raw_parts(read.at, read_bytes) };
        let wanted = brought.get(read.skip..).unwrap_or_default();
        let count = wanted.len().min(to.len());
        to[..count].copy_from_slice(&wanted[..count]);
        self.give_back(read);
        count
    }

    /// The slot is vacant again.
    pub(super) fn give_back(&mut self, read: &DirectRead) {
        debug_assert!(!self.vacant.contains(&read.slot));
        self.vacant.push(read.slot);
    }
}

impl Drop for DirectBuffers {
    fn drop(&mut self) {
        let blocks = NonNull::slice_from_raw_parts(self.blocks, SLOTS * SLOT / ALIGNED);
        // SAFETY: `new` took a box of exactly this slice apart, and nobody else frees it.
        drop(unsafe { Box::from_raw(blocks.as_ptr()) });
    }
}
