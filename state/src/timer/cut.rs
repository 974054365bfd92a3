//! The cut of a queue of timers: all that were registered at one moment, written while timers come and go.
//!
//! Entered at a barrier by `freeze`, then between turns until all rows are out. The walk goes along the
//! order in which timers fire. What is registered ahead of it meanwhile is remembered and passed over;
//! what fires or is deleted ahead of it is written first, unless it is one of those. Timers are written in
//! full at each cut: most of them do not live from one to the next. Invariant: a timer that was there at
//! `freeze` is written exactly once, and no other. Lives on one shard's thread.

use std::collections::BTreeMap;

use thalweg_core::{Epoch, KeyHash, MaxParallelism, Timestamp};
use thalweg_memory::{Budget, DamagedKey, Key};

use super::order::{Order, Timer};
use super::queue::TimerQueue;
use crate::error::StateError;
#[cfg(test)]
use crate::snapshot::planted::{self, Bug};
use crate::snapshot::{CutKind, Row, RowLog, RowSink, Snapshot, StateSize};
use crate::table::{Account, Namespace, Scan};

/// A cut that is being written.
pub(super) struct TimerCut<K: Key, N: Namespace> {
    /// What fires before this place of the order is written.
    next: Order,
    /// Timers behind that place which were registered since the cut.
    fresh: BTreeMap<Order, Vec<Timer<K, N>>>,
    aside: RowLog,
    pub(super) account: Account,
    rows: TimerRows,
}

/// Makes rows of timers, in memory that is reused.
pub(super) struct TimerRows {
    max: MaxParallelism,
    key: Vec<u8>,
    namespace: Vec<u8>,
}

impl TimerRows {
    pub(super) fn new(max: MaxParallelism) -> Self {
        TimerRows {
            max,
            key: Vec::new(),
            namespace: Vec::new(),
        }
    }

    /// The time stands before the namespace, and there is no value.
    pub(super) fn row<K: Key, N: Namespace>(&mut self, timer: &Timer<K, N>) -> Row<'_> {
        self.key.clear();
        self.namespace.clear();
        K::encode(&K::lend(&timer.key), &mut self.key);
        timer.at.encode(&mut self.namespace);
        timer.namespace.encode(&mut self.namespace);
        Row {
            group: self.max.key_group(timer.hash),
            key: &self.key,
            namespace: &self.namespace,
            value: Some(&[]),
        }
    }
}

impl<K: Key, N: Namespace> TimerCut<K, N> {
    pub(super) fn new(budget: Budget, max: MaxParallelism) -> Self {
        TimerCut {
            next: Order::FIRST,
            fresh: BTreeMap::new(),
            aside: RowLog::default(),
            account: Account::new(budget),
            rows: TimerRows::new(max),
        }
    }

    /// A timer was registered.
    #[cold]
    #[inline(never)]
    pub(super) fn came(&mut self, hash: KeyHash, key: &K::Of<'_>, namespace: &N, at: Timestamp) {
        #[cfg(test)]
        if planted::is_in(Bug::NewTimersWritten) {
            return;
        }
        let order = Order::of(at, hash);
        if order < self.next {
            return;
        }
        let timer = Timer {
            at,
            hash,
            key: K::store(key),
            namespace: *namespace,
        };
        // What does not fit is owed, and paid before anything else is granted.
        let refused = self.account.follow(0, bytes(&timer)).is_err();
        debug_assert!(!refused || self.account.bytes() > 0);
        self.fresh.entry(order).or_default().push(timer);
    }

    /// A timer fired or was deleted.
    #[cold]
    #[inline(never)]
    pub(super) fn went(&mut self, timer: &Timer<K, N>) {
        let order = timer.order();
        if order < self.next || self.take_fresh(order, timer) {
            return;
        }
        let row = self.rows.row(timer);
        self.aside.push_owing(row, &mut self.account);
    }

    /// Forgets a timer that was registered since the cut; whether it was.
    fn take_fresh(&mut self, order: Order, timer: &Timer<K, N>) -> bool {
        let Some(there) = self.fresh.get_mut(&order) else {
            return false;
        };
        let Some(found) = there.iter().position(|fresh| same(fresh, timer)) else {
            return false;
        };
        let taken = there.swap_remove(found);
        if there.is_empty() {
            self.fresh.remove(&order);
        }
        self.account.release(bytes(&taken) as u64);
        true
    }

    /// Whether a timer was registered since the cut.
    fn is_fresh(&self, timer: &Timer<K, N>) -> bool {
        let there = self.fresh.get(&timer.order());
        there.is_some_and(|there| there.iter().any(|fresh| same(fresh, timer)))
    }

    /// Goes on to `end`, and forgets what was registered before it.
    fn go_on(&mut self, end: Order) {
        let rest = self.fresh.split_off(&end);
        for timer in std::mem::replace(&mut self.fresh, rest).values().flatten() {
            self.account.release(bytes(timer) as u64);
        }
        self.next = end;
    }
}

/// Whether two timers of one place in the order are one.
fn same<K: Key, N: Namespace>(one: &Timer<K, N>, other: &Timer<K, N>) -> bool {
    one.is(other.at, &K::lend(&other.key), &other.namespace)
}

/// Bytes of a timer that is remembered, with its part of a node of the map.
fn bytes<K: Key, N: Namespace>(timer: &Timer<K, N>) -> usize {
    2 * size_of::<Timer<K, N>>() + size_of::<Vec<Timer<K, N>>>() + timer.heap_bytes() as usize
}

impl<K: Key, N: Namespace> TimerQueue<K, N> {
    /// The timer that a row is about, which must be one of this queue.
    pub(super) fn read_row(&self, row: Row<'_>) -> Result<Timer<K, N>, StateError> {
        let (mut key, mut rest) = (row.key, row.namespace);
        let (stored, at, namespace) = (
            K::decode(&mut key)?,
            Timestamp::decode(&mut rest)?,
            N::decode(&mut rest)?,
        );
        if !key.is_empty() || !rest.is_empty() {
            return Err(DamagedKey::new("something follows it").into());
        }
        let hash = K::hash(&K::lend(&stored));
        let (group, groups) = (self.max_parallelism().key_group(hash), self.groups());
        if group != row.group || !groups.contains(&group.0) {
            return Err(StateError::ForeignRow {
                group: row.group.0,
                from: groups.start,
                to: groups.end,
            });
        }
        Ok(Timer {
            at,
            hash,
            key: stored,
            namespace,
        })
    }
}

impl<K: Key, N: Namespace> Snapshot for TimerQueue<K, N> {
    fn size(&self) -> StateSize {
        StateSize::in_memory(self.len(), self.memory_bytes())
    }

    fn freeze(&mut self, _: Epoch, kind: CutKind) -> CutKind {
        let budget = self.account.budget().clone();
        self.cut = Some(Box::new(TimerCut::new(budget, self.max_parallelism())));
        match kind {
            CutKind::Copy => CutKind::Copy,
            CutKind::Changes | CutKind::Everything => CutKind::Everything,
        }
    }

    fn is_cutting(&self) -> bool {
        self.cut.is_some()
    }

    fn emit(&mut self, budget: usize, out: &mut dyn RowSink) -> Result<Scan, StateError> {
        let Some(mut cut) = self.cut.take() else {
            return Ok(Scan::Done);
        };
        let mut left = budget.max(1);
        while left > 0 && cut.aside.drain_one(&mut cut.account, out).is_some() {
            left -= 1;
        }
        while left > 0 {
            let from = cut.next;
            let (timers, end) = self.part(from);
            left = left.saturating_sub(1);
            for timer in timers {
                let order = timer.order();
                let here = order >= from && end.is_none_or(|end| order < end);
                if here && !cut.is_fresh(timer) {
                    out.row(cut.rows.row(timer));
                    left = left.saturating_sub(1);
                }
            }
            let Some(end) = end else {
                return Ok(Scan::Done);
            };
            cut.go_on(end);
        }
        self.cut = Some(cut);
        Ok(Scan::More)
    }

    fn cut_failed(&mut self) {
        self.cut = None;
    }

    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError> {
        let Timer {
            at,
            hash,
            key,
            namespace,
        } = self.read_row(row)?;
        let key = K::lend(&key);
        if row.is_tombstone() {
            self.delete(hash, &key, &namespace, at);
            return Ok(());
        }
        self.register(hash, &key, &namespace, at).map(|_| ())
    }

    fn forget_copies(&mut self) {}
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
