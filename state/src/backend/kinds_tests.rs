//! Tests of aggregates, and of values with a time to live.

use std::time::Duration;

use thalweg_core::{KeyHash, MaxParallelism};
use thalweg_memory::Budget;

use super::*;
use crate::{TtlUpdate, TtlVisibility};

fn backend(budget: &Budget) -> KeyedBackend<u64> {
    KeyedBackend::in_memory(0..128, MaxParallelism::default(), budget.clone())
}

fn enter(backend: &KeyedBackend<u64>, key: u64) {
    backend.context().set_current(KeyHash::of_u64(key), &key);
}

/// What an empty table may hold.
const SMALL: u64 = 4 << 10;

fn ttl() -> StateTtl {
    StateTtl::new(Duration::from_millis(10))
}

/// Gathers all values, so that a lost or doubled one shows.
fn gather() -> Aggregation<u64, Vec<u64>, String> {
    Aggregation::new(Vec::new, Vec::push, |all: &Vec<u64>| format!("{all:?}"))
}

#[test]
fn aggregates_are_created_once_added_to_and_merged() {
    let budget = Budget::new("slot-0", 1 << 20);
    let mut backend = backend(&budget);
    let merge = |into: &mut Vec<u64>, other: Vec<u64>| into.extend(other);
    let descriptor = StateDescriptor::new::<Vec<u64>>("all", StateKind::Aggregating);
    let mut all = backend
        .aggregating_state_of::<_, _, _, i64>(descriptor, gather().with_merge(merge))
        .unwrap();
    for value in 0..6 {
        enter(&backend, value % 2);
        all.add_in(&(value as i64 / 2), value).unwrap();
    }
    enter(&backend, 1);
    all.merge_in(&7, &[0, 2, 9]).unwrap();
    assert_eq!(all.get_in(&7), Ok(Some("[1, 5]".to_owned())));
    all.merge_in(&1, &[1, 7]).unwrap();
    assert_eq!(all.get_in(&1), Ok(Some("[3, 1, 5]".to_owned())));
    for gone in [0, 2, 7, 9] {
        assert_eq!(all.get_in(&gone), Ok(None));
    }
    enter(&backend, 0);
    assert_eq!(all.get_in(&1), Ok(Some("[2]".to_owned())));
    for (key, name) in [(0, 0), (0, 1), (0, 2), (1, 1)] {
        enter(&backend, key);
        all.clear_in(&name).unwrap();
    }
    assert!(budget.used() < SMALL);
}

#[test]
fn merging_without_a_function_for_it_is_an_error_and_loses_nothing() {
    let mut backend = backend(&Budget::new("slot-0", 1 << 20));
    let descriptor = StateDescriptor::new::<Vec<u64>>("all", StateKind::Aggregating);
    let mut all = backend
        .aggregating_state_of::<_, _, _, i64>(descriptor, gather())
        .unwrap();
    enter(&backend, 1);
    all.add_in(&1, 1).unwrap();
    assert_eq!(all.merge_in(&2, &[1]), Err(StateError::CannotMerge));
    assert_eq!(all.get_in(&1), Ok(Some("[1]".to_owned())));
}

#[test]
fn an_expired_aggregate_begins_anew() {
    let mut backend = backend(&Budget::new("slot-0", 1 << 20));
    let descriptor = StateDescriptor::new::<Vec<u64>>("all", StateKind::Aggregating);
    let mut all = backend
        .aggregating_state_of::<_, _, _, ()>(descriptor.with_ttl(ttl()), gather())
        .unwrap();
    enter(&backend, 1);
    for (now, value, expected) in [(0, 1, "[1]"), (9, 2, "[1, 2]"), (19, 3, "[3]")] {
        backend.set_processing_time(Timestamp(now));
        all.add(value).unwrap();
        assert_eq!(all.get(), Ok(Some(expected.to_owned())));
    }
    backend.set_processing_time(Timestamp(29));
    assert_eq!(all.get(), Ok(None));
    assert!(backend.memory_bytes() < SMALL);
}

#[test]
fn values_with_a_time_to_live_expire_and_those_without_do_not() {
    let mut backend = backend(&Budget::new("slot-0", 1 << 20));
    let descriptor = |name: &str| StateDescriptor::new::<u64>(name, StateKind::Value);
    let mut lasting = backend.value_state::<u64>("lasting").unwrap();
    let mut written = backend
        .value_state_of::<u64>(descriptor("written").with_ttl(ttl()))
        .unwrap();
    let read = ttl().with_update(TtlUpdate::OnReadAndWrite);
    let mut read = backend
        .value_state_of::<u64>(descriptor("read").with_ttl(read))
        .unwrap();
    let shown = ttl().with_visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
    let mut shown = backend
        .value_state_of::<u64>(descriptor("shown").with_ttl(shown))
        .unwrap();
    enter(&backend, 1);
    for state in [&mut lasting, &mut written, &mut read, &mut shown] {
        state.set(1).unwrap();
        state.update(|value| *value += 1).unwrap();
        state.upsert(|| 0, |value| *value += 1).unwrap();
    }
    backend.set_processing_time(Timestamp(9));
    assert_eq!((read.get(), written.get()), (Ok(Some(3)), Ok(Some(3))));
    backend.set_processing_time(Timestamp(18));
    assert_eq!((read.get(), written.get()), (Ok(Some(3)), Ok(None)));
    assert_eq!((shown.get(), shown.get()), (Ok(Some(3)), Ok(None)));
    backend.set_processing_time(Timestamp(100));
    read.update(|value| *value += 1).unwrap();
    assert_eq!(read.get(), Ok(Some(1)), "from the default again");
    read.clear().unwrap();
    assert_eq!((read.get(), lasting.get()), (Ok(None), Ok(Some(3))));
}

#[test]
fn reduced_values_expire_too() {
    let mut backend = backend(&Budget::new("slot-0", 1 << 20));
    let descriptor = StateDescriptor::new::<u64>("sum", StateKind::Reducing).with_ttl(ttl());
    let mut sum = backend
        .reducing_state_of(descriptor, |sum: &mut u64, value| *sum += value)
        .unwrap();
    enter(&backend, 1);
    sum.add(1).unwrap();
    sum.add(2).unwrap();
    backend.set_processing_time(Timestamp(10));
    sum.add(4).unwrap();
    assert_eq!(sum.get(), Ok(Some(4)));
    sum.clear().unwrap();
    assert_eq!(sum.get(), Ok(None));
}

#[test]
fn cleaning_goes_round_all_entries_in_slices() {
    let mut backend = backend(&Budget::new("slot-0", 1 << 30));
    let descriptor = StateDescriptor::new::<u64>("value", StateKind::Value).with_ttl(ttl());
    let mut value = backend.value_state_of::<u64>(descriptor).unwrap();
    for key in 0..20_000 {
        backend.set_processing_time(Timestamp(key as i64 / 10_000 * 5));
        enter(&backend, key);
        value.set(key).unwrap();
    }
    backend.set_processing_time(Timestamp(10));
    let mut cleaned = 0;
    for _ in 0..2_000 {
        let removed = backend.clean_expired(100).unwrap();
        assert!(removed <= 100);
        cleaned += removed;
    }
    assert_eq!(cleaned, 10_000);
    enter(&backend, 10_000);
    assert_eq!(value.get(), Ok(Some(10_000)));
    enter(&backend, 9_999);
    assert_eq!(value.get(), Ok(None));
    backend.set_processing_time(Timestamp(15));
    while cleaned < 20_000 {
        cleaned += backend.clean_expired(1_000).unwrap();
    }
    assert!(backend.memory_bytes() < SMALL);
}

#[test]
fn a_time_to_live_under_a_millisecond_is_refused_by_name_in_every_kind() {
    let budget = Budget::new("slot-0", 1 << 20);
    for lifetime in [Duration::ZERO, Duration::from_nanos(999_999)] {
        let dying =
            |kind| StateDescriptor::new::<u64>("seen", kind).with_ttl(StateTtl::new(lifetime));
        let mut backend = backend(&budget);
        let aggregation = Aggregation::<u64, u64, u64>::new(|| 0, |_, _| (), |sum| *sum);
        let refusals = [
            backend.value_state_of::<u64>(dying(StateKind::Value)).err(),
            (backend.reducing_state_of(dying(StateKind::Reducing), |sum: &mut u64, n| *sum += n))
                .err(),
            (backend.list_state_of::<u64, ()>(dying(StateKind::List))).err(),
            (backend.map_state_of::<u64, u64, ()>(dying(StateKind::Map))).err(),
            (backend
                .aggregating_state_of::<_, _, _, ()>(dying(StateKind::Aggregating), aggregation))
            .err(),
        ];
        let state = || "seen".to_owned();
        for refusal in refusals {
            assert_eq!(refusal, Some(StateError::NoTimeToLive { state: state() }));
        }
        assert!(backend.states().is_empty(), "none was kept");
    }
    let least = StateTtl::new(Duration::from_millis(1));
    let descriptor = StateDescriptor::new::<u64>("seen", StateKind::Value).with_ttl(least);
    let mut backend = backend(&budget);
    let mut seen = backend.value_state_of::<u64>(descriptor).unwrap();
    enter(&backend, 7);
    seen.set(1).unwrap();
    assert_eq!(seen.get().unwrap(), Some(1));
}
