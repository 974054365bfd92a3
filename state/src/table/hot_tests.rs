//! Tests of the table: against an ordered map, over growth, collisions, scans and budgets.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;
use thalweg_memory::{DamagedKey, Item, Str};

use super::*;

const ROOMY: u64 = 1 << 40;

fn groups(count: u32) -> MaxParallelism {
    MaxParallelism::new(count).unwrap()
}

fn table<V: Record>(max: u32) -> KeyedTable<u64, V> {
    KeyedTable::new(0..max as u16, groups(max), Budget::new("slot-0", ROOMY)).unwrap()
}

/// Keys of `u64` with ways of hashing that a table must survive.
struct Odd<const HASHING: u8>;
const GOOD: u8 = 0;
/// Three hashes for all keys.
const COLLIDING: u8 = 1;
/// All in one key group, near each other.
const CROWDED: u8 = 2;
/// One tag for all.
const ONE_TAG: u8 = 3;

impl<const HASHING: u8> Item for Odd<HASHING> {
    type Of<'a> = u64;

    fn shorten<'short, 'long: 'short>(item: u64) -> u64 {
        item
    }
}

impl<const HASHING: u8> Key for Odd<HASHING> {
    type Stored = u64;

    fn hash(key: &u64) -> KeyHash {
        let good = KeyHash::of_u64(*key).0;
        KeyHash(match HASHING {
            COLLIDING => KeyHash::of_u64(*key % 3).0,
            CROWDED => good & 0xFFFF_FFFF,
            ONE_TAG => good & !0xFF,
            _ => good,
        })
    }
    fn same(stored: &u64, key: &u64) -> bool {
        stored == key
    }
    fn store(key: &u64) -> u64 {
        *key
    }
    fn assign(stored: &mut u64, key: &u64) {
        *stored = *key;
    }
    fn lend(stored: &u64) -> u64 {
        *stored
    }
    fn stored_heap_bytes(_: &u64) -> usize {
        0
    }
    fn encode(key: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.to_be_bytes());
    }
    fn decode(input: &mut &[u8]) -> Result<u64, DamagedKey> {
        <u64 as Key>::decode(input)
    }

    fn describe(to: &mut thalweg_memory::SchemaWriter) {
        to.text("u64");
    }
}

#[derive(Clone, Debug)]
enum Op {
    Add(u64, u64, u64),
    AddMany(u64, u64),
    Update(u64, u64),
    Remove(u64, u64),
    RemoveMany(u64, u64),
    Scan(usize),
}

fn ops(many: u64) -> impl Strategy<Value = Vec<Op>> {
    let (key, namespace) = (0..200u64, 0..3u64);
    let op = prop_oneof![
        8 => (key.clone(), namespace.clone(), 0..1000u64).prop_map(|(k, n, v)| Op::Add(k, n, v)),
        2 => (0..10_000u64, 1..=many).prop_map(|(from, count)| Op::AddMany(from, count)),
        2 => (key.clone(), namespace.clone()).prop_map(|(k, n)| Op::Update(k, n)),
        4 => (key, namespace).prop_map(|(k, n)| Op::Remove(k, n)),
        1 => (0..10_000u64, 1..=many).prop_map(|(from, count)| Op::RemoveMany(from, count)),
        1 => (1..500usize).prop_map(Op::Scan),
    ];
    prop::collection::vec(op, 1..60)
}

/// The table beside what it should hold: (key, namespace) to value.
struct Twin<const HASHING: u8> {
    table: KeyedTable<Odd<HASHING>, u64, u64>,
    model: BTreeMap<(u64, u64), u64>,
    max: MaxParallelism,
}

impl<const HASHING: u8> Twin<HASHING> {
    fn add(&mut self, key: u64, namespace: u64, item: u64) {
        let hash = Odd::<HASHING>::hash(&key);
        let got = self
            .table
            .fold_in(hash, &key, &namespace, item, |v| v, |old, v| *old += v);
        let entry = self.model.entry((key, namespace)).or_insert(0);
        *entry += item;
        assert_eq!(got, Ok(&*entry));
    }

    fn remove(&mut self, key: u64, namespace: u64) {
        let got = self
            .table
            .remove_in(Odd::<HASHING>::hash(&key), &key, &namespace);
        assert_eq!(got, self.model.remove(&(key, namespace)));
    }

    fn update(&mut self, key: u64, namespace: u64) {
        let change = |value: &mut u64| std::mem::replace(value, *value ^ 7);
        let got = self
            .table
            .update_in(Odd::<HASHING>::hash(&key), &key, &namespace, change);
        let expected = self.model.get_mut(&(key, namespace)).map(change);
        assert_eq!(got, Ok(expected));
    }

    fn scan(&mut self, budget: usize) {
        let mut cursor = ScanCursor::new();
        let mut seen = BTreeMap::new();
        loop {
            let mut in_slice = 0;
            let more = self.table.scan(&mut cursor, budget, |entry| {
                in_slice += 1;
                assert_eq!(
                    entry.group,
                    self.max.key_group(Odd::<HASHING>::hash(&entry.key))
                );
                let twice = seen.insert((entry.key, *entry.namespace), *entry.value);
                assert_eq!(twice, None, "visited once");
                ControlFlow::Continue(())
            });
            assert!(in_slice <= budget, "a slice is bounded");
            if more.unwrap() == Scan::Done {
                break;
            }
        }
        assert_eq!(seen, self.model);
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Add(key, namespace, item) => self.add(key, namespace, item),
            Op::AddMany(from, count) => (from..from + count).for_each(|key| self.add(key, 0, key)),
            Op::Update(key, namespace) => self.update(key, namespace),
            Op::Remove(key, namespace) => self.remove(key, namespace),
            Op::RemoveMany(from, count) => (from..from + count).for_each(|key| self.remove(key, 0)),
            Op::Scan(budget) => self.scan(budget),
        }
        assert_eq!(self.table.len(), self.model.len());
    }

    fn check_every_lookup(&self) {
        for ((key, namespace), value) in &self.model {
            let hash = Odd::<HASHING>::hash(key);
            assert_eq!(self.table.get_in(hash, key, namespace), Some(value));
            assert_eq!(self.table.get_in(hash, key, &(namespace + 100)), None);
        }
    }
}

fn run<const HASHING: u8>(ops: &[Op], max: u32) {
    let budget = Budget::new("slot-0", ROOMY);
    let table = KeyedTable::new(0..max as u16, groups(max), budget.clone()).unwrap();
    let mut twin = Twin::<HASHING> {
        table,
        model: BTreeMap::new(),
        max: groups(max),
    };
    for op in ops {
        twin.run(op);
        assert_eq!(twin.table.memory_bytes(), budget.used());
    }
    twin.check_every_lookup();
    twin.scan(64);
    for (key, namespace) in twin.model.keys().copied().collect::<Vec<_>>() {
        twin.remove(key, namespace);
    }
    assert!(twin.table.is_empty());
    drop(twin);
    assert_eq!(budget.used(), 0, "every byte went home");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn behaves_as_an_ordered_map(
        ops in ops(4_000),
        max in prop_oneof![Just(1), Just(3), Just(128), Just(1_000), Just(32_768)],
    ) {
        run::<GOOD>(&ops, max);
        run::<ONE_TAG>(&ops, max);
    }

    #[test]
    fn behaves_as_an_ordered_map_whatever_the_hashes(
        ops in ops(200),
        max in prop_oneof![Just(1), Just(128), Just(32_768)],
    ) {
        run::<COLLIDING>(&ops, max);
        run::<CROWDED>(&ops, max);
    }
}

fn fill(table: &mut KeyedTable<u64, u64>, keys: Range<u64>) {
    for key in keys {
        table
            .upsert(KeyHash::of_u64(key), &key, || key, |_| panic!("new"))
            .unwrap();
    }
}

fn count(table: &mut KeyedTable<u64, u64>, mut cursor: ScanCursor) -> usize {
    let mut seen = 0;
    let visit = |_: ScanEntry<'_, u64, u64, ()>| {
        seen += 1;
        ControlFlow::Continue(())
    };
    // A table that is growing ends that first.
    table
        .scan(&mut ScanCursor::new(), 1 << 40, |_| ControlFlow::Break(()))
        .unwrap();
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
        assert_eq!(count(&mut table, ScanCursor::new()), 200_000);
        let bytes = table.memory_bytes() / 200_000;
        assert!(
            (28..80).contains(&bytes),
            "{bytes} bytes for an entry of 16"
        );
    }
}

#[test]
fn an_insertion_moves_a_few_buckets_and_growth_ends_in_time() {
    let mut table = table::<u64>(3);
    let mut growths = 0;
    for key in 0..300_000 {
        let before = table.leaving.as_ref().map_or(0, |leaving| leaving.moved);
        let was_growing = table.leaving.is_some();
        fill(&mut table, key..key + 1);
        growths += usize::from(!was_growing && table.leaving.is_some());
        let Some(leaving) = &table.leaving else {
            continue;
        };
        let start = if was_growing { before } else { 0 };
        assert!(leaving.moved - start <= 2 * MOVED_PER_INSERT);
        assert!(
            !table.buckets.is_full(),
            "the move ends before the larger array is full"
        );
    }
    assert!(growths > 20, "{growths} growths");
}

#[test]
fn while_a_table_grows_everything_is_found_changed_and_removed() {
    let mut table = table::<u64>(5);
    let mut next = 0;
    while table.leaving.is_none() || next < 10_000 {
        fill(&mut table, next..next + 1);
        next += 1;
    }
    for key in 0..next {
        let hash = KeyHash::of_u64(key);
        assert_eq!(table.get(hash, &key), Some(&key));
    }
    for key in (0..next).step_by(3) {
        let hash = KeyHash::of_u64(key);
        assert_eq!(table.update(hash, &key, |v| *v += 1), Ok(Some(())));
        assert_eq!(table.get(hash, &key), Some(&(key + 1)));
        assert_eq!(table.remove(hash, &key), Some(key + 1));
        assert_eq!(table.get(hash, &key), None);
    }
    assert_eq!(count(&mut table, ScanCursor::new()), table.len());
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
        let found = count(&mut table, ScanCursor::new().within(group..group + 1));
        assert_eq!(found, expected, "key group {group}");
        sum += found;
    }
    assert_eq!(sum, keys.len());
    assert_eq!(
        count(&mut table, ScanCursor::new().within(0..range.start)),
        0
    );
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
    assert!(
        count(&mut table, ScanCursor::new()) == 5_000,
        "and it is not growing"
    );
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
    count(&mut table, ScanCursor::new());
    let overtaken = table.scan(&mut cursor, 10, |_| ControlFlow::Continue(()));
    assert_eq!(overtaken, Err(StateError::ScanOvertaken));
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

#[test]
fn one_key_may_have_any_number_of_namespaces() {
    // Within the run of one key group this takes minutes.
    let budget = Budget::new("slot-0", ROOMY);
    for groups_of_subtask in [0..128, 64..65] {
        let max = MaxParallelism::default();
        let Some(key) =
            (0..).find(|key| groups_of_subtask.contains(&max.key_group(u64::hash(key)).0))
        else {
            unreachable!("every group has keys");
        };
        let mut table =
            KeyedTable::<u64, u64, u64>::new(groups_of_subtask, max, budget.clone()).unwrap();
        for name in 0..200_000 {
            let counted = table.fold_in(u64::hash(&key), &key, &name, 1, |one| one, |_, _| {});
            assert_eq!(counted, Ok(&1));
        }
        for name in 0..200_000 {
            assert_eq!(table.remove_in(u64::hash(&key), &key, &name), Some(1));
        }
        assert!(table.is_empty());
    }
}
