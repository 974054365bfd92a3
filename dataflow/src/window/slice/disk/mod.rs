//! Slices larger than memory: their tables go to disk whole, as piles of partial results.
//!
//! Entered by the operator over slices where state may be on disk: once for
//! each batch ([`OnDisk::has_room`]), at both ends of a turn, and when a window is due of which something is on disk.
//! `spill` moves a table out, the largest first, and an empty one takes its place at once; `merge` fires a window whose
//! slices lie in piles, a stretch of key groups after the other; `refill` takes the piles of a copy apart.
//! `gathered` is what windows in the making hold as a part of a checkpoint.
//!
//! A key may have partial results in several piles of a slice and in memory; a window puts them together when it fires.
//! Nothing is looked up for a record, unless it is late: the windows of its key that fire again need what lies in the
//! piles of slices that are kept for it, which `again` reads. What windows in the making hold goes to disk in the same
//! way, and is written anew by each window that fires from there.
//!
//! No batch waits for ever: it waits while something that is empty will be given back, a table is on its way to the disk
//! or kept for a cut, one that is worth a file goes at the end of the turn, or others that hold more than their share are
//! at work on holding less (or may begin to, for `PATIENCE` turns). All of that ends, and where nothing of it is so,
//! the batch is applied: what does not fit is told by the table it does not fit into. So it is where others, who do not
//! share, leave no share at all.
//!
//! Invariants: memory is looked at between batches and turns, never for a record; while a window fires no room is asked
//! for, so what it is made of stays; a table that is being moved out is nobody else's; a pile holds rows of one slice,
//! whose namespace no other pile shares. Lives on one shard's thread.

mod again;
mod gathered;
mod merge;
mod refill;
mod spill;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use thalweg_memory::record::{Key, Record};
use thalweg_state::{
    OverflowRows, Pile, Piles, RowSink, Scan, StateDescriptor, StateError, StateSize,
};

pub(super) use again::Again;
pub(super) use gathered::CopyOfGathered;
pub(super) use merge::{Came, FromDisk};
pub(super) use refill::Refill;
pub(super) use spill::{Goal, Spilling};

use super::assembly::Assembly;
use super::store::Slices;

/// One part in so many of the memory is left for what values have on the heap and for what stands beside the tables.
const SPARE: u64 = 16;
/// The same where a function keeps states: those grow while the tables of a window stay until its rows are out.
const SPARE_OF_STATES: u64 = 8;
/// Tables that hold less than one part in so many of the memory stay where they are.
const WORTH: u64 = 8;
/// Turns in which those are waited for that hold more than their share, and have not begun to give it back.
const PATIENCE: u32 = 64;
/// Records for which room is made sure of at once, where there is so much.
const AT_ONCE: usize = 1_024;

/// Room that was made sure of. To do so costs a look at each slice, which is too much for each turn where there are
/// thousands of them.
#[derive(Clone, Copy, Default)]
struct Grant {
    /// Records to come.
    records: usize,
    /// What was held.
    held: u64,
    /// What all records for which it was given may add.
    more: u64,
}

/// What an operator over slices keeps of what is on disk.
pub(super) struct OnDisk<K: Key, A: Record> {
    pub(super) piles: Piles,
    of_slices: StateDescriptor,
    of_windows: Option<StateDescriptor>,
    /// Whether slices are kept for late records.
    keeps: bool,
    /// One part in so many of the memory is left free.
    spare: u64,
    /// Given to piles and cuts, to tell rows of one key and slice apart.
    number: u32,
    /// The number of the last cut.
    pub(super) cut: u32,
    /// The table that is on its way to the disk.
    pub(super) spilling: Option<Spilling<K, A>>,
    /// What windows in the making hold, newest first.
    pub(super) gathered: Vec<Pile>,
    /// Tables of windows in the making that are done with but for a checkpoint.
    pub(super) leaving: Vec<Assembly<K, A>>,
    /// The piles of a copy that are still to be taken apart.
    pub(super) refill: Option<Refill>,
    /// Windows of a key that fire again once what is on disk of them is here, the first that was changed first.
    again: VecDeque<Again<K, A>>,
    rows: OverflowRows,
    grant: Grant,
    /// Somebody waits for room.
    stalled: bool,
    /// Turns in a row in which somebody did.
    waited: u32,
}

/// Bytes of memory of what could go to disk.
fn movable_bytes<K: Key, A: Record>(slices: &Slices<K, A>, assembly: &Assembly<K, A>) -> u64 {
    let gathered = if assembly.is_empty() {
        0
    } else {
        assembly.memory_bytes()
    };
    slices.movable_bytes() + gathered
}

/// Bytes of memory that hold nothing, and are given back where somebody waits for room, once no cut needs them.
fn vacant_bytes<K: Key, A: Record>(slices: &Slices<K, A>, assembly: &Assembly<K, A>) -> u64 {
    let gathered = if assembly.is_empty() {
        assembly.memory_bytes()
    } else {
        0
    };
    slices.vacant_bytes() + gathered
}

impl<K: Key, A: Record> OnDisk<K, A> {
    /// Nothing is on disk. Said is whether slices are kept for late records, and whether a function keeps states.
    pub(super) fn new(
        piles: Piles,
        of_slices: StateDescriptor,
        of_windows: Option<StateDescriptor>,
        (keeps, states): (bool, bool),
    ) -> Box<Self> {
        Box::new(Self {
            piles,
            of_slices,
            of_windows,
            keeps,
            spare: if states { SPARE_OF_STATES } else { SPARE },
            number: 0,
            cut: 0,
            spilling: None,
            gathered: Vec::new(),
            leaving: Vec::new(),
            refill: None,
            again: VecDeque::new(),
            rows: OverflowRows::new(),
            grant: Grant::default(),
            stalled: false,
            waited: 0,
        })
    }

    /// A number no other has.
    pub(super) fn next_number(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    /// Whether windows in the making have something on disk, or on its way there.
    pub(super) fn holds_gathered(&self) -> bool {
        let on_its_way = |spilling: &Spilling<K, A>| matches!(spilling.goal, Goal::Gathered);
        !self.gathered.is_empty() || self.spilling.as_ref().is_some_and(on_its_way)
    }

    /// What is kept of windows in the making is another table from here on.
    pub(super) fn let_go(&mut self, gathered: Assembly<K, A>) {
        if gathered.is_cutting() {
            self.leaving.push(gathered);
        }
    }

    /// Whether memory is held only until the disk, or a cut, has what is in it.
    pub(super) fn lets_go(&self, slices: &Slices<K, A>) -> bool {
        self.spilling.is_some() || !slices.leaving.is_empty() || !self.leaving.is_empty()
    }

    /// Whether something is on disk, or on its way there.
    fn has_piles(&self, slices: &Slices<K, A>) -> bool {
        let of_slices = slices
            .iter()
            .any(|slice| slice.all_piles().next().is_some());
        of_slices || self.spilling.is_some() || !self.gathered.is_empty()
    }

    /// Bytes of memory of all that is kept.
    fn held(&self, slices: &Slices<K, A>, assembly: &Assembly<K, A>) -> u64 {
        let spilling = self.spilling.as_ref().map_or(0, Spilling::memory_bytes);
        let leaving = self.leaving.iter().map(Assembly::memory_bytes);
        let gathered = self.gathered.iter().map(Pile::memory_bytes);
        let refill = self.refill.as_ref().map_or(0, Refill::memory_bytes);
        let again = self.again.iter().map(Again::memory_bytes).sum::<u64>();
        let beside = leaving.sum::<u64>() + gathered.sum::<u64>() + spilling + refill + again;
        slices.memory_bytes() + assembly.memory_bytes() + beside
    }

    /// What is held changes by more than records: room for those to come is made sure of anew.
    pub(super) fn withdraw(&mut self) {
        self.grant = Grant::default();
    }

    /// Whether so many bytes more fit.
    fn fits(&self, held: u64, more: u64) -> bool {
        let limit = self.piles.limit();
        let more = more + limit / self.spare;
        held + more <= limit && more <= self.piles.left()
    }

    /// Whether there is room for what so many records may add. Where there is none a table goes to disk.
    pub(super) fn has_room(
        &mut self,
        slices: &Slices<K, A>,
        assembly: &Assembly<K, A>,
        records: usize,
    ) -> bool {
        if self.refill.is_some() {
            return false;
        }
        let Grant {
            records: granted,
            held,
            more,
        } = self.grant;
        if granted >= records && self.fits(held, more) {
            self.grant.records -= records;
            return true;
        }
        let held = self.held(slices, assembly);
        for records_ahead in [AT_ONCE, AT_ONCE / 4, 0].map(|many| many.max(records)) {
            let more = match self.keeps {
                true => slices.bytes_for_late(records_ahead, self.of_windows.is_some()),
                false => slices.bytes_for(records_ahead),
            };
            if self.fits(held, more) {
                self.grant = Grant {
                    records: records_ahead - records,
                    held,
                    more,
                };
                return true;
            }
        }
        self.withdraw();
        // Where hardly anything is left that could go to disk, what does not fit is told by the table it does not fit
        // into.
        let frees = self.lets_go(slices) || vacant_bytes(slices, assembly) > 0;
        let little = !frees && !self.is_much(movable_bytes(slices, assembly));
        let helpless = little && !self.is_crowded(held);
        self.stalled = !helpless;
        helpless
    }

    /// Whether so many bytes that could go to disk are worth it. Nothing never is, even where the others leave nothing to
    /// share.
    fn is_much(&self, movable: u64) -> bool {
        movable > 0 && movable >= self.piles.limit() / WORTH
    }

    /// Whether others hold what would be room here, and give it back, or may be about to.
    fn is_crowded(&self, held: u64) -> bool {
        let waits = held < self.piles.limit() && self.waited < PATIENCE;
        waits || self.piles.others_shrink()
    }

    /// A turn begins.
    fn begin_turn(&mut self) {
        self.waited = if self.stalled { self.waited + 1 } else { 0 };
        self.stalled = false;
    }

    /// Bytes and rows on disk, and what is held beside the tables of windows in the making.
    pub(super) fn size_of_gathered(&self) -> StateSize {
        let mut size = StateSize::default();
        for pile in &self.gathered {
            size += pile.size();
        }
        let leaving = self.leaving.iter().map(Assembly::memory_bytes);
        size.memory_bytes += leaving.sum::<u64>();
        size
    }

    /// Writes a piece of what windows in the making held that is done with but for the cut.
    pub(super) fn emit_leaving(
        &mut self,
        budget: usize,
        out: &mut dyn RowSink,
    ) -> Result<bool, StateError> {
        let Some(leaving) = self.leaving.last_mut() else {
            return Ok(false);
        };
        let emitted = match leaving.as_state() {
            Some(leaving) => leaving.emit(budget, out)?,
            None => Scan::Done,
        };
        if emitted == Scan::Done {
            self.leaving.pop();
        }
        Ok(true)
    }
}
