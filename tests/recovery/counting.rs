//! The program under test, and what it must write.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::KeyedProcessFunction;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::time::{FiredTimer, WatermarkStrategy};
use thalweg_dataflow::window::assigner::TumblingWindows;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
use thalweg_state::{ListState, MapState, ReducingState, ValueState};

/// Keys there are.
const KEYS: u64 = 37;
/// Every so manieth record of a key is told of at once.
const TOLD: u64 = 10;
/// How long after a record of number 0 modulo [`TOLD`] its timer fires, ms.
const LATER: i64 = 40;
/// The windows' size.
const WINDOW: Duration = Duration::from_millis(100);

/// Makes a function fail at some records, so many times in all.
#[derive(Clone)]
pub(crate) struct Poison {
    pub(crate) every: u64,
    pub(crate) left: Arc<AtomicU32>,
}

impl Poison {
    /// Fails `times` times, at the next record whose number is a multiple of `every`.
    pub(crate) fn new(every: u64, times: u32) -> Self {
        Self {
            every,
            left: Arc::new(AtomicU32::new(times)),
        }
    }

    pub(crate) fn taste(&self, number: u64) {
        if number % self.every != self.every - 1 {
            return;
        }
        let spend = |left: u32| left.checked_sub(1);
        let spent = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, spend);
        assert!(spent.is_err(), "number {number} is poison");
    }
}

/// Counts a key in every kind of state.
struct Counting {
    count: ValueState<u64, u64>,
    sum: ReducingState<u64, u64, fn(&mut u64, u64)>,
    recent: ListState<u64, u64>,
    by_digit: MapState<u64, u64, u64>,
}

impl KeyedProcessFunction<u64, (u64, u64), String> for Counting {
    fn process(
        &mut self,
        (key, number): (u64, u64),
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.count.update(|count| *count += 1)?;
        self.sum.add(number)?;
        self.recent.add(number)?;
        let digit = number % 7;
        let before = self.by_digit.get(&digit)?.unwrap_or(0);
        self.by_digit.put(digit, before + 1)?;
        let count = self.count.get()?.unwrap_or(0);
        if count.is_multiple_of(TOLD) {
            let recent = self.recent.get()?;
            let sum = self.sum.get()?.unwrap_or(0);
            out.emit(format!(
                "told {key} {count} {sum} {} {}",
                recent.len(),
                before + 1
            ));
            self.recent.clear()?;
            context
                .timers()
                .register_event_time(context.timestamp().plus_ms(LATER))?;
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let key = context.key().unwrap_or_default();
        out.emit(format!("timer {key} {}", timer.at.0));
        Ok(())
    }
}

fn record(number: u64) -> (u64, u64) {
    (
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40 & 0xFFFF,
        number,
    )
}

fn key_of(record: &(u64, u64)) -> u64 {
    record.0 % KEYS
}

/// Event time goes on one ms in eight records.
fn time_of(number: u64) -> Timestamp {
    Timestamp((number / 8) as i64)
}

/// `records` numbers in one order, counted by key and by key and window, into files below `into`.
pub(crate) fn program(
    environment: &Environment,
    records: u64,
    rate: f64,
    poison: Poison,
    into: &Path,
) {
    let made = move |number: u64| (record(number), time_of(number));
    let strategy = WatermarkStrategy::<(u64, u64)>::for_monotonous_timestamps();
    let numbers = environment
        .source_with(
            Generator::timed(records, made).rate(rate),
            strategy.with_interval(Duration::from_millis(1)),
        )
        .uid("numbers")
        .parallelism(1)
        .map(move |record: (u64, u64)| {
            poison.taste(record.1);
            (key_of(&record), record.1)
        })
        .share();
    numbers
        .stream()
        .key_by(|record: &(u64, u64)| record.0)
        .process_function(|open: &mut OpenContext<u64>| Counting {
            count: open.value_state("count"),
            sum: open.reducing_state("sum", add as fn(&mut u64, u64)),
            recent: open.list_state("recent"),
            by_digit: open.map_state("by digit"),
        })
        .uid("counting")
        .sink(FileSink::new(into.join("told")))
        .uid("told");
    numbers
        .stream()
        .key_by(|record: &(u64, u64)| record.0)
        .window(TumblingWindows::event_time(WINDOW))
        .count()
        .map(|(key, count): (u64, u64)| format!("window {key} {count}"))
        .sink(FileSink::new(into.join("windows")))
        .uid("windows");
}

fn add(sum: &mut u64, number: u64) {
    *sum += number;
}

/// What the function must have said, by line, with how often.
pub(crate) fn expected_told(records: u64) -> BTreeMap<String, u32> {
    let mut lines = BTreeMap::new();
    let mut by_key: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for number in 0..records {
        let key = key_of(&record(number));
        let numbers = by_key.entry(key).or_default();
        numbers.push(number);
        let count = numbers.len() as u64;
        if !count.is_multiple_of(TOLD) {
            continue;
        }
        let sum: u64 = numbers.iter().sum();
        let same = numbers
            .iter()
            .filter(|other| *other % 7 == number % 7)
            .count();
        let told = format!("told {key} {count} {sum} {TOLD} {same}");
        let timer = format!("timer {key} {}", time_of(number).0 + LATER);
        for line in [told, timer] {
            *lines.entry(line).or_insert(0) += 1;
        }
    }
    // A timer of one key and time fires once, however often it was registered.
    let timers = lines
        .iter_mut()
        .filter(|(line, _)| line.starts_with("timer"));
    timers.for_each(|(_, times)| *times = 1);
    lines
}

/// How many records the windows there have counted, by key.
pub(crate) fn in_windows(into: &Path) -> BTreeMap<u64, u64> {
    let mut counted = BTreeMap::new();
    for (line, times) in lines(&into.join("windows")) {
        let words: Vec<u64> = (line.split(' ').skip(1))
            .map(|word| word.parse().unwrap())
            .collect();
        *counted.entry(words[0]).or_insert(0) += words[1] * u64::from(times);
    }
    counted
}

/// How many records of each key there are.
pub(crate) fn expected_in_windows(records: u64) -> BTreeMap<u64, u64> {
    let mut counted = BTreeMap::new();
    for number in 0..records {
        *counted.entry(key_of(&record(number))).or_insert(0) += 1;
    }
    counted
}

/// What the windows must have said, by line, with how often.
fn expected_windows(records: u64) -> BTreeMap<String, u32> {
    let mut windows: BTreeMap<(u64, i64), u64> = BTreeMap::new();
    for number in 0..records {
        let window = time_of(number).0 / WINDOW.as_millis() as i64;
        *windows
            .entry((key_of(&record(number)), window))
            .or_insert(0) += 1;
    }
    let mut lines = BTreeMap::new();
    for ((key, _), count) in windows {
        *lines.entry(format!("window {key} {count}")).or_insert(0) += 1;
    }
    lines
}

/// The lines of all visible files below a directory, with how often each is there.
pub(crate) fn lines(directory: &Path) -> BTreeMap<String, u32> {
    let mut lines = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(directory) else {
        return lines;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if path.is_dir() || name.is_some_and(|name| name.starts_with('.')) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            *lines.entry(line.to_owned()).or_insert(0) += 1;
        }
    }
    lines
}

/// Checks both outputs.
pub(crate) fn check(records: u64, into: &Path) {
    let outputs = [
        ("told", expected_told(records)),
        ("windows", expected_windows(records)),
    ];
    for (output, expected) in outputs {
        let there = lines(&into.join(output));
        let wrong = expected
            .iter()
            .find(|(line, times)| there.get(*line) != Some(times));
        let found = wrong.and_then(|(line, _)| there.get(line));
        assert_eq!(wrong, None, "{output}: there {found:?} times");
        assert_eq!(
            there.len(),
            expected.len(),
            "{output}: nothing else is there"
        );
    }
}

/// Looks whether every expected line is in a directory once, and no other.
pub(crate) fn is_there_once(expected: &BTreeMap<String, u32>, directory: &Path) {
    let there = lines(directory);
    let wrong = expected
        .iter()
        .find(|(line, _)| there.get(*line) != Some(&1));
    assert_eq!(wrong, None, "not there once");
    assert_eq!(there.len(), expected.len());
}
