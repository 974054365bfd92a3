//! A shard's stock of segments: lease and return.
//!
//! Owned by one shard and used only on its thread, so a lease is a pop and a return is a push. Segments
//! are reused last in, first out, while they are still in the cache.
//!
//! Invariant: `leased + free <= limit`, and every segment given back was leased here.

use std::sync::Arc;

use thalweg_core::ids::ShardId;

use crate::arena::{Arena, ArenaError};
use crate::segment::Segment;

/// How many cells are carved from the arena at once.
const CARVE: usize = 16;

/// The segments of one shard.
#[derive(Debug)]
pub struct SegmentPool {
    shard: ShardId,
    arena: Arc<Arena>,
    ticket: u32,
    free: Vec<Segment>,
    leased: usize,
    limit: usize,
    high_water: usize,
}

impl SegmentPool {
    /// The pool of `shard` over an arena it may share with other shards; at most `limit` segments are
    /// leased at a time.
    ///
    /// # Panics
    /// When the arena is cut into segments of another size.
    #[must_use]
    pub fn new(
        shard: ShardId,
        arena: Arc<Arena>,
        segment_size: usize,
        limit: usize,
    ) -> SegmentPool {
        assert_eq!(
            arena.segment_size(),
            segment_size,
            "the arena is cut into other segments"
        );
        let ticket = arena.register_pool();
        SegmentPool {
            shard,
            arena,
            ticket,
            free: Vec::new(),
            leased: 0,
            limit,
            high_water: 0,
        }
    }

    /// A pool with an arena of its own, of exactly `limit` segments, on huge pages where the system has them.
    ///
    /// # Errors
    /// When the size is not possible or the system refuses.
    pub fn with_own_arena(
        shard: ShardId,
        segment_size: usize,
        limit: usize,
    ) -> Result<SegmentPool, ArenaError> {
        let arena = Arena::reserve(limit.saturating_mul(segment_size), segment_size)?;
        if let Err(error) = arena.advise_huge_pages() {
            tracing::debug!(%error, %shard, "segments lie on small pages");
        }
        Ok(SegmentPool::new(shard, arena, segment_size, limit))
    }

    /// A segment, or `None` when the limit is reached or the arena used up.
    #[inline]
    pub fn lease(&mut self) -> Option<Segment> {
        if self.free.is_empty() {
            self.stock_up();
        }
        let mut segment = self.free.pop()?;
        segment.set_leased(true);
        self.leased += 1;
        self.high_water = self.high_water.max(self.leased);
        debug_assert!(self.leased <= self.limit, "a pool keeps to its limit");
        Some(segment)
    }

    /// Takes a segment back. One from beyond the pool (see [`Segment::overdraft`]) is freed.
    ///
    /// # Panics
    /// When the segment belongs to another pool: a lane has delivered it to the wrong shard.
    #[inline]
    pub fn give_back(&mut self, mut segment: Segment) {
        assert_eq!(
            segment.home(),
            self.shard,
            "a segment came back to the wrong shard"
        );
        if segment.is_overdraft() {
            return;
        }
        assert!(
            segment.is_of(&self.arena) && segment.ticket() == self.ticket,
            "a segment came back to another pool than it was leased from"
        );
        assert!(self.leased > 0, "more segments came back than were leased");
        segment.set_leased(false);
        self.leased -= 1;
        self.free.push(segment);
    }

    /// Segments out on lease now.
    #[inline]
    #[must_use]
    pub fn leased(&self) -> usize {
        self.leased
    }

    /// The most segments that may be out at a time.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The most segments that ever were out at a time.
    #[must_use]
    pub fn high_water(&self) -> usize {
        self.high_water
    }

    /// The shard this pool belongs to.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Bytes of one segment.
    #[inline]
    #[must_use]
    pub fn segment_size(&self) -> usize {
        self.arena.segment_size()
    }

    #[cold]
    fn stock_up(&mut self) {
        debug_assert!(self.free.is_empty(), "only an empty stock is filled");
        if self.arena.has_orphans() {
            self.arena.reclaim(self.shard, self.ticket, &mut self.free);
            debug_assert!(
                self.free.len() <= self.leased,
                "only leased segments get lost"
            );
            self.leased -= self.free.len();
        }
        let room = self.limit - self.leased - self.free.len();
        if self.free.is_empty() && room > 0 {
            let wanted = room.min(CARVE) as u32;
            self.arena
                .carve(wanted, self.shard, self.ticket, &mut self.free);
        }
    }
}

impl Drop for SegmentPool {
    fn drop(&mut self) {
        // Those at home fall vacant as they drop; those still out do so when they are dropped.
        self.arena.retire_pool(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_to_its_limit_and_takes_segments_home() {
        let mut pool = SegmentPool::with_own_arena(ShardId(1), 512, 3).unwrap();
        let out: Vec<_> = (0..3).map(|_| pool.lease().unwrap()).collect();
        assert!(pool.lease().is_none());
        assert_eq!((pool.leased(), pool.high_water()), (3, 3));
        for segment in out {
            pool.give_back(segment);
        }
        assert_eq!((pool.leased(), pool.high_water(), pool.limit()), (0, 3, 3));
        assert!(pool.lease().is_some());
    }

    #[test]
    fn segments_are_reused_last_in_first_out() {
        let mut pool = SegmentPool::with_own_arena(ShardId(0), 4096, 64).unwrap();
        let first = pool.lease().unwrap();
        let address = first.bytes().as_ptr();
        pool.give_back(first);
        assert_eq!(pool.lease().unwrap().bytes().as_ptr(), address);
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "segments come back from other threads"
    )]
    fn a_segment_lost_on_another_thread_is_found_again() {
        let mut pool = SegmentPool::with_own_arena(ShardId(0), 512, 2).unwrap();
        let (lost, kept) = (pool.lease().unwrap(), pool.lease().unwrap());
        assert!(pool.lease().is_none());
        std::thread::scope(|scope| {
            scope.spawn(move || drop(lost));
        });
        let again = pool.lease().unwrap();
        assert_eq!(pool.leased(), 2);
        assert!(pool.lease().is_none(), "the limit holds after a loss");
        pool.give_back(again);
        pool.give_back(kept);
        assert_eq!(pool.leased(), 0);
    }

    #[test]
    fn what_a_dropped_pool_held_is_free_for_others() {
        let arena = Arena::reserve(4 * 512, 512).unwrap();
        let mut old = SegmentPool::new(ShardId(0), Arc::clone(&arena), 512, 4);
        let out: Vec<_> = (0..4).map(|_| old.lease().unwrap()).collect();
        let mut out = out.into_iter();
        old.give_back(out.next().unwrap());
        drop(out.next());
        drop(old);
        let mut new = SegmentPool::new(ShardId(1), Arc::clone(&arena), 512, 4);
        let leases = [new.lease(), new.lease()].map(Option::unwrap);
        assert!(new.lease().is_none(), "two are still out");
        drop(out);
        let more = [new.lease(), new.lease()].map(Option::unwrap);
        assert!(new.lease().is_none());
        for segment in leases.into_iter().chain(more) {
            new.give_back(segment);
        }
        assert_eq!(new.leased(), 0);
    }

    #[test]
    fn pools_over_one_arena_share_it() {
        let arena = Arena::reserve(20 * 512, 512).unwrap();
        let mut pools: Vec<_> = (0..2)
            .map(|shard| SegmentPool::new(ShardId(shard), Arc::clone(&arena), 512, 100))
            .collect();
        let mut leases = Vec::new();
        loop {
            let before = leases.len();
            leases.extend(pools.iter_mut().filter_map(SegmentPool::lease));
            if leases.len() == before {
                break;
            }
        }
        let mut addresses: Vec<_> = leases.iter().map(|lease| lease.bytes().as_ptr()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 20);
    }

    #[test]
    #[should_panic(expected = "wrong shard")]
    fn a_segment_of_another_shard_is_refused() {
        let mut here = SegmentPool::with_own_arena(ShardId(0), 512, 1).unwrap();
        let mut there = SegmentPool::with_own_arena(ShardId(1), 512, 1).unwrap();
        here.give_back(there.lease().unwrap());
    }

    #[test]
    fn an_overdraft_is_freed_and_not_counted() {
        let mut pool = SegmentPool::with_own_arena(ShardId(0), 512, 1).unwrap();
        pool.give_back(Segment::overdraft(ShardId(0), 512));
        assert_eq!(pool.leased(), 0);
    }

    #[test]
    fn the_arena_of_a_pool_asks_for_huge_pages() {
        let mut pool = SegmentPool::with_own_arena(ShardId(0), 4096, 1024).unwrap();
        let mut segment = pool.lease().unwrap();
        let at = segment.bytes_mut().as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut holds = false;
        let advised = maps.lines().any(|line| {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let number = |text: &str| usize::from_str_radix(text, 16).ok();
            if let Some((Some(from), Some(to))) = range.map(|(a, b)| (number(a), number(b))) {
                holds = (from..to).contains(&at);
            }
            holds && line.starts_with("VmFlags:") && line.contains(" hg")
        });
        let huge = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        assert_eq!(advised, huge);
    }
}
