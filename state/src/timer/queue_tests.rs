//! Tests of the queue: against an ordered set, over interleavings, shared and distinct times, budgets.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use proptest::prelude::*;
use thalweg_memory::{DamagedKey, Str};

use super::*;
use crate::table::Scan;
use crate::timer::TimerCursor;

const ROOMY: u64 = 1 << 40;

fn queue<K: Key, N: Namespace>(budget: &Budget) -> TimerQueue<K, N> {
    TimerQueue::new(0..128, MaxParallelism::default(), budget.clone())
}

/// A timer in the order in which it must fire.
type Fired = (i64, u64, u64, u64);

fn fired(at: i64, key: u64, namespace: u64) -> Fired {
    (at, u64::hash(&key).0, namespace.spread(), key)
}

#[derive(Clone, Debug)]
enum Step {
    Register(i64, u64, u64),
    Delete(i64, u64, u64),
    Fire {
        upto: i64,
        at_most: usize,
        again: i64,
    },
}

fn steps(times: i64, keys: u64) -> impl Strategy<Value = Vec<Step>> {
    let timer = (-times..times, 0..keys, 0..2_u64);
    let step = prop_oneof![
        8 => timer.clone().prop_map(|(at, key, name)| Step::Register(at, key, name)),
        2 => timer.prop_map(|(at, key, name)| Step::Delete(at, key, name)),
        1 => (-times..times, 0..40_usize, -5..5_i64)
            .prop_map(|(upto, at_most, again)| Step::Fire { upto, at_most, again }),
    ];
    prop::collection::vec(step, 1..3_000)
}

fn agrees(steps: Vec<Step>) {
    let budget = Budget::new("slot-0", ROOMY);
    let mut timers = queue::<u64, u64>(&budget);
    let mut model = BTreeSet::new();
    for step in steps {
        match step {
            Step::Register(at, key, name) => {
                let new = timers.register(u64::hash(&key), &key, &name, Timestamp(at));
                assert_eq!(new, Ok(model.insert(fired(at, key, name))));
            }
            Step::Delete(at, key, name) => {
                let there = timers.delete(u64::hash(&key), &key, &name, Timestamp(at));
                assert_eq!(there, model.remove(&fired(at, key, name)));
            }
            Step::Fire {
                upto,
                at_most,
                again,
            } => {
                for _ in 0..at_most {
                    let expected = model.first().filter(|timer| timer.0 <= upto).copied();
                    let timer = timers.pop_due(Timestamp(upto));
                    let got = timer.map(|t| fired(t.at.0, t.key, t.namespace));
                    assert_eq!(got, expected);
                    let Some(timer) = expected else { break };
                    model.remove(&timer);
                    // What a firing registers, before or behind what is in work.
                    let (at, key) = (timer.0 + again, timer.3 ^ 1);
                    let new = timers.register(u64::hash(&key), &key, &7, Timestamp(at));
                    assert_eq!(new, Ok(model.insert(fired(at, key, 7))));
                }
            }
        }
        assert_eq!(timers.len(), model.len());
        assert_eq!(
            timers.next_due(),
            model.first().map(|timer| Timestamp(timer.0))
        );
        assert_eq!(timers.memory_bytes(), budget.used());
    }
    assert_eq!(scanned(&timers, 100, 0..128), by_group(&model));
    drop(timers);
    assert_eq!(budget.used(), 0);
}

fn by_group(model: &BTreeSet<Fired>) -> Vec<Fired> {
    let group = |timer: &Fired| MaxParallelism::default().key_group(KeyHash(timer.1));
    let mut all: Vec<Fired> = model.iter().copied().collect();
    all.sort_by_key(|timer| (group(timer), *timer));
    all
}

fn scanned(timers: &TimerQueue<u64, u64>, slice: usize, groups: Range<u16>) -> Vec<Fired> {
    let mut cursor = TimerCursor::new(groups, Budget::new("copy", ROOMY));
    let mut seen = Vec::new();
    loop {
        let answer = timers.scan(&mut cursor, slice, |group, timer| {
            assert_eq!(group, MaxParallelism::default().key_group(timer.hash));
            seen.push(fired(timer.at.0, timer.key, timer.namespace));
            ControlFlow::Continue(())
        });
        if answer.unwrap() == Scan::Done {
            return seen;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn few_times_shared_by_many_agree_with_a_set(steps in steps(5, 100_000)) {
        agrees(steps);
    }

    #[test]
    fn many_times_agree_with_a_set(steps in steps(1 << 40, 50)) {
        agrees(steps);
    }

    #[test]
    fn hits_and_repeats_agree_with_a_set(steps in steps(20, 20)) {
        agrees(steps);
    }
}

#[test]
fn many_timers_of_every_shape_fire_once_and_in_order() {
    let budget = Budget::new("slot-0", ROOMY);
    let shapes: [fn(u64) -> i64; 5] = [
        |_| 1_000,
        |i| i as i64,
        |i| -(i as i64),
        |i| (KeyHash::of_u64(i).0 >> 20) as i64,
        |i| (i % 7 * 60_000) as i64,
    ];
    for (shape, at) in shapes.iter().enumerate() {
        let mut timers = queue::<u64, ()>(&budget);
        let mut model = BTreeSet::new();
        for key in 0..40_000_u64 {
            let hash = u64::hash(&key);
            assert_eq!(
                timers.register(hash, &key, &(), Timestamp(at(key))),
                Ok(true)
            );
            model.insert((at(key), hash.0, key));
        }
        for key in (0..40_000_u64).step_by(3) {
            assert!(timers.delete(u64::hash(&key), &key, &(), Timestamp(at(key))));
            model.remove(&(at(key), u64::hash(&key).0, key));
        }
        for (at, hash, key) in model {
            let timer = timers.pop_due(Timestamp::MAX).unwrap();
            assert_eq!(
                (timer.at.0, timer.hash.0, timer.key),
                (at, hash, key),
                "{shape}"
            );
        }
        assert!(timers.pop_due(Timestamp::MAX).is_none() && timers.is_empty());
        drop(timers);
        assert_eq!(budget.used(), 0, "shape {shape}");
    }
}

#[test]
fn a_firing_that_registers_without_end_stays_cheap_and_in_order() {
    let budget = Budget::new("slot-0", ROOMY);
    let mut timers = queue::<u64, ()>(&budget);
    for key in 0..500_u64 {
        timers
            .register(u64::hash(&key), &key, &(), Timestamp(0))
            .unwrap();
    }
    let mut last = (Timestamp::MIN, KeyHash(0));
    for fired in 0..200_000_u64 {
        let timer = timers.pop_due(Timestamp::MAX).unwrap();
        assert!((timer.at, timer.hash) > last, "firing {fired}");
        last = (timer.at, timer.hash);
        for (key, later) in [(timer.key, 1_000), (timer.key + 500, 3)] {
            if timers.len() < 20_000 {
                let at = timer.at.plus_ms(later);
                timers.register(u64::hash(&key), &key, &(), at).unwrap();
            }
        }
    }
    assert_eq!(budget.used(), timers.memory_bytes());
}

/// Keys with one hash for all: only their bytes tell them apart.
struct Colliding;

impl thalweg_memory::Item for Colliding {
    type Of<'a> = u64;

    fn shorten<'short, 'long: 'short>(item: u64) -> u64 {
        item
    }
}

impl Key for Colliding {
    type Stored = u64;

    fn hash(_: &u64) -> KeyHash {
        KeyHash(1 << 40)
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
        <u64 as Key>::encode(key, out);
    }
    fn decode(input: &mut &[u8]) -> Result<u64, DamagedKey> {
        <u64 as Key>::decode(input)
    }

    fn describe(to: &mut thalweg_memory::SchemaWriter) {
        to.text("u64");
    }
}

#[test]
fn keys_of_one_hash_fire_in_the_order_of_their_bytes() {
    let budget = Budget::new("slot-0", ROOMY);
    let mut timers = queue::<Colliding, u64>(&budget);
    for key in (0..3_000_u64).rev() {
        let register = timers.register(KeyHash(1 << 40), &key, &(key % 2), Timestamp(5));
        assert_eq!(register, Ok(true));
    }
    let mut expected: Vec<(u64, u64)> = (0..3_000).map(|key| ((key % 2).spread(), key)).collect();
    expected.sort_unstable();
    for (_, key) in expected {
        assert_eq!(
            timers.pop_due(Timestamp(5)).map(|timer| timer.key),
            Some(key)
        );
        assert!(!timers.delete(KeyHash(1 << 40), &key, &(key % 2), Timestamp(5)));
    }
    assert!(timers.is_empty());
}

#[test]
fn long_keys_are_accounted_and_given_back() {
    let budget = Budget::new("slot-0", ROOMY);
    let mut timers = queue::<Str, ()>(&budget);
    let word = |i: u64| format!("{i:0>200}");
    for i in 0..2_000 {
        let word = word(i);
        let word = word.as_str();
        timers
            .register(Str::hash(&word), &word, &(), Timestamp(i as i64 / 2))
            .unwrap();
    }
    assert!(budget.used() > 400_000, "{}", budget.used());
    let first = word(0);
    assert!(timers.delete(
        Str::hash(&first.as_str()),
        &first.as_str(),
        &(),
        Timestamp(0)
    ));
    while timers.pop_due(Timestamp(700)).is_some() {}
    assert_eq!(timers.len(), 2_000 - 1_402);
    while timers.pop_due(Timestamp::MAX).is_some() {}
    assert!(budget.used() < 1_000, "{} bytes are left", budget.used());
}

#[test]
fn without_memory_nothing_is_registered_and_nothing_lost() {
    for limit in [0, 300, 5_000, 40_000, 100_000] {
        let budget = Budget::new("slot-0", limit);
        let mut timers = queue::<u64, ()>(&budget);
        let mut model = BTreeSet::new();
        for key in 0..10_000_u64 {
            let at = (key % 10) as i64;
            match timers.register(u64::hash(&key), &key, &(), Timestamp(at)) {
                Ok(new) => assert_eq!(new, model.insert((at, u64::hash(&key).0, key))),
                Err(error) => assert!(matches!(error, StateError::OverBudget(_)), "{error}"),
            }
            assert!(budget.used() <= limit);
        }
        assert!(model.len() < 10_000);
        for (at, _, key) in model {
            let timer = timers.pop_due(Timestamp(9)).unwrap();
            assert_eq!((timer.at.0, timer.key), (at, key));
        }
        assert!(timers.pop_due(Timestamp(9)).is_none());
        drop(timers);
        assert_eq!(budget.used(), 0);
    }
}

#[test]
fn deleting_most_timers_gives_their_memory_back() {
    let budget = Budget::new("slot-0", ROOMY);
    let mut timers = queue::<u64, ()>(&budget);
    for key in 0..100_000_u64 {
        timers
            .register(u64::hash(&key), &key, &(), Timestamp(key as i64))
            .unwrap();
    }
    let full = budget.used();
    for key in (0..100_000_u64).filter(|key| key % 100 != 0) {
        assert!(timers.delete(u64::hash(&key), &key, &(), Timestamp(key as i64)));
    }
    assert!(budget.used() < full / 10, "{} of {full}", budget.used());
    assert_eq!(scanned_len(&timers, 0..128), 1_000);
}

fn scanned_len(timers: &TimerQueue<u64, ()>, groups: Range<u16>) -> usize {
    let mut cursor = TimerCursor::new(groups, Budget::new("copy", ROOMY));
    let mut seen = 0;
    while timers
        .scan(&mut cursor, 1_000, |_, _| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap()
        == Scan::More
    {}
    seen
}

#[test]
fn a_scan_visits_what_stays_exactly_once_while_timers_come_and_go() {
    let budget = Budget::new("slot-0", ROOMY);
    let mut timers = queue::<u64, ()>(&budget);
    let stays = |key: u64| key.is_multiple_of(3);
    let at = |key: u64| Timestamp(if stays(key) { 1_000_000 } else { 0 } + (key % 1_000) as i64);
    for key in 0..300_000_u64 {
        timers
            .register(u64::hash(&key), &key, &(), at(key))
            .unwrap();
    }
    let copy = Budget::new("copy", ROOMY);
    let mut cursor = TimerCursor::new(10..90, copy.clone());
    let (mut seen, mut last, mut new) = (BTreeSet::new(), 0, 300_000_u64);
    let mut slice = |timers: &TimerQueue<u64, ()>| {
        let visit = |group: thalweg_core::KeyGroup, timer: &Timer<u64>| {
            assert!(group.0 >= last && (10..90).contains(&group.0));
            last = group.0;
            if stays(timer.key) && timer.key < 300_000 {
                assert!(seen.insert(timer.key), "key {} twice", timer.key);
            }
            if timer.key.is_multiple_of(1_000) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        timers.scan(&mut cursor, 5_000, visit).unwrap()
    };
    while slice(&timers) == Scan::More {
        for _ in 0..700 {
            timers.pop_due(Timestamp(999_999));
            new += 1;
            let hash = u64::hash(&new);
            timers
                .register(hash, &new, &(), Timestamp((new % 2_000_000) as i64))
                .unwrap();
            timers.delete(hash, &new, &(), Timestamp((new % 2_000_000) as i64 - 4));
        }
    }
    let expected: BTreeSet<u64> = (0..300_000)
        .filter(|key| stays(*key))
        .filter(|key| (10..90).contains(&MaxParallelism::default().key_group(u64::hash(key)).0))
        .collect();
    assert_eq!(seen, expected);
    assert_eq!(copy.used(), 0, "what was shown is forgotten");
    assert!(copy.high_water() < 300_000 * 24 / 2);
}
