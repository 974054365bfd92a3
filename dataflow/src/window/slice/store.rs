//! The slices that hold records: one table of keys each, and what has gone to disk of it.
//!
//! A slice that is done with goes as a whole, with one call; its table is used again for the next one
//! while it is small. Invariants: slices stand in time order, each once; `taken` ones have become part of
//! the windows that were due and are kept only for late records; what is kept of a slice and what is pending
//! of it are never in one table, nor in one pile; a table whose rows a checkpoint has not
//! written yet is kept until it has. Lives on one shard's thread.

use std::collections::VecDeque;
use std::ops::Range;

use thalweg_core::KeyGroup;
use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::{KeyHash, MaxParallelism};
use thalweg_memory::Budget;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{KeyedTable, Pile, Snapshot, StateError};

use super::aligned::AlignedWindows;
use super::copy::other_windows;
use super::growth::most_bytes;
use crate::window::TimeWindow;

/// A table as large as this is always used again: to empty it costs less than to make another grow.
const SMALL_BYTES: u64 = 1 << 20;
/// A table larger than this goes back to the system instead of being emptied.
const REUSED_BYTES: u64 = 4 << 20;
/// A table larger than this part of the budget does so too, unless it is small.
const REUSED_SHARE: u64 = 64;
/// One in so many keys more than the slice before had are expected in the next one.
const MORE: usize = 8;
/// Tables kept to be used again.
const SPARE: usize = 2;
/// What is kept for late records goes to disk before what windows need, unless that is so many times as large.
const KEPT_FIRST: u64 = 2;

/// The records of one slice.
pub(super) struct Slice<K: Key, A: Record> {
    pub(super) span: TimeWindow,
    /// The end of the first window it is part of.
    pub(super) first_end: Timestamp,
    /// The end of the last window it is part of.
    pub(super) last_end: Timestamp,
    /// Everything that came.
    pub(super) table: KeyedTable<K, A>,
    /// Whether the table has become part of a window.
    pub(super) taken: bool,
    /// What came after that and has to become part of windows still to come.
    pub(super) patch: Option<KeyedTable<K, A>>,
    /// What is on disk of that which has not become part of a window yet, oldest first.
    pub(super) piles: Vec<Pile>,
    /// What is on disk of that which has, and is kept for late records: the table holds what came since.
    pub(super) kept: Vec<Pile>,
}

impl<K: Key, A: Record> Slice<K, A> {
    /// Whether something in it has not become part of a window yet.
    pub(super) fn is_pending(&self) -> bool {
        !self.taken || self.patch.is_some()
    }

    /// Whether what is pending of it becomes part of this window.
    pub(super) fn is_new_in(&self, window: TimeWindow) -> bool {
        self.is_pending() && self.span.end <= window.end && self.span.start >= window.start
    }

    /// Which of its tables holds what has not become part of a window yet.
    pub(super) fn pending_part(&self) -> Part {
        match self.patch {
            Some(_) => Part::Patch,
            None => Part::Whole,
        }
    }

    /// The table of what has not become part of a window yet.
    pub(super) fn pending_table(&self) -> &KeyedTable<K, A> {
        self.patch.as_ref().unwrap_or(&self.table)
    }

    fn tables(&self) -> impl Iterator<Item = &KeyedTable<K, A>> {
        std::iter::once(&self.table).chain(&self.patch)
    }

    /// One of its tables.
    pub(super) fn table_of(&mut self, part: Part) -> &mut KeyedTable<K, A> {
        match (part, &mut self.patch) {
            (Part::Patch, Some(patch)) => patch,
            _ => &mut self.table,
        }
    }

    /// What is on disk of it.
    pub(super) fn all_piles(&self) -> impl Iterator<Item = &Pile> {
        self.kept.iter().chain(&self.piles)
    }

    /// What has not become part of a window yet.
    pub(super) fn pending(&mut self) -> &mut KeyedTable<K, A> {
        match &mut self.patch {
            Some(patch) => patch,
            None => &mut self.table,
        }
    }
}

/// Which of the two tables of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Patch,
}

/// A table that is done with but for a checkpoint.
pub(super) struct Leaving<K: Key, A: Record> {
    pub(super) span: TimeWindow,
    pub(super) part: Part,
    /// What tells its rows from others of the cut, where that is needed.
    pub(super) number: Option<u32>,
    pub(super) table: KeyedTable<K, A>,
}

/// All slices of a subtask.
pub(super) struct Slices<K: Key, A: Record> {
    line: VecDeque<Slice<K, A>>,
    pub(super) leaving: Vec<Leaving<K, A>>,
    spare: Vec<KeyedTable<K, A>>,
    /// Keys of the last one that was done with.
    keys: usize,
    /// Whether a table may leap to the size of the last one.
    leaps: bool,
    groups: Range<u16>,
    max: MaxParallelism,
    budget: Budget,
}

impl<K: Key, A: Record> Slices<K, A> {
    pub(super) fn new(groups: Range<u16>, max: MaxParallelism, budget: Budget) -> Self {
        Self {
            line: VecDeque::new(),
            leaving: Vec::new(),
            spare: Vec::new(),
            keys: 0,
            leaps: true,
            groups,
            max,
            budget,
        }
    }

    /// Tables grow by halves: who makes sure of memory for the records ahead counts with no more than those need.
    pub(super) fn never_leap(&mut self) {
        self.leaps = false;
    }

    /// The key group of a key with this hash.
    pub(super) fn group_of(&self, hash: KeyHash) -> KeyGroup {
        self.max.key_group(hash)
    }

    /// An empty table.
    pub(super) fn table<V: Record>(&self) -> Result<KeyedTable<K, V>, StateError> {
        KeyedTable::new(self.groups.clone(), self.max, self.budget.clone())
    }

    /// A table is done with, unless a checkpoint still needs it.
    pub(super) fn let_go(&mut self, leaving: Leaving<K, A>) {
        if leaving.table.is_cutting() {
            self.leaving.push(leaving);
        } else {
            self.recycle(leaving.table);
        }
    }

    fn let_part_go(&mut self, span: TimeWindow, part: Part, table: KeyedTable<K, A>) {
        self.let_go(Leaving {
            span,
            part,
            number: None,
            table,
        });
    }

    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        let slices = self.line.iter().map(|slice| {
            let piles = slice.all_piles().map(Pile::memory_bytes);
            let tables = slice.tables().map(KeyedTable::memory_bytes);
            tables.sum::<u64>() + piles.sum::<u64>()
        });
        let leaving = self.leaving.iter().map(|it| it.table.memory_bytes());
        let spare = self.spare.iter().map(KeyedTable::memory_bytes);
        slices.sum::<u64>() + leaving.sum::<u64>() + spare.sum::<u64>()
    }

    /// Bytes that tables reserve at most if so many more entries come, to whichever of them.
    pub(super) fn bytes_for(&self, entries: usize) -> u64 {
        let tables = self.line.iter().map(Slice::pending_table);
        let tables = tables.map(|table| (table.fits(), table.bytes_for(entries)));
        most_bytes(entries, KeyedTable::<K, A>::first_bytes(), tables)
    }

    /// The same where slices are kept for late records: one of those goes to the table that is kept, and, where it is
    /// also part of windows to come (`patches`), to that of what is pending.
    pub(super) fn bytes_for_late(&self, entries: usize, patches: bool) -> u64 {
        let new = KeyedTable::<K, A>::first_bytes();
        let bytes = |table: &KeyedTable<K, A>| (table.fits(), table.bytes_for(entries));
        let whole = self.line.iter().map(|slice| bytes(&slice.table));
        let whole = most_bytes(entries, new, whole);
        if !patches {
            return whole;
        }
        let of_patches = self.line.iter().flat_map(|slice| &slice.patch).map(bytes);
        whole.saturating_add(most_bytes(entries, new, of_patches))
    }

    /// Bytes of memory of what could go to disk.
    pub(super) fn movable_bytes(&self) -> u64 {
        let tables = self.line.iter().flat_map(Slice::tables);
        let tables = tables.filter(|table| !table.is_empty());
        tables.map(KeyedTable::memory_bytes).sum()
    }

    /// Bytes of memory of tables that hold nothing: see [`Slices::give_back`].
    pub(super) fn vacant_bytes(&self) -> u64 {
        let tables = self.line.iter().flat_map(Slice::tables);
        let vacant = tables.filter(|table| table.is_empty()).chain(&self.spare);
        vacant.map(KeyedTable::memory_bytes).sum()
    }

    /// The table that should go to disk first: its slice, which one of that, and how many bytes it is.
    pub(super) fn largest(&self) -> Option<(usize, Part, u64)> {
        let line = self.line.iter().enumerate();
        let tables = line.flat_map(|(place, slice)| {
            let weight = if slice.taken { KEPT_FIRST } else { 1 };
            let whole = (place, Part::Whole, weight, &slice.table);
            let patch = slice.patch.as_ref();
            let patch = patch.map(|patch| (place, Part::Patch, 1, patch));
            [Some(whole), patch].into_iter().flatten()
        });
        let tables = tables.filter(|(.., table)| !table.is_empty());
        let (place, part, _, table) =
            tables.max_by_key(|(_, _, weight, table)| weight * table.memory_bytes())?;
        Some((place, part, table.memory_bytes()))
    }

    /// A table of a slice has become a pile.
    pub(super) fn add_pile(&mut self, span: TimeWindow, part: Part, pile: Pile) {
        let found = self.line.binary_search_by_key(&span.end, |s| s.span.end);
        if let Ok(place) = found
            && pile.rows() > 0
        {
            let slice = &mut self.line[place];
            match (part, slice.taken) {
                (Part::Whole, true) => slice.kept.push(pile),
                _ => slice.piles.push(pile),
            }
        }
    }

    /// The place of a slice of a copy; it is made where there is none.
    ///
    /// # Errors
    /// When it is no slice of these windows.
    pub(super) fn place_of_copy(
        &mut self,
        span: TimeWindow,
        windows: AlignedWindows,
    ) -> Result<usize, StateError> {
        let ends = (windows.first_end(span), windows.last_end(span));
        match ends {
            (Some(first), Some(last)) if windows.slice_of(span.start) == span => {
                self.find_or_make(span, (first, last))
            }
            _ => Err(other_windows()),
        }
    }

    /// Keeps a table that is done with, if it is worth it.
    pub(super) fn recycle(&mut self, mut table: KeyedTable<K, A>) {
        self.keys = table.len();
        let most = (self.budget.limit() / REUSED_SHARE).clamp(SMALL_BYTES, REUSED_BYTES);
        if self.spare.len() < SPARE && table.memory_bytes() <= most {
            table.clear();
            self.spare.push(table);
        }
    }

    /// Tables that are empty give their memory back.
    pub(super) fn give_back(&mut self) -> Result<(), StateError> {
        self.spare.clear();
        for slice in &mut self.line {
            let tables = std::iter::once(&mut slice.table).chain(&mut slice.patch);
            for table in tables.filter(|table| table.is_empty() && !table.is_cutting()) {
                *table = KeyedTable::new(self.groups.clone(), self.max, self.budget.clone())?;
            }
        }
        Ok(())
    }

    /// An empty table, used before if there is one.
    pub(super) fn fresh_table(&mut self) -> Result<KeyedTable<K, A>, StateError> {
        let mut table = match self.spare.pop() {
            Some(table) => table,
            None => self.table()?,
        };
        if self.leaps {
            // About as many as before, or a few more: to grow for those would move them all.
            table.expect(self.keys + self.keys / MORE);
        }
        Ok(table)
    }

    /// The place of a slice; it is made where there is none.
    pub(super) fn find_or_make(
        &mut self,
        span: TimeWindow,
        ends: (Timestamp, Timestamp),
    ) -> Result<usize, StateError> {
        let found = self.line.binary_search_by_key(&span.end, |s| s.span.end);
        let at = match found {
            Ok(at) => return Ok(at),
            Err(at) => at,
        };
        let slice = Slice {
            span,
            first_end: ends.0,
            last_end: ends.1,
            table: self.fresh_table()?,
            taken: false,
            patch: None,
            piles: Vec::new(),
            kept: Vec::new(),
        };
        self.line.insert(at, slice);
        Ok(at)
    }

    #[inline(always)]
    pub(super) fn at(&mut self, place: usize) -> &mut Slice<K, A> {
        &mut self.line[place]
    }

    pub(super) fn get(&self, place: usize) -> Option<&Slice<K, A>> {
        self.line.get(place)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slice<K, A>> {
        self.line.iter_mut()
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Slice<K, A>> {
        self.line.get_mut(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slice<K, A>> {
        self.line.iter()
    }

    /// The place of the first slice, from `from` on, with something that is in no window yet.
    pub(super) fn first_pending(&self, from: usize) -> Option<usize> {
        (from..self.line.len()).find(|at| self.line[*at].is_pending())
    }

    /// What was pending at `place` has become part of a window. Answers whether the slice is still there:
    /// `keep` says that late records may need it.
    pub(super) fn take(&mut self, place: usize, keep: bool) -> bool {
        let slice = &mut self.line[place];
        slice.taken = true;
        let span = slice.span;
        let piles = std::mem::take(&mut slice.piles);
        match slice.patch.take() {
            // The rows of these piles are in what is kept too.
            Some(patch) => self.let_part_go(span, Part::Patch, patch),
            None => slice.kept.extend(piles),
        }
        if !keep && let Some(slice) = self.line.remove(place) {
            self.let_part_go(span, Part::Whole, slice.table);
        }
        keep
    }

    /// Drops the slices at the front for which `gone` holds.
    pub(super) fn retire(&mut self, gone: impl Fn(&Slice<K, A>) -> bool) {
        while let Some(slice) = self.line.pop_front_if(|slice| gone(slice)) {
            self.let_part_go(slice.span, Part::Whole, slice.table);
        }
    }
}
