//! Joins of more than memory holds: pairs of near records, and rows with the version of their time, are what a map says,
//! after failures, at any parallelism, and when the state goes from memory to disk and back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::Environment;
use thalweg_dataflow::stream::{BoxedPipe, DataStream};
use thalweg_dataflow::time::WatermarkStrategy;

use super::counting::Poison;
use super::larger::{Large, settings};
use super::savepoints::let_it_run;
use super::windows_on_disk::{compare, watch};
use crate::stage;

/// A number, beside something long.
type Rec = (u64, String);

const RECORDS: u64 = 40_000;
const KEYS: u64 = 8_000;
/// How far apart paired records are at most, ms; a number comes each.
const REACH: u64 = 8_000;
/// How long rows wait for the versions of their time, ms.
const AHEAD: u64 = 12_000;
/// Versions that this divides say that there is none.
const DELETED: u64 = 7;

fn key_of(number: u64) -> u64 {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24) % KEYS
}

fn key(record: &Rec) -> u64 {
    key_of(record.0)
}

/// A stream of numbers, whose times are later by so much.
fn numbers(
    environment: &Environment,
    (name, later): (&str, u64),
    rate: f64,
    watch: impl Fn(u64) + Clone + Send + 'static,
) -> DataStream<Rec, BoxedPipe<Rec>> {
    let made = move |number: u64| {
        let at = Timestamp((number + later) as i64);
        ((number, format!("{number:0>200}")), at)
    };
    let strategy = WatermarkStrategy::<Rec>::for_monotonous_timestamps();
    environment
        .source_with(
            Generator::timed(RECORDS, made).rate(rate),
            strategy.with_interval(Duration::from_millis(1)),
        )
        .uid(name)
        .parallelism(1)
        .map(move |record: Rec| {
            watch(record.0);
            record
        })
        .boxed()
}

/// The number of a record, if it is what it was.
fn whole(record: &Rec) -> u64 {
    assert_eq!(
        record.1.parse(),
        Ok(record.0),
        "a record is not what it was"
    );
    record.0
}

fn pairs(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    let left = numbers(environment, ("left", 0), rate, watch(poison, into));
    let right = numbers(environment, ("right", 0), rate, |_| {});
    (left.key_by(key).interval_join(right.key_by(key)))
        .between(-(REACH as i64), REACH as i64)
        .apply(|left: &Rec, right: &Rec| format!("{} {}", whole(left), whole(right)))
        .uid("pairs")
        .sink(FileSink::new(into))
        .uid("told");
}

fn by_key() -> BTreeMap<u64, Vec<u64>> {
    let mut by_key: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for number in 0..RECORDS {
        by_key.entry(key_of(number)).or_default().push(number);
    }
    by_key
}

fn check_pairs(into: &Path) {
    let mut expected = BTreeMap::new();
    for numbers in by_key().values() {
        for left in numbers {
            let near = numbers
                .iter()
                .filter(|right| left.abs_diff(**right) <= REACH);
            expected.extend(near.map(|right| (format!("{left} {right}"), 1)));
        }
    }
    compare(&expected, into);
}

fn versions(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    let rows = numbers(environment, ("rows", AHEAD), rate, watch(poison, into));
    let versions = numbers(environment, ("versions", 0), rate, |_| {});
    (rows.key_by(key).temporal_join(versions.key_by(key)))
        .deleted_when(|version| version.0.is_multiple_of(DELETED))
        .apply_outer(|row: &Rec, version: Option<&Rec>| {
            let version = version.map_or("none".to_owned(), |version| whole(version).to_string());
            format!("{} {version}", whole(row))
        })
        .uid("versions of rows")
        .sink(FileSink::new(into))
        .uid("told");
}

fn check_versions(into: &Path) {
    let mut expected = BTreeMap::new();
    for numbers in by_key().values() {
        for row in numbers {
            let valid = numbers.iter().rfind(|version| **version <= row + AHEAD);
            let valid = valid.filter(|version| !version.is_multiple_of(DELETED));
            let version = valid.map_or("none".to_owned(), u64::to_string);
            expected.insert(format!("{row} {version}"), 1);
        }
    }
    compare(&expected, into);
}

const PAIRS: Large = Large {
    name: "pairs on disk",
    memory: "7mb",
    program: pairs,
    check: check_pairs,
};

const VERSIONS: Large = Large {
    name: "versions on disk",
    memory: "4mb",
    program: versions,
    check: check_versions,
};

#[test]
fn interval_joins_on_disk_survive_failures() {
    PAIRS.survives_failures(150_000.0, ("2", 13_007));
}

#[test]
fn temporal_joins_on_disk_survive_failures() {
    VERSIONS.survives_failures(150_000.0, ("1", 13_007));
}

#[test]
fn interval_joins_on_disk_go_on_at_another_parallelism() {
    PAIRS.goes_on_at_other_parallelisms(50_000.0);
}

#[test]
fn temporal_joins_on_disk_go_on_at_another_parallelism() {
    VERSIONS.goes_on_at_other_parallelisms(50_000.0);
}

/// Stops a job with a savepoint again and again, and goes on from it with the other backend.
fn goes_from_memory_to_disk_and_back(large: &Large) {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (state, spill, into) = (place("state"), place("spill"), place("out"));
    let mut from: Option<String> = None;
    for (nth, backend) in ["hashmap", "lsm"].into_iter().cycle().enumerate() {
        let parallelism = ["2", "1", "2", "3"][nth % 4];
        let mut settings = settings((&state, &spill, parallelism), large.memory);
        settings.push(("state.backend.type", backend));
        if backend == "hashmap" {
            settings.push(("taskmanager.memory.managed.size", "256mb"));
        }
        if let Some(from) = &from {
            settings.push(("execution.state-recovery.path", from));
        }
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        let poison = Poison::new(u64::MAX, 0);
        (large.program)(&environment, 40_000.0, poison, Path::new(&into));
        let job = environment.execute_async(large.name).unwrap();
        if nth < 3 {
            let_it_run(&job, Duration::from_millis(250));
            match job.stop_with_savepoint(Some(&place("points")), false) {
                Ok(savepoint) => {
                    from = Some(savepoint);
                    continue;
                }
                // On a machine that is very slow it may have ended.
                Err(error) => assert!(job.status().is_terminal(), "{error}"),
            }
        }
        job.wait().unwrap();
        break;
    }
    (large.check)(Path::new(&into));
}

#[test]
fn interval_joins_go_from_memory_to_disk_and_back() {
    goes_from_memory_to_disk_and_back(&PAIRS);
}

#[test]
fn temporal_joins_go_from_memory_to_disk_and_back() {
    goes_from_memory_to_disk_and_back(&VERSIONS);
}
