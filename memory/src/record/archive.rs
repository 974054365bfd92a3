//! Writing a record as rkyv bytes straight into a segment, and checking foreign bytes.
//!
//! [`Archiver`] is the serializer every [`Record`](super::Record) is written with. It has no lifetime
//! and no allocation of its own: records grow upwards from the write position, the scratch space rkyv
//! asks for (to write nested collections) is taken from the free end of the same segment and handed
//! back. Only this crate makes one, for the length of one `put`. [`Checker`] is the other side:
//! bytecheck's context, used only for bytes that came from another process.
//!
//! Invariant of the archiver: `pos <= end <= capacity`; `0..pos` is written, `end..capacity` is lent as
//! scratch, nothing outside `base..base + capacity` is ever touched. Lives on one shard's thread.

use std::alloc::Layout;
use std::fmt;
use std::mem::{align_of, size_of};
use std::ops::Range;
use std::ptr::NonNull;

use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Fallible, Panic, Source, Strategy, Trace};
use rkyv::ser::{Allocator, Positional, Writer};
use rkyv::traits::Portable;
use rkyv::validation::{ArchiveContext, ArchiveContextExt};
use rkyv::{Deserialize, Place};

/// The deserializer that turns an archived record into an owned one; it cannot fail on written or
/// checked bytes.
pub type Reviver = Strategy<(), Panic>;

/// No archive of the engine is longer (rkyv's offsets reach 2 GiB; records are far shorter).
const LONGEST: usize = 1 << 30;
/// How deep archives from elsewhere may nest: boxes and collections within each other. Checking recurses,
/// on a shard's stack, and takes up to 2 KiB a level in instrumented builds.
const DEEPEST: u32 = 256;

/// The record does not fit into what is left of the segment. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record does not fit into the rest of the segment")]
pub struct Full;

impl Trace for Full {
    fn trace<R>(self, _: R) -> Full
    where
        R: fmt::Debug + fmt::Display + Send + Sync + 'static,
    {
        self
    }
}

impl Source for Full {
    fn new<T: std::error::Error + Send + Sync + 'static>(_: T) -> Full {
        // rkyv's own errors here are "too long for the format", far beyond any segment.
        Full
    }
}

/// Bytes from elsewhere are not an archive of the expected type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the bytes are not a valid archive of the expected record ({what}): they were damaged on the way, or \
     written by a job with another record type; restart from a checkpoint, with the job's own binary"
)]
pub struct Damaged {
    what: String,
}

impl Damaged {
    /// Damage described by `what`.
    pub(crate) fn new(what: impl Into<String>) -> Damaged {
        Damaged { what: what.into() }
    }
}

impl Trace for Damaged {
    fn trace<R>(mut self, trace: R) -> Damaged
    where
        R: fmt::Debug + fmt::Display + Send + Sync + 'static,
    {
        self.what = format!("{}, {trace}", self.what);
        self
    }
}

impl Source for Damaged {
    fn new<T: std::error::Error + Send + Sync + 'static>(source: T) -> Damaged {
        Damaged::new(source.to_string())
    }
}

/// Writes one record into the rest of a segment.
///
/// Implements rkyv's `Writer`, `Positional` and `Allocator`, so `#[record]` types and rkyv's own
/// implementations serialise into it. It offers no sharing: `Rc` and `Arc` cannot travel.
#[derive(Debug)]
pub struct Archiver {
    /// Position 0 of the archive; aligned to 16.
    base: NonNull<u8>,
    /// Where the next byte goes.
    pos: usize,
    /// One past the last byte that may be written; what is beyond is lent as scratch.
    end: usize,
    /// Set when nothing is written and only the size is wanted; then `end` is 0.
    measure: Option<NonNull<Measure>>,
}

/// The size of a record that is being measured.
#[derive(Debug, Default)]
struct Measure {
    scratch: Vec<Vec<u128>>,
    scratch_bytes: usize,
}

/// What a record needs.
pub(crate) struct Size {
    /// Bytes up to the end of the root.
    pub(crate) end: usize,
    /// Scratch bytes needed beyond.
    pub(crate) scratch: usize,
}

impl Archiver {
    /// Over `base..base + capacity`, writing from `pos`.
    ///
    /// # Safety
    /// `base` is aligned to 16; `base..base + capacity` is initialised, writable, referred to by
    /// nobody else while the archiver lives; `pos <= capacity`.
    #[inline(always)]
    pub(crate) unsafe fn new(base: NonNull<u8>, pos: usize, capacity: usize) -> Archiver {
        debug_assert!(pos <= capacity, "writing starts inside the segment");
        debug_assert!(
            base.as_ptr().addr().is_multiple_of(16),
            "segments are aligned"
        );
        Archiver {
            base,
            pos,
            end: capacity,
            measure: None,
        }
    }

    /// What `serialize` followed by a root of type `A` would need, when started at `pos`.
    pub(crate) fn measure<A, R>(
        pos: usize,
        serialize: impl FnOnce(&mut Archiver) -> Result<R, Full>,
    ) -> Result<Size, usize> {
        let mut measure = Measure::default();
        let mut archiver = Archiver {
            base: NonNull::dangling(),
            pos,
            end: 0,
            measure: Some(NonNull::from(&mut measure)),
        };
        if serialize(&mut archiver).is_err() {
            return Err(archiver.pos);
        }
        let end = archiver.pos.next_multiple_of(align_of::<A>()) + size_of::<A>();
        Ok(Size {
            end,
            scratch: measure.scratch_bytes,
        })
    }

    /// The place for the root: aligned, zeroed, and passed over by the position.
    #[inline]
    pub(crate) fn place<A>(&mut self) -> Result<Place<A>, Full> {
        let root = self.pos.next_multiple_of(align_of::<A>());
        if root + size_of::<A>() > self.end {
            return Err(Full);
        }
        self.zero_to(root);
        self.zero_to(root + size_of::<A>());
        let at = self.base.as_ptr().wrapping_add(root).cast::<A>();
        // SAFETY: root..root+size is inside base..base+end, so non-null, ours to write, and initialised
        // (zeroed just now); base is aligned to 16 and root to A, hence at is too.
        Ok(unsafe { Place::new_unchecked(root, at) })
    }

    /// Fills with zeros up to `to`, so that padding is the same in every run.
    #[inline(always)]
    pub(crate) fn zero_to(&mut self, to: usize) {
        assert!(
            self.pos <= to && to <= self.end,
            "padding stays inside the segment"
        );
        let gap = to - self.pos;
        // SAFETY: pos <= end <= capacity, so the address is inside the segment (or base itself).
        let at = unsafe { self.base.as_ptr().add(self.pos) };
        if gap <= 16 && self.pos + 16 <= self.end {
            // A gap is mostly a few bytes: one wide store over it and what follows, which is still to be
            // written, costs less than a call for the exact length.
            // SAFETY: pos + 16 <= end, so the range lies in base..base+capacity, ours to write.
            unsafe { at.cast::<u128>().write_unaligned(0) };
        } else {
            // SAFETY: pos + gap = to <= end, so the range lies in base..base+capacity, ours to write
            // (when measuring, end is 0 and so is the gap).
            unsafe { zero(at, gap) };
        }
        self.pos = to;
    }

    /// Where the next byte goes.
    #[inline(always)]
    pub(crate) fn position(&self) -> usize {
        self.pos
    }

    /// Where the position goes when `len` bytes do not fit: beyond, if only the size is wanted.
    ///
    /// Not a method, so that the archiver of a `put` can live in registers.
    #[cold]
    #[inline(never)]
    fn overrun(measuring: bool, pos: usize, len: usize) -> Option<usize> {
        measuring.then(|| pos.saturating_add(len))
    }

    #[cold]
    #[inline(never)]
    fn push_measured(measure: NonNull<Measure>, layout: Layout) -> NonNull<[u8]> {
        // SAFETY: `measure` points to a local of `Archiver::measure`, which outlives the archiver and is
        // reached by nobody else while it runs.
        let measure = unsafe { &mut *measure.as_ptr() };
        let words = layout.size().div_ceil(16).max(1);
        measure.scratch_bytes += (words + 1) * 16;
        let mut block = vec![0u128; words];
        let start = NonNull::from(block.as_mut_slice()).cast::<u8>();
        // Moving a vector leaves its memory where it is.
        measure.scratch.push(block);
        NonNull::slice_from_raw_parts(start, layout.size())
    }
}

/// Zeros a longer range, or one at the very end of the segment.
///
/// # Safety
/// `at..at + length` is writable.
#[cold]
#[inline(never)]
unsafe fn zero(at: *mut u8, length: usize) {
    // SAFETY: the caller's promise.
    unsafe { at.write_bytes(0, length) };
}

/// Copies `bytes` to `at`; text of 8 to 32 bytes (most names and words) without a call.
///
/// # Safety
/// `at..at + bytes.len()` is writable and does not overlap `bytes`.
#[inline(always)]
unsafe fn copy(bytes: &[u8], at: *mut u8) {
    /// The first and the last `N` bytes, which cover N to 2 N bytes.
    ///
    /// # Safety
    /// As `copy`, and `N <= bytes.len() <= 2 * N`.
    #[inline(always)]
    unsafe fn ends<const N: usize>(bytes: &[u8], at: *mut u8) {
        debug_assert!(N <= bytes.len() && bytes.len() <= 2 * N);
        let (source, rest) = (bytes.as_ptr(), bytes.len() - N);
        // SAFETY: N <= bytes.len(), in source and target alike.
        unsafe { source.copy_to_nonoverlapping(at, N) };
        // SAFETY: rest + N = bytes.len(), in source and target alike.
        unsafe {
            source
                .wrapping_add(rest)
                .copy_to_nonoverlapping(at.wrapping_add(rest), N)
        };
    }
    match bytes.len() {
        // SAFETY: the caller's promise and the length matched.
        8..=16 => unsafe { ends::<8>(bytes, at) },
        // SAFETY: the caller's promise and the length matched.
        17..=32 => unsafe { ends::<16>(bytes, at) },
        // SAFETY: the caller's promise.
        length => unsafe { bytes.as_ptr().copy_to_nonoverlapping(at, length) },
    }
}

impl Fallible for Archiver {
    type Error = Full;
}

impl Positional for Archiver {
    #[inline(always)]
    fn pos(&self) -> usize {
        self.pos
    }
}

impl Writer<Full> for Archiver {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), Full> {
        // Cannot overflow: pos <= 1 GiB or so, and a slice is at most isize::MAX bytes.
        let next = self.pos + bytes.len();
        if next > self.end {
            self.pos =
                Archiver::overrun(self.measure.is_some(), self.pos, bytes.len()).ok_or(Full)?;
            return if self.pos > LONGEST {
                Err(Full)
            } else {
                Ok(())
            };
        }
        // SAFETY: pos <= next <= end <= capacity, so the address is inside the segment.
        let at = unsafe { self.base.as_ptr().add(self.pos) };
        // SAFETY: at + length = next <= capacity lies in memory that is ours alone to write; the source
        // is a live slice, which therefore cannot overlap it.
        unsafe { copy(bytes, at) };
        self.pos = next;
        Ok(())
    }
}

// SAFETY: `push_alloc` answers memory of at least the layout's size and alignment that nobody else uses
// until it is popped: the tail of the segment beyond `end`, which `write` and `place` never reach, or a
// block of its own when measuring. Pops come in reverse order of pushes (the trait's contract), so the
// tail shrinks and grows like a stack.
unsafe impl Allocator<Full> for Archiver {
    #[inline]
    unsafe fn push_alloc(&mut self, layout: Layout) -> Result<NonNull<[u8]>, Full> {
        if layout.align() > 16 {
            return Err(Full);
        }
        if let Some(measure) = self.measure {
            return Ok(Archiver::push_measured(measure, layout));
        }
        let Some(start) = self.end.checked_sub(layout.size()) else {
            return Err(Full);
        };
        let start = start & !(layout.align() - 1);
        if start < self.pos {
            return Err(Full);
        }
        self.end = start;
        // SAFETY: start <= capacity, so the address stays inside the segment; base is not null.
        let at = unsafe { self.base.add(start) };
        Ok(NonNull::slice_from_raw_parts(at, layout.size()))
    }

    #[inline]
    unsafe fn pop_alloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), Full> {
        if let Some(mut measure) = self.measure {
            // SAFETY: as in `push_measured`.
            let measure = unsafe { measure.as_mut() };
            measure.scratch.pop();
            return Ok(());
        }
        let start = ptr.as_ptr().addr() - self.base.as_ptr().addr();
        debug_assert_eq!(start, self.end, "scratch is popped in reverse order");
        // The few bytes of alignment before the next block stay lent until the end of this `put`.
        self.end = start + layout.size();
        Ok(())
    }
}

/// bytecheck's context over one entry from another process.
///
/// Like rkyv's own validator, without a lifetime: every archived part must lie in the bytes before its
/// parent, aligned, and no byte may belong to two parts.
#[derive(Debug)]
pub struct Checker {
    range: Range<usize>,
    depth: u32,
}

impl Fallible for Checker {
    type Error = Damaged;
}

// SAFETY: `check_subtree_ptr` answers Ok only for a pointer that is aligned and whose layout lies in the
// current range, a part of the slice `check_archive` borrows; push and pop narrow and restore that range
// the way rkyv's own validator does, so no two subtrees overlap.
unsafe impl ArchiveContext<Damaged> for Checker {
    fn check_subtree_ptr(&mut self, ptr: *const u8, layout: &Layout) -> Result<(), Damaged> {
        let start = ptr.addr();
        let Some(end) = start.checked_add(layout.size()) else {
            return Err(Damaged::new("a part lies beyond all memory"));
        };
        if start < self.range.start || end > self.range.end {
            return Err(Damaged::new("a part lies outside its place"));
        }
        if !start.is_multiple_of(layout.align()) {
            return Err(Damaged::new("a part is not aligned"));
        }
        Ok(())
    }

    unsafe fn push_subtree_range(
        &mut self,
        root: *const u8,
        end: *const u8,
    ) -> Result<Range<usize>, Damaged> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Damaged::new(format!("parts nest deeper than {DEEPEST}")));
        }
        let outer = end.addr()..self.range.end;
        self.range.end = root.addr();
        Ok(outer)
    }

    unsafe fn pop_subtree_range(&mut self, range: Range<usize>) -> Result<(), Damaged> {
        if range.start < self.range.end || self.depth == 0 {
            return Err(Damaged::new("parts overlap"));
        }
        self.depth -= 1;
        self.range = range;
        Ok(())
    }
}

/// Whether `bytes` hold a valid archive with its root of type `A` at `root`, all its parts before it.
///
/// # Errors
/// When they do not.
pub(crate) fn check_archive<A>(bytes: &[u8], root: usize) -> Result<(), Damaged>
where
    A: CheckBytes<Checker> + Portable,
{
    let Range { start, end } = bytes.as_ptr_range();
    let mut checker = Checker {
        range: start.addr()..end.addr(),
        depth: 0,
    };
    if root > bytes.len() {
        return Err(Damaged::new("the root lies beyond the entry"));
    }
    let root = start.wrapping_add(root).cast::<A>();
    checker.in_subtree(root, |checker| {
        // SAFETY: `in_subtree` has made sure that root is aligned and points to enough bytes of `bytes`.
        unsafe { A::check_bytes(root, checker) }
    })
}

/// The owned record of an archived one.
#[inline]
pub(crate) fn revive<T, A: Deserialize<T, Reviver>>(archived: &A) -> T {
    match archived.deserialize(Strategy::wrap(&mut ())) {
        Ok(record) => record,
        Err(never) => match never {},
    }
}
