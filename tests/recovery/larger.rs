//! State several times as large as its memory: the same results, and nothing lost by failures, at any
//! parallelism.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::config::RuntimeMode;
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::Environment;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::stream::{BoxedPipe, DataStream};

use super::counting::{Poison, lines};
use super::savepoints::let_it_run;
use crate::stage;

pub(super) const RECORDS: u64 = 240_000;
const KEYS: u64 = 40_000;
/// Every so many records of a key one line is written.
const TOLD: u64 = 3;

fn draw(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24
}

fn key_of(number: u64) -> u64 {
    draw(number) % KEYS
}

/// A job on two shards with state on disk: where its checkpoints and its state go, its parallelism, its memory.
pub(crate) fn settings<'s>(
    (state, spill, parallelism): (&'s str, &'s str, &'s str),
    memory: &'s str,
) -> Vec<(&'s str, &'s str)> {
    // One way and the other, from life to life.
    let direct = if parallelism == "1" { "true" } else { "false" };
    vec![
        ("parallelism.default", parallelism),
        ("thalweg.shard.count", "2"),
        ("thalweg.shard.pin", "false"),
        ("thalweg.spill.direct-reads", direct),
        ("state.backend.type", "lsm"),
        ("taskmanager.memory.managed.size", memory),
        ("io.tmp.dirs", spill),
        ("execution.checkpointing.interval", "40ms"),
        ("execution.checkpointing.dir", state),
        (
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        ),
        ("execution.state-recovery.path", "latest"),
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.attempts", "20"),
        ("restart-strategy.fixed-delay.delay", "1ms"),
    ]
}

/// All numbers at a rate, each at its own time; `poison` is tasted with each.
pub(super) fn numbers(
    environment: &Environment,
    rate: f64,
    poison: Poison,
) -> DataStream<u64, BoxedPipe<u64>> {
    let made = |number: u64| (number, Timestamp(number as i64));
    environment
        .source(Generator::timed(RECORDS, made).rate(rate))
        .uid("numbers")
        .parallelism(1)
        .map(move |number: u64| {
            poison.taste(number);
            number
        })
        .boxed()
}

pub(super) fn program(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    numbers(environment, rate, poison)
        .key_by(|number: &u64| key_of(*number))
        .count()
        .uid("counts")
        .filter(|(_, count): &(u64, u64)| count.is_multiple_of(TOLD))
        .map(|(key, count): (u64, u64)| format!("{key} {count}"))
        .sink(FileSink::new(into))
        .uid("told");
}

pub(super) fn check(into: &Path) {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut expected: BTreeMap<String, u32> = BTreeMap::new();
    for number in 0..RECORDS {
        let key = key_of(number);
        let count = counts.entry(key).or_default();
        *count += 1;
        if count.is_multiple_of(TOLD) {
            expected.insert(format!("{key} {count}"), 1);
        }
    }
    let there = lines(into);
    let wrong = expected.keys().find(|line| there.get(*line) != Some(&1));
    assert_eq!(wrong, None, "not there once");
    assert_eq!(there.len(), expected.len());
}

/// State that is to be in memory comes back while the job is at work, however little it is.
pub(super) const LATE: (&str, &str) = ("thalweg.state.restore-late-from", "1b");

/// A program whose state is several times as large as its memory.
pub(crate) struct Large {
    pub(crate) name: &'static str,
    pub(crate) memory: &'static str,
    pub(crate) program: fn(&Environment, f64, Poison, &Path),
    pub(crate) check: fn(&Path),
}

pub(super) const COUNTS: Large = Large {
    name: "counts on disk",
    memory: "1mb",
    program,
    check,
};

/// Keys of which each comes twice, about.
const SEEN: u64 = 3 * KEYS;

fn first_of_each(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    numbers(environment, rate, poison)
        .key_by(|number: &u64| draw(*number) % SEEN)
        .deduplicate()
        .uid("first")
        .map(|number: u64| number.to_string())
        .sink(FileSink::new(into))
        .uid("told");
}

fn check_first_of_each(into: &Path) {
    let (mut seen, mut expected) = (BTreeSet::new(), BTreeMap::new());
    for number in 0..RECORDS {
        if seen.insert(draw(number) % SEEN) {
            expected.insert(number.to_string(), 1);
        }
    }
    assert!(lines(into) == expected, "the first of each key, once");
}

const FIRST_OF_EACH: Large = Large {
    name: "what was seen, on disk",
    memory: "1mb",
    program: first_of_each,
    check: check_first_of_each,
};

impl Large {
    /// Runs it at a rate, at this parallelism, with a failure every so many records, and looks at its files.
    pub(crate) fn survives_failures(&self, rate: f64, run: (&str, u64)) {
        self.survives_failures_with(rate, run, &[]);
    }

    /// The same, with more settings.
    pub(super) fn survives_failures_with(
        &self,
        rate: f64,
        (parallelism, every): (&str, u64),
        more: &[(&str, &str)],
    ) {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (state, spill, into) = (place("state"), place("spill"), place("out"));
        let mut settings = settings((&state, &spill, parallelism), self.memory);
        settings.extend(more);
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        let poison = Poison::new(every, 3);
        (self.program)(&environment, rate, poison.clone(), Path::new(&into));
        environment.execute(self.name).unwrap();
        assert_eq!(poison.left.load(Ordering::Acquire), 0, "it has failed");
        (self.check)(Path::new(&into));
        let left = std::fs::read_dir(&spill).map_or(0, |left| left.count());
        assert_eq!(left, 0, "spill files go with the job");
    }

    /// Cancels it again and again, each time after twice the time, and goes on at another parallelism.
    pub(crate) fn goes_on_at_another_parallelism(&self) {
        self.goes_on_at_other_parallelisms(100_000.0);
    }

    /// The same at a rate at which it lasts longer than until it is cancelled first.
    pub(crate) fn goes_on_at_other_parallelisms(&self, rate: f64) {
        self.goes_on(rate, &[&[]]);
    }

    /// The same, in turn with all of its state in memory, and with most of it on disk.
    pub(crate) fn goes_from_one_backend_to_the_other(&self, rate: f64) {
        let in_memory = [
            ("state.backend.type", "hashmap"),
            ("taskmanager.memory.managed.size", "256mb"),
        ];
        self.goes_on(rate, &[&[], &in_memory]);
    }

    /// The same, with more settings, others from life to life.
    pub(super) fn goes_on(&self, rate: f64, more: &[&[(&str, &str)]]) {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (state, spill, into) = (place("state"), place("spill"), place("out"));
        let mut stops = 0;
        for parallelism in ["1", "3", "2"].into_iter().cycle() {
            let mut settings = settings((&state, &spill, parallelism), self.memory);
            settings.extend(more[stops % more.len()]);
            let (environment, token) = stage::shards(&settings);
            let _deadline = stage::cancel_after(&token, Duration::from_millis(400 << stops));
            let poison = Poison::new(u64::MAX, 0);
            (self.program)(&environment, rate, poison, Path::new(&into));
            match environment.execute(self.name) {
                Ok(_) => break,
                Err(JobError::Cancelled { .. }) => stops += 1,
                Err(failed) => panic!("{failed}"),
            }
        }
        assert!(stops > 0, "it was cancelled at least once");
        (self.check)(Path::new(&into));
    }
}

#[test]
fn state_larger_than_memory_survives_failures() {
    for run in [("1", 70_001), ("2", 50_021)] {
        COUNTS.survives_failures(300_000.0, run);
    }
}

#[test]
fn state_larger_than_memory_goes_on_at_another_parallelism() {
    COUNTS.goes_on_at_another_parallelism();
}

#[test]
fn what_was_seen_is_known_on_disk_after_failures_and_at_another_parallelism() {
    for run in [("1", 70_001), ("2", 50_021)] {
        FIRST_OF_EACH.survives_failures(300_000.0, run);
    }
    FIRST_OF_EACH.goes_on_at_another_parallelism();
}

#[test]
fn files_that_were_taken_over_are_copied_though_their_owner_has_removed_them() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (spill, into) = (place("spill"), place("out"));
    let start = |state: &str, more: &[(&str, &str)]| {
        let mut settings = settings((state, &spill, "2"), "1mb");
        settings.retain(|(key, _)| *key != "execution.state-recovery.path");
        settings.retain(|(key, _)| more.iter().all(|(other, _)| key != other));
        settings.extend(more);
        let (environment, _) = stage::shards(&settings);
        let poison = Poison::new(u64::MAX, 0);
        program(&environment, 60_000.0, poison, Path::new(&into));
        environment.execute_async("counts on disk").unwrap()
    };
    // One file for each subtask, which nothing is merged with for a while.
    let in_memory = [
        ("state.backend.type", "hashmap"),
        ("taskmanager.memory.managed.size", "64mb"),
    ];
    let job = start(&place("state"), &in_memory);
    let_it_run(&job, Duration::from_millis(700));
    let first = job.stop_with_savepoint(Some(&place("copies")), false);
    let first = first.unwrap();
    let slowly = ("thalweg.state.merge-rate", "1mb");
    let from = ("execution.state-recovery.path", first.as_str());
    let job = start(&place("other"), &[from, slowly]);
    let_it_run(&job, Duration::from_millis(100));
    job.trigger_savepoint(Some(&place("second"))).unwrap();
    // What the job began with has done its duty.
    std::fs::remove_dir_all(place("copies")).unwrap();
    job.trigger_savepoint(Some(&place("third"))).unwrap();
    job.wait().unwrap();
    check(Path::new(&into));
}

#[test]
fn state_that_cannot_overflow_says_what_can() {
    let directory = tempfile::tempdir().unwrap();
    let spill = directory.path().to_str().unwrap();
    let (environment, token) = stage::shards(&[
        ("state.backend.type", "lsm"),
        ("taskmanager.memory.managed.size", "1mb"),
        ("io.tmp.dirs", spill),
        ("thalweg.shard.count", "1"),
    ]);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    environment.set_runtime_mode(RuntimeMode::Batch);
    let made = |number: u64| (number, Timestamp(number as i64));
    environment
        .source(Generator::timed(200_000, made))
        .key_by(|number: &u64| *number)
        .count()
        .map(|(key, count): (u64, u64)| format!("{key} {count}"))
        .sink(FileSink::new(directory.path().join("out")));
    let failed = environment
        .execute("all in memory")
        .unwrap_err()
        .to_string();
    for part in ["taskmanager.memory.managed.size", "state.backend.type"] {
        assert!(failed.contains(part), "{failed}");
    }
}
