//! What a timer costs, registered and fired, from a thousand of them to ten million.
//!
//! `hold`: the queue keeps its size; each round fires the first timer and registers one some delay later,
//! so that times are many and distinct: anywhere among the others, or about behind them. `windows`: the keys share a few times, each is registered
//! five times before it fires, as records of a window do. Figures are per timer registered and fired;
//! for `windows` per registration, with a fifth of a firing.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use thalweg_bench::workload::definitions::sm;
use thalweg_core::{KeyHash, MaxParallelism, Timestamp};
use thalweg_memory::{Budget, Key};
use thalweg_state::TimerQueue;

const BUDGET_BYTES: u64 = 4 << 30;
const ROUND: u64 = 1_000;
const TIMES_PER_WINDOW: u64 = 5;

fn queue() -> TimerQueue<u64> {
    TimerQueue::new(
        0..128,
        MaxParallelism::default(),
        Budget::new("bench", BUDGET_BYTES),
    )
}

fn register(timers: &mut TimerQueue<u64>, key: u64, at: i64) {
    let registered = timers.register(u64::hash(&key), &key, &(), Timestamp(at));
    assert!(registered.is_ok(), "the budget has room");
}

/// `first` answers when the timer of a key is due first, `delay` how much later it is due again.
fn hold(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    size: u64,
    first: impl Fn(u64) -> i64,
    delay: impl Fn(u64) -> i64,
) {
    let mut timers = queue();
    for key in 0..size {
        register(&mut timers, key, first(key));
    }
    let mut count = size;
    let mut now = Timestamp::MIN;
    group.throughput(Throughput::Elements(ROUND));
    group.bench_function(BenchmarkId::new(name, size), |bencher| {
        bencher.iter(|| {
            for _ in 0..ROUND {
                if let Some(due) = timers.next_due() {
                    now = now.max(due);
                }
                let Some(timer) = timers.pop_due(now) else {
                    unreachable!("the first timer is due");
                };
                count += 1;
                register(&mut timers, timer.key, timer.at.0 + delay(sm(count)));
            }
        });
    });
    black_box(timers.len());
}

fn windows(group: &mut BenchmarkGroup<'_, WallTime>, keys: u64) {
    let mut timers = queue();
    let mut window = 0;
    let per_window = keys * TIMES_PER_WINDOW;
    group.throughput(Throughput::Elements(per_window));
    group.bench_function(BenchmarkId::new("windows", keys), |bencher| {
        bencher.iter(|| {
            window += 1;
            let end = window * 60_000;
            for record in 0..per_window {
                register(&mut timers, KeyHash::of_u64(record).0 % keys, end);
            }
            let mut fired = 0;
            while timers.pop_due(Timestamp(end)).is_some() {
                fired += 1;
            }
            assert!(fired <= keys && timers.is_empty());
        });
    });
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .configure_from_args();
    let mut group = criterion.benchmark_group("timer queue");
    for size in [1_000, 100_000, 10_000_000_u64] {
        let span = size as i64;
        let anywhere = |random: u64| (random % (2 * size)) as i64;
        let behind = |random: u64| span + (random % 1_000) as i64;
        hold(
            &mut group,
            "hold, anywhere",
            size,
            |key| anywhere(sm(key)),
            anywhere,
        );
        hold(&mut group, "hold, behind", size, |key| key as i64, behind);
    }
    for keys in [1_000, 1_000_000] {
        windows(&mut group, keys);
    }
    group.finish();
    criterion.final_summary();
}
