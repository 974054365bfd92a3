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

use super::super::counting::{Poison, lines};
use super::super::larger::Large;
use super::{compare, marker, watch};

/// Numbers come out of their order by less than so many ms.
const DISORDER: u64 = 500;
/// Where windows fire again for late numbers each of so many is, by so many ms, and how long windows wait, ms.
const LATE_EACH: u64 = 40;
const LATE_BY: u64 = 8_000;
pub(super) const LATENESS: u64 = 10_000;
/// The length of the longest windows, and from one to the next, ms.
pub(super) const SIZE: u64 = 32_000;
pub(super) const STEP: u64 = 8_000;

/// Numbers that come.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub(super) records: u64,
    pub(super) keys: u64,
    pub(super) time_of: fn(u64) -> u64,
}

const IN_TIME: Numbers = Numbers {
    records: 80_000,
    keys: 40_000,
    time_of,
};

const LATE_TOO: Numbers = Numbers {
    time_of: late_time_of,
    ..IN_TIME
};

fn time_of(number: u64) -> u64 {
    number + (number.wrapping_mul(0xD1B5_4A32_D192_ED03) >> 40) % DISORDER
}

pub(super) fn late_time_of(number: u64) -> u64 {
    let late = number.is_multiple_of(LATE_EACH);
    time_of(number).saturating_sub(if late { LATE_BY } else { 0 })
}

/// Counts the numbers of a key and sums them up.
#[derive(Clone)]
pub(super) struct CountAndSum;

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

impl Numbers {
    pub(super) fn key_of(self, number: u64) -> String {
        let key = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24) % self.keys;
        format!("{key:0>60}")
    }

    /// They come with times, and with failures.
    pub(super) fn come(
        self,
        environment: &Environment,
        rate: f64,
        poison: Poison,
        into: &Path,
    ) -> DataStream<u64, BoxedPipe<u64>> {
        let watch = watch(poison, into);
        let made = move |number: u64| (number, Timestamp((self.time_of)(number) as i64));
        let strategy =
            WatermarkStrategy::<u64>::for_bounded_out_of_orderness(Duration::from_millis(DISORDER));
        environment
            .source_with(
                Generator::timed(self.records, made).rate(rate),
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

    /// What windows hold that `windows_of` names of each time.
    pub(super) fn windows(self, windows_of: impl Fn(i64) -> Vec<(i64, i64)>) -> Windows {
        let mut windows = Windows::new();
        for number in 0..self.records {
            for (start, end) in windows_of((self.time_of)(number) as i64) {
                let window = windows
                    .entry((self.key_of(number), start, end))
                    .or_default();
                *window = (window.0 + 1, window.1 + number);
            }
        }
        windows
    }
}

fn in_windows(
    numbers: DataStream<u64, BoxedPipe<u64>>,
    windows: impl WindowAssigner<u64>,
    into: &Path,
) {
    numbers
        .key_by(|number: &u64| IN_TIME.key_of(*number))
        .window(windows)
        .aggregate(CountAndSum)
        .uid("windows")
        .sink(FileSink::new(into))
        .uid("told");
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn tumbling(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    let windows = TumblingWindows::event_time(ms(SIZE));
    in_windows(IN_TIME.come(environment, rate, poison, into), windows, into);
}

fn sliding(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    let windows = SlidingWindows::event_time(ms(SIZE), ms(STEP));
    in_windows(IN_TIME.come(environment, rate, poison, into), windows, into);
}

fn cumulating(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    let windows = CumulateWindows::event_time(ms(SIZE), ms(STEP));
    in_windows(IN_TIME.come(environment, rate, poison, into), windows, into);
}

/// Windows of which some numbers are late, but none too late.
fn late(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    in_late_windows(true, environment, rate, poison, into);
}

/// The same of numbers that come to their windows one by one.
fn late_one_by_one(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    in_late_windows(false, environment, rate, poison, into);
}

fn in_late_windows(
    gathers: bool,
    environment: &Environment,
    rate: f64,
    poison: Poison,
    into: &Path,
) {
    let windows = LATE_TOO
        .come(environment, rate, poison, into)
        .key_by(|number: &u64| LATE_TOO.key_of(*number))
        .window(SlidingWindows::event_time(ms(SIZE), ms(STEP)))
        .allowed_lateness(ms(LATENESS));
    let windows = match gathers {
        true => windows,
        false => windows.without_local_aggregation(),
    };
    windows
        .aggregate(CountAndSum)
        .uid("windows")
        .sink(FileSink::new(into))
        .uid("told");
}

/// How many numbers a key has in a window, and their sum.
pub(super) type Windows = BTreeMap<(String, i64, i64), (u64, u64)>;

/// Compares what is there with what windows hold that `windows_of` names of each time.
fn check(into: &Path, windows_of: impl Fn(i64) -> Vec<(i64, i64)>) {
    let row = |((key, start, end), (count, sum))| (format!("{key} {start} {end} {count} {sum}"), 1);
    compare(
        &IN_TIME.windows(windows_of).into_iter().map(row).collect(),
        into,
    );
}

/// Looks whether each window has told of all its numbers in the end, and never twice of as many: each time it fires
/// again there are more.
fn check_late(into: &Path) {
    let mut told: BTreeMap<(String, i64, i64), BTreeMap<u64, u64>> = BTreeMap::new();
    let mut again = 0;
    for (line, times) in lines(into) {
        let row: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| row[at].parse::<u64>().unwrap();
        let (start, end) = (row[1].parse().unwrap(), row[2].parse().unwrap());
        let rows = told.entry((row[0].to_owned(), start, end)).or_default();
        again += u64::from(!rows.is_empty());
        let before = rows.insert(number(3), number(4));
        assert!(times == 1 && before.is_none(), "twice: {line}");
    }
    let last = |(window, mut rows): (_, BTreeMap<u64, u64>)| Some((window, rows.pop_last()?));
    let last: Windows = told.into_iter().filter_map(last).collect();
    let expected = LATE_TOO.windows(in_sliding);
    let other = (last.iter()).find(|(window, held)| expected.get(*window) != Some(*held));
    assert!(last == expected, "{} windows, one {other:?}", last.len());
    assert!(again > 200, "{again} rows of windows that fired again");
    assert!(marker(into).exists(), "nothing has gone to disk");
}

fn check_tumbling(into: &Path) {
    let size = SIZE as i64;
    check(into, |at| {
        let start = at / size * size;
        vec![(start, start + size)]
    });
}

pub(super) fn in_sliding(at: i64) -> Vec<(i64, i64)> {
    let (size, step) = (SIZE as i64, STEP as i64);
    let last = at / step * step;
    let starts = (0..size / step).map(|earlier| last - earlier * step);
    starts.map(|start| (start, start + size)).collect()
}

fn check_sliding(into: &Path) {
    check(into, in_sliding);
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

const LATE: Large = Large {
    name: "windows on disk that wait for late records",
    memory: "3mb",
    program: late,
    check: check_late,
};

const LATE_ONE_BY_ONE: Large = Large {
    program: late_one_by_one,
    ..LATE
};

#[test]
fn slices_on_disk_that_wait_for_late_records_survive_failures_and_go_on_at_another_parallelism() {
    LATE_ONE_BY_ONE.survives_failures(200_000.0, ("2", 30_011));
    LATE.goes_on_at_another_parallelism();
}

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
