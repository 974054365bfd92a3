//! Tests of the cut: drawn programs against a map, and what cuts cost.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

use proptest::prelude::*;
use thalweg_core::{KeyHash, MaxParallelism};
use thalweg_memory::SavedRecord;

use super::*;
use crate::snapshot::reading::{Draws, Level, counting, finish, lend, read, take_back};
use crate::snapshot::{Row, Snapshot};
use crate::table::{Scan, ScanCursor, Swept};

/// What the model keeps entries under.
type At = (u64, u64);
type Model = BTreeMap<At, Vec<u64>>;

trait Drawn: Namespace {
    fn of(number: u64) -> Self;
}
impl Drawn for () {
    fn of(_: u64) {}
}
impl Drawn for u64 {
    fn of(number: u64) -> u64 {
        number
    }
}

/// A cut that is being written, or was the last that was written.
struct Last {
    kind: CutKind,
    level: Level,
    written: bool,
    expected: Model,
    /// What had changed when it was cut.
    dirty: BTreeSet<At>,
}

/// A table and the cuts of it that count.
struct Subtask<N: Namespace> {
    table: KeyedTable<u64, Vec<u64>, N>,
    chain: Vec<Level>,
    /// What the chain should say.
    kept: Model,
    last: Option<Last>,
    dirty: BTreeSet<At>,
    base_forgotten: bool,
}

struct World<N: Namespace> {
    draws: Draws,
    subtasks: Vec<Subtask<N>>,
    model: Model,
    epoch: Epoch,
    budget: Budget,
    namespaces: u64,
}

const MAX: u16 = 16;

fn max() -> MaxParallelism {
    MaxParallelism::new(MAX.into()).unwrap()
}

fn group_of(key: u64) -> u16 {
    max().key_group(KeyHash::of_u64(key)).0
}

fn bytes_of<N: Drawn>(model: &Model) -> BTreeMap<(Vec<u8>, Vec<u8>), Vec<u8>> {
    let mut saved = SavedRecord::new();
    let bytes = |((key, namespace), value): (&At, &Vec<u64>)| {
        let (mut key_bytes, mut namespace_bytes) = (Vec::new(), Vec::new());
        <u64 as Key>::encode(key, &mut key_bytes);
        N::of(*namespace).encode(&mut namespace_bytes);
        ((key_bytes, namespace_bytes), saved.archive(value).to_vec())
    };
    model.iter().map(bytes).collect()
}

impl<N: Drawn> Subtask<N> {
    fn new(groups: Range<u16>, budget: &Budget) -> Self {
        Subtask {
            table: KeyedTable::new(groups, max(), budget.clone()).unwrap(),
            chain: Vec::new(),
            kept: Model::new(),
            last: None,
            dirty: BTreeSet::new(),
            base_forgotten: false,
        }
    }

    fn own(&self, model: &Model) -> Model {
        let groups = self.table.groups();
        let own = model
            .iter()
            .filter(|((key, _), _)| groups.contains(&group_of(*key)));
        own.map(|(at, value)| (*at, value.clone())).collect()
    }

    /// The last cut is not kept.
    fn lose_last(&mut self, model: &Model) {
        let Some(last) = self.last.take() else {
            return;
        };
        if last.kind != CutKind::Copy {
            let there = last.dirty.into_iter().filter(|at| model.contains_key(at));
            self.dirty.extend(there);
        }
    }

    /// The last cut is kept.
    fn keep_last(&mut self) {
        let Some(last) = self.last.take() else {
            return;
        };
        assert!(last.written);
        if last.kind != CutKind::Copy {
            self.chain.push(last.level);
            self.kept = last.expected;
        }
    }

    fn freeze(&mut self, epoch: Epoch, asked: CutKind, model: &Model) {
        if self.table.is_cutting() {
            self.lose_last(model);
        }
        self.keep_last();
        let kind = self.table.freeze(epoch, asked);
        assert!(kind == asked || (asked, kind) == (CutKind::Changes, CutKind::Everything));
        if kind == CutKind::Changes {
            assert!(!self.base_forgotten && !self.chain.is_empty());
        }
        if kind != CutKind::Copy {
            self.base_forgotten = false;
        }
        let dirty = match kind {
            CutKind::Copy => BTreeSet::new(),
            _ => std::mem::take(&mut self.dirty),
        };
        self.last = Some(Last {
            kind,
            level: Level::new(kind),
            written: false,
            expected: self.own(model),
            dirty,
        });
    }

    fn emit(&mut self, budget: usize) {
        let cutting = self.table.is_cutting();
        let Some(last) = self.last.as_mut().filter(|last| !last.written) else {
            assert!(!cutting);
            return;
        };
        assert!(cutting);
        let before = last.level.rows.len();
        let scanned = self.table.emit(budget, &mut last.level).unwrap();
        assert!(
            last.level.rows.len() - before <= budget,
            "a slice is bounded"
        );
        if scanned == Scan::Done {
            assert!(!self.table.is_cutting());
            last.written = true;
            self.check_last();
        }
    }

    /// Whether the last cut is what the state was, and no more than it had to be.
    fn check_last(&self) {
        let Some(last) = &self.last else {
            panic!("a cut was written");
        };
        let mut chain = self.chain.clone();
        if last.kind == CutKind::Copy {
            chain.clear();
        }
        chain.push(last.level.clone());
        assert_eq!(read(&chain), bytes_of::<N>(&last.expected));
        let values = last.level.rows.iter().filter(|row| row.3.is_some()).count();
        let wanted = match last.kind {
            CutKind::Changes => last.dirty.len(),
            _ => last.expected.len(),
        };
        assert_eq!(values, wanted, "{:?}", last.kind);
    }

    fn fail(&mut self, model: &Model) {
        self.table.cut_failed();
        assert!(!self.table.is_cutting());
        self.lose_last(model);
    }
}

impl<N: Drawn> World<N> {
    fn new(seed: u64, namespaces: u64) -> Self {
        let budget = Budget::new("slot-0", 1 << 30);
        let mut draws = Draws(seed);
        let subtasks = cut_groups(&mut draws)
            .into_iter()
            .map(|groups| Subtask::new(groups, &budget))
            .collect();
        World {
            draws,
            subtasks,
            model: Model::new(),
            epoch: Epoch(0),
            budget,
            namespaces,
        }
    }

    fn subtask_of(&mut self, key: u64) -> usize {
        let group = group_of(key);
        let found = self
            .subtasks
            .iter()
            .position(|subtask| subtask.table.groups().contains(&group));
        found.unwrap()
    }

    fn change(&mut self, key: u64) {
        let at = (key, self.draws.below(self.namespaces));
        let (hash, namespace) = (KeyHash::of_u64(key), N::of(at.1));
        let (item, way) = (self.draws.below(1_000), self.draws.below(4));
        let subtask = self.subtask_of(key);
        let subtask = &mut self.subtasks[subtask];
        let table = &mut subtask.table;
        match way {
            0 => {
                let removed = table.remove_in(hash, &key, &namespace);
                assert_eq!(removed, self.model.remove(&at));
                subtask.dirty.remove(&at);
            }
            1 => {
                let push = |value: &mut Vec<u64>| value.push(item);
                let changed = table.update_in(hash, &key, &namespace, push).unwrap();
                assert_eq!(changed.is_some(), self.model.contains_key(&at));
                if let Some(value) = self.model.get_mut(&at) {
                    push(value);
                    subtask.dirty.insert(at);
                }
            }
            _ => {
                let folded = table
                    .fold_in(
                        hash,
                        &key,
                        &namespace,
                        item,
                        |item| vec![item],
                        |value, item| {
                            value.resize(1, 0);
                            value[0] = item;
                        },
                    )
                    .unwrap();
                self.model.insert(at, folded.clone());
                assert_eq!(folded, &[item]);
                subtask.dirty.insert(at);
            }
        }
    }

    fn sweep(&mut self) {
        let (budget, odd) = (1 + self.draws.below(400) as usize, self.draws.below(7));
        let number = self.draws.below(self.subtasks.len() as u64) as usize;
        let subtask = &mut self.subtasks[number];
        let (mut cursor, mut touched) = (ScanCursor::new(), Vec::new());
        let swept = subtask.table.sweep(&mut cursor, budget, |entry| {
            let mut bytes = Vec::new();
            entry.namespace.encode(&mut bytes);
            let namespace = bytes
                .first_chunk()
                .map_or(0, |bytes| u64::from_be_bytes(*bytes));
            let removed = entry.key % 7 == odd;
            entry.value.push(77);
            touched.push(((entry.key, namespace), removed));
            ControlFlow::Continue(if removed { Swept::Removed } else { Swept::Kept })
        });
        swept.unwrap();
        for (at, removed) in touched {
            if removed {
                self.model.remove(&at).unwrap();
                subtask.dirty.remove(&at);
            } else {
                self.model.get_mut(&at).unwrap().push(77);
                subtask.dirty.insert(at);
            }
        }
    }

    fn clear(&mut self) {
        let number = self.draws.below(self.subtasks.len() as u64) as usize;
        let subtask = &mut self.subtasks[number];
        subtask.table.clear();
        for at in subtask.own(&self.model).keys() {
            self.model.remove(at);
        }
        subtask.dirty.clear();
    }

    /// All subtasks stop; others, of other key groups, go on from the last cuts that were kept.
    fn rescale(&mut self) {
        self.subtasks
            .iter_mut()
            .for_each(|subtask| match &subtask.last {
                Some(last) if last.written => subtask.keep_last(),
                _ => {}
            });
        let old = std::mem::take(&mut self.subtasks);
        self.model.clear();
        old.iter()
            .for_each(|old| self.model.extend(old.kept.clone()));
        let (sorted, forget) = (self.draws.once_in(2), self.draws.once_in(3));
        for groups in cut_groups(&mut self.draws) {
            let mut new = Subtask::<N>::new(groups.clone(), &self.budget);
            new.chain.push(Level::new(CutKind::Everything));
            for old in &old {
                take_back(&mut new.table, &old.chain, groups.clone(), sorted);
                for level in counting(&old.chain) {
                    let rows = level.rows.iter().filter(|row| groups.contains(&row.0));
                    let (full, rows) = (false, rows.cloned().collect());
                    new.chain.push(Level { full, rows });
                }
            }
            new.kept = new.own(&self.model);
            if forget {
                new.table.forget_copies();
                new.base_forgotten = true;
            }
            self.subtasks.push(new);
        }
        drop(old);
        self.check_tables();
    }

    fn step(&mut self) {
        let (few, many) = (150, 1 + self.draws.below(4_000));
        let number = self.draws.below(self.subtasks.len() as u64) as usize;
        match self.draws.below(100) {
            0..3 => {
                let from = self.draws.below(5_000);
                (from..from + many).for_each(|key| self.change(key));
            }
            3..6 => self.sweep(),
            6 => self.clear(),
            7 => self.rescale(),
            8..16 => {
                self.epoch = self.epoch.next();
                let kind = match self.draws.below(5) {
                    0 => CutKind::Everything,
                    1 => CutKind::Copy,
                    _ => CutKind::Changes,
                };
                self.subtasks[number].freeze(self.epoch, kind, &self.model);
            }
            16..18 => self.subtasks[number].fail(&self.model),
            18..50 => {
                let most = if self.draws.once_in(3) { 5_000 } else { 60 };
                let budget = 1 + self.draws.below(most) as usize;
                self.subtasks[number].emit(budget);
            }
            _ => {
                let key = self.draws.below(few);
                self.change(key);
            }
        }
    }

    fn check_tables(&self) {
        let mut held = 0;
        for subtask in &self.subtasks {
            let own = subtask.own(&self.model);
            assert_eq!(subtask.table.len(), own.len());
            for ((key, namespace), value) in &own {
                let hash = KeyHash::of_u64(*key);
                let found = subtask.table.get_in(hash, key, &N::of(*namespace));
                assert_eq!(found, Some(value));
            }
            held += subtask.table.memory_bytes();
        }
        assert_eq!(held, self.budget.used());
    }
}

/// The key groups of some subtasks.
fn cut_groups(draws: &mut Draws) -> Vec<Range<u16>> {
    let count = 1 + draws.below(3) as u16;
    (0..count)
        .map(|i| MAX * i / count..MAX * (i + 1) / count)
        .collect()
}

/// A program of many steps, after which everything is written once more.
fn program<N: Drawn>(seed: u64, namespaces: u64, steps: usize) {
    let mut world = World::<N>::new(seed, namespaces);
    for _ in 0..steps {
        world.step();
    }
    world.check_tables();
    world.epoch = world.epoch.next();
    for subtask in &mut world.subtasks {
        subtask.freeze(world.epoch, CutKind::Changes, &world.model);
        while subtask.last.as_ref().is_some_and(|last| !last.written) {
            subtask.emit(1_000);
        }
    }
    world.check_tables();
    let budget = world.budget.clone();
    drop(world);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_chain_of_cuts_is_the_table_at_each_cut() {
    for seed in 0..60 {
        program::<()>(seed, 1, 250);
        program::<u64>(seed, 3, 250);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_program_however_short(seed in any::<u64>(), namespaces in 1..5_u64, steps in 1..80_usize) {
        program::<u64>(seed, namespaces, steps);
    }
}

#[test]
fn mistakes_are_found() {
    for bug in [
        Bug::NothingWrittenAside,
        Bug::TombstonesLost,
        Bug::MarksLost,
    ] {
        let found = planted::failures(bug, 0..20, |seed| program::<u64>(seed, 3, 250));
        assert!(found >= 10, "{bug:?} was found for {found} of 20 seeds");
    }
}

fn filled(keys: Range<u64>, budget: &Budget) -> KeyedTable<u64, u64> {
    let mut table = KeyedTable::new(0..MAX, max(), budget.clone()).unwrap();
    for key in keys {
        table
            .upsert(KeyHash::of_u64(key), &key, || key, |_| {})
            .unwrap();
    }
    table
}

#[test]
fn a_state_that_is_never_cut_keeps_nothing_for_cuts() {
    let budget = Budget::new("slot-0", 1 << 30);
    let mut table = filled(0..1_000, &budget);
    for key in 0..500_u64 {
        table.remove(KeyHash::of_u64(key), &key);
    }
    assert!(table.cut.is_none() && !table.is_cutting());
    assert_eq!(
        table.emit(10, &mut Level::new(CutKind::Changes)),
        Ok(Scan::Done)
    );
    table.cut_failed();
    table.forget_copies();
    assert!(table.cut.is_none());
}

#[test]
fn a_cut_of_few_changes_passes_over_what_did_not_change() {
    let budget = Budget::new("slot-0", 1 << 30);
    let mut table = filled(0..100_000, &budget);
    // What moved into a larger array meanwhile counts as changed once.
    for epoch in 1..3 {
        let mut level = Level::new(table.freeze(Epoch(epoch), CutKind::Changes));
        finish(&mut table, 10_000, &mut level);
    }
    for epoch in 4..8 {
        for key in [7, 70_000, 7 * epoch] {
            let changed = table.update(KeyHash::of_u64(key), &key, |value| *value += 1);
            assert_eq!(changed, Ok(Some(())));
        }
        let mut level = Level::new(table.freeze(Epoch(epoch), CutKind::Changes));
        // Half of the time what it begins with is taken back, and counts in the next.
        if epoch.is_multiple_of(2) {
            table.cut_failed();
            continue;
        }
        assert_eq!(table.emit(50, &mut level), Ok(Scan::Done));
        assert_eq!(level.rows.len(), 4);
    }
}

/// The most buckets in a row that entries have passed.
fn longest_chain(table: &KeyedTable<u64, u64>) -> usize {
    let (mut longest, mut chain) = (0, 0);
    for bucket in 0..table.buckets.len() {
        let passed = table.buckets.bucket(bucket).unwrap().overflows();
        chain = if passed { chain + 1 } else { 0 };
        longest = longest.max(chain);
    }
    longest
}

fn of_many_groups(bytes: u64) -> KeyedTable<u64, u64> {
    let budget = Budget::new("slot-0", bytes);
    KeyedTable::new(0..128, MaxParallelism::default(), budget).unwrap()
}

/// Takes rows back in the order of key groups, while entries stay near where they belong.
fn take_back_in_order(table: &mut KeyedTable<u64, u64>, keys: Range<u64>) {
    let mut source = of_many_groups(1 << 30);
    for key in keys {
        let hash = KeyHash::of_u64(key);
        source.upsert(hash, &key, || key, |_| {}).unwrap();
    }
    let mut level = Level::new(source.freeze(Epoch(1), CutKind::Everything));
    finish(&mut source, 10_000, &mut level);
    level.rows.sort();
    for (number, row) in level.rows.iter().enumerate() {
        table.restore(lend(row)).unwrap();
        if number % 1_000 == 999 {
            let longest = longest_chain(table);
            assert!(longest < 200, "{longest} buckets in a row at row {number}");
        }
    }
}

#[test]
fn runs_of_other_keys_do_not_crowd_into_the_front_of_the_array() {
    const KEYS: u64 = 300_000;
    let mut table = of_many_groups(1 << 30);
    // A little more than the largest of the runs has: the array is nearly full after the first. Growing as
    // entries come takes thousands of them, and they all come to the front.
    table.expect_rows(KEYS + KEYS / 50, 2 * KEYS);
    take_back_in_order(&mut table, 0..KEYS);
    take_back_in_order(&mut table, KEYS..2 * KEYS);
    assert_eq!(table.len(), 2 * KEYS as usize);
}

#[test]
fn rows_that_were_overestimated_beyond_the_budget_come_back_all_the_same() {
    const KEYS: u64 = 100_000;
    let mut table = of_many_groups(4 << 20);
    table.expect_rows(2 * KEYS, 4 * KEYS);
    take_back_in_order(&mut table, 0..KEYS);
    assert_eq!(table.len(), KEYS as usize);
}

#[test]
fn what_came_and_went_between_two_cuts_leaves_no_tombstone() {
    let budget = Budget::new("slot-0", 1 << 30);
    let mut table = filled(0..100, &budget);
    table.freeze(Epoch(1), CutKind::Changes);
    finish(&mut table, 1_000, &mut Level::new(CutKind::Everything));
    let held = budget.used();
    for round in 0..100_000_u64 {
        let key = 1_000 + round;
        table
            .upsert(KeyHash::of_u64(key), &key, || 0, |_| {})
            .unwrap();
        table.remove(KeyHash::of_u64(key), &key);
    }
    assert!(budget.used() <= held + (64 << 10));
    let mut level = Level::new(CutKind::Changes);
    assert_eq!(table.freeze(Epoch(2), CutKind::Changes), CutKind::Changes);
    finish(&mut table, 1_000, &mut level);
    assert_eq!(level.rows, []);
}

#[test]
fn tombstones_without_memory_make_the_next_cut_a_full_one() {
    let budget = Budget::new("slot-0", 64 << 20);
    let mut table = filled(0..100_000, &budget);
    table.freeze(Epoch(1), CutKind::Changes);
    finish(&mut table, usize::MAX, &mut Level::new(CutKind::Everything));
    let taken = budget.limit() - budget.used();
    budget.reserve(taken).unwrap();
    for key in 0..60_000_u64 {
        assert_eq!(table.remove(KeyHash::of_u64(key), &key), Some(key));
    }
    let mut level = Level::new(CutKind::Everything);
    assert_eq!(
        table.freeze(Epoch(2), CutKind::Changes),
        CutKind::Everything
    );
    finish(&mut table, 1_000, &mut level);
    assert_eq!(level.rows.len(), 40_000);
    // Lost with the cut they are still lost.
    table.cut_failed();
    assert_eq!(
        table.freeze(Epoch(3), CutKind::Changes),
        CutKind::Everything
    );
    finish(&mut table, 1_000, &mut level);
    budget.release(taken);
    assert_eq!(table.freeze(Epoch(4), CutKind::Changes), CutKind::Changes);
}

#[test]
fn full_cuts_given_up_for_ever_do_not_hide_an_entry() {
    let budget = Budget::new("slot-0", 1 << 30);
    let mut table = filled(0..200, &budget);
    for epoch in 1..1_000 {
        let kind = if epoch % 2 == 0 {
            CutKind::Copy
        } else {
            CutKind::Everything
        };
        table.freeze(Epoch(epoch), kind);
        table.emit(7, &mut Level::new(kind)).unwrap();
        if epoch % 3 == 0 {
            table.cut_failed();
        }
    }
    let mut level = Level::new(CutKind::Everything);
    assert_eq!(
        table.freeze(Epoch(1_000), CutKind::Changes),
        CutKind::Everything
    );
    finish(&mut table, 7, &mut level);
    assert_eq!(level.rows.len(), 200);
}

#[test]
fn rows_that_are_not_of_the_table_are_refused() {
    let budget = Budget::new("slot-0", 1 << 30);
    let mut table = filled(0..10, &budget);
    let mut level = Level::new(CutKind::Everything);
    table.freeze(Epoch(1), CutKind::Everything);
    finish(&mut table, 100, &mut level);
    let mut other = KeyedTable::<u64, u64>::new(0..MAX, max(), budget.clone()).unwrap();
    let good = &level.rows[0];
    let good = lend(good);
    let half = Row {
        key: &good.key[..4],
        ..good
    };
    let long = Row {
        namespace: &[1],
        ..good
    };
    let value = Row {
        value: Some(&[1, 2, 3]),
        ..good
    };
    let group = Row {
        group: thalweg_core::KeyGroup((good.group.0 + 1) % MAX),
        ..good
    };
    for damaged in [half, long, value, group] {
        assert!(other.restore(damaged).is_err(), "{damaged:?}");
        assert!(other.is_empty());
    }
    let mut part = KeyedTable::<u64, u64>::new(0..1, max(), budget.clone()).unwrap();
    let foreign = level.rows.iter().find(|row| row.0 > 0).unwrap();
    let refused = part.restore(lend(foreign)).unwrap_err().to_string();
    assert!(refused.contains("key group"), "{refused}");
    other.restore(good).unwrap();
    assert_eq!(other.len(), 1);
}

#[test]
fn entries_that_were_found_ahead_are_cut_before_they_change() {
    let budget = Budget::new("slot-0", 1 << 30);
    let mut draws = Draws(7);
    let mut table = KeyedTable::<u64, Vec<u64>>::new(0..MAX, max(), budget).unwrap();
    let (mut model, mut chain) = (Model::new(), Vec::new());
    for epoch in 1..60 {
        let keys: Vec<u64> = (0..64).map(|_| draws.below(100 * epoch)).collect();
        let hashes: Vec<_> = keys.iter().map(|key| KeyHash::of_u64(*key)).collect();
        table.approach(0, &hashes);
        table.locate(0, 64);
        table.locate(64, 0);
        // The barrier comes after the batch was located.
        let mut level = Level::new(table.freeze(Epoch(epoch), CutKind::Changes));
        let expected = bytes_of::<()>(&model);
        let mut scan = Scan::More;
        for (at, key) in keys.iter().enumerate() {
            table.turn_to(at as u8);
            let insert = |item| vec![item];
            let push = |value: &mut Vec<u64>, item| value.push(item);
            table.fold(hashes[at], key, epoch, insert, push).unwrap();
            model.entry((*key, 0)).or_default().push(epoch);
            if scan == Scan::More && draws.once_in(2) {
                scan = table.emit(5, &mut level).unwrap();
            }
        }
        finish(&mut table, 9, &mut level);
        chain.push(level);
        assert!(read(&chain) == expected, "epoch {epoch}");
    }
}
