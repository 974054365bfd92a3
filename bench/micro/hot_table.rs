//! What an update of keyed state costs, from a table in the first cache to one in memory.
//!
//! A round is a chunk of 64 records in two passes, as keyed operators do: hash and prefetch all, then
//! update each. Figures are per record.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use thalweg_bench::workload::definitions::{pick, sm};
use thalweg_core::key_group::{KeyHash, MaxParallelism};
use thalweg_memory::{Budget, Key, Str};
use thalweg_state::KeyedTable;

const CHUNK: usize = 64;
const BUDGET_BYTES: u64 = 1 << 30;

fn table<K: Key>() -> KeyedTable<K, u64> {
    let groups = MaxParallelism::default();
    match KeyedTable::new(0..128, groups, Budget::new("bench", BUDGET_BYTES)) {
        Ok(table) => table,
        Err(error) => panic!("no table: {error}"),
    }
}

/// Counts the keys of one chunk.
#[inline(always)]
fn count<K: Key>(table: &mut KeyedTable<K, u64>, keys: &[K::Of<'_>; CHUNK]) {
    let mut hashes = [KeyHash(0); CHUNK];
    for (hash, key) in hashes.iter_mut().zip(keys) {
        *hash = K::hash(key);
    }
    table.prefetch_batch(&hashes);
    for (hash, key) in hashes.iter().zip(keys) {
        let counted = table.fold(*hash, key, 1, |one| one, |count, one| *count += one);
        assert!(counted.is_ok(), "the budget has room");
    }
}

fn numbers(group: &mut BenchmarkGroup<'_, WallTime>, keys: u64) {
    let mut counts = table::<u64>();
    for key in 0..keys {
        let made = counts.upsert(u64::hash(&key), &key, || 0, |_| {});
        assert!(made.is_ok(), "the budget has room");
    }
    let mut i = 0;
    group.bench_function(BenchmarkId::new("u64", keys), |bencher| {
        bencher.iter(|| {
            let chunk: [u64; CHUNK] = std::array::from_fn(|at| pick(sm(i + at as u64), keys));
            i += CHUNK as u64;
            count(&mut counts, black_box(&chunk));
        });
    });
    assert_eq!(counts.len() as u64, keys, "all keys were there before");
}

fn words(group: &mut BenchmarkGroup<'_, WallTime>, keys: u64) {
    // All short enough to be kept inline.
    let words: Vec<_> = (0..keys).map(|key| format!("word-{key}")).collect();
    let mut counts = table::<Str>();
    for word in &words {
        let word = word.as_str();
        let made = counts.upsert(Str::hash(&word), &word, || 0, |_| {});
        assert!(made.is_ok(), "the budget has room");
    }
    let mut i = 0;
    group.bench_function(BenchmarkId::new("text", keys), |bencher| {
        bencher.iter(|| {
            let word = |at| words[pick(sm(i + at as u64), keys) as usize].as_str();
            let chunk: [&str; CHUNK] = std::array::from_fn(word);
            i += CHUNK as u64;
            count(&mut counts, black_box(&chunk));
        });
    });
    assert_eq!(counts.len() as u64, keys, "all keys were there before");
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("hot table");
    group.throughput(Throughput::Elements(CHUNK as u64));
    for keys in [1_000, 100_000, 1_000_000] {
        numbers(&mut group, keys);
    }
    for keys in [1_000, 100_000] {
        words(&mut group, keys);
    }
    group.finish();
    criterion.final_summary();
}
