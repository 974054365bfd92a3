//! Windows over far more keys than memory holds: what is kept of them, which of them are open, and what their
//! function keeps is what a map keeps, after failures and at any parallelism.

mod called;
mod slices;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::stream::{BoxedPipe, DataStream};
use thalweg_dataflow::time::WatermarkStrategy;
use thalweg_dataflow::window::assigner::{SessionWindows, TumblingWindows};
use thalweg_dataflow::window::trigger::{CountTrigger, EventTimeTrigger};
use thalweg_dataflow::window::{
    WindowContext, WindowElements, WindowFunction, WindowOpenContext, WindowValueState,
};
use thalweg_dataflow::{Collector, Environment, FunctionError};
use thalweg_state::ValueState;

use super::counting::{Poison, is_there_once};
use super::larger::Large;

/// A number, beside something long.
type Rec = (u64, String);

const RECORDS: u64 = 60_000;
const KEYS: u64 = 12_000;
/// How long a window is, ms; a number comes each.
const WINDOW: u64 = 25_000;
/// Every so many records of a key its window speaks early.
const EARLY: u64 = 3;
/// For how long no record of a key comes until its session is over, ms.
const GAP: u64 = 12_000;
/// How often it is looked whether anything is on disk, in records.
const LOOKS: u64 = 1_000;

fn key_of(number: u64) -> u64 {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24) % KEYS
}

/// A file that says that there were files of state on disk.
fn marker(into: &Path) -> std::path::PathBuf {
    into.with_file_name("spilled")
}

/// Bytes of all files below a directory.
fn bytes_below(place: &Path) -> u64 {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        // It is gone meanwhile.
        Err(_) => 0,
    });
    sizes.sum()
}

/// What looks at each number: one fails the job, and it says when state has gone to disk.
pub(super) fn watch(poison: Poison, into: &Path) -> impl Fn(u64) + Clone + Send + 'static {
    let (spill, marker) = (into.with_file_name("spill"), marker(into));
    move |number: u64| {
        if number.is_multiple_of(LOOKS) && bytes_below(&spill) > 0 {
            fs::write(&marker, "").unwrap();
        }
        poison.taste(number);
    }
}

/// Numbers, with something long and with failures.
fn numbers(
    environment: &Environment,
    rate: f64,
    poison: Poison,
    into: &Path,
) -> DataStream<Rec, BoxedPipe<Rec>> {
    let watch = watch(poison, into);
    let made = |number: u64| ((number, format!("{number:0>60}")), Timestamp(number as i64));
    let strategy = WatermarkStrategy::<Rec>::for_monotonous_timestamps();
    environment
        .source_with(
            Generator::timed(RECORDS, made).rate(rate),
            strategy.with_interval(Duration::from_millis(1)),
        )
        .uid("numbers")
        .parallelism(1)
        .map(move |record: Rec| {
            watch(record.0);
            record
        })
        .boxed()
}

/// Tells of the records of a window, of how often it has been told of, and of how many windows its key has had.
struct Telling {
    told: WindowValueState<u64, u64>,
    windows: ValueState<u64, (u64, String)>,
}

impl WindowFunction<u64, Rec, String> for Telling {
    fn process(
        &mut self,
        elements: &WindowElements<Rec>,
        context: &WindowContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.told.update(|told| *told += 1)?;
        let told = self.told.get()?.unwrap_or(0);
        // Where a window speaks early, those before it may be closed or not: a watermark comes now and then.
        let windows = match context.watermark() >= context.window().max_timestamp() {
            true => self.windows.get()?.map_or(0, |(windows, _)| windows),
            false => 0,
        };
        let whole = |(number, long): &Rec| long.parse() == Ok(*number);
        if !elements.iter().all(whole) {
            return Err(FunctionError::new("a record is not what it was"));
        }
        let sum: u64 = elements.iter().map(|(number, _)| number).sum();
        let (key, start) = (context.with_key(|key| *key), context.window().start.0);
        out.emit(format!(
            "{key} {start} {told} {windows} {} {sum}",
            elements.len()
        ));
        Ok(())
    }

    fn clear(&mut self, context: &WindowContext<u64>) -> Result<(), FunctionError> {
        let key = context.with_key(|key| *key);
        let first = || (1, format!("{key:0>90}"));
        Ok(self.windows.upsert(first, |(windows, _)| *windows += 1)?)
    }
}

fn program(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    numbers(environment, rate, poison, into)
        .key_by(|(number, _): &Rec| key_of(*number))
        .window(TumblingWindows::event_time(Duration::from_millis(WINDOW)))
        .trigger(EventTimeTrigger::new().with_early(CountTrigger::new(EARLY)))
        .process_function(|open: &mut WindowOpenContext<u64>| Telling {
            told: open.window_value_state("told"),
            windows: open.value_state("windows"),
        })
        .uid("windows")
        .sink(FileSink::new(into))
        .uid("told");
}

fn check(into: &Path) {
    let mut expected = BTreeMap::new();
    let mut windows: BTreeMap<(u64, u64), (u64, u64, u64)> = BTreeMap::new();
    let mut closed: BTreeMap<u64, u64> = BTreeMap::new();
    let tell = |expected: &mut BTreeMap<String, u32>, of, window, closed: u64| {
        let ((key, start), (told, count, sum)): ((u64, u64), (u64, u64, u64)) = (of, window);
        expected.insert(format!("{key} {start} {told} {closed} {count} {sum}"), 1);
    };
    for number in 0..RECORDS {
        let of = (key_of(number), number / WINDOW * WINDOW);
        if number.is_multiple_of(WINDOW) {
            for (of, (told, count, sum)) in std::mem::take(&mut windows) {
                let closed = closed.entry(of.0).or_insert(0);
                tell(&mut expected, of, (told + 1, count, sum), *closed);
                *closed += 1;
            }
        }
        let window = windows.entry(of).or_default();
        (window.1, window.2) = (window.1 + 1, window.2 + number);
        if window.1.is_multiple_of(EARLY) {
            window.0 += 1;
            tell(&mut expected, of, *window, 0);
        }
    }
    for (of, (told, count, sum)) in windows {
        let closed = closed.get(&of.0).copied().unwrap_or(0);
        tell(&mut expected, of, (told + 1, count, sum), closed);
    }
    compare(&expected, into);
}

fn program_of_sessions(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    numbers(environment, rate, poison, into)
        .key_by(|(number, _): &Rec| key_of(*number))
        .window(SessionWindows::event_time(Duration::from_millis(GAP)))
        .process(|_open: &mut WindowOpenContext<u64>| {
            |elements: &WindowElements<Rec>,
             context: &WindowContext<u64>,
             out: &mut Collector<'_, String>| {
                let sum: u64 = elements.iter().map(|(number, _)| number).sum();
                let (key, window) = (context.with_key(|key| *key), context.window());
                let (start, end) = (window.start.0, window.end.0);
                out.emit(format!("{key} {start} {end} {} {sum}", elements.len()));
                Ok(())
            }
        })
        .uid("sessions")
        .sink(FileSink::new(into))
        .uid("told");
}

fn check_sessions(into: &Path) {
    let mut expected = BTreeMap::new();
    let mut open: BTreeMap<u64, (u64, u64, u64, u64)> = BTreeMap::new();
    let mut over = |key, (start, last, count, sum): (u64, u64, u64, u64)| {
        let end = last + GAP;
        expected.insert(format!("{key} {start} {end} {count} {sum}"), 1);
    };
    for number in 0..RECORDS {
        let key = key_of(number);
        let session = open.entry(key).or_insert((number, number, 0, 0));
        if number > session.1 + GAP {
            over(key, *session);
            *session = (number, number, 0, 0);
        }
        (session.1, session.2) = (number, session.2 + 1);
        session.3 += number;
    }
    for (key, session) in open {
        over(key, session);
    }
    compare(&expected, into);
}

/// Looks at the files, and whether anything has gone to disk.
pub(super) fn compare(expected: &BTreeMap<String, u32>, into: &Path) {
    is_there_once(expected, into);
    assert!(marker(into).exists(), "nothing has gone to disk");
}

const WINDOWS: Large = Large {
    name: "windows on disk",
    memory: "9mb",
    program,
    check,
};

const SESSIONS: Large = Large {
    name: "sessions on disk",
    memory: "6mb",
    program: program_of_sessions,
    check: check_sessions,
};

#[test]
fn windows_on_disk_survive_failures() {
    WINDOWS.survives_failures(200_000.0, ("2", 20_011));
}

#[test]
fn windows_on_disk_go_on_at_another_parallelism() {
    WINDOWS.goes_on_at_another_parallelism();
}

#[test]
fn sessions_on_disk_survive_failures() {
    SESSIONS.survives_failures(200_000.0, ("1", 25_013));
}

#[test]
fn sessions_on_disk_go_on_at_another_parallelism() {
    SESSIONS.goes_on_at_another_parallelism();
}
