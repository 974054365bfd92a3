//! Banks: parts of the order of timers that are on disk.
//!
//! Plain bookkeeping: where each begins, what is read of it, and when the first of its timers is due. Invariants: banks
//! lie side by side, the last has no end; piles are ordered by age, the oldest first. Lives on one shard's thread.

use thalweg_core::Timestamp;

use super::super::order::Order;
use crate::lsm::Pile;
use crate::snapshot::StateSize;

/// One part of the order.
pub(super) struct Bank {
    pub(super) start: Order,
    /// The time of the first timer in its piles; there may be none in them, as they say what was deleted too.
    earliest: Option<Timestamp>,
    /// No row of its piles lies behind this place.
    last: Order,
    pub(super) piles: Vec<Pile>,
}

/// All banks, in the order of their timers.
#[derive(Default)]
pub(super) struct Banks {
    list: Vec<Bank>,
    /// Of all piles: it is asked for with each batch.
    size: StateSize,
}

impl Banks {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Where bank number `at` begins.
    pub(super) fn start(&self, at: usize) -> Option<Order> {
        self.list.get(at).map(|bank| bank.start)
    }

    /// Where they begin.
    pub(super) fn starts(&self) -> impl Iterator<Item = Order> {
        self.list.iter().map(|bank| bank.start)
    }

    /// The number of the bank in which a place of the order lies; none before the first.
    pub(super) fn find(&self, order: Order) -> Option<usize> {
        let behind = self.list.partition_point(|bank| bank.start <= order);
        behind.checked_sub(1)
    }

    /// Whether a place of the order lies in a bank.
    #[inline]
    pub(super) fn cover(&self, order: Order) -> bool {
        self.list.first().is_some_and(|bank| order >= bank.start)
    }

    /// Whether a timer there may be on disk.
    #[inline]
    pub(super) fn may_hold(&self, order: Order, at: Timestamp) -> bool {
        self.cover(order) && {
            let found = self.find(order).and_then(|found| self.list.get(found));
            found.is_some_and(|bank| {
                bank.earliest.is_some_and(|earliest| earliest <= at) && order <= bank.last
            })
        }
    }

    /// The time of the first timer on disk.
    pub(super) fn earliest(&self) -> Option<Timestamp> {
        self.list.iter().find_map(|bank| bank.earliest)
    }

    /// Where the first bank begins and when it is due, if that is at `upto`.
    pub(super) fn first_due(&self, upto: Timestamp) -> Option<(Order, Timestamp)> {
        // In one before it nothing is left but what was deleted.
        let bank = self.list.iter().find(|bank| bank.earliest.is_some())?;
        let earliest = bank.earliest.filter(|earliest| *earliest <= upto)?;
        Some((self.list.first()?.start, earliest))
    }

    /// Timers of the bank that begins at `start` are on their way to the disk, the first of them due at `earliest`, the
    /// last of them at `last`. A bank that begins where there is none takes the part of the order behind it from the one
    /// before, which has nothing there on disk.
    pub(super) fn open(&mut self, start: Order, earliest: Option<Timestamp>, last: Order) {
        let behind = self.list.partition_point(|bank| bank.start <= start);
        let before = behind.checked_sub(1).and_then(|at| self.list.get(at));
        if before.is_none_or(|bank| bank.start < start) {
            debug_assert!(
                before.is_none_or(|bank| bank.last < start),
                "piles are of one bank"
            );
            let piles = Vec::new();
            let bank = Bank {
                start,
                earliest: None,
                last,
                piles,
            };
            self.list.insert(behind, bank);
        }
        let bank = self.at_mut(start);
        bank.earliest = [bank.earliest, earliest].into_iter().flatten().min();
        bank.last = bank.last.max(last);
    }

    /// Behind which place bank number `at` has nothing on disk.
    pub(super) fn last(&self, at: usize) -> Option<Order> {
        self.list.get(at).map(|bank| bank.last)
    }

    /// They are there.
    pub(super) fn add(&mut self, start: Order, pile: Pile) {
        self.size += pile.size();
        self.at_mut(start).piles.push(pile);
    }

    fn at_mut(&mut self, start: Order) -> &mut Bank {
        match self.find(start).and_then(|found| self.list.get_mut(found)) {
            Some(bank) if bank.start == start => bank,
            _ => unreachable!("a bank that was opened stays until it is read"),
        }
    }

    /// Makes one of the last two. Answers false where there are not two.
    pub(super) fn join_last(&mut self) -> bool {
        if self.list.len() < 2 {
            return false;
        }
        let Some(last) = self.list.pop() else {
            return false;
        };
        let Some(bank) = self.list.last_mut() else {
            return false;
        };
        bank.earliest = [bank.earliest, last.earliest].into_iter().flatten().min();
        bank.last = bank.last.max(last.last);
        bank.piles.extend(last.piles);
        true
    }

    /// Takes the first bank out.
    pub(super) fn take_first(&mut self) -> Option<Bank> {
        let first = (!self.list.is_empty()).then(|| self.list.remove(0))?;
        self.size = StateSize::default();
        for pile in self.list.iter().flat_map(|bank| &bank.piles) {
            self.size += pile.size();
        }
        Some(first)
    }

    /// The piles of all banks. No two banks have rows of one timer.
    pub(super) fn piles(&self) -> impl DoubleEndedIterator<Item = &Pile> {
        self.list.iter().flat_map(|bank| &bank.piles)
    }

    /// Their size.
    pub(super) fn size(&self) -> StateSize {
        self.size
    }
}
