//! Tests of the table: against an ordered map, over growth, collisions, scans, epochs and budgets.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;
use thalweg_core::KeyGroup;
use thalweg_memory::Str;

use super::*;

const ROOMY: u64 = 1 << 40;

fn groups(count: u32) -> MaxParallelism {
    MaxParallelism::new(count).unwrap()
}

fn table<V: Record>(max: u32) -> KeyedTable<u64, V> {
    KeyedTable::new(0..max as u16, groups(max), Budget::new("slot-0", ROOMY)).unwrap()
}

/// Ways of hashing that a table must survive.
#[derive(Clone, Copy, Debug)]
enum Hashing {
    Good,
    /// Three hashes for all keys.
    Colliding,
    /// All in one key group, near each other.
    Crowded,
    /// One tag for all.
    OneTag,
}

impl Hashing {
    fn hash(self, key: u64) -> KeyHash {
        let good = KeyHash::of_u64(key).0;
        KeyHash(match self {
            Hashing::Good => good,
            Hashing::Colliding => KeyHash::of_u64(key % 3).0,
            Hashing::Crowded => good & 0xFFFF_FFFF,
            Hashing::OneTag => good & !0xFF,
        })
    }
}

#[derive(Clone, Debug)]
enum Op {
    Add(u64, u64, u64),
    AddMany(u64, u64),
    Update(u64, u64),
    Remove(u64, u64),
    RemoveMany(u64, u64),
    NextEpoch,
    Scan(usize),
    ScanSince(u64, usize),
}

fn ops(many: u64) -> impl Strategy<Value = Vec<Op>> {
    let (key, namespace) = (0..200u64, 0..3u64);
    let op = prop_oneof![
        8 => (key.clone(), namespace.clone(), 0..1000u64).prop_map(|(k, n, v)| Op::Add(k, n, v)),
        2 => (0..10_000u64, 1..=many).prop_map(|(from, count)| Op::AddMany(from, count)),
        2 => (key.clone(), namespace.clone()).prop_map(|(k, n)| Op::Update(k, n)),
        4 => (key, namespace).prop_map(|(k, n)| Op::Remove(k, n)),
        1 => (0..10_000u64, 1..=many).prop_map(|(from, count)| Op::RemoveMany(from, count)),
        2 => Just(Op::NextEpoch),
        1 => (1..500usize).prop_map(Op::Scan),
        1 => (0..4u64, 1..500usize).prop_map(|(back, budget)| Op::ScanSince(back, budget)),
    ];
    prop::collection::vec(op, 1..60)
}

/// The table beside what it should hold: (key, namespace) to (value, epoch of the last change).
struct Twin {
    table: KeyedTable<u64, u64, u64>,
    model: BTreeMap<(u64, u64), (u64, Epoch)>,
    hashing: Hashing,
    max: MaxParallelism,
    epoch: Epoch,
}

impl Twin {
    fn add(&mut self, key: u64, namespace: u64, item: u64) {
        let hash = self.hashing.hash(key);
        let got = self
            .table
            .fold_in(hash, &key, &namespace, item, |v| v, |old, v| *old += v);
        let entry = self
            .model
            .entry((key, namespace))
            .or_insert((0, self.epoch));
        *entry = (entry.0 + item, self.epoch);
        assert_eq!(got, Ok(&entry.0));
    }

    fn remove(&mut self, key: u64, namespace: u64) {
        let got = self
            .table
            .remove_in(self.hashing.hash(key), &key, &namespace);
        assert_eq!(
            got,
            self.model.remove(&(key, namespace)).map(|(value, _)| value)
        );
    }

    fn update(&mut self, key: u64, namespace: u64) {
        let change = |value: &mut u64| std::mem::replace(value, *value ^ 7);
        let got = self
            .table
            .update_in(self.hashing.hash(key), &key, &namespace, change);
        let expected = self.model.get_mut(&(key, namespace)).map(|entry| {
            let before = entry.0;
            *entry = (before ^ 7, self.epoch);
            before
        });
        assert_eq!(got, Ok(expected));
    }

    fn scan(&self, since: Epoch, budget: usize) {
        let mut cursor = ScanCursor::new().since(since);
        let mut seen = BTreeMap::new();
        let mut last = KeyGroup(0);
        loop {
            let mut in_slice = 0;
            let more = self.table.scan(&mut cursor, budget, |entry| {
                in_slice += 1;
                assert_eq!(
                    entry.group,
                    self.max.key_group(self.hashing.hash(entry.key))
                );
                assert!(entry.group >= last, "key groups come in order");
                last = entry.group;
                let twice = seen.insert((entry.key, *entry.namespace), *entry.value);
                assert_eq!(twice, None, "visited once");
                ControlFlow::Continue(())
            });
            assert!(in_slice <= budget);
            if more.unwrap() == Scan::Done {
                break;
            }
        }
        let changed = self.model.iter().filter(|(_, (_, epoch))| *epoch >= since);
        let expected: BTreeMap<_, _> = changed.map(|(at, (value, _))| (*at, *value)).collect();
        assert_eq!(seen, expected);
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Add(key, namespace, item) => self.add(key, namespace, item),
            Op::AddMany(from, count) => (from..from + count).for_each(|key| self.add(key, 0, key)),
            Op::Update(key, namespace) => self.update(key, namespace),
            Op::Remove(key, namespace) => self.remove(key, namespace),
            Op::RemoveMany(from, count) => (from..from + count).for_each(|key| self.remove(key, 0)),
            Op::NextEpoch => {
                self.epoch = self.epoch.next();
                self.table.set_epoch(self.epoch);
            }
            Op::Scan(budget) => self.scan(Epoch(0), budget),
            Op::ScanSince(back, budget) => {
                self.scan(Epoch(self.epoch.0.saturating_sub(back)), budget);
            }
        }
        assert_eq!(self.table.len(), self.model.len());
    }

    fn check_every_lookup(&self) {
        for ((key, namespace), (value, _)) in &self.model {
            let hash = self.hashing.hash(*key);
            assert_eq!(self.table.get_in(hash, key, namespace), Some(value));
            assert_eq!(self.table.get_in(hash, key, &(namespace + 100)), None);
        }
    }
}

fn run(ops: &[Op], hashing: Hashing, max: u32) {
    let budget = Budget::new("slot-0", ROOMY);
    let table = KeyedTable::new(0..max as u16, groups(max), budget.clone()).unwrap();
    let (model, epoch) = (BTreeMap::new(), Epoch(0));
    let mut twin = Twin {
        table,
        model,
        hashing,
        max: groups(max),
        epoch,
    };
    for op in ops {
        twin.run(op);
        assert_eq!(twin.table.memory_bytes(), budget.used());
    }
    twin.check_every_lookup();
    twin.scan(Epoch(0), 64);
    for (key, namespace) in twin.model.keys().copied().collect::<Vec<_>>() {
        twin.remove(key, namespace);
    }
    assert!(twin.table.is_empty());
    drop(twin);
    assert_eq!(budget.used(), 0, "every byte went home");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn behaves_as_an_ordered_map(
        ops in ops(4_000),
        max in prop_oneof![Just(1), Just(3), Just(128), Just(1_000), Just(32_768)],
        hashing in prop_oneof![Just(Hashing::Good), Just(Hashing::OneTag)],
    ) {
        run(&ops, hashing, max);
    }

    #[test]
    fn behaves_as_an_ordered_map_whatever_the_hashes(
        ops in ops(200),
        max in prop_oneof![Just(1), Just(128), Just(32_768)],
        hashing in prop_oneof![Just(Hashing::Colliding), Just(Hashing::Crowded)],
    ) {
        run(&ops, hashing, max);
    }
}

fn fill(table: &mut KeyedTable<u64, u64>, keys: Range<u64>) {
    for key in keys {
        table
            .upsert(KeyHash::of_u64(key), &key, || key, |_| panic!("new"))
            .unwrap();
    }
}

fn count(table: &KeyedTable<u64, u64>, mut cursor: ScanCursor) -> usize {
    let mut seen = 0;
    let visit = |_: ScanEntry<'_, u64, u64, ()>| {
        seen += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(table.scan(&mut cursor, usize::MAX, visit), Ok(Scan::Done));
    seen
}

#[test]
fn a_large_table_finds_all_and_only_what_is_in_it() {
    for max in [1, 5, 128] {
        let mut table = table(max);
        fill(&mut table, 0..200_000);
        for key in 0..200_000 {
            assert_eq!(table.get(KeyHash::of_u64(key), &key), Some(&key));
        }
        for key in 200_000..300_000 {
            assert_eq!(table.get(KeyHash::of_u64(key), &key), None);
        }
        assert_eq!(count(&table, ScanCursor::new()), 200_000);
        let bytes = table.memory_bytes() / 200_000;
        assert!(
            (32..64).contains(&bytes),
            "{bytes} bytes for an entry of 16"
        );
    }
}

#[test]
fn no_page_grows_beyond_what_a_slice_may_move() {
    let mut table = table::<u64>(3);
    for key in 0..300_000 {
        fill(&mut table, key..key + 1);
        if key % 10_007 != 0 {
            continue;
        }
        let spans = table.directory.spans(0..3);
        let mut at = spans.start;
        while at < spans.end {
            let (_, page, next) = table.directory.step(at);
            assert!(
                page.entries() <= 1_600,
                "{} entries in a page at {key}",
                page.entries()
            );
            at = next;
        }
    }
}

#[test]
fn a_subtask_in_the_middle_holds_its_key_groups_only() {
    let max = groups(128);
    let range = max.range(1, 3);
    let mut table =
        KeyedTable::<u64, u64>::new(range.clone(), max, Budget::new("slot-0", ROOMY)).unwrap();
    let mine = |key: &u64| range.contains(&max.key_group(KeyHash::of_u64(*key)).0);
    let keys: Vec<u64> = (0..200_000).filter(mine).collect();
    keys.iter().for_each(|key| fill(&mut table, *key..*key + 1));
    let mut sum = 0;
    for group in range.clone() {
        let expected = keys
            .iter()
            .filter(|key| max.key_group(KeyHash::of_u64(**key)).0 == group)
            .count();
        let found = count(&table, ScanCursor::new().within(group..group + 1));
        assert_eq!(found, expected, "key group {group}");
        sum += found;
    }
    assert_eq!(sum, keys.len());
    assert_eq!(count(&table, ScanCursor::new().within(0..range.start)), 0);
}

#[test]
fn a_scan_goes_on_where_its_visitor_broke_off() {
    let mut table = table(7);
    fill(&mut table, 0..1_000);
    let (mut cursor, mut seen, mut slices) = (ScanCursor::new(), Vec::new(), 0);
    loop {
        let mut left = 3;
        let scan = table.scan(&mut cursor, 100, |entry| {
            seen.push(entry.key);
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        slices += 1;
        if scan.unwrap() == Scan::Done {
            break;
        }
    }
    assert!(slices > 333);
    seen.sort_unstable();
    assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_scan_that_growth_overtook_says_so() {
    let mut table = table(2);
    fill(&mut table, 0..5_000);
    let mut cursor = ScanCursor::new();
    assert_eq!(
        table.scan(&mut cursor, 10, |_| ControlFlow::Continue(())),
        Ok(Scan::More)
    );
    table
        .upsert(KeyHash::of_u64(1), &1, || 0, |value| *value = 9)
        .unwrap();
    assert_eq!(
        table.scan(&mut cursor, 10, |_| ControlFlow::Continue(())),
        Ok(Scan::More)
    );
    fill(&mut table, 5_000..10_000);
    let overtaken = table.scan(&mut cursor, 10, |_| ControlFlow::Continue(()));
    assert_eq!(overtaken, Err(StateError::ScanOvertaken));
}

#[test]
fn only_what_changed_is_dirty() {
    let mut table = table(128);
    fill(&mut table, 0..10_000);
    table.set_epoch(Epoch(5));
    for key in 0..100 {
        table
            .update(KeyHash::of_u64(key), &key, |value| *value += 1)
            .unwrap();
    }
    table.set_epoch(Epoch(6));
    fill(&mut table, 10_000..10_050);
    let _ = table.get(KeyHash::of_u64(500), &500);
    let dirty = |since| count(&table, ScanCursor::new().since(Epoch(since)));
    assert_eq!([0, 1, 5, 6, 7].map(dirty), [10_050, 150, 150, 50, 0]);
}

#[test]
fn a_full_budget_refuses_by_name_and_loses_nothing() {
    let budget = Budget::new("slot-0", 200_000);
    let mut table = KeyedTable::<u64, u64>::new(0..128, groups(128), budget.clone()).unwrap();
    let mut refused = Vec::new();
    let mut held = Vec::new();
    for key in 0..20_000u64 {
        match table.upsert(KeyHash::of_u64(key), &key, || key, |_| ()) {
            Ok(_) => held.push(key),
            Err(error) => refused.push(error),
        }
        assert!(budget.used() <= 200_000);
        assert_eq!(table.len(), held.len());
    }
    assert!(held.len() > 2_000, "{} entries in 200 kB", held.len());
    let Some(error @ StateError::OverBudget(exceeded)) = refused.first() else {
        panic!("refused nothing");
    };
    assert_eq!(
        (exceeded.limit, exceeded.key),
        (200_000, "taskmanager.memory.managed.size")
    );
    assert!(exceeded.used + exceeded.asked > exceeded.limit);
    assert!(
        error
            .to_string()
            .contains("raise taskmanager.memory.managed.size"),
        "{error}"
    );
    assert_eq!(error.kind(), thalweg_core::ErrorKind::Resource);
    for key in &held {
        assert_eq!(table.remove(KeyHash::of_u64(*key), key), Some(*key));
    }
    fill(&mut table, 0..1_000);
}

#[test]
fn keys_and_values_on_the_heap_are_accounted_as_they_change() {
    let budget = Budget::new("slot-0", 100_000);
    let mut table = KeyedTable::<Str, String>::new(0..4, groups(4), budget.clone()).unwrap();
    let key = "a key that is longer than what lies inline";
    let hash = Str::hash(&key);
    let empty = budget.used();
    table.upsert(hash, &key, String::new, |_| ()).unwrap();
    let with_key = budget.used();
    assert!(with_key >= empty + key.len() as u64);
    table
        .update(hash, &key, |value| value.push_str(&"x".repeat(10_000)))
        .unwrap();
    assert!(budget.used() >= with_key + 10_000);
    let refused = table.update(hash, &key, |value| value.push_str(&"x".repeat(200_000)));
    assert!(
        matches!(refused, Err(StateError::OverBudget(_))),
        "{refused:?}"
    );
    assert_eq!(
        table.get(hash, &key).map(String::len),
        Some(210_000),
        "nothing is lost"
    );
    assert!(table.memory_bytes() > 200_000, "what it really holds");
    table
        .update(hash, &key, |value| *value = String::new())
        .unwrap();
    assert_eq!(budget.used(), with_key);
    assert_eq!(table.remove(hash, &key), Some(String::new()));
    drop(table);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_panic_in_a_closure_leaves_a_table_that_works() {
    let mut table = table::<u64>(1);
    fill(&mut table, 0..10);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = table.upsert(KeyHash::of_u64(77), &77, || panic!("user"), |_| ());
    }));
    assert!(panicked.is_err());
    assert_eq!(
        (table.len(), table.get(KeyHash::of_u64(77), &77)),
        (10, None)
    );
    fill(&mut table, 77..78);
}
