//! The timers of one stretch of the order, not yet sorted.
//!
//! Entered by the queue, which knows what stretch a timer belongs to. Invariants: no timer is there twice;
//! the memory of the table is reserved before it is taken; `earliest`, where it is known, is the time of
//! the first timer. Lives on one shard's thread.

use std::cell::Cell;

use hashbrown::HashTable;
use thalweg_core::{KeyHash, Timestamp};
use thalweg_memory::Key;

use super::order::{Order, Timer, probe};
use crate::error::StateError;
use crate::table::{Account, Namespace};

/// Timers at which a stretch is cut in two: as many as fill a table of 512 places, few enough to be sorted
/// in the first caches, and to be moved when one more is inserted into the sorted row.
pub(super) const FULL: usize = 448;
/// Timers at which a table that lost most of them is made smaller.
const WORTH_SHRINKING: usize = 56;

pub(super) struct Stretch<K: Key, N: Namespace> {
    timers: HashTable<Timer<K, N>>,
    earliest: Cell<Option<Timestamp>>,
    full: usize,
}

impl<K: Key, N: Namespace> Stretch<K, N> {
    /// A stretch without timers, and without memory.
    pub(super) fn new() -> Self {
        Stretch {
            timers: HashTable::new(),
            earliest: Cell::new(None),
            full: FULL,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.timers.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.timers.len() >= self.full
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Timer<K, N>> + Clone {
        self.timers.iter()
    }

    /// The time of the first timer, if there is one. Looked for only after that one was deleted.
    pub(super) fn earliest(&self) -> Option<Timestamp> {
        if self.earliest.get().is_none() {
            let first = self.timers.iter().map(|timer| timer.at).min();
            self.earliest.set(first);
        }
        self.earliest.get()
    }

    /// Puts a timer in; false if it was there.
    #[inline]
    pub(super) fn insert(
        &mut self,
        account: &mut Account,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        at: Timestamp,
    ) -> Result<bool, StateError> {
        let bits = probe(at, hash, namespace);
        let same = |timer: &Timer<K, N>| timer.is(at, key, namespace);
        if self.timers.find(bits, same).is_some() {
            return Ok(false);
        }
        if self.timers.len() == self.timers.capacity() {
            let room = self.timers.len() + self.timers.len() / 2 + 1;
            self.move_to(account, room)?;
        }
        let timer = Timer {
            at,
            hash,
            key: K::store(key),
            namespace: *namespace,
        };
        account.reserve(timer.heap_bytes())?;
        self.put(bits, timer);
        Ok(true)
    }

    /// Puts a timer in that is not there and for which there is room.
    #[inline(always)]
    fn put(&mut self, bits: u64, timer: Timer<K, N>) {
        debug_assert!(self.timers.len() < self.timers.capacity());
        match self.earliest.get() {
            Some(earliest) if earliest <= timer.at => {}
            // Unknown with others there stays unknown.
            None if !self.timers.is_empty() => {}
            _ => self.earliest.set(Some(timer.at)),
        }
        self.timers.insert_unique(bits, timer, Timer::probe);
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
        let bits = probe(at, hash, namespace);
        let same = |timer: &Timer<K, N>| timer.is(at, key, namespace);
        let Ok(found) = self.timers.find_entry(bits, same) else {
            return false;
        };
        let (timer, _) = found.remove();
        account.release(timer.heap_bytes());
        if self.earliest.get() == Some(at) {
            self.earliest.set(None);
        }
        let capacity = self.timers.capacity();
        if capacity >= WORTH_SHRINKING && self.timers.len() < capacity / 8 {
            let shrunk = self.move_to(account, capacity / 4);
            // Refused for a moment without memory: the larger table is as good.
            debug_assert!(shrunk.is_ok() || self.timers.capacity() >= capacity);
        }
        true
    }

    /// Moves all timers to a table with room for `room`.
    #[inline(never)]
    fn move_to(&mut self, account: &mut Account, room: usize) -> Result<(), StateError> {
        let mut table = HashTable::with_capacity(room);
        account.reserve(table.allocation_size() as u64)?;
        for timer in self.timers.drain() {
            table.insert_unique(timer.probe(), timer, Timer::probe);
        }
        self.release(account);
        self.timers = table;
        Ok(())
    }

    /// Gives the memory of the table back, which is about to be dropped.
    pub(super) fn release(&self, account: &mut Account) {
        account.release(self.timers.allocation_size() as u64);
    }

    /// Gives what is there from some place in the order on away, as a stretch of its own, to make room for
    /// a timer at `next`. Both have about half, except that timers which arrive in order fill one stretch
    /// after the other. None where all timers have the same place.
    pub(super) fn split(
        &mut self,
        account: &mut Account,
        next: Order,
    ) -> Result<Option<(Order, Self)>, StateError> {
        let mut orders: Vec<Order> = self.timers.iter().map(Timer::order).collect();
        let last = orders.iter().max().copied().unwrap_or(Order::FIRST);
        if next > last {
            return Ok(Some((next, Stretch::new())));
        }
        let middle = orders.len() / 2;
        let (before, pivot, _) = orders.select_nth_unstable(middle);
        let mut pivot = *pivot;
        if before.iter().all(|order| *order == pivot) {
            let Some(second) = orders.iter().filter(|order| **order > pivot).min() else {
                self.full = self.timers.len() * 2;
                return Ok(None);
            };
            pivot = *second;
        }
        let kept = orders.iter().filter(|order| **order < pivot).count();
        debug_assert!(0 < kept && kept < orders.len(), "both halves have timers");
        let mut left = Self::with_room(account, kept)?;
        let right = Self::with_room(account, orders.len() - kept);
        let mut right = right.inspect_err(|_| left.release(account))?;
        for timer in self.timers.drain() {
            let half = if timer.order() < pivot {
                &mut left
            } else {
                &mut right
            };
            half.put(timer.probe(), timer);
        }
        self.release(account);
        *self = left;
        Ok(Some((pivot, right)))
    }

    /// A stretch with room for `timers` and a quarter more.
    pub(super) fn with_room(account: &mut Account, timers: usize) -> Result<Self, StateError> {
        let mut stretch = Self::new();
        stretch.timers = HashTable::with_capacity(timers + timers / 4);
        account.reserve(stretch.timers.allocation_size() as u64)?;
        Ok(stretch)
    }

    /// Puts in timers for which there is room, and whose keys are accounted already.
    pub(super) fn fill(&mut self, timers: Vec<Timer<K, N>>) {
        for timer in timers {
            self.put(timer.probe(), timer);
        }
    }

    /// A stretch of timers whose keys are accounted already; they are in memory, so what is refused is owed.
    pub(super) fn of(account: &mut Account, timers: Vec<Timer<K, N>>) -> Self {
        let mut stretch = Self::new();
        stretch.timers = HashTable::with_capacity(timers.len());
        let taken = account.follow(0, stretch.timers.allocation_size());
        debug_assert!(taken.is_ok() || account.bytes() > 0);
        stretch.fill(timers);
        stretch
    }

    /// Takes out the timers for which `wanted` holds, in no order. Their keys stay accounted.
    pub(super) fn take_some(&mut self, mut wanted: impl FnMut(Order) -> bool) -> Vec<Timer<K, N>> {
        let taken = self.timers.extract_if(|timer| wanted(timer.order()));
        let taken = taken.collect();
        self.earliest.set(None);
        taken
    }

    /// Takes out all timers, in no order. Their keys stay accounted.
    pub(super) fn take_all(&mut self, account: &mut Account) -> Vec<Timer<K, N>> {
        let mut taken = Vec::with_capacity(self.timers.len());
        taken.extend(self.timers.drain());
        self.release(account);
        self.timers = HashTable::new();
        self.earliest.set(None);
        taken
    }
}
