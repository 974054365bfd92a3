//! How many bytes somebody may hold: a tree of limits on one shard.
//!
//! The root is the shard's share of the process, below it slots, below them purposes (keyed state of an
//! operator, overdraft of an edge). A reservation counts at every level up to the root. Shard-local and
//! cheap: plain cells, no atomics.
//!
//! Invariant: `used <= limit` at every level, and a parent's `used` covers what its children use; a
//! child that goes away with bytes in use returns them to its parent.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// A limit on bytes, with the limits above it. Clones share it.
#[derive(Clone)]
pub struct Budget {
    level: Rc<Level>,
}

struct Level {
    name: String,
    key: &'static str,
    /// The value of the setting the limit is a part of.
    configured: u64,
    limit: u64,
    used: Cell<u64>,
    high_water: Cell<u64>,
    sharers: RefCell<Vec<Rc<Holding>>>,
    /// What those who share it said they hold.
    shared: Cell<u64>,
    parent: Option<Budget>,
}

/// One of those who share a budget evenly because each takes whatever it can get, and gives back when told.
/// The others of the budget, who take what they need, keep an eighth of it; what they take beyond that lessens
/// the shares.
pub struct Share {
    budget: Budget,
    /// The budget at or above it with the least limit: that one is shared.
    shared: Budget,
    holding: Rc<Holding>,
}

/// What one of those who share a budget said.
#[derive(Default)]
struct Holding {
    bytes: Cell<u64>,
    shrinks: Cell<bool>,
}

impl Share {
    /// How many bytes it may hold: less when more come to share, or when others need more.
    #[must_use]
    pub fn limit(&self) -> u64 {
        let level = &self.shared.level;
        let others = level.used.get().saturating_sub(level.shared.get());
        // They go on to take while somebody who shares makes room.
        let kept = (level.limit / 8).max(others.saturating_add(level.limit / 16));
        level.limit.saturating_sub(kept) / level.sharers.borrow().len().max(1) as u64
    }

    /// Tells how many bytes of the budget it holds, so that they are not taken for those of others.
    pub fn holds(&self, bytes: u64) {
        let shared = &self.shared.level.shared;
        shared.set(shared.get() - self.holding.bytes.replace(bytes) + bytes);
    }

    /// Tells whether it is at work on something after which it holds less.
    pub fn shrinks(&self, shrinks: bool) {
        self.holding.shrinks.set(shrinks);
    }

    /// Whether somebody else holds more than a share and is at work on holding less, so that what is missing here is
    /// to be waited for.
    #[must_use]
    pub fn others_shrink(&self) -> bool {
        let limit = self.limit();
        let sharers = self.shared.level.sharers.borrow();
        let mut others = (sharers.iter()).filter(|other| !Rc::ptr_eq(other, &self.holding));
        others.any(|other| other.shrinks.get() && other.bytes.get() > limit)
    }

    /// Says that `asked` bytes do not fit beside the `used` ones: in the share, or in what the budget has left where
    /// others hold more than theirs.
    #[must_use]
    pub fn exceeded(&self, asked: u64, used: u64) -> BudgetExceeded {
        let (level, limit) = (&self.shared.level, self.limit());
        match used.saturating_add(asked) > limit {
            true => level.exceeded(asked, used, limit),
            false => level.exceeded(asked, level.used.get(), level.limit),
        }
    }

    /// The budget that was asked for the share, from which it is reserved.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.holds(0);
        let mut sharers = self.shared.level.sharers.borrow_mut();
        sharers.retain(|sharer| !Rc::ptr_eq(sharer, &self.holding));
    }
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
                sharers: RefCell::default(),
                shared: Cell::new(0),
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

    /// Takes an even share of it, or of the budget above it that leaves less.
    #[must_use]
    pub fn share(&self) -> Share {
        let mut shared = self.clone();
        let mut above = self.level.parent.clone();
        while let Some(budget) = above {
            above = budget.level.parent.clone();
            if budget.limit() < shared.limit() {
                shared = budget;
            }
        }
        let holding = Rc::<Holding>::default();
        let mut sharers = shared.level.sharers.borrow_mut();
        sharers.push(Rc::clone(&holding));
        drop(sharers);
        Share {
            budget: self.clone(),
            shared,
            holding,
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
    fn exceeded(&self, asked: u64, used: u64, limit: u64) -> BudgetExceeded {
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
    fn those_who_share_get_less_when_more_come_and_never_all() {
        let slot = Budget::new("process", 1_000).child("slot-0", 800);
        let one = slot.child("task", u64::MAX).share();
        assert_eq!(one.limit(), 700);
        let other = slot.share();
        assert_eq!((one.limit(), other.limit()), (350, 350));
        drop(one);
        assert_eq!(other.limit(), 700);
        slot.reserve(300).unwrap();
        assert_eq!((slot.left(), other.budget().left()), (500, 500));
    }

    #[test]
    fn what_others_take_beyond_their_part_lessens_the_shares() {
        let slot = Budget::new("slot-0", 1_600);
        let (one, other) = (slot.share(), slot.share());
        slot.reserve(900).unwrap();
        one.holds(500);
        other.holds(300);
        assert_eq!(one.limit(), 700, "others hold 100");
        slot.reserve(300).unwrap();
        assert_eq!(one.limit(), 550, "others hold 400, and may take 100 more");
        drop(other);
        assert_eq!(one.limit(), 800, "whose memory comes back a moment later");
    }

    #[test]
    fn who_has_too_little_waits_for_those_who_hold_more_than_a_share_and_shrink() {
        let slot = Budget::new("slot-0", 1_600);
        let (one, other) = (slot.share(), slot.share());
        slot.reserve(1_590).unwrap();
        one.holds(1_500);
        other.holds(90);
        other.shrinks(true);
        assert!(
            !other.others_shrink(),
            "the one that holds too much does not"
        );
        one.shrinks(true);
        assert!(other.others_shrink() && !one.others_shrink());
        slot.release(900);
        one.holds(600);
        assert!(!other.others_shrink(), "nobody holds too much");
    }

    #[test]
    fn a_share_says_what_is_too_little_itself_or_all_there_is() {
        let setting = ("some.key", 1_600 << 10);
        let slot = Budget::part_of("slot-0", 1_600, setting);
        let (one, other) = (slot.share(), slot.share());
        slot.reserve(1_600).unwrap();
        one.holds(1_500);
        other.holds(100);
        assert_eq!(other.limit(), 700);
        let all = other.exceeded(20, 100);
        assert_eq!(
            (all.used, all.limit, all.needed),
            (1_600, 1_600, 1_620 << 10)
        );
        let share = one.exceeded(20, 1_500);
        assert_eq!((share.used, share.limit), (1_500, 700));
        assert!(share.needed > 3_200 << 10);
    }

    #[test]
    #[should_panic(expected = "came back")]
    fn giving_back_more_than_was_taken_is_a_bug() {
        Budget::new("process", 100).release(1);
    }
}
