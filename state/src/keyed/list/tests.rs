//! Tests of lists: against vectors, over chunks, namespaces, times to live and budgets.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use thalweg_core::{MaxParallelism, Timestamp};
use thalweg_memory::{Budget, Key};

use super::*;
use crate::{KeyedBackend, StateDescriptor, StateKind, StateTtl, TtlUpdate, TtlVisibility};

/// So wide that a chunk has sixteen.
type Wide = (u64, [u64; 40]);

fn wide(value: u64) -> Wide {
    (value, [value; 40])
}

/// What empty tables may hold.
const SMALL: u64 = 8 << 10;

fn backend(budget: &Budget) -> KeyedBackend<u64> {
    KeyedBackend::in_memory(0..128, MaxParallelism::default(), budget.clone())
}

fn enter(backend: &KeyedBackend<u64>, key: u64) {
    backend.context().set_current(u64::hash(&key), &key);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64),
    AddAll(u64),
    Update(u64),
    RemoveFirst(u64),
    Clear,
    Merge,
    Pass(i64),
    Clean(usize),
}

fn steps() -> impl Strategy<Value = Vec<(u64, i64, Step)>> {
    let step = prop_oneof![
        12 => any::<u64>().prop_map(Step::Add),
        3 => (0..40_u64).prop_map(Step::AddAll),
        1 => (0..40_u64).prop_map(Step::Update),
        4 => (0..40_u64).prop_map(Step::RemoveFirst),
        1 => Just(Step::Clear),
        2 => Just(Step::Merge),
        6 => (0..8_i64).prop_map(Step::Pass),
        2 => (1..100_usize).prop_map(Step::Clean),
    ];
    prop::collection::vec((0..3_u64, 0..2_i64, step), 1..300)
}

/// Lists as vectors of values with the time they were added.
type Model = BTreeMap<(u64, i64), Vec<(u64, i64)>>;

fn agrees(steps: Vec<(u64, i64, Step)>, ttl: Option<i64>) {
    let budget = Budget::new("slot-0", 1 << 40);
    let mut backend = backend(&budget);
    let mut descriptor = StateDescriptor::new::<Wide>("list", StateKind::List);
    if let Some(ttl) = ttl {
        descriptor = descriptor.with_ttl(StateTtl::new(Duration::from_millis(ttl as u64)));
    }
    let mut list = backend.list_state_of::<Wide, i64>(descriptor).unwrap();
    let (mut model, mut now) = (Model::new(), 0_i64);
    for (key, name, step) in steps {
        enter(&backend, key);
        let kept = model.entry((key, name)).or_default();
        match step {
            Step::Add(value) => {
                list.add_in(&name, wide(value)).unwrap();
                kept.push((value, now));
            }
            Step::AddAll(count) => {
                list.add_all_in(&name, (0..count).map(wide)).unwrap();
                kept.extend((0..count).map(|value| (value, now)));
            }
            Step::Update(count) => {
                list.update_in(&name, (0..count).map(wide)).unwrap();
                *kept = (0..count).map(|value| (value, now)).collect();
            }
            Step::RemoveFirst(count) => {
                // What has expired is not counted as removed once it was read.
                list.len_in(&name).unwrap();
                kept.retain(|(_, at)| ttl.is_none_or(|ttl| at + ttl > now));
                let count = kept.len().min(count as usize);
                let removed = list.remove_first_in(&name, count as u64);
                assert_eq!(removed, Ok(count as u64));
                kept.drain(..count);
            }
            Step::Clear => {
                list.clear_in(&name).unwrap();
                kept.clear();
            }
            // The times of merged elements may fall along the list.
            Step::Merge if ttl.is_none() => {
                let other = model.remove(&(key, 1 - name)).unwrap_or_default();
                list.merge_in(&name, &[1 - name, name]).unwrap();
                model.entry((key, name)).or_default().extend(other);
            }
            Step::Merge => {}
            Step::Pass(time) => now += time,
            Step::Clean(entries) => {
                backend.clean_expired(entries).unwrap();
            }
        }
        backend.set_processing_time(Timestamp(now));
        for ((key, name), kept) in &mut model {
            enter(&backend, *key);
            kept.retain(|(_, at)| ttl.is_none_or(|ttl| at + ttl > now));
            let expected: Vec<Wide> = kept.iter().map(|(value, _)| wide(*value)).collect();
            assert_eq!(list.get_in(name), Ok(expected));
            assert_eq!(list.len_in(name), Ok(kept.len() as u64));
            assert_eq!(list.is_empty_in(name), Ok(kept.is_empty()));
        }
        assert_eq!(budget.used(), backend.memory_bytes());
    }
    for (key, name) in model.into_keys() {
        enter(&backend, key);
        list.clear_in(&name).unwrap();
    }
    assert!(budget.used() < SMALL, "lists without elements hold nothing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lists_agree_with_vectors(steps in steps()) {
        agrees(steps, None);
    }

    #[test]
    fn expiring_lists_agree_with_vectors(steps in steps()) {
        agrees(steps, Some(20));
    }
}

#[test]
fn merged_elements_expire_in_their_own_time() {
    let mut backend = backend(&Budget::new("slot-0", 1 << 40));
    let ttl = StateTtl::new(Duration::from_millis(10));
    let descriptor = StateDescriptor::new::<u64>("list", StateKind::List).with_ttl(ttl);
    let mut list = backend.list_state_of::<u64, i64>(descriptor).unwrap();
    enter(&backend, 1);
    list.add_in(&1, 10).unwrap();
    backend.set_processing_time(Timestamp(5));
    list.add_in(&2, 20).unwrap();
    list.merge_in(&2, &[1]).unwrap();
    assert_eq!(list.get_in(&2), Ok(vec![20, 10]));
    backend.set_processing_time(Timestamp(10));
    assert_eq!(
        list.get_in(&2),
        Ok(vec![20]),
        "hidden behind one that lives"
    );
    backend.set_processing_time(Timestamp(15));
    assert_eq!(list.get_in(&2), Ok(vec![]));
    assert!(backend.memory_bytes() < SMALL);
}

#[test]
fn reading_makes_a_list_as_new_where_that_is_asked_for() {
    let mut backend = backend(&Budget::new("slot-0", 1 << 40));
    let ttl = StateTtl::new(Duration::from_millis(10)).with_update(TtlUpdate::OnReadAndWrite);
    let descriptor = StateDescriptor::new::<Wide>("list", StateKind::List).with_ttl(ttl);
    let mut list = backend.list_state_of::<Wide, ()>(descriptor).unwrap();
    enter(&backend, 1);
    list.add_all((0..50).map(wide)).unwrap();
    for now in [9, 18, 27] {
        backend.set_processing_time(Timestamp(now));
        assert_eq!(list.with(|elements| elements.count()), Ok(50));
    }
    backend.set_processing_time(Timestamp(37));
    assert_eq!(list.with(|elements| elements.count()), Ok(0));
}

#[test]
fn what_has_expired_is_shown_once_where_that_is_asked_for() {
    let mut backend = backend(&Budget::new("slot-0", 1 << 40));
    let ttl = StateTtl::new(Duration::from_millis(10))
        .with_visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
    let descriptor = StateDescriptor::new::<u64>("list", StateKind::List).with_ttl(ttl);
    let mut list = backend.list_state_of::<u64, ()>(descriptor).unwrap();
    enter(&backend, 1);
    list.add(7).unwrap();
    backend.set_processing_time(Timestamp(100));
    assert_eq!(list.get(), Ok(vec![7]));
    assert_eq!(list.get(), Ok(vec![]));
    list.add(8).unwrap();
    backend.set_processing_time(Timestamp(200));
    assert_eq!(backend.clean_expired(100), Ok(1));
    assert_eq!(list.get(), Ok(vec![]));
}

#[test]
fn a_list_is_limited_by_memory_only_and_says_so() {
    let budget = Budget::new("slot-0", 1 << 20);
    let mut backend = backend(&budget);
    let mut list = backend.list_state::<String>("names").unwrap();
    enter(&backend, 1);
    let mut added = 0;
    let refused = loop {
        match list.add("x".repeat(100)) {
            Ok(()) => added += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StateError::OverBudget(_)), "{refused}");
    assert!(added > 4_000, "{added}");
    assert!(list.len().unwrap() >= added);
    list.clear().unwrap();
    assert_eq!(list.get(), Ok(vec![]));
    assert!(budget.used() < SMALL);
}

#[test]
fn a_list_cannot_be_changed_while_it_is_read() {
    let mut backend = backend(&Budget::new("slot-0", 1 << 20));
    let mut list = backend.list_state::<u64>("list").unwrap();
    assert!(matches!(list.add(1), Err(StateError::NoCurrentKey { .. })));
    enter(&backend, 1);
    list.add(1).unwrap();
    let inner = list.with(|_| list.len()).unwrap();
    assert!(matches!(inner, Err(StateError::Reentered { state }) if state == "list"));
}
