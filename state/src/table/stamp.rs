//! The stamp beside an entry: when it last changed, whether a copy may hold it, which cut wrote it last.
//!
//! Invariant: a stamp is never taken for older than it is. The *generation* counts up with each cut, 22 bits
//! of it are kept, so an entry untouched for two million cuts may look changed again: it is then written
//! once more than needed, and nothing is missed. The *mark* is the number of the last full cut that wrote
//! the entry, or that was there when it was changed. Plain data, lives on any thread.

/// Bits of the mark.
const MARK: u32 = 0xFF;
/// Set from the insertion of an entry until a cut writes it: no copy holds it.
const NEW: u32 = MARK + 1;
/// Set while a cold run holds the entry as it is: every change clears it.
const COLD: u32 = NEW << 1;
const SHIFT: u32 = 10;
/// Generations there are.
const GENERATIONS: u32 = 1 << (u32::BITS - SHIFT);
/// More generations apart than this are not told from a few the other way round.
const FAR: u32 = GENERATIONS / 2;

/// Counts cuts, two for each: what a cut has written stands between what came before and what comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    /// That of what was restored.
    pub(crate) const RESTORED: Generation = Generation(0);
    /// That of a table that was never cut.
    pub(crate) const FIRST: Generation = Generation(1);

    /// So many generations on.
    pub(crate) fn on(self, by: u32) -> Generation {
        Generation((self.0 + by) % GENERATIONS)
    }

    /// How many generations `self` is behind `since`.
    fn behind(self, since: Generation) -> u32 {
        self.0.wrapping_sub(since.0) % GENERATIONS
    }

    /// Whether `since` is so long ago that its changes can no longer be told.
    pub(crate) fn is_far_from(self, since: Generation) -> bool {
        self.behind(since) > FAR
    }
}

/// What stands beside an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) u32);

impl Stamp {
    /// Of a change in `generation` while `mark` was the last full cut.
    pub(crate) fn of(generation: Generation, mark: u8) -> Stamp {
        Stamp(generation.0 << SHIFT | u32::from(mark))
    }

    /// The same, of an entry that no copy holds.
    #[inline(always)]
    pub(crate) fn made_new(self) -> Stamp {
        Stamp(self.0 | NEW)
    }

    /// This stamp, for an entry that was stamped `old`: what no copy held before, none holds now.
    #[inline(always)]
    pub(crate) fn over(self, old: u32) -> u32 {
        self.0 | (old & NEW)
    }

    /// Whether no copy holds the entry.
    pub(crate) fn is_new(self) -> bool {
        self.0 & NEW != 0
    }

    /// This stamp, for an entry that a cold run holds as it is; so do copies, of which cold runs are a part.
    pub(crate) fn made_cold(self) -> Stamp {
        Stamp((self.0 & !NEW) | COLD)
    }

    /// Whether a cold run holds the entry as it is.
    #[inline(always)]
    pub(crate) fn is_cold(self) -> bool {
        self.0 & COLD != 0
    }

    fn generation(self) -> Generation {
        Generation(self.0 >> SHIFT)
    }
}

/// Which entries a cut has still to write, told from their stamps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// Those changed in `since` or later, and before `written`.
    Changed {
        /// The first generation of changes.
        since: Generation,
        /// The generation of what was written.
        written: Generation,
    },
    /// All without this mark.
    Unmarked {
        /// The number of the full cut.
        mark: u8,
        /// Whether later cuts build on it.
        base: bool,
    },
}

impl Wanted {
    /// Whether an entry with this stamp is still to be written.
    #[inline(always)]
    pub(crate) fn is_pending(self, stamp: Stamp) -> bool {
        match self {
            Wanted::Changed { since, written } => {
                stamp.generation().behind(since) < written.behind(since)
            }
            Wanted::Unmarked { mark, .. } => stamp.0 & MARK != u32::from(mark),
        }
    }

    /// Whether it is only what changed.
    pub(crate) fn are_changes(self) -> bool {
        matches!(self, Wanted::Changed { .. })
    }

    /// The stamp of an entry that was pending and is written.
    #[inline(always)]
    pub(crate) fn written(self, stamp: Stamp) -> Stamp {
        match self {
            Wanted::Changed { written, .. } => {
                Stamp(written.0 << SHIFT | (stamp.0 & (MARK | COLD)))
            }
            Wanted::Unmarked { mark, base } => {
                let held = if base { NEW } else { 0 };
                Stamp((stamp.0 & !(MARK | held)) | u32::from(mark))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_from_its_generation_on_even_around_the_end_of_the_numbers() {
        for base in [1, GENERATIONS - 4, GENERATIONS - 2] {
            let first = Generation(base);
            let (written, now) = (first.on(3), first.on(4));
            let wanted = Wanted::Changed {
                since: first.on(1),
                written,
            };
            let pending = |by| wanted.is_pending(Stamp::of(first.on(by), 9));
            assert_eq!(
                [0, 1, 2, 3, 4].map(pending),
                [false, true, true, false, false]
            );
            let stamp = Stamp::of(first.on(2), 9).made_new();
            assert_eq!(wanted.written(stamp), Stamp::of(written, 9));
            assert!(!now.is_far_from(first) && first.is_far_from(now));
        }
    }

    #[test]
    fn a_full_cut_keeps_when_an_entry_changed_and_a_copy_that_no_copy_holds_it() {
        let stamp = Stamp::of(Generation(7), 3).made_new();
        let base = Wanted::Unmarked {
            mark: 4,
            base: true,
        };
        let copy = Wanted::Unmarked {
            mark: 4,
            base: false,
        };
        assert!(base.is_pending(stamp) && copy.is_pending(stamp));
        assert_eq!(base.written(stamp), Stamp::of(Generation(7), 4));
        assert_eq!(copy.written(stamp), Stamp::of(Generation(7), 4).made_new());
        assert!(!base.is_pending(base.written(stamp)) && !copy.is_pending(copy.written(stamp)));
        assert_eq!(
            Stamp::of(Generation(8), 4).over(stamp.0),
            Stamp::of(Generation(8), 4).made_new().0
        );
    }
}
