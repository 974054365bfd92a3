//! Timers several times as many as their memory holds: each fires once in its turn, after failures and at any
//! parallelism, and none that was deleted.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use thalweg_connectors::FileSink;
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::KeyedProcessFunction;
use thalweg_dataflow::time::{FiredTimer, TimeDomain};
use thalweg_dataflow::{Collector, Environment, FunctionError, OpenContext, ProcessContext};

use super::counting::{Poison, lines};
use super::larger::{Large, RECORDS, numbers, settings};
use super::savepoints::let_it_run;
use crate::stage;

/// A key comes again after so many records.
const KEYS: u64 = 40_000;
/// How long after its record a timer fires, ms: a record comes each of them.
const LATER: i64 = 130_000;
/// One record in so many deletes the timer that its key registered before.
const DELETES: u64 = 3;
/// Timers fire at multiples of this.
const TOGETHER: i64 = 50;

fn time_of(number: u64) -> Timestamp {
    Timestamp((number as i64 + LATER) / TOGETHER * TOGETHER)
}

fn deletes(number: u64) -> Option<u64> {
    let before = number.checked_sub(KEYS)?;
    number.is_multiple_of(DELETES).then_some(before)
}

/// Registers a timer for each record, and deletes some.
struct Later {
    last: Timestamp,
}

impl KeyedProcessFunction<u64, u64, String> for Later {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        if let Some(before) = deletes(number) {
            context.timers().delete_event_time(time_of(before))?;
        }
        // Twice is once.
        context.timers().register_event_time(time_of(number))?;
        context.timers().register_event_time(time_of(number))
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        if timer.domain != TimeDomain::EventTime || timer.at < self.last {
            let message = format!("{timer:?} behind one for {}", self.last);
            return Err(FunctionError::new(message));
        }
        self.last = timer.at;
        let key = context.key().unwrap_or_default();
        out.emit(format!("{key} at {}", timer.at.0));
        Ok(())
    }
}

fn program(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    numbers(environment, rate, poison)
        .key_by(|number: &u64| number % KEYS)
        .process_function(|_: &mut OpenContext<u64>| Later {
            last: Timestamp::MIN,
        })
        .uid("later")
        .sink(FileSink::new(into))
        .uid("told");
}

fn check(into: &Path) {
    let mut expected: BTreeMap<String, u32> = BTreeMap::new();
    for number in 0..RECORDS {
        if let Some(before) = deletes(number) {
            let line = format!("{} at {}", before % KEYS, time_of(before).0);
            expected.remove(&line);
        }
        let line = format!("{} at {}", number % KEYS, time_of(number).0);
        expected.insert(line, 1);
    }
    let there = lines(into);
    let wrong = expected.keys().find(|line| there.get(*line) != Some(&1));
    assert_eq!(wrong, None, "not there once");
    assert_eq!(there.len(), expected.len());
}

const TIMERS: Large = Large {
    name: "timers on disk",
    memory: "2mb",
    program,
    check,
};

#[test]
fn timers_on_disk_survive_failures() {
    for run in [("1", 70_001), ("2", 50_021)] {
        TIMERS.survives_failures(300_000.0, run);
    }
}

#[test]
fn timers_on_disk_go_on_at_another_parallelism() {
    TIMERS.goes_on_at_another_parallelism();
}

#[test]
fn checkpoints_write_timers_once_that_are_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (state, spill, into) = (place("state"), place("spill"), place("out"));
    let settings = settings((&state, &spill, "1"), "2mb");
    let (environment, token) = stage::shards(&settings);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let poison = Poison::new(u64::MAX, 0);
    program(&environment, 100_000.0, poison, Path::new(&into));
    let job = environment.execute_async("timers on disk").unwrap();
    // Nothing fires yet, and most of what will is on disk.
    let_it_run(&job, Duration::from_millis(1_000));
    job.trigger_savepoint(Some(&place("whole"))).unwrap();
    let_it_run(&job, Duration::from_millis(200));
    let summary = job.wait().unwrap().summary;
    check(Path::new(&into));
    let written = summary.checkpoints.recent.iter();
    let written: Vec<u64> = written.map(|completed| completed.bytes_written).collect();
    // A savepoint is all there is, which it has written anew.
    let (at, whole) = (written.iter().enumerate())
        .max_by_key(|(_, bytes)| **bytes)
        .unwrap();
    let around = at.saturating_sub(5)..written.len().min(at + 6);
    let mut others: Vec<u64> = around
        .filter(|it| *it != at)
        .map(|it| written[it])
        .collect();
    others.sort_unstable();
    assert!(others.len() > 2, "too few to compare: {written:?}");
    let middle = others[others.len() / 2];
    assert!(
        middle * 2 < *whole,
        "around {whole} bytes: {others:?}; of {written:?}"
    );
}
