//! What an update of keyed state costs, from a table in the first cache to one in memory.
//!
//! A round is a chunk of 64 records, worked on as keyed operators do: buckets are asked for some records
//! ahead, entries are found a few records ahead, then each is updated. Figures are per record. `window` is what
//! the window operator keeps, under key and window: its places are only asked for, or not even that.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use thalweg_bench::workload::definitions::{pick, sm};
use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::{KeyHash, MaxParallelism};
use thalweg_memory::{Budget, Key, Str};
use thalweg_state::{KeyedTable, WINDOW};

const CHUNK: usize = 64;
const BUDGET_BYTES: u64 = 1 << 30;

fn table<K: Key>() -> KeyedTable<K, u64> {
    let groups = MaxParallelism::default();
    match KeyedTable::new(0..128, groups, Budget::new("bench", BUDGET_BYTES)) {
        Ok(table) => table,
        Err(error) => panic!("no table: {error}"),
    }
}

/// Records approached, and located, before the first of them is updated.
const FAR: usize = 48;
const NEAR: usize = 16;
/// Records taken in one step.
const STEP: usize = 8;

/// The records ahead, by their place in the window.
struct Ahead<'k, K: Key> {
    keys: [K::Of<'k>; WINDOW],
    hashes: [KeyHash; WINDOW],
    next: usize,
}

impl<'k, K: Key> Ahead<'k, K> {
    fn new(mut key: impl FnMut() -> K::Of<'k>) -> Self {
        let keys = std::array::from_fn(|_| key());
        let hashes = std::array::from_fn(|at| K::hash(&keys[at]));
        Ahead {
            keys,
            hashes,
            next: 0,
        }
    }

    /// Counts the keys of one chunk.
    #[inline(always)]
    fn count(&mut self, table: &mut KeyedTable<K, u64>, mut key: impl FnMut() -> K::Of<'k>) {
        for _ in 0..CHUNK / STEP {
            let ahead = (self.next + FAR) % WINDOW;
            for at in ahead..ahead + STEP {
                self.keys[at] = key();
                self.hashes[at] = K::hash(&self.keys[at]);
            }
            table.approach(ahead as u8, &self.hashes[ahead..ahead + STEP]);
            let ahead = (self.next + NEAR) % WINDOW;
            table.locate(ahead as u8, STEP);
            for at in self.next..self.next + STEP {
                table.turn_to(at as u8);
                let (hash, key) = (self.hashes[at], &self.keys[at]);
                let counted = table.fold(hash, key, 1, |one| one, |count, one| *count += one);
                assert!(counted.is_ok(), "the budget has room");
            }
            self.next = (self.next + STEP) % WINDOW;
        }
    }
}

fn numbers(group: &mut BenchmarkGroup<'_, WallTime>, keys: u64) {
    let mut counts = table::<u64>();
    for key in 0..keys {
        let made = counts.upsert(u64::hash(&key), &key, || 0, |_| {});
        assert!(made.is_ok(), "the budget has room");
    }
    let mut i = 0;
    let mut key = || {
        i += 1;
        pick(sm(i), keys)
    };
    let mut ahead = Ahead::<u64>::new(&mut key);
    group.bench_function(BenchmarkId::new("u64", keys), |bencher| {
        bencher.iter(|| black_box(&mut ahead).count(&mut counts, &mut key));
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
    let mut word = || {
        i += 1;
        words[pick(sm(i), keys) as usize].as_str()
    };
    let mut ahead = Ahead::<Str>::new(&mut word);
    group.bench_function(BenchmarkId::new("text", keys), |bencher| {
        bencher.iter(|| black_box(&mut ahead).count(&mut counts, &mut word));
    });
    assert_eq!(counts.len() as u64, keys, "all keys were there before");
}

/// What is kept of a window: the trigger's state, and a count.
type Kept = (bool, Option<u64>);

fn windows(group: &mut BenchmarkGroup<'_, WallTime>, keys: u64, near: bool) {
    let (groups, budget) = (
        MaxParallelism::default(),
        Budget::new("bench", BUDGET_BYTES),
    );
    let window = (Timestamp(0), Timestamp(1_000));
    let mut panes = match KeyedTable::<u64, Kept, _>::new(0..128, groups, budget) {
        Ok(panes) => panes,
        Err(error) => panic!("no table: {error}"),
    };
    let count = |panes: &mut KeyedTable<u64, Kept, _>, key: u64| {
        let first = |one| (false, Some(one));
        let add = |kept: &mut Kept, one| kept.1 = kept.1.map(|count| count + one);
        let counted = panes.fold_in(u64::hash(&key), &key, &window, 1, first, add);
        assert!(counted.is_ok(), "the budget has room");
    };
    (0..keys).for_each(|key| count(&mut panes, key));
    let mut i = 0;
    let mut key = || {
        i += 1;
        pick(sm(i), keys)
    };
    let mut ahead: VecDeque<u64> = (0..CHUNK).map(|_| key()).collect();
    let name = if near { "window, asked for" } else { "window" };
    group.bench_function(BenchmarkId::new(name, keys), |bencher| {
        bencher.iter(|| {
            for _ in 0..CHUNK / STEP {
                let next: [u64; STEP] = std::array::from_fn(|_| key());
                if near {
                    panes.prefetch_batch_in(&next.map(|key| u64::hash(&key)), &window);
                }
                ahead.extend(next);
                ahead.drain(..STEP).for_each(|key| count(&mut panes, key));
            }
        });
    });
    assert_eq!(panes.len() as u64, keys, "all keys were there before");
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
    for keys in [1_000, 100_000, 1_000_000] {
        words(&mut group, keys);
    }
    for keys in [1_000, 100_000, 1_000_000] {
        windows(&mut group, keys, false);
        windows(&mut group, keys, true);
    }
    group.finish();
    criterion.final_summary();
}
