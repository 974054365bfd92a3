//! Functions whose states are several times as large as their memory: what they keep, clear and find again by
//! record and by timer is what a map keeps, after failures and at any parallelism.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::KeyedProcessFunction;
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::{Collector, Environment, FunctionError, OpenContext, ProcessContext};
use thalweg_state::{ReducingState, StateDescriptor, StateTtl, ValueState};

use super::counting::{Poison, lines};
use super::larger::Large;

const RECORDS: u64 = 90_000;
const KEYS: u64 = 18_000;
/// Every so many records of a key its states are told of and cleared.
const TOLD: u64 = 4;
/// When all timers fire: when the last record has been there.
const END: Timestamp = Timestamp(2 * RECORDS as i64);

fn key_of(number: u64) -> u64 {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24) % KEYS
}

/// Counts and sums up the records of a key in states that are cleared again and again.
struct Summing {
    /// How many there were, beside something long.
    seen: ValueState<u64, (u64, String)>,
    sum: ReducingState<u64, u64, fn(&mut u64, u64)>,
    /// When it was last told of, in a state that expires in a year.
    last: ValueState<u64, u64>,
}

impl Summing {
    fn open(open: &mut OpenContext<u64>) -> Self {
        let year = StateTtl::new(Duration::from_secs(365 * 86_400));
        let last = StateDescriptor::value::<u64>("last").with_ttl(year);
        Self {
            seen: open.value_state("seen"),
            sum: open.reducing_state("sum", |sum, number| *sum += number),
            last: open.value_state_with(last),
        }
    }

    fn tell(&mut self, what: &str, key: u64) -> Result<String, FunctionError> {
        let seen = self.seen.get()?.map_or(0, |(seen, _)| seen);
        let (sum, last) = (self.sum.get()?.unwrap_or(0), self.last.get()?.unwrap_or(0));
        self.seen.clear()?;
        self.sum.clear()?;
        Ok(format!("{what} {key} {seen} {sum} {last}"))
    }
}

impl KeyedProcessFunction<u64, u64, String> for Summing {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let key = key_of(number);
        let mut count = 0;
        let first = || (1, format!("{key:0>90}"));
        self.seen.upsert(first, |(seen, _)| {
            *seen += 1;
            count = *seen;
        })?;
        self.sum.add(number)?;
        if count == TOLD {
            let line = self.tell("often", key)?;
            self.last.set(number)?;
            out.emit(line);
        }
        context.timers().register_event_time(END)
    }

    fn on_timer(
        &mut self,
        _timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let key = context.key().unwrap_or_default();
        let line = self.tell("end", key)?;
        out.emit(line);
        Ok(())
    }
}

fn program(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    let made = move |number: u64| (number, Timestamp(number as i64));
    environment
        .source(Generator::timed(RECORDS, made).rate(rate))
        .uid("numbers")
        .parallelism(1)
        .map(move |number: u64| {
            poison.taste(number);
            number
        })
        .key_by(|number: &u64| key_of(*number))
        .process_function(Summing::open)
        .uid("sums")
        .sink(FileSink::new(into))
        .uid("told");
}

fn check(into: &Path) {
    let mut expected = BTreeMap::new();
    let mut sums: BTreeMap<u64, (u64, u64, u64)> = BTreeMap::new();
    for number in 0..RECORDS {
        let key = key_of(number);
        let (seen, sum, last) = sums.entry(key).or_default();
        (*seen, *sum) = (*seen + 1, *sum + number);
        if *seen == TOLD {
            expected.insert(format!("often {key} {seen} {sum} {last}"), 1);
            (*seen, *sum, *last) = (0, 0, number);
        }
    }
    for (key, (seen, sum, last)) in sums {
        expected.insert(format!("end {key} {seen} {sum} {last}"), 1);
    }
    let there = lines(into);
    let wrong = expected
        .iter()
        .find(|(line, _)| there.get(*line) != Some(&1));
    assert_eq!(wrong, None, "not there once");
    assert_eq!(there.len(), expected.len());
}

const SUMS: Large = Large {
    name: "functions on disk",
    memory: "4mb",
    program,
    check,
};

#[test]
fn what_a_function_keeps_on_disk_survives_failures() {
    for run in [("1", 25_013), ("2", 20_011)] {
        SUMS.survives_failures(200_000.0, run);
    }
}

#[test]
fn what_a_function_keeps_on_disk_goes_on_at_another_parallelism() {
    SUMS.goes_on_at_another_parallelism();
}
