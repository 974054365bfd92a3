//! What chained operators cost: a generator, 3 or 10 operators and a sink in one task.
//!
//! Each measurement is a whole job on one shard; its time is the job's own, from the first task's start
//! to the last one's end. Figures are per record of the source.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use thalweg::config::Configuration;
use thalweg::connectors::Generator;
use thalweg::prelude::*;
use thalweg_cluster::LocalExecutor;

/// Records of one round: enough that start and end of the job weigh nothing.
const RECORDS: u64 = 1 << 22;

/// A program whose job prints no summary.
fn environment() -> Environment {
    let executor = Arc::new(LocalExecutor::default());
    let environment = Environment::with_executor(executor, Configuration::new());
    environment.set_parallelism(1);
    environment
}

fn time_of(environment: &Environment) -> Duration {
    match environment.execute("chain") {
        Ok(result) => {
            assert_eq!(result.summary.vertices.len(), 1, "all is chained");
            result.summary.duration
        }
        Err(error) => panic!("the job is sound: {error}"),
    }
}

/// Two maps and a filter that lets all pass, none of which the compiler can merge with the next.
macro_rules! three {
    ($stream:expr) => {
        $stream
            .map(|n: u64| n.rotate_left(7))
            .filter(|n| *n != 1)
            .map(|n: u64| n ^ 0x9E37)
    };
}

fn none(records: u64) -> Duration {
    let environment = environment();
    let numbers = environment.source(Generator::new(records, |i| i | 1 << 40));
    numbers.for_each(|n: u64| {
        black_box(n);
    });
    time_of(&environment)
}

fn three(records: u64) -> Duration {
    let environment = environment();
    let numbers = environment.source(Generator::new(records, |i| i | 1 << 40));
    three!(numbers).for_each(|n: u64| {
        black_box(n);
    });
    time_of(&environment)
}

fn ten(records: u64) -> Duration {
    let environment = environment();
    let numbers = environment.source(Generator::new(records, |i| i | 1 << 40));
    let nine = three!(three!(three!(numbers)));
    nine.map(|n: u64| n.rotate_left(9)).for_each(|n: u64| {
        black_box(n);
    });
    time_of(&environment)
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, operators: u32, run: fn(u64) -> Duration) {
    group.bench_function(BenchmarkId::new("operators", operators), |bencher| {
        bencher.iter_custom(|rounds| run(rounds * RECORDS));
    });
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("chain");
    group.throughput(Throughput::Elements(RECORDS));
    bench(&mut group, 0, none);
    bench(&mut group, 3, three);
    bench(&mut group, 10, ten);
    group.finish();
    criterion.final_summary();
}
