//! Tests of maps: against ordered maps, over collisions, namespaces, times to live and budgets.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use thalweg_core::{KeyHash, MaxParallelism, Timestamp};
use thalweg_memory::{Budget, Key};

use super::colliding::user_key;
use super::*;
use crate::{KeyedBackend, StateDescriptor, StateKind, StateTtl, TtlUpdate, TtlVisibility};

/// What empty tables may hold.
const SMALL: u64 = 8 << 10;

fn backend(budget: &Budget) -> KeyedBackend<u64> {
    KeyedBackend::in_memory(0..128, MaxParallelism::default(), budget.clone())
}

fn enter(backend: &KeyedBackend<u64>, key: u64) {
    backend.context().set_current(u64::hash(&key), &key);
}

user_key! {
    /// A user key with one of three hashes that lie beside each other.
    Colliding, |number| KeyHash((number % 3).wrapping_sub(1))
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64),
    Update,
    Remove,
    Read,
    Clear,
    Pass(i64),
    Clean(usize),
}

type Steps = Vec<(u64, i64, u64, Step)>;

fn steps(user_keys: u64) -> impl Strategy<Value = Steps> {
    let step = prop_oneof![
        10 => (0..1_000_u64).prop_map(Step::Put),
        4 => Just(Step::Update),
        6 => Just(Step::Remove),
        4 => Just(Step::Read),
        1 => (0..20_u8).prop_map(|x| if x == 0 { Step::Clear } else { Step::Read }),
        2 => (0..8_i64).prop_map(Step::Pass),
        2 => (1..100_usize).prop_map(Step::Clean),
    ];
    prop::collection::vec((0..2_u64, 0..2_i64, 0..user_keys, step), 1..500)
}

fn agrees<UK>(steps: Steps, ttl: Option<i64>, user: impl Fn(u64) -> UK)
where
    UK: RecordKey + Ord + Clone + std::fmt::Debug,
{
    let budget = Budget::new("slot-0", 1 << 40);
    let mut backend = backend(&budget);
    let mut descriptor = StateDescriptor::new::<(UK, u64)>("map", StateKind::Map);
    if let Some(ttl) = ttl {
        descriptor = descriptor.with_ttl(StateTtl::new(Duration::from_millis(ttl as u64)));
    }
    let mut map = backend.map_state_of::<UK, u64, i64>(descriptor).unwrap();
    let mut model: BTreeMap<(u64, i64), BTreeMap<UK, (u64, i64)>> = BTreeMap::new();
    let mut now = 0_i64;
    for (key, name, user_key, step) in steps {
        let user_key = user(user_key);
        enter(&backend, key);
        let alive = |at: i64| ttl.is_none_or(|ttl| at + ttl > now);
        let kept = model.entry((key, name)).or_default();
        kept.retain(|_, (_, at)| alive(*at));
        match step {
            Step::Put(value) => {
                map.put_in(&name, user_key.clone(), value).unwrap();
                kept.insert(user_key, (value, now));
            }
            Step::Update => {
                map.update_in(&name, user_key.clone(), |value| *value += 1)
                    .unwrap();
                let value = kept.entry(user_key).or_default();
                *value = (value.0 + 1, now);
            }
            Step::Remove => {
                let removed = map.remove_in(&name, &user_key);
                assert_eq!(removed, Ok(kept.remove(&user_key).map(|value| value.0)));
            }
            Step::Read => {
                let expected = kept.get(&user_key).map(|value| value.0);
                assert_eq!(map.get_in(&name, &user_key), Ok(expected));
                assert_eq!(map.contains_in(&name, &user_key), Ok(expected.is_some()));
            }
            Step::Clear => {
                map.clear_in(&name).unwrap();
                kept.clear();
            }
            Step::Pass(time) => {
                now += time;
                backend.set_processing_time(Timestamp(now));
            }
            Step::Clean(entries) => {
                backend.clean_expired(entries).unwrap();
            }
        }
        assert_eq!(budget.used(), backend.memory_bytes());
    }
    for ((key, name), mut kept) in model {
        enter(&backend, key);
        kept.retain(|_, (_, at)| ttl.is_none_or(|ttl| *at + ttl > now));
        let mut entries = map.entries_in(&name).unwrap();
        entries.sort();
        let expected: Vec<(UK, u64)> = kept.into_iter().map(|(k, v)| (k, v.0)).collect();
        assert_eq!(map.len_in(&name), Ok(expected.len() as u64));
        assert_eq!(map.is_empty_in(&name), Ok(expected.is_empty()));
        assert_eq!(entries, expected);
        for (user_key, _) in expected {
            assert!(map.remove_in(&name, &user_key).unwrap().is_some());
        }
        assert_eq!(map.keys_in(&name), Ok(vec![]));
    }
    assert!(budget.used() < SMALL, "maps without entries hold nothing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn maps_agree_with_ordered_maps(steps in steps(400)) {
        agrees(steps, None, |user_key| user_key);
    }

    #[test]
    fn maps_of_text_agree_with_ordered_maps(steps in steps(20)) {
        agrees(steps, None, |user_key| format!("a user key that is long: {user_key}"));
    }

    #[test]
    fn user_keys_with_one_hash_are_kept_apart(steps in steps(12)) {
        agrees(steps, None, Colliding);
    }

    #[test]
    fn expiring_maps_agree_with_ordered_maps(steps in steps(30)) {
        agrees(steps, Some(10), |user_key| user_key);
    }

    #[test]
    fn expiring_user_keys_with_one_hash_are_kept_apart(steps in steps(12)) {
        agrees(steps, Some(10), Colliding);
    }
}

#[test]
fn a_map_of_a_hundred_thousand_is_walked_in_a_repeatable_order() {
    let budget = Budget::new("slot-0", 1 << 40);
    let mut backend = backend(&budget);
    let mut map = backend.map_state::<u64, u64>("map").unwrap();
    enter(&backend, 1);
    for user_key in 0..100_000 {
        map.put(user_key, user_key * 2).unwrap();
    }
    for user_key in (0..100_000).step_by(2) {
        assert_eq!(map.remove(&user_key), Ok(Some(user_key * 2)));
    }
    assert_eq!(map.len(), Ok(50_000));
    let (mut keys, values) = (map.keys().unwrap(), map.values().unwrap());
    assert!(
        keys.iter()
            .zip(&values)
            .all(|(key, value)| key * 2 == *value)
    );
    assert_eq!(keys, map.keys().unwrap());
    keys.sort_unstable();
    assert!(keys.into_iter().eq((1..100_000).step_by(2)));
    enter(&backend, 2);
    assert_eq!(map.is_empty(), Ok(true));
    enter(&backend, 1);
    map.clear().unwrap();
    assert_eq!(map.len(), Ok(0));
    assert!(budget.used() < SMALL);
}

#[test]
fn without_memory_a_put_is_refused_and_the_map_stays_whole() {
    for limit in [200, 1_000, 5_000, 60_000, 300_000] {
        let budget = Budget::new("slot-0", limit);
        let mut backend = backend(&budget);
        let mut map = backend.map_state::<String, u64>("map").unwrap();
        enter(&backend, 1);
        let mut model = BTreeMap::new();
        let name = |i: u64| format!("user key number {i:>30}");
        for i in 0..10_000 {
            match map.put(name(i), i) {
                Ok(()) => drop(model.insert(name(i), i)),
                Err(error) => assert!(matches!(error, StateError::OverBudget(_)), "{error}"),
            }
        }
        assert!(model.len() < 10_000);
        let mut entries = map.entries().unwrap();
        entries.sort();
        assert!(entries.into_iter().eq(model.clone()), "limit {limit}");
        for user_key in model.keys() {
            assert!(map.remove(user_key).unwrap().is_some());
        }
        assert_eq!(map.len(), Ok(0));
    }
}

#[test]
fn an_entry_lives_as_long_as_it_is_read_or_is_shown_once_more() {
    let mut backend = backend(&Budget::new("slot-0", 1 << 20));
    let ttl = StateTtl::new(Duration::from_millis(10));
    let descriptor = |name| StateDescriptor::new::<(u64, u64)>(name, StateKind::Map);
    let read = descriptor("read").with_ttl(ttl.with_update(TtlUpdate::OnReadAndWrite));
    let mut read = backend.map_state_of::<u64, u64, ()>(read).unwrap();
    let shown = ttl.with_visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
    let mut shown = backend
        .map_state_of::<u64, u64, ()>(descriptor("shown").with_ttl(shown))
        .unwrap();
    enter(&backend, 1);
    for user_key in 0..3 {
        read.put(user_key, user_key).unwrap();
        shown.put(user_key, user_key).unwrap();
    }
    backend.set_processing_time(Timestamp(9));
    assert_eq!(read.get(&1), Ok(Some(1)));
    backend.set_processing_time(Timestamp(15));
    assert_eq!(read.entries(), Ok(vec![(1, 1)]), "and that is a read");
    assert_eq!(shown.get(&1), Ok(Some(1)));
    assert_eq!(shown.get(&1), Ok(None), "shown once");
    assert_eq!(shown.len(), Ok(2));
    assert_eq!(shown.len(), Ok(0));
    backend.set_processing_time(Timestamp(24));
    assert_eq!(read.len(), Ok(1));
    backend.set_processing_time(Timestamp(40));
    assert_eq!(backend.clean_expired(1_000), Ok(1));
    assert!(backend.memory_bytes() < SMALL);
}

#[test]
fn a_map_cannot_be_changed_while_it_is_walked() {
    let mut backend = backend(&Budget::new("slot-0", 1 << 20));
    let mut map = backend.map_state::<u64, u64>("map").unwrap();
    assert!(matches!(
        map.put(1, 1),
        Err(StateError::NoCurrentKey { .. })
    ));
    enter(&backend, 1);
    map.put(1, 1).unwrap();
    let mut inner = Ok(None);
    map.for_each(|_, _| inner = map.get(&1)).unwrap();
    assert!(matches!(inner, Err(StateError::Reentered { state }) if state == "map"));
}
