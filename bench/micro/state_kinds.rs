//! What a call of a list, map or aggregating state costs, for many keys and for one that has it all.
//!
//! Figures are per call; for walks per element or entry.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use thalweg_bench::workload::definitions::sm;
use thalweg_core::MaxParallelism;
use thalweg_memory::{Budget, Key};
use thalweg_state::{Aggregation, KeyedBackend, StateError};

const BUDGET_BYTES: u64 = 1 << 30;
const KEYS: u64 = 1_000;
const ENTRIES: u64 = 1_000_000;

fn backend() -> KeyedBackend<u64> {
    let budget = Budget::new("bench", BUDGET_BYTES);
    KeyedBackend::in_memory(0..128, MaxParallelism::default(), budget)
}

fn enter(backend: &KeyedBackend<u64>, key: u64) {
    backend.context().set_current(u64::hash(&key), &key);
}

/// Measures `call`, which is given a running number.
fn per_call(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut call: impl FnMut(u64) -> Result<(), StateError>,
) {
    let mut number = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            number += 1;
            assert!(call(number).is_ok(), "the budget has room");
        });
    });
}

fn lists(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<(), StateError> {
    let mut backend = backend();
    let mut list = backend.list_state::<u64>("list")?;
    per_call(group, "list add and remove first, 1,000 keys", |number| {
        enter(&backend, number % KEYS);
        list.add(number)?;
        if number > 100 * KEYS {
            list.remove_first(1)?;
        }
        Ok(())
    });
    enter(&backend, KEYS);
    list.add_all(0..ENTRIES)?;
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("list walk, a million", |bencher| {
        bencher.iter(|| black_box(list.with(|elements| elements.sum::<u64>())));
    });
    Ok(())
}

fn maps(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<(), StateError> {
    let mut backend = backend();
    let mut map = backend.map_state::<u64, u64>("map")?;
    per_call(group, "map update, 1,000 keys of 8", |number| {
        enter(&backend, number % KEYS);
        map.update(sm(number) % 8, |count| *count += 1)
    });
    enter(&backend, KEYS);
    for user_key in 0..ENTRIES {
        map.put(user_key, user_key)?;
    }
    per_call(group, "map update, one key of a million", |number| {
        map.update(sm(number) % ENTRIES, |count| *count += 1)
    });
    per_call(
        group,
        "map put and remove, one key of a million",
        |number| {
            map.put(ENTRIES + number, number)?;
            map.remove(&(ENTRIES + number)).map(|_| ())
        },
    );
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("map walk, a million", |bencher| {
        bencher.iter(|| {
            let mut sum = 0;
            let walked = map.for_each(|_, value| sum += value);
            assert!(walked.is_ok(), "a key is current");
            black_box(sum)
        });
    });
    Ok(())
}

fn aggregates(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<(), StateError> {
    let mut backend = backend();
    let sum = Aggregation::<u64, u64, u64>::new(|| 0, |sum, value| *sum += value, |sum| *sum);
    let mut sum = backend.aggregating_state("sum", sum)?;
    per_call(group, "aggregate add, 1,000 keys", |number| {
        enter(&backend, number % KEYS);
        sum.add(number)
    });
    Ok(())
}

fn main() -> Result<(), StateError> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    let mut group = criterion.benchmark_group("state kinds");
    lists(&mut group)?;
    maps(&mut group)?;
    aggregates(&mut group)?;
    group.finish();
    criterion.final_summary();
    Ok(())
}
