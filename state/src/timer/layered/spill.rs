//! A part of the order on its way to the disk.
//!
//! Begun at the end of a turn in which there was no room, or before a bank is read; goes on between turns. Invariant:
//! what is on its way is in no queue, and its bank is there from the start: what comes to it meanwhile stays in memory,
//! and is younger. Lives on one shard's thread.

use std::collections::VecDeque;

use thalweg_core::Timestamp;
use thalweg_memory::Key;
use thalweg_memory::SpillError;
use thalweg_memory::spill::{IoDone, RequestId};

use super::super::cut::TimerRows;
use super::super::order::{Order, Timer};
use super::super::queue::TimerQueue;
use super::super::stretch::Stretch;
use super::OnDisk;
use super::room::Leaving;
use crate::error::StateError;
use crate::lsm::{PileUse, PileWriter, Piles};
use crate::snapshot::Row;
use crate::table::Namespace;

/// One part in so many of the memory is sorted at once. Each piece has timers of all key groups, for each of which
/// something is kept in memory.
const PIECE_SHARE: u64 = 8;

/// Timers on their way.
pub(super) struct Spilling<K: Key, N: Namespace> {
    /// Where their bank begins.
    start: Order,
    /// Timers that were deleted, then those that were registered.
    gone: VecDeque<Stretch<K, N>>,
    there: VecDeque<Stretch<K, N>>,
    rows: TimerRows,
    writer: PileWriter,
    /// All were handed to the disk.
    sealed: bool,
}

impl<K: Key, N: Namespace> Spilling<K, N> {
    /// Bytes of memory besides those of the timers, which count as their queues'.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.writer.memory_bytes()
    }

    /// Takes an answer of the disk; whether it was one of its own.
    pub(super) fn answered(
        &mut self,
        request: RequestId,
        answer: &Result<IoDone, SpillError>,
    ) -> Result<bool, StateError> {
        self.writer.answered(request, answer)
    }

    /// Writes a stretch; whether more can be done at once.
    fn advance(
        &mut self,
        (hot, gone): (&mut TimerQueue<K, N>, &mut TimerQueue<K, N>),
        piles: &mut Piles,
    ) -> Result<bool, StateError> {
        if self.sealed || self.writer.is_full() {
            return Ok(false);
        }
        let (queue, stretch, is_gone) = match self.gone.pop_front() {
            Some(stretch) => (gone, Some(stretch), true),
            None => (hot, self.there.pop_front(), false),
        };
        let Some(stretch) = stretch else {
            self.writer.seal(piles)?;
            self.sealed = true;
            return Ok(false);
        };
        for timer in stretch.iter() {
            let row = self.rows.row(timer);
            let value = if is_gone { None } else { row.value };
            self.writer.push(Row { value, ..row }, piles)?;
        }
        queue.let_go(stretch);
        Ok(true)
    }
}

impl<K: Key, N: Namespace> OnDisk<K, N> {
    /// Lets a part of the order go to disk; whether there was anything in it.
    pub(super) fn spill(
        &mut self,
        hot: &mut TimerQueue<K, N>,
        Leaving { from, end, .. }: Leaving,
    ) -> Result<bool, StateError> {
        debug_assert!(self.spilling.is_none(), "one part goes at a time");
        let descriptor = self.descriptor.clone();
        let piece_bytes = self.piles().limit() / PIECE_SHARE;
        let used = (&*self.piles(), PileUse::ReadThrough);
        let writer = PileWriter::with_pieces(piece_bytes, &descriptor, Vec::new(), used)?;
        let (there, gone) = (hot.take_part(from, end), self.gone.take_part(from, end));
        if there.is_empty() && gone.is_empty() {
            return Ok(false);
        }
        let earliest: Option<Timestamp> = there.iter().filter_map(Stretch::earliest).min();
        let all = there.iter().chain(&gone).flat_map(Stretch::iter);
        let last = all.map(Timer::order).max().unwrap_or(from);
        self.banks.open(from, earliest, last);
        self.spilling = Some(Spilling {
            start: from,
            gone,
            there,
            rows: TimerRows::new(hot.max_parallelism()),
            writer,
            sealed: false,
        });
        Ok(true)
    }

    /// Goes on with the part that is on its way, until `is_late`; whether more can be done at once.
    pub(super) fn advance_spilling(
        &mut self,
        hot: &mut TimerQueue<K, N>,
        mut is_late: impl FnMut() -> bool,
    ) -> Result<bool, StateError> {
        let (Some(spilling), Some(piles)) = (&mut self.spilling, &mut self.piles) else {
            return Ok(false);
        };
        while spilling.advance((hot, &mut self.gone), piles)? {
            if is_late() {
                return Ok(true);
            }
        }
        if spilling.sealed
            && let Some(pile) = spilling.writer.take()
        {
            self.banks.add(spilling.start, pile);
            self.spilling = None;
            return Ok(true);
        }
        Ok(false)
    }
}
