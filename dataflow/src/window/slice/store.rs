//! The slices that hold records: one table of keys each.
//!
//! A slice that is done with goes as a whole, with one call; its table is used again for the next one
//! while it is small. Invariants: slices stand in time order, each once; `taken` ones have become part of
//! the windows that were due and are kept only for late records; a table whose rows a checkpoint has not
//! written yet is kept until it has. Lives on one shard's thread.

use std::collections::VecDeque;
use std::ops::Range;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::MaxParallelism;
use thalweg_memory::Budget;
use thalweg_memory::record::{Key, Record};
use thalweg_state::{KeyedTable, Snapshot, StateError};

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
}

impl<K: Key, A: Record> Slice<K, A> {
    /// Whether something in it has not become part of a window yet.
    pub(super) fn is_pending(&self) -> bool {
        !self.taken || self.patch.is_some()
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
    pub(super) table: KeyedTable<K, A>,
}

/// All slices of a subtask.
pub(super) struct Slices<K: Key, A: Record> {
    line: VecDeque<Slice<K, A>>,
    pub(super) leaving: Vec<Leaving<K, A>>,
    spare: Vec<KeyedTable<K, A>>,
    /// Keys of the last one that was done with.
    keys: usize,
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
            groups,
            max,
            budget,
        }
    }

    /// An empty table.
    pub(super) fn table<V: Record>(&self) -> Result<KeyedTable<K, V>, StateError> {
        KeyedTable::new(self.groups.clone(), self.max, self.budget.clone())
    }

    /// A table is done with, unless a checkpoint still needs it.
    fn let_go(&mut self, span: TimeWindow, part: Part, table: KeyedTable<K, A>) {
        if table.is_cutting() {
            self.leaving.push(Leaving { span, part, table });
        } else {
            self.recycle(table);
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

    /// An empty table, used before if there is one.
    pub(super) fn fresh_table(&mut self) -> Result<KeyedTable<K, A>, StateError> {
        let mut table = match self.spare.pop() {
            Some(table) => table,
            None => self.table()?,
        };
        // About as many as before, or a few more: to grow for those would move them all.
        table.expect(self.keys + self.keys / MORE);
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
        if let Some(patch) = slice.patch.take() {
            self.let_go(span, Part::Patch, patch);
        }
        if !keep && let Some(slice) = self.line.remove(place) {
            self.let_go(span, Part::Whole, slice.table);
        }
        keep
    }

    /// Drops the slices at the front for which `gone` holds.
    pub(super) fn retire(&mut self, gone: impl Fn(&Slice<K, A>) -> bool) {
        while let Some(slice) = self.line.pop_front_if(|slice| gone(slice)) {
            self.let_go(slice.span, Part::Whole, slice.table);
        }
    }
}
