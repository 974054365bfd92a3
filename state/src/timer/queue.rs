//! The queue: registers timers by key and time, gives them back in order when they are due.
//!
//! Entered per registration and per firing. The order of timers (see `order`) is cut into stretches of at
//! most some hundred timers, found by a small ordered directory; within a stretch timers lie unsorted in a
//! hash table. So registering costs one search in the directory and one probe, whether ten million timers
//! have as many times or share one; and one stretch at a time is sorted, in the first caches, when it is
//! reached. Per timer registered and fired that is 80 to 140 ns with up to ten million timers whose times
//! come about in order, where a table per time took 130 to 220 ns and a heap with a set 65 to 790 ns
//! (`bench/micro/timer_queue.rs`).
//!
//! Invariants: a timer is in exactly one place, `due` or the stretch that holds its part of the order; the
//! first stretch begins where the order begins; while there are timers in `due`, they are all of the part
//! of the order before the other stretches. Lives on one shard's thread.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use thalweg_core::{KeyHash, MaxParallelism, Timestamp};
use thalweg_memory::{Budget, Key};

use super::cut::TimerCut;
use super::due::Due;
use super::order::{Order, Timer};
use super::stretch::{FULL, Stretch};
use crate::error::StateError;
use crate::table::{Account, Namespace};

/// Bytes of the directory for each stretch, in nodes that are on average two thirds full.
pub(super) const BYTES_OF_ENTRY: u64 = 120;

/// The timers of one keyed operator in one subtask, in event time or in processing time.
///
/// A timer is a key, a namespace and a time; registering it twice makes one timer. Timers fire in the
/// order of their times; within one time in the order of key groups, and within a key group in an order
/// that depends on the timers alone.
///
/// ```
/// use thalweg_core::{MaxParallelism, Timestamp};
/// use thalweg_memory::{Budget, Key, Str};
/// use thalweg_state::TimerQueue;
///
/// let budget = Budget::new("slot-0", 1 << 20);
/// let mut timers = TimerQueue::<Str>::new(0..128, MaxParallelism::default(), budget);
/// for (word, at) in [("late", 30), ("soon", 10), ("soon", 10)] {
///     timers.register(Str::hash(&word), &word, &(), Timestamp(at))?;
/// }
/// assert_eq!((timers.len(), timers.next_due()), (2, Some(Timestamp(10))));
///
/// let fired = timers.pop_due(Timestamp(20)).map(|timer| (timer.key.to_string(), timer.at));
/// assert_eq!(fired, Some(("soon".to_owned(), Timestamp(10))));
/// assert!(timers.pop_due(Timestamp(20)).is_none());
/// # Ok::<(), thalweg_state::StateError>(())
/// ```
pub struct TimerQueue<K: Key, N: Namespace = ()> {
    pub(super) due: Due<K, N>,
    pub(super) stretches: BTreeMap<Order, Stretch<K, N>>,
    pub(super) len: usize,
    pub(super) account: Account,
    groups: Range<u16>,
    max: MaxParallelism,
    /// The cut that is being written.
    pub(super) cut: Option<Box<TimerCut<K, N>>>,
}

impl<K: Key, N: Namespace> TimerQueue<K, N> {
    /// A queue without timers for `groups` of `max` key groups, whose memory counts in `budget`.
    ///
    /// # Panics
    /// When `groups` ends above `max`.
    #[must_use]
    pub fn new(groups: Range<u16>, max: MaxParallelism, budget: Budget) -> TimerQueue<K, N> {
        assert!(
            u32::from(groups.end) <= max.get(),
            "key groups {groups:?} of {max:?}"
        );
        TimerQueue {
            due: Due::new(),
            stretches: BTreeMap::from([(Order::FIRST, Stretch::new())]),
            len: 0,
            account: Account::new(budget),
            groups,
            max,
            cut: None,
        }
    }

    /// The number of timers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no timer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes held: tables, directory, what keys have on the heap, and rows kept for a cut.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let kept_for_cut = self.cut.as_ref().map_or(0, |cut| cut.account.bytes());
        self.account.bytes() + kept_for_cut
    }

    /// The key groups this queue is for.
    #[must_use]
    pub fn groups(&self) -> Range<u16> {
        self.groups.clone()
    }

    /// The number of key groups there are.
    #[must_use]
    pub fn max_parallelism(&self) -> MaxParallelism {
        self.max
    }

    /// Registers a timer for `key`, whose hash is `hash`, in `namespace` at `at`. Answers false if it was
    /// registered already. A time that has passed is due at once.
    ///
    /// # Errors
    /// When the budget has no room: nothing is registered.
    #[inline]
    pub fn register(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        at: Timestamp,
    ) -> Result<bool, StateError> {
        debug_assert_eq!(hash, K::hash(key), "the hash that travelled");
        debug_assert!(
            self.groups.contains(&self.max.key_group(hash).0),
            "the key of another subtask"
        );
        let order = Order::of(at, hash);
        if self.due.covers(order) {
            return self.register_due(hash, key, namespace, at);
        }
        let mut stretch = stretch_of(&mut self.stretches, order).1;
        if stretch.is_full() {
            self.cut(order)?;
            stretch = stretch_of(&mut self.stretches, order).1;
        }
        let new = stretch.insert(&mut self.account, hash, key, namespace, at)?;
        self.len += usize::from(new);
        if let Some(cut) = &mut self.cut
            && new
        {
            cut.came(hash, key, namespace, at);
        }
        Ok(new)
    }

    /// Deletes a timer; false if there is none.
    #[inline]
    pub fn delete(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N, at: Timestamp) -> bool {
        let order = Order::of(at, hash);
        let account = &mut self.account;
        let deleted = if self.due.covers(order) {
            self.due.remove(account, hash, key, namespace, at)
        } else {
            let (start, stretch) = stretch_of(&mut self.stretches, order);
            let deleted = stretch.remove(account, hash, key, namespace, at);
            if deleted && stretch.len() == 0 {
                let start = *start;
                self.drop_empty(start);
            }
            deleted
        };
        self.len -= usize::from(deleted);
        if let Some(cut) = &mut self.cut
            && deleted
        {
            cut.went(&Timer {
                at,
                hash,
                key: K::store(key),
                namespace: *namespace,
            });
        }
        deleted
    }

    /// The time of the first timer.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due
            .earliest()
            .or_else(|| self.stretches.first_key_value()?.1.earliest())
    }

    /// Takes out the first timer, if it is due at `upto`. What is registered between two calls fires in
    /// its turn.
    #[inline]
    pub fn pop_due(&mut self, upto: Timestamp) -> Option<Timer<K, N>> {
        if self.due.is_empty() {
            self.load(upto);
        }
        let timer = self.due.pop(&mut self.account, upto)?;
        self.len -= 1;
        if let Some(cut) = &mut self.cut {
            cut.went(&timer);
        }
        Some(timer)
    }

    /// Timers that are due at `upto`, in the order in which [`TimerQueue::pop_due`] takes them out: the first of
    /// them, and some behind it.
    pub fn due_ahead(&mut self, upto: Timestamp) -> impl Iterator<Item = &Timer<K, N>> {
        if self.due.is_empty() {
            self.load(upto);
        }
        self.due.ahead(upto)
    }

    /// The timers around one place of the order, and where the next such part begins: all timers between
    /// the two are among them.
    pub(super) fn part(
        &self,
        from: Order,
    ) -> (impl Iterator<Item = &Timer<K, N>> + Clone, Option<Order>) {
        let stretch = self.stretches.range(..=from).next_back();
        let next = self
            .stretches
            .range((Bound::Excluded(from), Bound::Unbounded));
        let unsorted = stretch.into_iter().flat_map(|(_, stretch)| stretch.iter());
        let end = next.map(|(start, _)| *start).next();
        (self.due.iter().chain(unsorted), end)
    }

    /// Sorts the timers of the first stretch, if one of them is due.
    #[inline(never)]
    fn load(&mut self, upto: Timestamp) {
        let stretch = stretch_of(&mut self.stretches, Order::FIRST).1;
        if stretch.earliest().is_none_or(|earliest| earliest > upto) {
            return;
        }
        let timers = stretch.take_all(&mut self.account);
        let next = self.stretches.keys().nth(1).copied();
        self.due.take(&mut self.account, timers, next);
        self.drop_empty(Order::FIRST);
    }

    #[inline(never)]
    fn register_due(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        at: Timestamp,
    ) -> Result<bool, StateError> {
        let new = self
            .due
            .insert(&mut self.account, hash, key, namespace, at)?;
        self.len += usize::from(new);
        if let Some(cut) = &mut self.cut
            && new
        {
            cut.came(hash, key, namespace, at);
        }
        if self.due.len() > 2 * FULL {
            let put_back = self.put_later_half_back();
            // Without memory for it the row goes on to serve.
            debug_assert!(put_back.is_ok() || self.due.len() > 2 * FULL);
        }
        Ok(new)
    }

    /// Makes what fires later among the due timers a stretch again: inserting into a sorted row is cheap
    /// only while it is short.
    fn put_later_half_back(&mut self) -> Result<(), StateError> {
        let Some((pivot, count)) = self.due.later_half() else {
            return Ok(());
        };
        let mut later = Stretch::with_room(&mut self.account, count)?;
        self.account
            .reserve(BYTES_OF_ENTRY)
            .inspect_err(|_| later.release(&mut self.account))?;
        let end = self.due.before();
        later.fill(self.due.give(&mut self.account, pivot, count));
        let first = self.stretches.insert(Order::FIRST, later);
        match (first, end) {
            (Some(first), Some(end)) => {
                let there = self.stretches.insert(end, first);
                debug_assert!(there.is_none(), "each part of the order has one stretch");
            }
            (first, _) => {
                debug_assert!(first.is_some_and(|first| first.len() == 0), "all was due");
                self.account.release(BYTES_OF_ENTRY);
            }
        }
        Ok(())
    }

    /// Cuts the full stretch where `order` belongs in two, if that can be done.
    #[inline(never)]
    fn cut(&mut self, order: Order) -> Result<(), StateError> {
        let stretch = stretch_of(&mut self.stretches, order).1;
        self.account.reserve(BYTES_OF_ENTRY)?;
        match stretch.split(&mut self.account, order) {
            Ok(Some((start, later))) => {
                let there = self.stretches.insert(start, later);
                debug_assert!(there.is_none(), "each part of the order has one stretch");
                Ok(())
            }
            uncut => {
                self.account.release(BYTES_OF_ENTRY);
                uncut.map(|_| ())
            }
        }
    }

    /// Drops a stretch without timers, whose part of the order falls to the one before it. The first
    /// stretch gives its place to the second.
    #[inline(never)]
    fn drop_empty(&mut self, start: Order) {
        if self.stretches.len() == 1 {
            return;
        }
        let dropped = self.stretches.remove(&start);
        debug_assert!(dropped.is_some_and(|stretch| stretch.len() == 0));
        self.account.release(BYTES_OF_ENTRY);
        if start == Order::FIRST
            && let Some((_, first)) = self.stretches.pop_first()
        {
            self.stretches.insert(Order::FIRST, first);
        }
    }
}

/// The stretch that holds a place of the order, and where it begins.
#[inline(always)]
fn stretch_of<K: Key, N: Namespace>(
    stretches: &mut BTreeMap<Order, Stretch<K, N>>,
    order: Order,
) -> (&Order, &mut Stretch<K, N>) {
    let Some(found) = stretches.range_mut(..=order).next_back() else {
        unreachable!("the first stretch begins where the order begins");
    };
    found
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
