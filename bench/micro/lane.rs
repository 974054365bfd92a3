//! What a lane costs without a second core: push, publish and drain on one thread.
//!
//! The floor under every exchange between shards; what two cores add to it is the cache line that
//! travels once per publication. Figures are per item.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use thalweg_core::shard::lane::lane;

const CAPACITY: usize = 1024;

/// Sends `batch` items, publishes them at once, takes them all out.
fn round<T: Send + Clone>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    item: &T,
    batch: usize,
) {
    let (mut sender, mut receiver) = lane::<T>(CAPACITY);
    group.throughput(Throughput::Elements(batch as u64));
    group.bench_function(BenchmarkId::new(name, batch), |bencher| {
        bencher.iter(|| {
            for _ in 0..batch {
                let pushed = sender.push(black_box(item.clone()));
                assert!(pushed.is_ok(), "a drained lane has room");
            }
            sender.publish();
            let mut taken = 0;
            while let Some(item) = receiver.pop() {
                black_box(&item);
                taken += 1;
            }
            assert_eq!(taken, batch, "what was published is there");
        });
    });
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("lane");
    for batch in [1, 16, 256] {
        round(&mut group, "word", &7u64, batch);
        round(&mut group, "cache line", &[7u64; 8], batch);
    }
    group.finish();
    criterion.final_summary();
}
