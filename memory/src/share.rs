//! Memory that several take as much of as they can get, and give back when told.
//!
//! Who takes whatever there is, as a table that may overflow to disk does, has a share of a budget. Of memory that
//! nobody else wants one may have nearly all; where it does not suffice for all, those who *claim* more than they have
//! get even shares, and the others keep what they hold. What others take of the budget, who do not share, lessens
//! the shares: they keep an eighth of it.
//!
//! Invariant: shares together are no more than the budget, but for what those hold who have not shrunk yet. Lives on one
//! shard's thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use thalweg_core::shard::step::TaskWaker;

use crate::budget::{Budget, BudgetExceeded};

/// What is left to others than those who share: one part in so many.
const KEPT: u64 = 8;
/// They go on to take while somebody who shares makes room: one part in so many beside what they have.
const TAKEN_MEANWHILE: u64 = 16;
/// Who holds little may have this part of an even share at once: one in so many.
const AT_ONCE: u64 = 4;
/// Or so many bytes, if an even share is as much: tables of less hardly shrink.
const FEW_BYTES: u64 = 128 << 10;

/// A part of a budget that becomes more when others of the budget need less, and less when they need more.
pub struct Share {
    budget: Budget,
    /// The budget at or above it with the least limit: that one is shared.
    shared: Budget,
    holding: Rc<Holding>,
}

/// All who share a budget.
#[derive(Default)]
pub(crate) struct Sharers {
    all: RefCell<Vec<Rc<Holding>>>,
    /// What they said they hold.
    bytes: Cell<u64>,
    /// Counts what they said.
    said: Cell<u64>,
}

/// What one of those who share a budget said.
#[derive(Default)]
struct Holding {
    /// It has no more than it holds or wants, unless it takes it.
    modest: bool,
    bytes: Cell<u64>,
    /// How many bytes it could do with.
    wants: Cell<u64>,
    shrinks: Cell<bool>,
    waker: RefCell<Option<TaskWaker>>,
    /// Its limit, from what was said by then and what there was to share.
    known: Cell<Option<(u64, u64, u64)>>,
}

impl Share {
    /// How many bytes it may hold.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit_of(&self.holding)
    }

    fn limit_of(&self, holding: &Rc<Holding>) -> u64 {
        let (level, sharers) = (&self.shared.level, &self.shared.level.sharers);
        let others = level.used.get().saturating_sub(sharers.bytes.get());
        let meanwhile = level.limit / TAKEN_MEANWHILE;
        let kept = (level.limit / KEPT).max(others.saturating_add(meanwhile));
        let all = level.limit.saturating_sub(kept);
        let said = sharers.said.get();
        match holding.known.get() {
            Some((then, of, limit)) if (then, of) == (said, all) => limit,
            _ => {
                let limit = sharers.level_for(holding, all);
                holding.known.set(Some((said, all, limit)));
                limit
            }
        }
    }

    /// Tells how many bytes of the budget it holds, so that they are not taken for those of others.
    pub fn holds(&self, bytes: u64) {
        let sharers = &self.shared.level.sharers;
        let before = self.holding.bytes.replace(bytes);
        if before != bytes {
            (sharers.bytes).set(sharers.bytes.get() - before + bytes);
            sharers.say();
        }
    }

    /// Tells whether it could do with more than it has: if not, others may take what it does not hold.
    pub fn claims(&self, claims: bool) {
        self.wants(if claims { u64::MAX } else { 0 });
    }

    /// Tells how many bytes it could do with: others may take what is not among them, nor held by it.
    pub fn wants(&self, bytes: u64) {
        let before = self.holding.wants.replace(bytes);
        if before != bytes {
            self.shared.level.sharers.say();
            if bytes > before {
                self.urge();
            }
        }
    }

    /// Tells whether it is at work on something after which it holds less.
    pub fn shrinks(&self, shrinks: bool) {
        self.holding.shrinks.set(shrinks);
    }

    /// Tells who is to be woken when it comes to hold more than its share, as others claim theirs.
    pub fn is_of(&self, waker: &TaskWaker) {
        let mut known = self.holding.waker.borrow_mut();
        known.get_or_insert_with(|| waker.clone());
    }

    /// Whether it holds more than its share, as others claim theirs.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.holding.bytes.get() > self.limit()
    }

    /// Wakes the others that hold more than their share.
    pub fn urge(&self) {
        for other in self.others_beyond() {
            if let Some(waker) = &*other.waker.borrow() {
                waker.wake();
            }
        }
    }

    fn others_beyond(&self) -> Vec<Rc<Holding>> {
        let sharers = self.shared.level.sharers.all.borrow();
        let beyond = |other: &&Rc<Holding>| {
            !Rc::ptr_eq(other, &self.holding) && other.bytes.get() > self.limit_of(other)
        };
        sharers.iter().filter(beyond).map(Rc::clone).collect()
    }

    /// Whether somebody else holds more than its share and is at work on holding less, so that what is missing here is
    /// to be waited for.
    #[must_use]
    pub fn others_shrink(&self) -> bool {
        self.others_beyond().iter().any(|other| other.shrinks.get())
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
        let sharers = &self.shared.level.sharers;
        let mut all = sharers.all.borrow_mut();
        all.retain(|sharer| !Rc::ptr_eq(sharer, &self.holding));
        sharers.say();
    }
}

impl Sharers {
    /// Something was said: what was worked out before is old.
    fn say(&self) {
        self.said.set(self.said.get() + 1);
    }

    /// What one gets of `all` bytes: those who claim more and it itself get the same, the others what they hold or want,
    /// or the little that each may take at once who is not modest; but nobody more than they.
    fn level_for(&self, holding: &Rc<Holding>, all: u64) -> u64 {
        let sharers = self.all.borrow();
        let with_a_part = |it: &&Rc<Holding>| !it.modest || Rc::ptr_eq(it, holding);
        let parts = sharers.iter().filter(with_a_part).count();
        let even = all / parts.max(1) as u64;
        let at_once = (even / AT_ONCE).max(even.min(FEW_BYTES));
        let mut level = all / sharers.len().max(1) as u64;
        loop {
            let (mut left, mut equals) = (all, 0);
            for sharer in &*sharers {
                let least = if sharer.modest { 0 } else { at_once };
                let kept = sharer.bytes.get().max(sharer.wants.get()).max(least);
                if Rc::ptr_eq(sharer, holding) || kept > level {
                    equals += 1;
                } else {
                    left = left.saturating_sub(kept);
                }
            }
            // The more one gets, the more others are content with less than that.
            let next = left / equals.max(1);
            if next <= level {
                return level;
            }
            level = next;
        }
    }
}

impl Budget {
    /// Takes a share of it, or of the budget above it that leaves less.
    #[must_use]
    pub fn share(&self) -> Share {
        self.share_of(Holding::default())
    }

    /// A share for one that mostly needs little, as timers do: nothing is kept for it that it does not hold, or say that
    /// it wants.
    #[must_use]
    pub fn modest_share(&self) -> Share {
        self.share_of(Holding {
            modest: true,
            ..Holding::default()
        })
    }

    fn share_of(&self, holding: Holding) -> Share {
        let mut shared = self.clone();
        let mut above = self.level.parent.clone();
        while let Some(budget) = above {
            above = budget.level.parent.clone();
            if budget.limit() < shared.limit() {
                shared = budget;
            }
        }
        let holding = Rc::new(holding);
        let sharers = &shared.level.sharers;
        sharers.all.borrow_mut().push(Rc::clone(&holding));
        sharers.say();
        Share {
            budget: self.clone(),
            shared,
            holding,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MB: u64 = 1 << 20;

    fn shares(slot: &Budget, held: &[(u64, bool)]) -> Vec<Share> {
        let shares: Vec<Share> = held.iter().map(|_| slot.share()).collect();
        for (share, (bytes, claims)) in shares.iter().zip(held) {
            share.holds(*bytes);
            share.claims(*claims);
        }
        slot.reserve(held.iter().map(|(bytes, _)| bytes).sum())
            .unwrap();
        shares
    }

    fn limits(shares: &[Share]) -> Vec<u64> {
        shares.iter().map(Share::limit).collect()
    }

    #[test]
    fn one_may_have_nearly_all_while_the_others_want_little() {
        let slot = Budget::new("slot-0", 64 * MB);
        let held = [(20 * MB, true), (MB, false), (0, false), (0, false)];
        let shares = shares(&slot, &held);
        // Of 56 MB a fourth of an even share is left to each of the others.
        let little = 56 * MB / 4 / 4;
        assert_eq!(shares[0].limit(), 56 * MB - 3 * little);
        assert!(shares[2].limit() > 56 * MB / 4, "it may have the same");
    }

    #[test]
    fn those_who_claim_more_get_even_shares_of_what_the_others_do_not_hold() {
        let slot = Budget::new("slot-0", 64 * MB);
        let held = [(30 * MB, true), (4 * MB, false), (0, true)];
        let shares = shares(&slot, &held);
        let rest = 56 * MB - 56 * MB / 3 / 4;
        assert_eq!(shares[0].limit(), rest / 2, "it has to shrink");
        assert_eq!(shares[2].limit(), rest / 2);
        shares[2].claims(false);
        assert!(shares[0].limit() > 30 * MB);
    }

    #[test]
    fn who_holds_more_than_an_even_share_shrinks_when_another_claims_one() {
        let slot = Budget::new("slot-0", 64 * MB);
        let shares = shares(&slot, &[(40 * MB, false), (0, false)]);
        assert!(shares[0].limit() > 40 * MB);
        shares[1].claims(true);
        assert_eq!(limits(&shares), [28 * MB, 28 * MB]);
        assert!(!shares[1].others_shrink(), "it has not begun");
        shares[0].shrinks(true);
        assert!(shares[1].others_shrink());
        slot.release(12 * MB);
        shares[0].holds(28 * MB);
        assert!(!shares[1].others_shrink(), "it has done its part");
    }

    #[test]
    fn of_little_memory_each_has_its_even_share_at_once() {
        let slot = Budget::new("slot-0", MB / 2);
        let shares = shares(
            &slot,
            &[(100_000, true), (0, false), (0, false), (0, false)],
        );
        let even = MB / 2 / 8 * 7 / 4;
        assert!(
            limits(&shares)
                .iter()
                .all(|limit| even.abs_diff(*limit) < 4)
        );
    }

    #[test]
    fn for_who_is_modest_nothing_is_kept_that_it_does_not_hold_or_want() {
        let slot = Budget::new("slot-0", MB);
        let all = MB / 8 * 7;
        let one = slot.share();
        let modest: Vec<Share> = (0..15).map(|_| slot.modest_share()).collect();
        assert_eq!(one.limit(), all);
        slot.reserve(MB / 4).unwrap();
        modest[0].holds(MB / 4);
        assert_eq!(one.limit(), all - MB / 4);
        modest[1].wants(MB / 8);
        assert_eq!(one.limit(), all - MB / 4 - MB / 8);
        assert_eq!(modest[2].limit(), all - MB / 4 - MB / 8 - FEW_BYTES);
        one.claims(true);
        assert_eq!(modest[2].limit(), (all - MB / 4 - MB / 8) / 2);
    }

    proptest! {
        #[test]
        fn shares_together_are_no_more_than_there_is(
            held in proptest::collection::vec((0_u64..4 * MB, any::<bool>()), 1..12),
            modest in proptest::collection::vec(0_u64..4 * MB, 0..6),
            others in 0_u64..30 * MB,
        ) {
            let slot = Budget::new("slot-0", 128 * MB);
            slot.reserve(others).unwrap();
            let shares = shares(&slot, &held);
            let all = 128 * MB - (16 * MB).max(others + 8 * MB);
            let hold = |bytes: &u64| {
                let share = slot.modest_share();
                slot.reserve(*bytes).unwrap();
                share.holds(*bytes);
                share
            };
            let modest_shares: Vec<Share> = modest.iter().map(hold).collect();
            let limits = limits(&shares);
            let of_modest = modest_shares.iter().zip(&modest);
            let mut together: u64 = of_modest.map(|(share, bytes)| share.limit().min(*bytes)).sum();
            let even = (all - together) / held.len() as u64;
            for ((bytes, claims), limit) in held.iter().zip(&limits) {
                prop_assert!(*limit >= even, "{limit} of {even}");
                together += if *claims { *limit } else { *bytes.min(limit) };
            }
            prop_assert!(together <= all, "{limits:?} of {all}");
        }
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
}
