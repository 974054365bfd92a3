//! Which page holds a hash: pages in the order of key groups, doubled one page at a time.
//!
//! A [`Place`] is the high half of the hash times the number of key groups: its upper half is the key
//! group, its lower half a uniform fraction within it. All pages cover equal spans of places; a table
//! with `2^d` pages per group finds a page by one shift. When the table has grown, the spans are halved
//! from the first to the last, one per call: `levels[0]` holds the pages already halved, `levels[1]` the
//! rest, and `done` says how far it got. No page is ever shared or listed twice.
//!
//! Invariant: `levels[0].len() == done`, except that both are "all" when no halving is under way; the
//! pages of a key group are adjacent. Lives on one shard's thread.

use std::ops::Range;

use thalweg_core::{KeyGroup, KeyHash, MaxParallelism};

use super::page::Page;

/// Entries per page, on average, above which a page is split: pages hold half to twice as many. Large
/// enough that all page headers of a million entries fit the first cache, small enough that a split is a
/// matter of microseconds.
const MEAN_ENTRIES: usize = 640;

/// Places of a key group: 2^32.
const GROUP_BITS: u32 = 32;

/// A hash as seen by the directory. Also carries what namespaces add.
#[derive(Clone, Copy)]
pub(crate) struct Place(pub(crate) u64);

/// A page, until the directory changes.
#[derive(Clone, Copy)]
pub(crate) struct PageIndex {
    level: usize,
    page: usize,
    /// The lowest bit of a place that chooses the page; those below choose the bucket.
    pub(crate) shift: u32,
}

/// All pages of a table.
pub(crate) struct Directory<S, N, V> {
    levels: [Vec<Page<S, N, V>>; 2],
    done: usize,
    shift: u32,
    base: u64,
    groups: Range<u16>,
    max: MaxParallelism,
}

impl<S, N, V> Directory<S, N, V> {
    /// One vacant page for each key group of `groups`.
    pub(crate) fn new(groups: Range<u16>, max: MaxParallelism) -> Self {
        assert!(
            groups.end as u32 <= max.get(),
            "key groups {groups:?} of {max}"
        );
        let mut pages = Vec::new();
        pages.resize_with(groups.len(), Page::new);
        let (done, base) = (pages.len(), u64::from(groups.start));
        Directory {
            levels: [pages, Vec::new()],
            done,
            shift: GROUP_BITS,
            base,
            groups,
            max,
        }
    }

    #[inline(always)]
    pub(crate) fn place(&self, hash: KeyHash, spread: u64) -> Place {
        let scaled = (hash.0 >> 32) * u64::from(self.max.get());
        debug_assert_eq!(scaled >> GROUP_BITS, u64::from(self.max.key_group(hash).0));
        // The namespace moves an entry within its group only.
        let within = (scaled as u32).wrapping_add(spread as u32);
        Place(scaled & (u64::MAX << GROUP_BITS) | u64::from(within))
    }

    #[inline(always)]
    pub(crate) fn index(&self, place: Place) -> PageIndex {
        debug_assert!(
            self.groups.contains(&((place.0 >> GROUP_BITS) as u16)),
            "key group {} came to the subtask of {:?}",
            place.0 >> GROUP_BITS,
            self.groups
        );
        let fine = ((place.0 >> self.shift).wrapping_sub(self.base)) as usize;
        // Not a branch: while pages are halved, either answer is as likely as the other.
        let level = usize::from(fine >= self.done);
        PageIndex {
            level,
            page: fine >> level,
            shift: self.shift + level as u32,
        }
    }

    /// The page at `fine`, counted in halved spans.
    fn fine_index(&self, fine: usize) -> PageIndex {
        let level = usize::from(fine >= self.done);
        PageIndex {
            level,
            page: fine >> level,
            shift: self.shift + level as u32,
        }
    }

    #[inline(always)]
    pub(crate) fn page(&self, index: PageIndex) -> &Page<S, N, V> {
        &self.levels[index.level][index.page]
    }

    #[inline(always)]
    pub(crate) fn page_mut(&mut self, index: PageIndex) -> &mut Page<S, N, V> {
        &mut self.levels[index.level][index.page]
    }

    pub(crate) fn groups(&self) -> Range<u16> {
        self.groups.clone()
    }

    /// The spans of the pages of `groups`, for [`Directory::step`].
    pub(crate) fn spans(&self, groups: Range<u16>) -> Range<usize> {
        let clip = |group: u16| group.clamp(self.groups.start, self.groups.end) - self.groups.start;
        let depth = GROUP_BITS - self.shift;
        (clip(groups.start) as usize) << depth..(clip(groups.end) as usize) << depth
    }

    /// The page that begins at span `at`, its key group, and the span after it.
    pub(crate) fn step(&self, at: usize) -> (KeyGroup, &Page<S, N, V>, usize) {
        let index = self.fine_index(at);
        let group = self.groups.start as usize + (at >> (GROUP_BITS - self.shift));
        (
            KeyGroup(group as u16),
            self.page(index),
            at + 1 + index.level,
        )
    }

    fn page_count(&self) -> usize {
        let already_halved = if self.halving() { self.done / 2 } else { 0 };
        self.levels[0].len() + self.levels[1].len() - already_halved
    }

    fn halving(&self) -> bool {
        !self.levels[1].is_empty()
    }

    /// Whether a table of `entries` wants a page split.
    #[inline(always)]
    pub(crate) fn wants_split(&self, entries: usize) -> bool {
        entries > self.page_count() * MEAN_ENTRIES
    }

    /// The page that is split next and how many of its entries go up; `None` when spans are at their
    /// smallest.
    pub(crate) fn next_split(&mut self) -> Option<Split> {
        if !self.halving() {
            if self.shift <= 1 {
                return None;
            }
            let all = std::mem::take(&mut self.levels[0]);
            self.levels = [Vec::with_capacity(all.len() * 2), all];
            self.done = 0;
            self.shift -= 1;
            self.base *= 2;
        }
        let page = &self.levels[1][self.done / 2];
        let high = page.count_high(self.shift);
        Some(Split {
            low: page.entries() - high,
            high,
            old_bytes: page.bytes(),
        })
    }

    /// Splits the page that `next_split` looked at.
    pub(crate) fn split(&mut self, split: &Split) {
        let old = &mut self.levels[1][self.done / 2];
        let (mut low, mut high) = (Page::with_room(split.low), Page::with_room(split.high));
        old.split_into(self.shift, &mut low, &mut high);
        assert_eq!(
            (low.entries(), high.entries()),
            (split.low, split.high),
            "nothing is lost"
        );
        self.levels[0].push(low);
        self.levels[0].push(high);
        self.done += 2;
        if self.done == 2 * self.levels[1].len() {
            // All are halved: until the next doubling there is one level.
            self.levels[1] = Vec::new();
        }
    }

    /// Bytes of one page's place in the directory.
    pub(crate) fn header_bytes() -> u64 {
        size_of::<Page<S, N, V>>() as u64
    }
}

/// What a split will make of a page.
pub(crate) struct Split {
    pub(crate) low: usize,
    pub(crate) high: usize,
    pub(crate) old_bytes: u64,
}
