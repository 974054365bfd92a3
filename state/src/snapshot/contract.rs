//! What can be copied piece by piece while it changes, and who is shown it.
//!
//! Entered at a barrier ([`Snapshot::freeze`]), between turns ([`Snapshot::emit`]) and when an operator
//! opens from a copy ([`Snapshot::restore`]). Invariant: the rows of a cut are what the state was at its
//! `freeze`, whatever happens to the state before the last of them is out. Lives on one shard's thread.
//!
//! # The life of a cut
//! `freeze` marks a moment and takes microseconds, whatever the size. `emit` writes the rows in slices until
//! it is [`Scan::Done`]. If they do not become durable, `cut_failed` makes them count as changed again; if
//! they do, nothing is said. A `freeze` while rows of the last cut are still to be emitted gives that cut
//! up: its rows are in the new one. Ask [`Snapshot::is_cutting`] first and hold the barrier instead.
//!
//! # The reading rule
//! A state is the rows of its newest [`CutKind::Everything`] (or [`CutKind::Copy`]) cut and of all
//! [`CutKind::Changes`] cuts after it. Of one key and namespace the row of the newest cut counts; within
//! one cut a value counts and not the tombstone, which is emitted before it.

use thalweg_core::Epoch;

use super::row::{Row, RowSink};
use super::size::StateSize;
use crate::descriptor::StateDescriptor;
use crate::error::StateError;
use crate::lsm::{AdoptedRun, CarriedRun};
use crate::migration::Migration;
use crate::table::Scan;

/// What a cut must write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutKind {
    /// What changed since the last cut that was not a copy, with tombstones for what was removed.
    Changes,
    /// Everything: the first cut, and one that lets the copies before it be forgotten. Later cuts of
    /// changes count from here.
    Everything,
    /// Everything, beside the row of cuts: a savepoint. Later cuts of changes count from where they would
    /// have counted without it.
    Copy,
}

impl CutKind {
    /// Whether the rows are all there is, so that older ones need not be read.
    #[must_use]
    pub fn is_full(self) -> bool {
        self != CutKind::Changes
    }
}

/// What a state takes over of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopts {
    /// Its rows, by [`Snapshot::restore`], before the operator begins.
    Rows,
    /// Its runs as they are, by [`Snapshot::adopt`]: entries are read when they are asked for.
    Runs,
    /// The same, and all entries come into memory while the operator works; [`Snapshot::expect_rows`] is said before.
    RunsForNow,
}

/// Something a checkpoint copies piece by piece: a table, a queue of timers, a broadcast map.
pub trait Snapshot {
    /// How large it is. Cheap: told every now and then while records flow.
    fn size(&self) -> StateSize;

    /// Marks the moment of a cut. Answers of what kind its rows will be: [`CutKind::Everything`] also where
    /// only that can be (the first cut, states that are always written in full, more removals since the
    /// last cut than there was memory to remember). A copy stays a copy.
    ///
    /// `epoch` is the number of the checkpoint, higher than every one before.
    fn freeze(&mut self, epoch: Epoch, kind: CutKind) -> CutKind;

    /// Whether a cut of changes would have to be everything where runs are carried with it. Those do not say that
    /// nothing older counts, so the cuts of all states of the operator have to be everything then.
    fn begins_anew(&self) -> bool {
        false
    }

    /// Whether rows of the last cut are still to be emitted.
    fn is_cutting(&self) -> bool;

    /// Writes about `budget` more rows of the cut: tombstones first, then rows that were written aside
    /// because their entries changed, then the rest. Rows that are long and entries that are passed over
    /// use budget too, so a call is bounded. Done when all are out.
    ///
    /// # Errors
    /// When there is no memory for the walk: nothing is lost, call again.
    fn emit(&mut self, budget: usize, out: &mut dyn RowSink) -> Result<Scan, StateError>;

    /// The rows of the last cut did not become durable: they count as changed again. Does nothing after a
    /// [`CutKind::Copy`].
    fn cut_failed(&mut self);

    /// The rows of the last cut, and what it carried, became durable. Said where something was carried.
    fn cut_durable(&mut self) {}

    /// Runs that belong to the last cut besides its rows, newest first and all older than those. To be asked
    /// right after `freeze`.
    fn carried(&self) -> Vec<CarriedRun> {
        Vec::new()
    }

    /// What it takes over of runs of a copy, which are so many bytes.
    fn adopts(&self, bytes: u64) -> Adopts {
        let _ = bytes;
        Adopts::Rows
    }

    /// Whether there is memory for so many entries, which are so many bytes in runs. Asked where entries come into memory
    /// while the operator works: what does not fit is refused before.
    fn has_room_for(&self, rows: u64, bytes: u64) -> bool {
        let _ = (rows, bytes);
        true
    }

    /// Whether rows of a copy are still on their way into memory: a cut is complete only with them, so none is
    /// emitted before. They come with the turns of the operator, and its task is woken for them.
    fn is_coming_back(&self) -> bool {
        false
    }

    /// Takes over the runs of a copy that count for this state, newest first, while the operator is being
    /// opened. The next cut of changes builds on the copy.
    ///
    /// # Errors
    /// When it does not take over runs.
    fn adopt(&mut self, runs: Vec<AdoptedRun>) -> Result<(), StateError> {
        let _ = runs;
        Err(StateError::AdoptsNoRuns)
    }

    /// About so many entries are going to come back, and never more than `at_most`: room for them may be made at
    /// once. Said before the first [`Snapshot::restore`].
    fn expect_rows(&mut self, about: u64, at_most: u64) {
        let _ = (about, at_most);
    }

    /// This row comes back soon: what it will touch may be asked for. Changes nothing.
    fn approach_row(&mut self, row: &Row<'_>) {
        let _ = row;
    }

    /// Takes one row back, while the operator is being opened: from the oldest cut to the newest, and
    /// those of one cut in the order in which they were emitted, or sorted with tombstones before values of
    /// the same key. A newer value takes the place of an older one, a tombstone removes it.
    ///
    /// What was taken back counts as unchanged: the next cut of changes builds on the copy it came from.
    ///
    /// # Errors
    /// When the bytes are not of the types of this state, the row belongs to other key groups, or there is
    /// no memory for it.
    fn restore(&mut self, row: Row<'_>) -> Result<(), StateError>;

    /// All rows are back: to be called after the last `restore`, and where there was none.
    ///
    /// # Errors
    /// When there is no memory for what is made out of the rows.
    fn restored(&mut self) -> Result<(), StateError> {
        Ok(())
    }

    /// All rows are back, their values made what they are now by `migration`; `ages` says whether the state
    /// has a time to live. Called instead of [`Snapshot::restored`].
    ///
    /// # Errors
    /// As there.
    fn restored_by(&mut self, migration: &Migration, ages: bool) -> Result<(), StateError> {
        let _ = (migration, ages);
        self.restored()
    }

    /// The copy that rows were taken back from will not be kept: the next cut writes everything.
    fn forget_copies(&mut self);
}

/// Shown every state of an operator, in the order of declaration.
pub trait StateVisitor {
    /// One state.
    ///
    /// # Errors
    /// What the visitor could not do; no further state is shown.
    fn visit(
        &mut self,
        descriptor: &StateDescriptor,
        state: &mut dyn Snapshot,
    ) -> Result<(), StateError>;
}

/// States are shown to a closure.
impl<F> StateVisitor for F
where
    F: FnMut(&StateDescriptor, &mut dyn Snapshot) -> Result<(), StateError>,
{
    fn visit(
        &mut self,
        descriptor: &StateDescriptor,
        state: &mut dyn Snapshot,
    ) -> Result<(), StateError> {
        self(descriptor, state)
    }
}
