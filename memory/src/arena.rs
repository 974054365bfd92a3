//! The address space all segments of a size are cut from.
//!
//! Reserved once per process (or per pool in tests), touched lazily: the system gives a page of memory
//! when it is first written. Pools of any shard carve cells from it; that, and the return of lost
//! segments, is the only cross-thread work here, and none of it is on the record path.
//!
//! Invariant: a cell (index) is, at any time, in exactly one place: not yet carved, in one [`Segment`],
//! in the list of vacant cells, or in the list of orphans of one living pool.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::{MmapMut, MmapOptions};
use thalweg_core::ids::ShardId;

use crate::segment::{Segment, is_segment_size};

/// A reservation of memory, cut into segments of one size.
#[derive(Debug)]
pub struct Arena {
    map: MmapMut,
    segment_size: usize,
    cells: u32,
    next: AtomicU32,
    orphans: AtomicUsize,
    ledger: Mutex<Ledger>,
}

/// Cells that came back by another way than a pool.
#[derive(Debug, Default)]
struct Ledger {
    /// Cells no pool holds or counts.
    vacant: Vec<u32>,
    /// Cells dropped while leased: (ticket of the pool that still counts them, cell).
    orphans: Vec<(u32, u32)>,
    /// Tickets of the pools that live.
    pools: Vec<u32>,
    last_ticket: u32,
}

/// Why memory for segments could not be reserved.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// The segment size is not possible.
    #[error(
        "segments of {got} bytes are not possible: set taskmanager.memory.segment-size to a multiple of \
         512 bytes below 4 KiB, or to a multiple of 4 KiB"
    )]
    SegmentSize {
        /// Bytes asked for.
        got: usize,
    },
    /// Less than one segment, or more segments than can be numbered.
    #[error(
        "{bytes} bytes are not between 1 and {} segments of {segment_size} bytes: change \
         taskmanager.memory.network.size",
        u32::MAX
    )]
    Size {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes of one segment.
        segment_size: usize,
    },
    /// The system refused.
    #[error(
        "the system refused {bytes} bytes of address space for segments: lower \
         taskmanager.memory.network.size or raise the process's limit (ulimit -v)"
    )]
    Reserve {
        /// Bytes asked for.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
}

impl Arena {
    /// Reserves `bytes` (rounded down to whole segments) of address space. No memory is used yet.
    ///
    /// # Errors
    /// When the size of a segment or of the whole is not possible, or the system refuses.
    pub fn reserve(bytes: usize, segment_size: usize) -> Result<Arc<Arena>, ArenaError> {
        if !is_segment_size(segment_size) {
            return Err(ArenaError::SegmentSize { got: segment_size });
        }
        let cells = match u32::try_from(bytes / segment_size) {
            Ok(cells) if cells != 0 => cells,
            _ => {
                return Err(ArenaError::Size {
                    bytes,
                    segment_size,
                });
            }
        };
        let map = MmapOptions::new()
            .len(cells as usize * segment_size)
            .no_reserve_swap()
            .map_anon()
            .map_err(|source| ArenaError::Reserve { bytes, source })?;
        Ok(Arc::new(Arena {
            map,
            segment_size,
            cells,
            next: AtomicU32::new(0),
            orphans: AtomicUsize::new(0),
            ledger: Mutex::default(),
        }))
    }

    /// Asks the system to back the arena with huge pages; a refusal changes nothing but speed.
    ///
    /// # Errors
    /// When the system has no huge pages to give.
    pub fn advise_huge_pages(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return self.map.advise(memmap2::Advice::HugePage);
        #[cfg(not(target_os = "linux"))]
        return Err(io::ErrorKind::Unsupported.into());
    }

    /// Bytes of one segment.
    #[must_use]
    pub fn segment_size(&self) -> usize {
        self.segment_size
    }

    /// How many segments the arena can give in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.cells as usize
    }

    /// The first byte of cell `index`.
    pub(crate) fn cell(&self, index: u32) -> NonNull<u8> {
        assert!(index < self.cells, "cell {index} of {}", self.cells);
        // The map is written only through segments, each of which owns its cell: no reference to the
        // whole map is ever made.
        let start = self
            .map
            .as_ptr()
            .cast_mut()
            .wrapping_add(index as usize * self.segment_size);
        let Some(start) = NonNull::new(start) else {
            unreachable!("a mapping is never at address 0")
        };
        start
    }

    /// Announces a pool; its ticket marks its segments.
    pub(crate) fn register_pool(&self) -> u32 {
        let mut ledger = self.ledger();
        ledger.last_ticket += 1;
        let ticket = ledger.last_ticket;
        ledger.pools.push(ticket);
        ticket
    }

    /// The pool is gone: what it still counted is free for others.
    pub(crate) fn retire_pool(&self, ticket: u32) {
        let mut ledger = self.ledger();
        ledger.pools.retain(|pool| *pool != ticket);
        let (of_pool, others): (Vec<_>, Vec<_>) = ledger
            .orphans
            .drain(..)
            .partition(|(owner, _)| *owner == ticket);
        ledger.orphans = others;
        ledger
            .vacant
            .extend(of_pool.into_iter().map(|(_, cell)| cell));
        self.orphans.store(ledger.orphans.len(), Ordering::Release);
    }

    /// Up to `wanted` cells for the pool with `ticket`; fewer when the arena is nearly used up.
    pub(crate) fn carve(
        self: &Arc<Self>,
        wanted: u32,
        home: ShardId,
        ticket: u32,
        into: &mut Vec<Segment>,
    ) {
        let before = into.len();
        let claim =
            |next: u32| (next < self.cells).then(|| self.cells.min(next.saturating_add(wanted)));
        if let Ok(first) = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim)
        {
            let end = self.cells.min(first.saturating_add(wanted));
            // Highest first, so that leases start with the lowest address.
            into.extend(
                (first..end)
                    .rev()
                    .map(|cell| Segment::of_arena(Arc::clone(self), cell, home, ticket)),
            );
        }
        let missing = wanted as usize - (into.len() - before);
        if missing != 0 {
            let mut ledger = self.ledger();
            let kept = ledger.vacant.len().saturating_sub(missing);
            let cells = ledger.vacant.split_off(kept);
            drop(ledger);
            into.extend(
                cells
                    .into_iter()
                    .map(|cell| Segment::of_arena(Arc::clone(self), cell, home, ticket)),
            );
        }
    }

    /// A segment was dropped instead of given back.
    pub(crate) fn abandon(&self, cell: u32, ticket: u32, leased: bool) {
        let mut ledger = self.ledger();
        if leased && ledger.pools.contains(&ticket) {
            ledger.orphans.push((ticket, cell));
            self.orphans.store(ledger.orphans.len(), Ordering::Release);
        } else {
            ledger.vacant.push(cell);
        }
    }

    /// Whether some pool has lost segments. Cheap; may lag behind.
    pub(crate) fn has_orphans(&self) -> bool {
        self.orphans.load(Ordering::Acquire) != 0
    }

    /// The lost segments of the pool with `ticket`, found again; they are no longer leased.
    pub(crate) fn reclaim(self: &Arc<Self>, home: ShardId, ticket: u32, into: &mut Vec<Segment>) {
        let mut ledger = self.ledger();
        let (of_pool, others): (Vec<_>, Vec<_>) = ledger
            .orphans
            .drain(..)
            .partition(|(owner, _)| *owner == ticket);
        ledger.orphans = others;
        self.orphans.store(ledger.orphans.len(), Ordering::Release);
        drop(ledger);
        into.extend(
            of_pool
                .into_iter()
                .map(|(_, cell)| Segment::of_arena(Arc::clone(self), cell, home, ticket)),
        );
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic while the ledger was held leaves lists of cells, each still valid.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_sizes_are_refused_with_the_key_to_change() {
        let size = Arena::reserve(1 << 20, 1000)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(size.contains("taskmanager.memory.segment-size"), "{size}");
        let small = Arena::reserve(100, 512)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(small.contains("taskmanager.memory.network.size"), "{small}");
    }

    #[test]
    fn cells_do_not_overlap_and_are_aligned() {
        let arena = Arena::reserve(64 << 10, 4096).unwrap();
        let mut segments = Vec::new();
        arena.carve(100, ShardId(0), 1, &mut segments);
        assert_eq!(segments.len(), 16);
        for (at, segment) in segments.iter_mut().enumerate() {
            assert_eq!(segment.bytes().as_ptr() as usize % 4096, 0);
            segment.bytes_mut().fill(at as u8);
        }
        for (at, segment) in segments.iter().enumerate() {
            assert!(segment.bytes().iter().all(|byte| *byte == at as u8));
        }
    }
}
