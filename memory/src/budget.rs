//! How many bytes somebody may hold: a tree of limits on one shard.
//!
//! The root is the shard's share of the process, below it slots, below them purposes (keyed state of an
//! operator, overdraft of an edge). A reservation counts at every level up to the root. Shard-local and
//! cheap: plain cells, no atomics.
//!
//! Invariant: `used <= limit` at every level, and a parent's `used` covers what its children use; a
//! child that goes away with bytes in use returns them to its parent.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use crate::share::Sharers;

/// A limit on bytes, with the limits above it. Clones share it.
#[derive(Clone)]
pub struct Budget {
    pub(crate) level: Rc<Level>,
}

pub(crate) struct Level {
    name: String,
    key: &'static str,
    /// The value of the setting the limit is a part of.
    configured: u64,
    pub(crate) limit: u64,
    pub(crate) used: Cell<u64>,
    high_water: Cell<u64>,
    pub(crate) sharers: Sharers,
    pub(crate) parent: Option<Budget>,
}

/// A reservation would go over a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the memory budget '{name}' has {used} of {limit} bytes in use and cannot give {asked} more: raise \
     {key} to {}kb or more", .needed.div_ceil(1024)
)]
pub struct BudgetExceeded {
    /// The budget that refused: the one asked or one above it.
    pub name: String,
    /// Bytes asked for.
    pub asked: u64,
    /// Bytes in use at that budget.
    pub used: u64,
    /// Its limit in bytes.
    pub limit: u64,
    /// The configuration key to raise.
    pub key: &'static str,
    /// Its value in bytes with which this would have been given.
    pub needed: u64,
}

impl Budget {
    /// A root of `limit` bytes, to be raised by `taskmanager.memory.managed.size`.
    #[must_use]
    pub fn new(name: impl Into<String>, limit: u64) -> Budget {
        Budget::part_of(name, limit, ("taskmanager.memory.managed.size", limit))
    }

    /// A root of `limit` bytes, which is its part of the setting `(key, bytes)`: its error says how far
    /// to raise that.
    #[must_use]
    pub fn part_of(
        name: impl Into<String>,
        limit: u64,
        (key, configured): (&'static str, u64),
    ) -> Budget {
        Budget::level(name.into(), limit, (key, configured), None)
    }

    /// A budget within this one: what it reserves counts here too.
    #[must_use]
    pub fn child(&self, name: impl Into<String>, limit: u64) -> Budget {
        let setting = (self.level.key, self.level.configured);
        Budget::level(name.into(), limit, setting, Some(self.clone()))
    }

    fn level(
        name: String,
        limit: u64,
        (key, configured): (&'static str, u64),
        parent: Option<Budget>,
    ) -> Budget {
        let (used, high_water) = (Cell::new(0), Cell::new(0));
        Budget {
            level: Rc::new(Level {
                name,
                key,
                configured,
                limit,
                used,
                high_water,
                sharers: Sharers::default(),
                parent,
            }),
        }
    }

    /// Takes `bytes`, here and at every level above, or nowhere.
    ///
    /// # Errors
    /// When some level would go over its limit; the error names that level.
    pub fn reserve(&self, bytes: u64) -> Result<(), BudgetExceeded> {
        // First ask all levels, then take: nothing to undo.
        for level in self.levels() {
            if level.limit - level.used.get() < bytes {
                return Err(level.exceeded(bytes, level.used.get(), level.limit));
            }
        }
        for level in self.levels() {
            let used = level.used.get() + bytes;
            debug_assert!(used <= level.limit, "every level was asked");
            level.used.set(used);
            level.high_water.set(level.high_water.get().max(used));
        }
        Ok(())
    }

    /// Gives `bytes` back, here and at every level above.
    ///
    /// # Panics
    /// When more is given back than was taken.
    pub fn release(&self, bytes: u64) {
        for level in self.levels() {
            level.release(bytes);
        }
    }

    /// Bytes that could be reserved now.
    #[must_use]
    pub fn left(&self) -> u64 {
        let left = self.levels().map(|level| level.limit - level.used.get());
        left.min().unwrap_or(0)
    }

    /// Bytes in use, those of its children included.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.level.used.get()
    }

    /// The most bytes ever in use.
    #[must_use]
    pub fn high_water(&self) -> u64 {
        self.level.high_water.get()
    }

    /// The limit in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.level.limit
    }

    /// The least limit, in bytes, of it and of those above it: more it never gives.
    #[must_use]
    pub fn least_limit(&self) -> u64 {
        self.levels().map(|level| level.limit).min().unwrap_or(0)
    }

    /// What it is called in errors and metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.level.name
    }

    fn levels(&self) -> impl Iterator<Item = &Level> {
        std::iter::successors(Some(&*self.level), |level| {
            level.parent.as_ref().map(|parent| &*parent.level)
        })
    }
}

impl Level {
    /// It has `limit` bytes to give, `used` are taken, and `asked` more were asked for.
    pub(crate) fn exceeded(&self, asked: u64, used: u64, limit: u64) -> BudgetExceeded {
        // The limit grows with the setting of which it is a part.
        let wanted = u128::from(used) + u128::from(asked);
        let needed = (wanted * u128::from(self.configured)).div_ceil(u128::from(limit.max(1)));
        BudgetExceeded {
            name: self.name.clone(),
            asked,
            used,
            limit,
            key: self.key,
            needed: u64::try_from(needed).unwrap_or(u64::MAX),
        }
    }

    fn release(&self, bytes: u64) {
        let used = self.used.get();
        assert!(
            used >= bytes,
            "budget '{}' holds {used} bytes, {bytes} came back",
            self.name
        );
        self.used.set(used - bytes);
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        // Whoever failed with reservations open must not eat its slot's budget for ever.
        if let (Some(parent), left @ 1..) = (&self.parent, self.used.get()) {
            parent.release(left);
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Budget({}: {} of {} bytes)",
            self.name(),
            self.used(),
            self.limit()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_counts_at_every_level() {
        let process = Budget::new("process", 100);
        let slot = process.child("slot-0", 60);
        let (state, edge) = (slot.child("state", 50), slot.child("edge", 50));
        state.reserve(40).unwrap();
        edge.reserve(20).unwrap();
        assert_eq!((process.used(), slot.used(), state.used()), (60, 60, 40));
        state.release(30);
        assert_eq!((process.used(), slot.used(), state.used()), (30, 30, 10));
        assert_eq!((process.high_water(), state.high_water()), (60, 40));
        let all = slot.child("all", u64::MAX);
        assert_eq!((all.least_limit(), state.least_limit()), (60, 50));
    }

    #[test]
    fn a_refusal_names_the_level_and_changes_nothing() {
        let process = Budget::part_of("process", 100, ("some.key", 4_000));
        let slot = process.child("slot-0", 200);
        slot.reserve(90).unwrap();
        let refused = slot.reserve(11).unwrap_err();
        assert_eq!(
            (refused.name.as_str(), refused.asked, refused.used),
            ("process", 11, 90)
        );
        // A fortieth of the setting is to be 101 bytes.
        assert_eq!(refused.needed, 4_040);
        let mend = "raise some.key to 4kb or more";
        assert!(refused.to_string().ends_with(mend), "{refused}");
        assert_eq!((process.used(), slot.used()), (90, 90));
        slot.reserve(10).unwrap();
    }

    #[test]
    fn what_a_lost_child_held_returns_to_its_parent() {
        let process = Budget::new("process", 100);
        let slot = process.child("slot-0", 60);
        let state = slot.child("state", 60);
        state.reserve(33).unwrap();
        drop(slot);
        assert_eq!(process.used(), 33, "the child keeps its parents alive");
        drop(state);
        assert_eq!(process.used(), 0);
    }

    #[test]
    #[should_panic(expected = "came back")]
    fn giving_back_more_than_was_taken_is_a_bug() {
        Budget::new("process", 100).release(1);
    }
}
