//! The same windows where they do not fit their memory: a crowd of other keys comes between the records of each
//! case, and drives what is kept of its windows to disk again and again.
//!
//! Windows kept one by one, and aligned ones put together from slices with a function that is called with their rows.
//! Each case runs in the least memory in which it can. In that it fails where all has to stay in memory, mostly:
//! so state has gone to disk, and has come back.

use std::cell::Cell;

use thalweg_connectors::{Collects, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::window::assigner::TumblingWindows;
use thalweg_dataflow::window::{TimeWindow, WindowAggregate};

use super::aligned::{self, Way};
use super::drawn::{Rec, ms};
use super::model::{self, Case, Row};
use super::{Emitted, draw, emitted, expected, program};
use crate::event_time::script::Script;
use crate::event_time::trial::{Memory, Trial};
use crate::random_graphs::every;
use crate::stage;

/// Keys from here on are of the crowd.
const CROWD: u64 = 1 << 32;
/// So many of the crowd come behind each record.
const BEHIND: u64 = 48;
const CASES: u64 = 16;

/// What comes to the windows of a case, and the crowd with it: each a key of its own.
fn crowded(case: &Case) -> Vec<Emitted<Rec>> {
    let (mut all, mut next) = (Vec::new(), CROWD);
    for event in emitted(case) {
        let at = match event {
            Emitted::Record(_, at) => Some(at),
            _ => None,
        };
        all.push(event);
        for _ in 0..at.map_or(0, |_| BEHIND) {
            all.extend(at.map(|at| Emitted::Record((next, next), at)));
            next += 1;
        }
    }
    all
}

/// Runs a case in the least memory in which it can; answers whether that is too little without a disk.
fn compare(trial: &Trial) -> Result<bool, String> {
    let case = draw(&mut trial.dice.clone());
    let (rows, larger) = trial.run_in(Memory::Little, |environment| {
        let rows = program(&case, crowded(&case), environment);
        rows.filter(|row: &Row| row.0 < CROWD).collect()
    })?;
    alike(rows, expected(&case)).map_err(|error| format!("{error}\n\ncase: {case:?}"))?;
    Ok(larger)
}

/// The same of windows put together from slices, whose rows a function is called with.
fn compare_slices(trial: &Trial) -> Result<bool, String> {
    let mut dice = trial.dice.clone();
    let case = aligned::draw(&mut dice);
    let way = Way {
        local: dice.chance(50),
        late_output: false,
        called: true,
    };
    let (mut rows, larger) = trial.run_in(Memory::Little, |environment| {
        let script = Script::of(vec![crowded(&case)]);
        aligned::program(&case, script, way, environment, None)
    })?;
    rows.retain(|row| row.0 < CROWD);
    let mut expected = model::expected(&case).rows;
    aligned::number(&mut expected);
    alike(rows, expected).map_err(|error| format!("{error}\n\n{way:?}, case: {case:?}"))?;
    Ok(larger)
}

fn alike(mut rows: Vec<Row>, mut expected: Vec<Row>) -> Result<(), String> {
    rows.sort();
    expected.sort();
    if rows == expected {
        return Ok(());
    }
    let first = (rows.iter().zip(&expected)).find(|(got, wanted)| got != wanted);
    Err(format!(
        "{} results, expected {}; sorted, the first that differs and what was expected: {first:?}",
        rows.len(),
        expected.len()
    ))
}

/// Compares cases, of which a third at least has to be larger than its memory.
fn each_compared(test: &str, compare: impl Fn(&Trial) -> Result<bool, String>) {
    let (ran, larger) = (Cell::new(0), Cell::new(0));
    every(CASES, test, |seed| {
        let trial = Trial::simulated(seed);
        let compared = compare(&trial).map_err(|error| format!("{error}\n\ntrial: {trial:?}"))?;
        ran.set(ran.get() + 1);
        larger.set(larger.get() + u64::from(compared));
        Ok(())
    });
    let (ran, larger) = (ran.get(), larger.get());
    // One that is run again alone may be small.
    assert!(
        ran == 1 || 3 * larger > ran,
        "{larger} of {ran} cases were larger than their memory"
    );
}

#[test]
fn windows_on_disk_are_the_models_in_simulation() {
    each_compared("windows_on_disk_are_the_models_in_simulation", compare);
}

#[test]
fn functions_on_disk_that_are_called_with_slices_are_the_models_in_simulation() {
    let test = "functions_on_disk_that_are_called_with_slices_are_the_models_in_simulation";
    each_compared(test, compare_slices);
}

/// Keys that come again in each of so many slices, of which records come in turn.
const KEYS: u64 = 4_000;
const SLICES: u64 = 2;
const TIMES: u64 = 4;

/// Counts the records of a key, and keeps their least and largest number.
#[derive(Clone)]
struct Count;

impl WindowAggregate<String, u64> for Count {
    type Accumulator = (u64, u64, u64);
    type Row = (String, i64, u64);

    fn create(&self) -> (u64, u64, u64) {
        (0, u64::MAX, 0)
    }
    fn add(&self, held: &mut (u64, u64, u64), number: u64) {
        self.merge(held, &(1, number, number));
    }
    fn merge(&self, held: &mut (u64, u64, u64), other: &(u64, u64, u64)) {
        let (least, largest) = (held.1.min(other.1), held.2.max(other.2));
        *held = (held.0 + other.0, least, largest);
    }
    fn row(&self, key: String, window: TimeWindow, held: &(u64, u64, u64)) -> Self::Row {
        (key, window.start.0, held.0)
    }
}

/// What is gathered of several slices before the exchange gives nothing back, so it must leave the windows behind it
/// the memory they need, in a slot of which its tables could take nearly all.
#[test]
fn what_is_gathered_before_the_exchange_leaves_memory_to_windows() {
    let spill = tempfile::tempdir().unwrap();
    let (environment, token) = stage::shards(&[
        ("parallelism.default", "1"),
        ("state.backend.type", "lsm"),
        ("taskmanager.memory.managed.size", "1mb"),
        ("io.tmp.dirs", spill.path().to_str().unwrap()),
    ]);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let name = |key: u64| format!("{key:0>60}");
    let make = |number: u64| (number, Timestamp(10 * (number % SLICES) as i64));
    let counts = environment
        .source(Generator::timed(SLICES * KEYS * TIMES, make))
        .key_by(move |number: &u64| name(number / SLICES % KEYS))
        .window(TumblingWindows::event_time(ms(10)))
        .aggregate(Count)
        .collect();
    environment.execute("slices in turn").unwrap();
    let mut counts: Vec<(String, i64, u64)> = counts.take();
    counts.sort_unstable();
    let of_key = |key| (0..SLICES).map(move |slice| (name(key), 10 * slice as i64, TIMES));
    assert!(counts == (0..KEYS).flat_map(of_key).collect::<Vec<_>>());
}
