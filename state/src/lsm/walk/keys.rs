//! The keys of which runs hold something, of some key groups: for whoever visits every key of a state.
//!
//! Entered when the keys that are in memory have been noted, and then in slices. Runs are read side by side in the
//! order of keys, a little of each at a time, and of each entry the newest row counts, and that it was removed more than
//! any. Invariants: what runs and graves say is what they said when the walk began; every key of which an entry was on
//! disk then is shown, once. Memory is a piece of each run, and the graves.
//!
//! # What changes meanwhile
//! The walk holds the runs that were listed when it began, so their files stay while merges put others in their place.
//! An entry that leaves memory later was noted there before. One that comes back to memory is in these runs as well.
//! One that left memory before was dropped there behind a run that was listed by then. So noting what is in memory
//! *first* and listing runs *then* misses none, however many turns lie between; and who shows a key that was noted
//! no second time shows each once.
//! Lives on one shard's thread.

use std::collections::BTreeSet;
use std::ops::Range;

use thalweg_memory::spill::{IoDone, IoQueue, RequestId};
use thalweg_memory::{Key, Record, SpillError};

use super::super::graves::Graves;
use super::super::layered::LayeredTable;
use super::super::lookup::{Runs, Sought};
use super::super::overflow::Overflow;
use super::super::pile::Reading;
use super::RowWalk;
use crate::error::StateError;
use crate::snapshot::Row;
use crate::table::Namespace;

/// The part of the memory that is given to pieces of runs: one in so many.
const PIECES: u64 = 32;
/// Bytes of a run that are read at once, at most.
const PIECE_BYTES: u64 = 64 << 10;

/// A walk over the keys that runs hold.
pub(in crate::lsm) struct KeysInRuns {
    walk: RowWalk,
    shown: Shown,
}

/// Of which keys something was shown, and what of them is gone.
struct Shown {
    /// What was removed, and no run that is walked through says so.
    graves: BTreeSet<Sought>,
    /// Bytes of graves.
    bytes: u64,
    /// The key in work was shown.
    shown: bool,
    /// What it was looked for by, in memory that is used again.
    grave: Sought,
}

impl KeysInRuns {
    /// A walk over the keys of some groups, as runs and graves are now, in about so much memory.
    fn new(runs: &Runs, graves: &Graves, groups: &Range<u16>, memory: u64) -> KeysInRuns {
        let graves = graves.of_groups(groups);
        let bytes = |grave: &Sought| grave.heap_bytes() + size_of::<Sought>() as u64;
        KeysInRuns {
            walk: RowWalk::new(runs.list.clone(), groups, (memory, PIECE_BYTES)),
            shown: Shown {
                bytes: graves.iter().map(bytes).sum(),
                graves,
                shown: false,
                grave: Sought::default(),
            },
        }
    }

    /// Bytes of memory, about.
    pub(in crate::lsm) fn memory_bytes(&self) -> u64 {
        self.walk.memory_bytes() + self.shown.bytes
    }

    /// Takes an answer of the disk; gives back what is not its own.
    pub(in crate::lsm) fn answered(
        &mut self,
        request: RequestId,
        answer: Result<IoDone, SpillError>,
    ) -> Result<Option<Result<IoDone, SpillError>>, StateError> {
        self.walk.answered(request, answer)
    }

    /// Looks at so many rows, as far as they are here, and shows a row of each key that has something.
    fn advance(
        &mut self,
        queue: &mut IoQueue,
        rows: usize,
        show: &mut dyn FnMut(&Row<'_>) -> Result<(), StateError>,
    ) -> Result<Reading, StateError> {
        let shown = &mut self.shown;
        self.walk.advance(
            queue,
            rows,
            &mut |row, same_key| match shown.is_first(row, same_key) {
                true => show(row),
                false => Ok(()),
            },
        )
    }
}

impl Shown {
    /// Whether a row is the first that is there of its key.
    fn is_first(&mut self, row: &Row<'_>, same_key: bool) -> bool {
        self.shown &= same_key;
        if self.shown || row.is_tombstone() {
            return false;
        }
        if !self.graves.is_empty() {
            self.grave.set_row(row);
            if self.graves.contains(&self.grave) {
                return false;
            }
        }
        self.shown = true;
        true
    }
}

impl Overflow {
    /// Begins a walk over the keys of some groups on disk. Those in memory have been noted.
    pub(crate) fn walk_keys(&mut self, groups: &Range<u16>) {
        let memory = self.share.limit() / PIECES;
        self.keys = Some(KeysInRuns::new(&self.runs, &self.graves, groups, memory));
    }

    /// Goes on with it: shows a row of each key that has something on disk.
    ///
    /// # Errors
    /// Damage, and what `show` answers.
    pub(crate) fn next_keys(
        &mut self,
        rows: usize,
        show: &mut dyn FnMut(&Row<'_>) -> Result<(), StateError>,
    ) -> Result<Reading, StateError> {
        let Some(keys) = &mut self.keys else {
            return Ok(Reading::Done);
        };
        let reading = keys.advance(&mut self.queue, rows, show)?;
        if reading == Reading::Done {
            self.keys = None;
            self.follow_memory();
        }
        Ok(reading)
    }

    /// Whoever visits keys holds copies of so many bytes.
    pub(crate) fn holds_copies(&mut self, bytes: u64) {
        self.copies = bytes;
        if bytes == 0 {
            self.follow_memory();
        }
    }
}

impl<K: Key, V: Record, N: Namespace> LayeredTable<K, V, N> {
    /// Whoever visits keys holds copies of so many bytes.
    pub(crate) fn holds_copies_of_keys(&mut self, bytes: u64) {
        if let Some(overflow) = &mut self.overflow {
            overflow.holds_copies(bytes);
        }
    }

    /// Begins a walk over the keys of some groups on disk. Those in memory have been noted.
    pub(crate) fn walk_keys_on_disk(&mut self, groups: &Range<u16>) {
        if let Some(overflow) = &mut self.overflow {
            overflow.walk_keys(groups);
        }
    }

    /// Looks at so many rows on disk, and shows each key that has something there. Where it answers that it waits, the
    /// end of the turn sees to it.
    ///
    /// # Errors
    /// What could not be read, and damage.
    pub(crate) fn next_keys_on_disk(
        &mut self,
        rows: usize,
        mut show: impl FnMut(K::Stored),
    ) -> Result<Reading, StateError> {
        let Some(overflow) = &mut self.overflow else {
            return Ok(Reading::Done);
        };
        let table = &self.table;
        let reading = overflow.next_keys(rows, &mut |row| {
            show(table.key_of(row)?);
            Ok(())
        })?;
        self.wanting |= reading == Reading::Waiting;
        Ok(reading)
    }
}
