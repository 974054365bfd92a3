//! What it costs to hash a key: a number, and text of several lengths.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use thalweg_core::key_group::KeyHash;

/// Keys hashed in one sample.
const KEYS: u64 = 4096;

fn numbers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key_hash");
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function("u64", |bencher| {
        bencher.iter(|| (0..KEYS).fold(0, |sum, key| sum ^ KeyHash::of_u64(black_box(key)).0));
    });
    for length in [3_usize, 8, 12, 24, 200] {
        let text: Vec<u8> = (0..KEYS as usize + length)
            .map(|i| ((i * 31) >> 3) as u8)
            .collect();
        group.bench_function(BenchmarkId::new("bytes", length), |bencher| {
            let hash = |at: usize| KeyHash::of_bytes(black_box(&text[at..at + length])).0;
            bencher.iter(|| (0..KEYS as usize).fold(0, |sum, at| sum ^ hash(at)));
        });
    }
    group.finish();
}

criterion_group!(benches, numbers);
criterion_main!(benches);
