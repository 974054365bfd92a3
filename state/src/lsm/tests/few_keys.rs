//! A drawn program of few keys with very many windows each, far more than memory holds: what records ahead need stays,
//! and no other window of their keys has to.
//!
//! Invariant: what a window holds is what a map says.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use thalweg_core::seam::simulated::SimOptions;
use thalweg_core::shard::step::{Progress, Step, StepError, TurnContext};
use thalweg_core::{KeyHash, MaxParallelism};
use thalweg_memory::Budget;

use super::super::stage::{self, spilling};
use super::super::{LayeredTable, Overflow};
use crate::snapshot::reading::Draws;
use crate::{KeyedTable, StateDescriptor, StateError, WINDOW};

const BATCH: usize = 16;
/// Windows that a record belongs to.
const WIDE: u64 = 5;

/// A record: its key, and its windows.
type Record = (u64, Vec<i64>);

struct Program {
    table: LayeredTable<u64, u64, i64>,
    model: BTreeMap<(u64, i64), u64>,
    keys: u64,
    windows: u64,
    draws: Draws,
    batch: Vec<Record>,
    batches: usize,
    reads: Rc<RefCell<u64>>,
}

impl Program {
    fn draw(&mut self) -> Record {
        let first = self.draws.below(self.windows) as i64;
        let windows = (first..).take(1 + self.draws.below(WIDE) as usize);
        (self.draws.below(self.keys), windows.collect())
    }

    fn seek(&mut self, at: usize) -> bool {
        let (key, windows) = &self.batch[at];
        let place = (self.batches * BATCH + at) % WINDOW;
        self.table
            .seek_each(place, KeyHash::of_u64(*key), key, windows)
    }

    /// Applies a batch, unless it has to wait.
    fn apply(&mut self) -> Result<bool, StateError> {
        if self.table.is_active() {
            let room = self.table.has_room(WINDOW);
            // All of them are sought before the first is missed.
            if !room || (0..BATCH).filter(|at| self.seek(*at)).count() < BATCH {
                return Ok(false);
            }
        }
        for (key, windows) in std::mem::take(&mut self.batch) {
            for window in windows {
                let expected = self.model.entry((key, window)).or_default();
                *expected += 1;
                let add = |held: &mut u64, one: u64| *held += one;
                let hash = KeyHash::of_u64(key);
                let first = |one| one;
                let table = self.table.hot_mut();
                let now = table.fold_in(hash, &key, &window, 1, first, add)?;
                assert_eq!(now, expected, "window {window} of key {key}");
            }
        }
        Ok(true)
    }
}

impl Step for Program {
    fn name(&self) -> &str {
        "few keys"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.table.begin_turn(context)?;
        let mut waiting = false;
        for _ in 0..4 {
            if self.batch.is_empty() && self.batches > 0 {
                self.batches -= 1;
                self.batch = (0..BATCH).map(|_| self.draw()).collect();
            }
            if self.batch.is_empty() {
                break;
            }
            waiting = !self.apply()?;
            if waiting {
                break;
            }
        }
        self.table.end_turn(context, waiting)?;
        if let Some(overflow) = self.table.overflow() {
            *self.reads.borrow_mut() = overflow.reads();
        }
        let done = self.batches == 0 && self.batch.is_empty();
        Ok(Progress { made: !done, done })
    }
}

#[test]
fn windows_of_few_keys_leave_memory_though_their_keys_are_ahead() {
    for (seed, keys) in [(0, 1), (1, 3), (2, 40)] {
        let (mut simulation, manager) = spilling(seed, SimOptions::default());
        let budget = Budget::new("slot", 256 << 10);
        let make = stage::overflows(&manager, &budget, 1 << 40);
        let descriptor = StateDescriptor::aggregating::<u64>("windows").of_keys::<u64, i64>();
        let overflow: Box<Overflow> = make(&descriptor, 0..128);
        let table = KeyedTable::new(0..128, MaxParallelism::default(), budget);
        let reads = Rc::new(RefCell::new(0));
        let program = Program {
            table: LayeredTable::new(table.unwrap(), Some(overflow)),
            model: BTreeMap::new(),
            keys,
            windows: 60_000 / keys,
            draws: Draws(seed),
            batch: Vec::new(),
            batches: 2_000,
            reads: Rc::clone(&reads),
        };
        stage::run(&mut simulation, program).unwrap();
        assert!(
            *reads.borrow() > 500,
            "{keys} keys: {} reads",
            reads.borrow()
        );
    }
}
