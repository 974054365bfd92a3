//! One aligned page of managed memory with exactly one owner.
//!
//! Entered from [`SegmentPool::lease`](crate::SegmentPool::lease), left by
//! [`SegmentPool::give_back`](crate::SegmentPool::give_back) at home. A segment may travel to another
//! shard's thread (it is `Send`), but is never shared and never cloned, so whoever holds it may write.
//!
//! Invariants: `start..start + len` is initialised memory nobody else refers to; it stays mapped while
//! the segment lives, because the segment holds its arena; a segment that is dropped instead of given
//! back (a task died with it) is reported to the arena, so that its pool can have it again.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use thalweg_core::ids::ShardId;

use crate::arena::Arena;

/// The smallest segment, bytes.
pub const SMALLEST_SEGMENT: usize = 512;
/// The size from which segments are aligned to a page of memory, bytes.
pub const PAGE: usize = 4096;

/// Whether segments of `bytes` can be made: a multiple of 512, from a page on a multiple of 4096.
#[must_use]
pub const fn is_segment_size(bytes: usize) -> bool {
    let grain = if bytes < PAGE { SMALLEST_SEGMENT } else { PAGE };
    bytes != 0 && bytes.is_multiple_of(grain) && bytes <= 1 << 30
}

/// A page of managed memory: leased from the pool of its home shard, filled, handed on, given back.
pub struct Segment {
    start: NonNull<u8>,
    len: u32,
    home: ShardId,
    leased: bool,
    ticket: u32,
    origin: Origin,
}

/// Where the bytes come from, hence where they go at the end.
enum Origin {
    /// A cell of an arena.
    Arena { arena: Arc<Arena>, index: u32 },
    /// The allocator: a lease beyond the pool, or a record longer than a segment.
    Heap { layout: Layout },
}

// SAFETY: a segment is the only way to its bytes (cells of an arena are handed out once until they come
// back, heap memory is its own), so moving it to another thread moves that right with it; the arena is
// Sync.
unsafe impl Send for Segment {}

impl Segment {
    /// The cell `index` of `arena`, for the pool with `ticket` on shard `home`.
    ///
    /// The caller (the arena) gives each cell to one segment at a time.
    pub(crate) fn of_arena(arena: Arc<Arena>, index: u32, home: ShardId, ticket: u32) -> Segment {
        let start = arena.cell(index);
        let len = arena.segment_size();
        debug_assert!(
            len <= u32::MAX as usize,
            "arenas check the size of their segments"
        );
        Segment {
            start,
            len: len as u32,
            home,
            leased: false,
            ticket,
            origin: Origin::Arena { arena, index },
        }
    }

    /// A zeroed segment of `len` bytes from the allocator, outside every pool: for a lease beyond the
    /// pool's limit that somebody charged to a [`Budget`](crate::Budget). Dropping it frees it.
    ///
    /// # Panics
    /// When `len` is not a possible segment size (see [`is_segment_size`]).
    #[must_use]
    pub fn overdraft(home: ShardId, len: usize) -> Segment {
        assert!(is_segment_size(len), "a segment cannot have {len} bytes");
        Segment::heap(home, len, if len < PAGE { SMALLEST_SEGMENT } else { PAGE })
    }

    /// Zeroed memory for one record longer than a segment, aligned for every archived type.
    pub(crate) fn oversize(home: ShardId, len: usize) -> Segment {
        // 16 is what the allocator gives anyway, so that large blocks come zeroed from the system.
        Segment::heap(home, len.next_multiple_of(16).max(16), 16)
    }

    fn heap(home: ShardId, len: usize, align: usize) -> Segment {
        let Ok(layout) = Layout::from_size_align(len, align) else {
            panic!("a segment cannot have {len} bytes");
        };
        assert!(
            len != 0 && len <= u32::MAX as usize,
            "a segment cannot have {len} bytes"
        );
        // SAFETY: the layout's size is not 0, asserted above.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        let origin = Origin::Heap { layout };
        Segment {
            start,
            len: len as u32,
            home,
            leased: true,
            ticket: 0,
            origin,
        }
    }

    /// The shard whose pool this segment must return to.
    #[inline]
    #[must_use]
    pub fn home(&self) -> ShardId {
        self.home
    }

    /// Size in bytes.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a segment is never of size 0")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it came from the allocator and not from a pool.
    #[inline]
    #[must_use]
    pub fn is_overdraft(&self) -> bool {
        matches!(self.origin, Origin::Heap { .. })
    }

    /// Its bytes; whatever the last user left in them.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start..start+len` is mapped and initialised (zeroed at birth) while self lives, and
        // nobody else refers to it; the borrow of self keeps writers out.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }

    /// Its bytes, to be written.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; the exclusive borrow of self makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }

    /// The first byte, for writers and readers in place.
    #[inline]
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Whether it is a cell of `arena`.
    pub(crate) fn is_of(&self, arena: &Arc<Arena>) -> bool {
        matches!(&self.origin, Origin::Arena { arena: own, .. } if Arc::ptr_eq(own, arena))
    }

    pub(crate) fn ticket(&self) -> u32 {
        self.ticket
    }

    pub(crate) fn set_leased(&mut self, leased: bool) {
        debug_assert_ne!(self.leased, leased, "a lease starts and ends once");
        self.leased = leased;
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        match &self.origin {
            Origin::Arena { arena, index } => arena.abandon(*index, self.ticket, self.leased),
            // SAFETY: `start` came from `alloc_zeroed` with this very layout and is freed once, here.
            Origin::Heap { layout } => unsafe { dealloc(self.start.as_ptr(), *layout) },
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("home", &self.home)
            .field("len", &self.len)
            .field("overdraft", &self.is_overdraft())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_sizes_are_whole_sectors_or_pages() {
        for good in [
            512,
            1024,
            1536,
            3584,
            4096,
            8192,
            32 << 10,
            48 << 10,
            128 << 10,
        ] {
            assert!(is_segment_size(good), "{good}");
        }
        for bad in [0, 1, 511, 513, 4096 + 512, 33_000] {
            assert!(!is_segment_size(bad), "{bad}");
        }
    }

    #[test]
    fn an_overdraft_is_zeroed_aligned_and_writable() {
        let mut segment = Segment::overdraft(ShardId(3), 8192);
        assert_eq!(segment.bytes().as_ptr() as usize % PAGE, 0);
        assert!(segment.bytes().iter().all(|byte| *byte == 0));
        segment.bytes_mut()[8191] = 7;
        assert_eq!((segment.bytes()[8191], segment.home()), (7, ShardId(3)));
        assert!(segment.is_overdraft());
    }
}
