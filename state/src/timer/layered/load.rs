//! A bank on its way back, and what an operator does for all of it at both ends of a turn.
//!
//! The piles of a bank are read oldest first, and each row registers its timer or deletes it, as if it came just now:
//! what does not fit goes to disk again on the way, as banks that are smaller. A copy that the operator opens with is
//! such a bank, of the whole order. Invariant: nothing else comes to the queue before all of it was read, but what is on
//! disk behind the bank stays there; no cut is being written. Lives on one shard's thread.

use thalweg_core::shard::step::TurnContext;
use thalweg_memory::Key;

use super::super::order::Timer;
use super::super::queue::TimerQueue;
use super::room::Leaving;
use super::{LayeredTimers, OnDisk};
use crate::error::StateError;
use crate::lsm::{Pile, PileReader, Pressure, Reading, Which};
use crate::snapshot::Row;
use crate::table::Namespace;

/// How much of a turn moving timers takes, in ns.
const SHARE_NS: u64 = 100_000;
/// Rows between two looks at clock and memory.
const SLICE_ROWS: usize = 128;

/// What is still to be read.
pub(super) struct Loading {
    reader: PileReader,
}

impl Loading {
    /// All that piles have of these key groups, the oldest pile first.
    pub(super) fn new(piles: Vec<Pile>, groups: std::ops::Range<u16>) -> Self {
        let piles = piles.into_iter().map(|pile| (pile, Which::All));
        Loading {
            reader: PileReader::new(piles.collect(), groups),
        }
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.reader.memory_bytes()
    }
}

impl<K: Key, N: Namespace> LayeredTimers<K, N> {
    /// A turn begins: takes in what the disk has done.
    ///
    /// # Errors
    /// What the disk could not do, and damage.
    pub fn begin_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        match &mut self.disk {
            Some(disk) => disk.begin_turn(context),
            None => Ok(()),
        }
    }

    /// A turn ends: moves timers. `waiting`: something waits for them, or for room.
    ///
    /// # Errors
    /// What the disk could not do, damage, and memory that is too little.
    pub fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        match &mut self.disk {
            Some(disk) if disk.piles.is_some() => disk.end_turn(&mut self.hot, context, waiting),
            _ => Ok(Pressure::None),
        }
    }
}

impl<K: Key, N: Namespace> OnDisk<K, N> {
    fn begin_turn(&mut self, context: &mut TurnContext<'_>) -> Result<(), StateError> {
        self.demand.begin_turn();
        let Some(piles) = &mut self.piles else {
            return Ok(());
        };
        piles.poll(context);
        while let Some((request, answer)) = piles.next_answer() {
            if let Some(spilling) = &mut self.spilling
                && spilling.answered(request, &answer)?
            {
                continue;
            }
            match &mut self.loading {
                Some(loading) => drop(loading.reader.answered((request, answer))?),
                // What was opened, or read for somebody who is gone.
                None => drop(answer?),
            }
        }
        Ok(())
    }

    fn end_turn(
        &mut self,
        hot: &mut TimerQueue<K, N>,
        context: &mut TurnContext<'_>,
        waiting: bool,
    ) -> Result<Pressure, StateError> {
        let until = context.reactor().now().saturating_add(SHARE_NS);
        let mut more = self.load(hot, || context.reactor().now() >= until)?;
        let cutting = hot.cut.is_some() || self.gone.cut.is_some();
        if self.spilling.is_none() && !cutting {
            more |= self.begin_move(hot)?;
        }
        more |= self.advance_spilling(hot, || context.reactor().now() >= until)?;
        let (held, moving) = (self.held(hot), self.spilling.is_some());
        let (wants, loading) = (self.demand.wants, self.loading.is_some());
        let piles = self.piles();
        // Timers do with little: they want no even share, but room for those that come.
        piles.wants(wants, context);
        piles.holds(held);
        piles.shrinks(moving);
        piles.poll(context);
        Ok(match piles.is_waiting() {
            _ if more => Pressure::MakingRoom,
            true => Pressure::Disk,
            false if waiting || loading => Pressure::MakingRoom,
            false => Pressure::None,
        })
    }

    /// Begins to read the first bank, if it is due, or to write what has to leave; whether there is anything to do.
    fn begin_move(&mut self, hot: &mut TimerQueue<K, N>) -> Result<bool, StateError> {
        if std::mem::take(&mut self.wanted) && self.loading.is_none() {
            self.begin_loading(hot)?;
            return Ok(true);
        }
        if !self.demand.stalled && !self.piles().is_beyond() {
            return Ok(false);
        }
        match self.leaving(hot) {
            Some(leaving) => {
                let begun = self.spill(hot, leaving)?;
                debug_assert!(begun, "there are timers in {leaving:?}");
                Ok(begun)
            }
            None => Ok(false),
        }
    }

    /// Begins to read the first bank. What came to it since is written behind its piles first.
    fn begin_loading(&mut self, hot: &mut TimerQueue<K, N>) -> Result<(), StateError> {
        let Some(from) = self.banks.start(0) else {
            return Ok(());
        };
        let (end, timers) = (self.banks.start(1), 0);
        if self.spill(hot, Leaving { from, end, timers })? {
            self.wanted = true;
            return Ok(());
        }
        if let Some(bank) = self.banks.take_first() {
            self.loading = Some(Loading::new(bank.piles, hot.groups()));
        }
        Ok(())
    }

    /// Goes on with the bank that is read, until `is_late`; whether more can be done at once.
    fn load(
        &mut self,
        hot: &mut TimerQueue<K, N>,
        mut is_late: impl FnMut() -> bool,
    ) -> Result<bool, StateError> {
        let Some(mut loading) = self.loading.take() else {
            return Ok(false);
        };
        let mut reading = Reading::More;
        while reading == Reading::More && self.makes_room_for(hot, SLICE_ROWS) {
            reading = self.load_some(hot, &mut loading)?;
            if is_late() {
                break;
            }
        }
        if reading == Reading::Done {
            return Ok(true);
        }
        self.loading = Some(loading);
        Ok(reading == Reading::More && !self.demand.stalled)
    }

    fn load_some(
        &mut self,
        hot: &mut TimerQueue<K, N>,
        loading: &mut Loading,
    ) -> Result<Reading, StateError> {
        let (Some(piles), gone, banks) = (&mut self.piles, &mut self.gone, &self.banks) else {
            return Ok(Reading::Waiting);
        };
        let mut budget = SLICE_ROWS;
        let show = |_: usize, row: Row<'_>| {
            let Timer {
                at,
                hash,
                key,
                namespace,
            } = hot.read_row(row)?;
            let (key, order) = (K::lend(&key), super::Order::of(at, hash));
            if row.is_tombstone() {
                hot.delete(hash, &key, &namespace, at);
                if banks.may_hold(order, at) {
                    gone.register(hash, &key, &namespace, at)?;
                }
            } else if hot.register(hash, &key, &namespace, at)? && banks.cover(order) {
                gone.delete(hash, &key, &namespace, at);
            }
            Ok(())
        };
        let read = loading.reader.read(piles, &mut budget, show);
        read.map_err(|error| match error {
            StateError::OverBudget(exceeded) => StateError::TooLittleToSpill(exceeded),
            other => other,
        })
    }
}
