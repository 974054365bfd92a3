//! Timers larger than memory: those that fire late go to disk, and come back before their time.
//!
//! Entered by keyed operators through [`LayeredTimers`], per registration and per firing, for each batch of records
//! ([`LayeredTimers::has_room`]) and at both ends of a turn. The order of timers is cut in two: what fires soon is all in
//! memory; behind it the order is cut into *banks*, whose timers are in piles on disk but for what came since. `room`
//! chooses what leaves when memory is short, the largest part of the order first; `spill` writes it; `load` brings the
//! timers of the first bank back when it is due, and what does not fit goes to disk again on the way, in smaller banks;
//! `cut` is all of it as a part of a checkpoint.
//!
//! Nothing is looked up on disk. Whether a timer that is registered in a bank is there already, or one that is deleted
//! is there at all, shows when the bank is read: the piles are read oldest first, and what was deleted since is written
//! behind them.
//!
//! Invariants: banks lie side by side, and behind the last there is nothing; a timer of a bank fires only once the bank
//! was read, unless it comes before all that is on disk; nothing goes to disk or comes back while a cut is being
//! written, and no barrier cuts meanwhile. Lives on one shard's thread.

mod bank;
mod cut;
mod load;
mod room;
mod spill;
#[cfg(test)]
mod tests;

use thalweg_core::{KeyHash, Timestamp};
use thalweg_memory::Key;

use bank::Banks;
use load::Loading;
use room::Demand;
use spill::Spilling;

use super::order::{Order, Timer};
use super::queue::TimerQueue;
use crate::descriptor::StateDescriptor;
use crate::error::StateError;
use crate::lsm::Piles;
use crate::table::Namespace;

/// Makes an operator's way to the disk.
pub type MakePiles = Box<dyn Fn() -> Piles>;

/// A [`TimerQueue`] that may be larger than its memory.
///
/// What is asked of it is what is asked of the queue. Besides, who owns one that may go to disk asks
/// [`has_room`](Self::has_room) before it registers timers, has the next one [brought](Self::bring) before it takes it
/// out, tells it of [turns](Self::begin_turn), and holds barriers while it [is moving](Self::is_moving).
pub struct LayeredTimers<K: Key, N: Namespace = ()> {
    hot: TimerQueue<K, N>,
    disk: Option<Box<OnDisk<K, N>>>,
}

/// What is not in the queue.
struct OnDisk<K: Key, N: Namespace> {
    /// The way to the disk; none before it is needed.
    piles: Option<Piles>,
    make_piles: MakePiles,
    descriptor: StateDescriptor,
    /// Timers of banks that were deleted, and may be in their piles.
    gone: TimerQueue<K, N>,
    banks: Banks,
    spilling: Option<Spilling<K, N>>,
    loading: Option<Loading>,
    demand: Demand,
    /// The first bank is due.
    wanted: bool,
}

impl<K: Key, N: Namespace> LayeredTimers<K, N> {
    /// Timers that are all in memory.
    #[must_use]
    pub fn in_memory(queue: TimerQueue<K, N>) -> Self {
        LayeredTimers {
            hot: queue,
            disk: None,
        }
    }

    /// Timers of the state so described, some of which may be on disk. Nothing is there now.
    #[must_use]
    pub fn on_disk(
        queue: TimerQueue<K, N>,
        descriptor: StateDescriptor,
        make_piles: MakePiles,
    ) -> Self {
        let budget = queue.account.budget().clone();
        let gone = TimerQueue::new(queue.groups(), queue.max_parallelism(), budget);
        let disk = OnDisk {
            piles: None,
            make_piles,
            descriptor,
            gone,
            banks: Banks::default(),
            spilling: None,
            loading: None,
            demand: Demand::default(),
            wanted: false,
        };
        LayeredTimers {
            hot: queue,
            disk: Some(Box::new(disk)),
        }
    }

    /// The number of timers. Of those on disk some may be counted twice, or though they were deleted.
    #[must_use]
    pub fn len(&self) -> usize {
        let disk = self.disk.as_ref();
        let rows = disk.map_or(0, |disk| disk.banks.size().disk_rows);
        self.hot.len() + usize::try_from(rows).unwrap_or(usize::MAX)
    }

    /// Whether there is no timer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let disk = self.disk.as_ref();
        self.hot.is_empty() && disk.is_none_or(|disk| disk.has_nothing())
    }

    /// Registers a timer, as [`TimerQueue::register`] does. Whether it was registered already is not told: it may be on
    /// disk.
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
    ) -> Result<(), StateError> {
        let new = self.hot.register(hash, key, namespace, at)?;
        if let Some(disk) = &mut self.disk
            && new
        {
            disk.demand.count();
            if disk.banks.cover(Order::of(at, hash)) {
                // Written first, it would hide nothing: it only need not be kept any more.
                disk.gone.delete(hash, key, namespace, at);
            }
        }
        Ok(())
    }

    /// Deletes a timer, if there is one.
    ///
    /// # Errors
    /// When the budget has no room to remember that one on disk is deleted.
    #[inline]
    pub fn delete(
        &mut self,
        hash: KeyHash,
        key: &K::Of<'_>,
        namespace: &N,
        at: Timestamp,
    ) -> Result<(), StateError> {
        self.hot.delete(hash, key, namespace, at);
        if let Some(disk) = &mut self.disk
            && disk.banks.may_hold(Order::of(at, hash), at)
        {
            disk.demand.count();
            disk.gone.register(hash, key, namespace, at)?;
        }
        Ok(())
    }

    /// The time of the first timer; where that is not known, as it is being read, or was deleted on disk, an earlier one.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let on_disk = self.disk.as_ref().and_then(|disk| match disk.loading {
            Some(_) => Some(Timestamp::MIN),
            None => disk.banks.earliest(),
        });
        [self.hot.next_due(), on_disk].into_iter().flatten().min()
    }

    /// Whether the first timer due at `upto` is in memory, or nothing is due. If not, it is on its way: to be asked again
    /// in the next turn.
    #[inline]
    pub fn bring(&mut self, upto: Timestamp) -> bool {
        match &mut self.disk {
            Some(disk) if !disk.is_at_rest() => disk.bring(&mut self.hot, upto),
            _ => true,
        }
    }

    /// Takes out the first timer, if it is due at `upto` and in memory.
    #[inline]
    pub fn pop_due(&mut self, upto: Timestamp) -> Option<Timer<K, N>> {
        if !self.bring(upto) {
            return None;
        }
        self.hot.pop_due(upto)
    }

    /// Timers in memory that are due at `upto`, in the order in which they fire: the first of them, and some behind it.
    /// None where the first of all has still to be brought.
    pub fn due_ahead(&mut self, upto: Timestamp) -> impl Iterator<Item = &Timer<K, N>> {
        let there = self.bring(upto);
        let hot = &mut self.hot;
        there.then(|| hot.due_ahead(upto)).into_iter().flatten()
    }

    /// Bytes on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let disk = self.disk.as_ref();
        disk.map_or(0, |disk| disk.banks.size().disk_bytes)
    }

    /// Whether timers are on their way to the disk or back, so that no barrier may cut them.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        let disk = self.disk.as_ref();
        disk.is_some_and(|disk| disk.spilling.is_some() || disk.loading.is_some())
    }
}

impl<K: Key, N: Namespace> OnDisk<K, N> {
    /// Whether all timers are in memory and nothing is under way.
    #[inline]
    fn is_at_rest(&self) -> bool {
        self.banks.is_empty() && self.loading.is_none()
    }

    fn has_nothing(&self) -> bool {
        self.is_at_rest() && self.spilling.is_none()
    }

    /// Has the first bank brought, if the timer that fires next may be there.
    fn bring(&mut self, hot: &mut TimerQueue<K, N>, upto: Timestamp) -> bool {
        if self.loading.is_some() {
            return false;
        }
        let Some((start, earliest)) = self.banks.first_due(upto) else {
            return true;
        };
        let first = hot.first_due(upto);
        // What came to a bank since may come before all that is on disk of it.
        let there = first.is_some_and(|(order, at)| order < start || at < earliest);
        self.wanted |= !there;
        there
    }
}
