//! The rows of one state in order, over all sections of one run or of several.
//!
//! Entered by merges and by whoever needs order. Invariant: each address comes once, with the row that
//! counts: that of the newest run, and within a run a put before a tombstone, the later put before the
//! earlier. A section is opened when its first row may be the next and closed behind its last, so sections
//! that do not overlap are open one at a time. Lives where its readers live.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;

use super::error::RunError;
use super::order::StateNumber;
use super::reader::RunReader;
use super::rule::{CountingRun, Part};
use super::source::ReadAt;
use super::walk::{Clip, RunWalk};
use crate::snapshot::Row;

/// What a row of one state is found by.
type Inner<'a> = (u16, &'a [u8], &'a [u8]);

fn inner<'a>(row: &Row<'a>) -> Inner<'a> {
    (row.group.0, row.key, row.namespace)
}

/// A section that is open.
struct Open<'r, R> {
    walk: RunWalk<'r, R>,
    /// Age of the run, 0 the newest.
    age: usize,
    section: usize,
}

impl<R: ReadAt> Ord for Open<'_, R> {
    /// The greatest is what comes first.
    fn cmp(&self, other: &Self) -> Ordering {
        let (row, others) = (self.walk.row(), other.walk.row());
        let by_address = inner(&others).cmp(&inner(&row));
        by_address
            .then_with(|| other.age.cmp(&self.age))
            .then_with(|| others.is_tombstone().cmp(&row.is_tombstone()))
            .then_with(|| self.section.cmp(&other.section))
    }
}

impl<R: ReadAt> PartialOrd for Open<'_, R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: ReadAt> PartialEq for Open<'_, R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<R: ReadAt> Eq for Open<'_, R> {}

/// A section that is not open yet. None of its rows lies before `from`.
struct Closed<'r, R> {
    run: &'r RunReader<R>,
    clip: Clip,
    age: usize,
    section: usize,
    from: Inner<'r>,
}

/// A walk in order.
pub struct SortedWalk<'r, R> {
    /// The next to be opened last.
    closed: Vec<Closed<'r, R>>,
    open: BinaryHeap<Open<'r, R>>,
    started: bool,
    /// The address of the row shown last, while it is stepped over.
    group: u16,
    key: Vec<u8>,
    namespace: Vec<u8>,
    failed: Option<RunError>,
}

impl<R: ReadAt> RunReader<R> {
    /// Walks over the rows of one state and of `groups` in order, each address once.
    #[must_use]
    pub fn sorted(&self, state: StateNumber, groups: Range<u16>) -> SortedWalk<'_, R> {
        let mut walk = SortedWalk::new();
        walk.add(0, self, state, groups);
        walk.arrange();
        walk
    }
}

impl<'r, R: ReadAt> SortedWalk<'r, R> {
    /// Walks over the rows of one state that count, as [`counting`](super::counting) says, in order: of one
    /// address the newest.
    #[must_use]
    pub fn over(runs: &[CountingRun<'r, R>], parts: &[Part]) -> Self {
        let mut walk = SortedWalk::new();
        for Part { run, state, groups } in parts {
            walk.add(*run, runs[*run].run, *state, groups.clone());
        }
        walk.arrange();
        walk
    }

    fn new() -> Self {
        SortedWalk {
            closed: Vec::new(),
            open: BinaryHeap::new(),
            started: false,
            group: 0,
            key: Vec::new(),
            namespace: Vec::new(),
            failed: None,
        }
    }

    /// Adds rows of a run; `age` is 0 for the newest.
    fn add(&mut self, age: usize, run: &'r RunReader<R>, state: StateNumber, groups: Range<u16>) {
        let clip = Clip::all().of_state(state).within(groups);
        for (section, entry) in run.sections().iter().enumerate() {
            let Some(extent) = entry.extent(state.0).filter(|it| clip.meets(it)) else {
                continue;
            };
            let start = extent.first.0.max(clip.groups.start);
            let from = match entry.first() {
                Some(first) if first.state == state.0 && first.group.0 == start => {
                    (start, first.key, first.namespace)
                }
                _ => (start, &[][..], &[][..]),
            };
            let clip = clip.clone();
            self.closed.push(Closed {
                run,
                clip,
                age,
                section,
                from,
            });
        }
    }

    /// To be called when all is added.
    fn arrange(&mut self) {
        self.closed.sort_by(|one, other| other.from.cmp(&one.from));
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// When a run is damaged or cannot be read. The same error comes back from there on.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, RunError> {
        let there = self.advance()?;
        Ok(self.row().filter(|_| there))
    }

    /// Goes to the next row; `false` at the end.
    fn advance(&mut self) -> Result<bool, RunError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let found = self.find();
        found.inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn row(&self) -> Option<Row<'_>> {
        self.open.peek().map(|first| first.walk.row())
    }

    fn find(&mut self) -> Result<bool, RunError> {
        if self.started {
            self.step_over_address()?;
        } else {
            self.started = true;
            self.open_those_due()?;
        }
        Ok(!self.open.is_empty())
    }

    /// Goes behind the row shown and those of the same address, which do not count.
    fn step_over_address(&mut self) -> Result<(), RunError> {
        let Some(shown) = self.open.peek() else {
            return Ok(());
        };
        let (group, key, namespace) = inner(&shown.walk.row());
        self.group = group;
        self.key.clear();
        self.key.extend_from_slice(key);
        self.namespace.clear();
        self.namespace.extend_from_slice(namespace);
        loop {
            let Some(mut first) = self.open.peek_mut() else {
                return Ok(());
            };
            let shown = (self.group, self.key.as_slice(), self.namespace.as_slice());
            if inner(&first.walk.row()) != shown {
                return Ok(());
            }
            if first.walk.advance()? {
                drop(first);
            } else {
                PeekMut::pop(first);
            }
            self.open_those_due()?;
        }
    }

    /// Opens the sections that may hold the next row.
    fn open_those_due(&mut self) -> Result<(), RunError> {
        let due = |closed: &mut Closed<'r, R>, open: &BinaryHeap<Open<'r, R>>| {
            open.peek()
                .is_none_or(|first| closed.from <= inner(&first.walk.row()))
        };
        while let Some(closed) = self.closed.pop_if(|closed| due(closed, &self.open)) {
            let Closed {
                run,
                clip,
                age,
                section,
                ..
            } = closed;
            let mut walk = run.walk_sections(clip, section..section + 1);
            if walk.advance()? {
                self.open.push(Open { walk, age, section });
            }
        }
        Ok(())
    }
}
