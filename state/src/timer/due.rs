//! The timers at the head of the order, sorted: what is fired next lies at the end.
//!
//! Entered by the queue when the first of them is due. While there are timers here, whatever is registered
//! or deleted in the stretch they came from is registered and deleted here, so that it fires in its turn.
//! Invariant: all timers are ordered, and all lie before `before`. Lives on one shard's thread.

use std::cmp::Ordering;

use thalweg_core::{KeyHash, Timestamp};
use thalweg_memory::Key;

use super::order::{Order, Timer};
use crate::error::StateError;
use crate::table::{Account, Namespace};

pub(super) struct Due<K: Key, N: Namespace> {
    /// The first is the last to fire.
    timers: Vec<Timer<K, N>>,
    /// Where the part of the order ends that is in work; none where it has no end.
    before: Option<Order>,
}

impl<K: Key, N: Namespace> Due<K, N> {
    /// Nothing is due.
    pub(super) fn new() -> Self {
        Due {
            timers: Vec::new(),
            before: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.timers.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Timer<K, N>> + Clone {
        self.timers.iter()
    }

    /// The timers that fire next, as far as they are due at `upto`.
    pub(super) fn ahead(&self, upto: Timestamp) -> impl Iterator<Item = &Timer<K, N>> {
        let due = move |timer: &&Timer<K, N>| timer.at <= upto;
        self.timers.iter().rev().take_while(due)
    }

    /// The time of the first timer.
    pub(super) fn earliest(&self) -> Option<Timestamp> {
        self.timers.last().map(|timer| timer.at)
    }

    /// Where the part of the order ends that is in work.
    pub(super) fn before(&self) -> Option<Order> {
        self.before
    }

    /// Whether a place in the order is in work here.
    #[inline(always)]
    pub(super) fn covers(&self, order: Order) -> bool {
        !self.timers.is_empty() && self.before.is_none_or(|before| order < before)
    }

    /// Takes timers over, whose keys are accounted. There are none before.
    pub(super) fn take(
        &mut self,
        account: &mut Account,
        mut timers: Vec<Timer<K, N>>,
        before: Option<Order>,
    ) {
        debug_assert!(self.timers.is_empty(), "what was due has fired");
        // They are in memory already, so a refusal changes nothing: it is owed, and paid before anything
        // else is granted.
        let taken = account.follow(0, bytes(&timers));
        debug_assert!(taken.is_ok() || account.bytes() > 0);
        timers.sort_unstable_by(|left, right| right.compare(left));
        self.timers = timers;
        self.before = before;
    }

    /// The next timer, if it is due.
    #[inline(always)]
    pub(super) fn pop(&mut self, account: &mut Account, upto: Timestamp) -> Option<Timer<K, N>> {
        let timer = self.timers.pop_if(|timer| timer.at <= upto)?;
        self.left(account, &timer);
        Some(timer)
    }

    #[inline(always)]
    fn left(&mut self, account: &mut Account, timer: &Timer<K, N>) {
        let heap = timer.heap_bytes();
        if heap > 0 {
            account.release(heap);
        }
        if self.timers.is_empty() {
            account.release(bytes(&self.timers) as u64);
            self.timers = Vec::new();
        }
    }

    /// Where a timer stands.
    fn find(&self, hash: KeyHash, key: &K::Of<'_>, namespace: &N, at: Timestamp) -> Option<usize> {
        let order = Order::of(at, hash);
        let first = self.timers.partition_point(|timer| timer.order() > order);
        let equal = self.timers.iter().enumerate().skip(first);
        equal
            .take_while(|(_, timer)| timer.order() == order)
            .find(|(_, timer)| timer.is(at, key, namespace))
            .map(|(found, _)| found)
    }

    /// Puts a timer in; false if it was there.
    #[inline(never)]
    pub(super) fn insert(
        &mut self,
        account: &mut Account,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        at: Timestamp,
    ) -> Result<bool, StateError> {
        debug_assert!(self.covers(Order::of(at, hash)), "a timer of another part");
        if self.find(hash, key, namespace, at).is_some() {
            return Ok(false);
        }
        if self.timers.len() == self.timers.capacity() {
            let more = self.timers.len() / 2 + 1;
            account.reserve((more * size_of::<Timer<K, N>>()) as u64)?;
            let before = bytes(&self.timers);
            self.timers.reserve_exact(more);
            let asked = before + more * size_of::<Timer<K, N>>();
            account.follow(asked, bytes(&self.timers))?;
        }
        let timer = Timer {
            at,
            hash,
            key: K::store(key),
            namespace: *namespace,
        };
        account.reserve(timer.heap_bytes())?;
        let later = |other: &Timer<K, N>| other.compare(&timer) == Ordering::Greater;
        self.timers
            .insert(self.timers.partition_point(later), timer);
        Ok(true)
    }

    /// Takes a timer out; false if it was not there.
    pub(super) fn remove(
        &mut self,
        account: &mut Account,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        at: Timestamp,
    ) -> bool {
        let Some(found) = self.find(hash, key, namespace, at) else {
            return false;
        };
        let timer = self.timers.remove(found);
        self.left(account, &timer);
        true
    }

    /// Takes out the timers for which `wanted` holds. Their keys stay accounted.
    pub(super) fn take_some(
        &mut self,
        account: &mut Account,
        mut wanted: impl FnMut(Order) -> bool,
    ) -> Vec<Timer<K, N>> {
        let taken = self.timers.extract_if(.., |timer| wanted(timer.order()));
        let taken: Vec<_> = taken.collect();
        if self.timers.is_empty() {
            account.release(bytes(&self.timers) as u64);
            self.timers = Vec::new();
        }
        taken
    }

    /// Where the later half begins, and how many timers that is. None where all timers have the same
    /// place in the order.
    pub(super) fn later_half(&self) -> Option<(Order, usize)> {
        let middle = self.timers.get(self.timers.len() / 2)?.order();
        let later = self.timers.partition_point(|timer| timer.order() >= middle);
        let count = if later < self.timers.len() {
            later
        } else {
            self.timers.partition_point(|timer| timer.order() > middle)
        };
        let pivot = self.timers.get(count.checked_sub(1)?)?.order();
        Some((pivot, count))
    }

    /// Gives the `count` timers from `pivot` on away.
    pub(super) fn give(
        &mut self,
        account: &mut Account,
        pivot: Order,
        count: usize,
    ) -> Vec<Timer<K, N>> {
        let before = bytes(&self.timers);
        let rest = self.timers.split_off(count);
        let later = std::mem::replace(&mut self.timers, rest);
        debug_assert!(bytes(&self.timers) <= before, "a part of the row");
        account.release((before - bytes(&self.timers)) as u64);
        self.before = Some(pivot);
        later
    }
}

/// Bytes of the places for timers.
fn bytes<K: Key, N: Namespace>(timers: &Vec<Timer<K, N>>) -> usize {
    timers.capacity() * size_of::<Timer<K, N>>()
}
