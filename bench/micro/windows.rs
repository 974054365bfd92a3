//! What a record costs in windows: put together from slices, with a function or without one, or each kept
//! whole.
//!
//! Each measurement is a whole job on one shard; its time is the job's own, from the first task's start to
//! the last one's end. Figures are per record of the source. `slide` is windows of a minute, one each
//! second, of a hundred keys; `keys` is one window of very many keys, each record of another than the last.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use thalweg::config::Configuration;
use thalweg::connectors::Generator;
use thalweg::prelude::*;
use thalweg::window::trigger::EventTimeTrigger;
use thalweg_cluster::LocalExecutor;

/// Records of one round of `slide`.
const SLIDES: u64 = 1 << 18;
/// Of one second of event time.
const PER_SECOND: u64 = SLIDES / 100;

/// Records of one round of `keys`, and their keys.
const RECORDS: u64 = 1 << 22;
const KEYS: u64 = 1 << 20;

/// What is measured: its name, its records, and how long they take.
type Run = (&'static str, u64, fn() -> Duration);

/// Counts.
#[derive(Clone)]
struct Count;

impl WindowAggregate<u64, u64> for Count {
    type Accumulator = u64;
    type Row = u64;

    fn create(&self) -> u64 {
        0
    }
    fn add(&self, count: &mut u64, _key: u64) {
        *count += 1;
    }
    fn merge(&self, into: &mut u64, other: &u64) {
        *into += other;
    }
    fn row(&self, _key: u64, _window: TimeWindow, count: &u64) -> u64 {
        *count
    }
}

/// A program whose job prints no summary.
fn environment() -> Environment {
    let executor = Arc::new(LocalExecutor::default());
    let environment = Environment::with_executor(executor, Configuration::new());
    environment.set_parallelism(1);
    environment
}

fn time_of(environment: &Environment) -> Duration {
    match environment.execute("windows") {
        Ok(result) => result.summary.duration,
        Err(error) => panic!("the job is sound: {error}"),
    }
}

fn minutes() -> SlidingWindows {
    SlidingWindows::event_time(Duration::from_secs(60), Duration::from_secs(1))
}

/// The function that passes a row on.
fn passing(
    _: &mut WindowOpenContext<u64>,
) -> impl FnMut(u64, &WindowContext<u64>, &mut Collector<'_, u64>) -> Result<(), FunctionError>
+ 'static
+ use<> {
    |count, _, out| {
        out.emit(count);
        Ok(())
    }
}

/// The records of `slide` by key.
macro_rules! slide {
    ($environment:expr) => {{
        let make = |number: u64| {
            let ms = number * 1_000 / PER_SECOND;
            (number % 100, Timestamp(ms.cast_signed()))
        };
        let strategy = WatermarkStrategy::<u64>::for_monotonous_timestamps();
        ($environment)
            .source_with(Generator::timed(SLIDES, make), strategy)
            .key_by(|key: &u64| *key)
            .window(minutes())
    }};
}

fn slide_aggregate() -> Duration {
    let environment = environment();
    slide!(environment).aggregate(Count).for_each(drop::<u64>);
    time_of(&environment)
}

fn slide_function() -> Duration {
    let environment = environment();
    let rows = slide!(environment).aggregate_process(Count, passing);
    rows.for_each(drop::<u64>);
    time_of(&environment)
}

fn slide_whole() -> Duration {
    let environment = environment();
    let windows = slide!(environment).trigger(EventTimeTrigger::new());
    windows
        .aggregate_process(Count, passing)
        .for_each(drop::<u64>);
    time_of(&environment)
}

fn keys_whole() -> Duration {
    let environment = environment();
    let make = |number: u64| (number.wrapping_mul(0x9E37_79B1) % KEYS, Timestamp(5));
    environment
        .source(Generator::timed(RECORDS, make))
        .key_by(|key: &u64| *key)
        .window(TumblingWindows::event_time(Duration::from_secs(1)))
        .trigger(EventTimeTrigger::new())
        .aggregate(Count)
        .for_each(drop::<u64>);
    time_of(&environment)
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("windows");
    let runs: [Run; 4] = [
        ("slide/aggregate", SLIDES, slide_aggregate),
        ("slide/function", SLIDES, slide_function),
        ("slide/function, each whole", SLIDES, slide_whole),
        ("keys/each whole", RECORDS, keys_whole),
    ];
    for (name, records, run) in runs {
        group.throughput(Throughput::Elements(records));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| run()).sum());
        });
    }
    group.finish();
    criterion.final_summary();
}
