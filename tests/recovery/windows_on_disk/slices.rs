//! Windows put together from slices, over far more keys than memory holds: what they give out is what a map gives
//! out, after failures and at any parallelism.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::Environment;
use thalweg_dataflow::stream::{BoxedPipe, DataStream};
use thalweg_dataflow::time::WatermarkStrategy;
use thalweg_dataflow::window::assigner::{
    CumulateWindows, SlidingWindows, TumblingWindows, WindowAssigner,
};
use thalweg_dataflow::window::{TimeWindow, WindowAggregate};

use super::super::counting::Poison;
use super::super::larger::Large;
use super::{compare, watch};

const RECORDS: u64 = 80_000;
const KEYS: u64 = 40_000;
/// Numbers come out of their order by less than so many ms.
const DISORDER: u64 = 500;
/// The length of the longest windows, and from one to the next, ms.
const SIZE: u64 = 32_000;
const STEP: u64 = 8_000;

fn key_of(number: u64) -> String {
    let key = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24) % KEYS;
    format!("{key:0>60}")
}

fn time_of(number: u64) -> u64 {
    number + (number.wrapping_mul(0xD1B5_4A32_D192_ED03) >> 40) % DISORDER
}

/// Counts the numbers of a key and sums them up.
#[derive(Clone)]
struct CountAndSum;

impl WindowAggregate<String, u64> for CountAndSum {
    type Accumulator = (u64, u64);
    type Row = String;

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }
    fn add(&self, (count, sum): &mut (u64, u64), number: u64) {
        (*count, *sum) = (*count + 1, *sum + number);
    }
    fn merge(&self, (count, sum): &mut (u64, u64), other: &(u64, u64)) {
        (*count, *sum) = (*count + other.0, *sum + other.1);
    }
    fn row(&self, key: String, window: TimeWindow, (count, sum): &(u64, u64)) -> String {
        format!("{key} {} {} {count} {sum}", window.start.0, window.end.0)
    }
}

/// Numbers with times, and with failures.
fn numbers(
    environment: &Environment,
    rate: f64,
    poison: Poison,
    into: &Path,
) -> DataStream<u64, BoxedPipe<u64>> {
    let watch = watch(poison, into);
    let made = |number: u64| (number, Timestamp(time_of(number) as i64));
    let strategy =
        WatermarkStrategy::<u64>::for_bounded_out_of_orderness(Duration::from_millis(DISORDER));
    environment
        .source_with(
            Generator::timed(RECORDS, made).rate(rate),
            strategy.with_interval(Duration::from_millis(1)),
        )
        .uid("numbers")
        .parallelism(1)
        .map(move |number: u64| {
            watch(number);
            number
        })
        .boxed()
}

fn in_windows(
    numbers: DataStream<u64, BoxedPipe<u64>>,
    windows: impl WindowAssigner<u64>,
    into: &Path,
) {
    numbers
        .key_by(|number: &u64| key_of(*number))
        .window(windows)
        .aggregate(CountAndSum)
        .uid("windows")
        .sink(FileSink::new(into))
        .uid("told");
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn tumbling(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    let windows = TumblingWindows::event_time(ms(SIZE));
    in_windows(numbers(environment, rate, poison, into), windows, into);
}

fn sliding(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    let windows = SlidingWindows::event_time(ms(SIZE), ms(STEP));
    in_windows(numbers(environment, rate, poison, into), windows, into);
}

fn cumulating(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    let windows = CumulateWindows::event_time(ms(SIZE), ms(STEP));
    in_windows(numbers(environment, rate, poison, into), windows, into);
}

/// Compares what is there with what windows hold that `windows_of` names of each time.
fn check(into: &Path, windows_of: impl Fn(i64) -> Vec<(i64, i64)>) {
    let mut windows: BTreeMap<(String, i64, i64), (u64, u64)> = BTreeMap::new();
    for number in 0..RECORDS {
        for (start, end) in windows_of(time_of(number) as i64) {
            let window = windows.entry((key_of(number), start, end)).or_default();
            *window = (window.0 + 1, window.1 + number);
        }
    }
    let row = |((key, start, end), (count, sum))| (format!("{key} {start} {end} {count} {sum}"), 1);
    compare(&windows.into_iter().map(row).collect(), into);
}

fn check_tumbling(into: &Path) {
    let size = SIZE as i64;
    check(into, |at| {
        let start = at / size * size;
        vec![(start, start + size)]
    });
}

fn check_sliding(into: &Path) {
    let (size, step) = (SIZE as i64, STEP as i64);
    check(into, |at| {
        let last = at / step * step;
        let starts = (0..size / step).map(|earlier| last - earlier * step);
        starts.map(|start| (start, start + size)).collect()
    });
}

fn check_cumulating(into: &Path) {
    let (size, step) = (SIZE as i64, STEP as i64);
    check(into, |at| {
        let start = at / size * size;
        let ends = (1..=size / step).map(|steps| start + steps * step);
        let ends = ends.filter(|end| at < *end);
        ends.map(|end| (start, end)).collect()
    });
}

const TUMBLING: Large = Large {
    name: "tumbling windows on disk",
    memory: "3mb",
    program: tumbling,
    check: check_tumbling,
};

const SLIDING: Large = Large {
    name: "sliding windows on disk",
    memory: "3mb",
    program: sliding,
    check: check_sliding,
};

const CUMULATING: Large = Large {
    name: "cumulating windows on disk",
    memory: "3mb",
    program: cumulating,
    check: check_cumulating,
};

#[test]
fn slices_on_disk_survive_failures() {
    TUMBLING.survives_failures(200_000.0, ("2", 30_011));
    SLIDING.survives_failures(200_000.0, ("1", 40_013));
}

#[test]
fn slices_on_disk_go_on_at_another_parallelism() {
    for windows in [SLIDING, CUMULATING] {
        windows.goes_on_at_another_parallelism();
    }
}
