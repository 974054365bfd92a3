//! A walk over all timers in the order of key groups, in slices.
//!
//! Entered by what copies timers. They are kept by time, not by key group, so the walk makes several rounds
//! over them: each collects the timers of some key groups, sorts them and shows them. Invariant: a timer
//! that is there all the time is visited exactly once, whatever is registered, deleted or fired between
//! two slices. Lives on one shard's thread.

use std::ops::{ControlFlow, Range};

use thalweg_core::KeyGroup;
use thalweg_memory::{Budget, Key};

use super::order::{Order, Timer};
use super::queue::TimerQueue;
use crate::error::StateError;
use crate::table::{Account, Namespace, Scan};

/// Timers that are collected at once.
const ROUND: usize = 64 << 10;
/// Rounds a walk makes at most.
const ROUNDS: usize = 16;

/// Where a walk over timers stands. Good for one queue.
pub struct TimerCursor<K: Key, N: Namespace = ()> {
    /// Groups not yet collected, then those being collected.
    left: Range<u16>,
    collecting: Option<Collecting>,
    /// The last is shown next.
    collected: Vec<Timer<K, N>>,
    account: Account,
}

struct Collecting {
    groups: Range<u16>,
    from: Order,
}

impl<K: Key, N: Namespace> TimerCursor<K, N> {
    /// A walk over the timers of `groups`, whose memory counts in `budget`: at most about a sixteenth of
    /// what the queue has.
    #[must_use]
    pub fn new(groups: Range<u16>, budget: Budget) -> TimerCursor<K, N> {
        TimerCursor {
            left: groups,
            collecting: None,
            collected: Vec::new(),
            account: Account::new(budget),
        }
    }

    /// Begins a round over the next groups, of about [`ROUND`] timers.
    fn begin(&mut self, timers: usize) -> bool {
        if self.left.is_empty() {
            return false;
        }
        let rounds = (timers / ROUND + 1).min(ROUNDS);
        let groups = (self.left.len().div_ceil(rounds)).max(1) as u16;
        let end = self.left.start.saturating_add(groups).min(self.left.end);
        self.collecting = Some(Collecting {
            groups: self.left.start..end,
            from: Order::FIRST,
        });
        self.left.start = end;
        true
    }

    /// Makes room for `more` timers with `heap` bytes.
    fn make_room(&mut self, more: usize, heap: u64) -> Result<(), StateError> {
        let (len, capacity) = (self.collected.len(), self.collected.capacity());
        let wanted = if len + more > capacity {
            (len + more).max(capacity * 2)
        } else {
            capacity
        };
        let places = (wanted - capacity) * size_of::<Timer<K, N>>();
        self.account.reserve(places as u64 + heap)?;
        self.collected.reserve_exact(wanted - len);
        Ok(())
    }

    /// Forgets what was collected and shown.
    fn empty(&mut self) {
        debug_assert!(self.collected.is_empty(), "all was shown");
        self.collected = Vec::new();
        self.account.release(self.account.bytes());
    }
}

impl<K: Key, N: Namespace> TimerQueue<K, N> {
    /// Visits timers in the order of key groups from where `cursor` stands, looking at about `budget` of
    /// them, until `visit` breaks; the timer at which it broke counts as visited.
    ///
    /// Timers registered, deleted or fired between two slices may be visited or not.
    ///
    /// # Errors
    /// When the cursor's budget has no room for what it collects: call again when there is.
    pub fn scan(
        &self,
        cursor: &mut TimerCursor<K, N>,
        mut budget: usize,
        mut visit: impl FnMut(KeyGroup, &Timer<K, N>) -> ControlFlow<()>,
    ) -> Result<Scan, StateError> {
        loop {
            if let Some(collecting) = &cursor.collecting {
                let (groups, from) = (collecting.groups.clone(), collecting.from);
                let looked = self.collect(cursor, &groups, from)?;
                budget = budget.saturating_sub(looked);
            } else if let Some(timer) = cursor.collected.pop() {
                budget = budget.saturating_sub(1);
                let broke = visit(self.max_parallelism().key_group(timer.hash), &timer).is_break();
                if cursor.collected.is_empty() {
                    cursor.empty();
                }
                if broke {
                    return Ok(Scan::More);
                }
            } else if !cursor.begin(self.len()) {
                return Ok(Scan::Done);
            }
            if budget == 0 {
                return Ok(Scan::More);
            }
        }
    }

    /// Collects the timers of one stretch that belong to `groups`; answers at how many it looked.
    fn collect(
        &self,
        cursor: &mut TimerCursor<K, N>,
        groups: &Range<u16>,
        from: Order,
    ) -> Result<usize, StateError> {
        let max = self.max_parallelism();
        let (timers, end) = self.part(from);
        let wanted = |timer: &&Timer<K, N>| {
            let order = timer.order();
            order >= from
                && end.is_none_or(|end| order < end)
                && groups.contains(&max.key_group(timer.hash).0)
        };
        let (mut looked, mut more, mut heap) = (1, 0, 0);
        for timer in timers.clone() {
            looked += 1;
            if wanted(&timer) {
                more += 1;
                heap += timer.heap_bytes();
            }
        }
        cursor.make_room(more, heap)?;
        cursor
            .collected
            .extend(timers.filter(wanted).map(Timer::copy));
        match (&mut cursor.collecting, end) {
            (Some(collecting), Some(end)) => collecting.from = end,
            (done, _) => {
                *done = None;
                let rank = |timer: &Timer<K, N>| max.key_group(timer.hash);
                cursor.collected.sort_unstable_by(|left, right| {
                    rank(right)
                        .cmp(&rank(left))
                        .then_with(|| right.compare(left))
                });
            }
        }
        Ok(looked)
    }
}
