//! Functions whose states are several times as large as their memory: what they keep, clear and find again by
//! record and by timer is what a map keeps, after failures and at any parallelism.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::{CoProcessFunction, KeyedProcessFunction};
use thalweg_dataflow::stream::{BoxedPipe, DataStream};
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::{Collector, Environment, FunctionError, OpenContext, ProcessContext};
use thalweg_state::{
    AggregatingState, Aggregation, ListState, MapState, ReducingState, StateDescriptor, StateTtl,
    ValueState,
};

use super::counting::{Poison, is_there_once};
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

    fn take(&mut self, number: u64, out: &mut Collector<'_, String>) -> Result<(), FunctionError> {
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
        Ok(())
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
        self.take(number, out)?;
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

/// The same for one stream, and for another one what its numbers of a key come to.
struct Both {
    summing: Summing,
    /// How many there were of the other stream, and their sum.
    other: AggregatingState<u64, u64, (u64, u64), (u64, u64)>,
}

impl Both {
    fn open(open: &mut OpenContext<u64>) -> Self {
        let gathered = Aggregation::new(
            || (0, 0),
            |(count, sum): &mut (u64, u64), number| (*count, *sum) = (*count + 1, *sum + number),
            |gathered| *gathered,
        );
        Self {
            summing: Summing::open(open),
            other: open.aggregating_state("other", gathered),
        }
    }
}

impl CoProcessFunction<u64, u64, u64, String> for Both {
    fn process_first(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.summing.take(number, out)?;
        context.timers().register_event_time(END)
    }

    fn process_second(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.other.add(number)?;
        if let Some((TOLD, sum)) = self.other.get()? {
            out.emit(format!("other {} {sum}", key_of(number)));
            self.other.clear()?;
        }
        context.timers().register_event_time(END)
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        if let Some((count, sum)) = self.other.get()? {
            let key = context.key().unwrap_or_default();
            out.emit(format!("other end {key} {count} {sum}"));
        }
        self.summing.on_timer(timer, context, out)
    }
}

/// So many numbers, each at its own time, one of which fails the job.
fn numbers(
    environment: &Environment,
    count: u64,
    rate: f64,
    poison: Poison,
) -> DataStream<u64, BoxedPipe<u64>> {
    let made = move |number: u64| (number, Timestamp(number as i64));
    environment
        .source(Generator::timed(count, made).rate(rate))
        .uid("numbers")
        .parallelism(1)
        .map(move |number: u64| {
            poison.taste(number);
            number
        })
        .boxed()
}

fn program(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    numbers(environment, RECORDS, rate, poison)
        .key_by(|number: &u64| key_of(*number))
        .process_function(Summing::open)
        .uid("sums")
        .sink(FileSink::new(into))
        .uid("told");
}

/// Numbers of the second stream.
const OTHERS: u64 = RECORDS / 2;

fn program_of_two(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    let made = move |number: u64| (number, Timestamp(number as i64));
    let second = Generator::timed(OTHERS, made).rate(rate / 2.0);
    let second = environment.source(second).uid("others").parallelism(1);
    numbers(environment, RECORDS, rate, poison)
        .key_by(|number: &u64| key_of(*number))
        .connect(second.key_by(|number: &u64| key_of(*number)))
        .process(Both::open)
        .uid("both")
        .sink(FileSink::new(into))
        .uid("told");
}

fn check_of_two(into: &Path) {
    let mut expected = expected();
    let mut others: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for number in 0..OTHERS {
        let key = key_of(number);
        let (count, sum) = others.entry(key).or_default();
        (*count, *sum) = (*count + 1, *sum + number);
        if *count == TOLD {
            expected.insert(format!("other {key} {sum}"), 1);
            others.remove(&key);
        }
    }
    for (key, (count, sum)) in others {
        expected.insert(format!("other end {key} {count} {sum}"), 1);
    }
    is_there_once(&expected, into);
}

fn check(into: &Path) {
    is_there_once(&expected(), into);
}

/// The lines of the first stream.
fn expected() -> BTreeMap<String, u32> {
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
    expected
}

/// Numbers that are gathered.
const NUMBERS: u64 = 45_000;
/// Keys of which some have far more in their lists and maps than others.
const UNEVEN_KEYS: u64 = 1_500;
/// Every so many numbers of a key it is told what it has, and some of that goes.
const GATHERED: u64 = 9;

fn uneven_key_of(number: u64) -> u64 {
    let drawn = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
    // A tenth of the records has one of 20 keys.
    match number % 10 {
        0 => drawn % 20,
        _ => drawn % UNEVEN_KEYS,
    }
}

/// Gathers the numbers of a key in a list, and how often each of their ends was there in a map.
struct Gathering {
    /// Beside something long.
    numbers: ListState<u64, (u64, String)>,
    ends: MapState<u64, u64, (u64, String)>,
}

impl Gathering {
    fn tell(&self, what: &str, key: u64) -> Result<String, FunctionError> {
        let (count, sum) = (self
            .numbers
            .with(|numbers| numbers.map(|(number, _)| number).fold((0, 0), gathered)))?;
        let mut ends = Vec::new();
        self.ends
            .for_each(|end, (times, _)| ends.push((*end, *times)))?;
        ends.sort_unstable();
        Ok(format!("{what} {key} {count} {sum} {ends:?}"))
    }
}

fn gathered((count, sum): (u64, u64), number: &u64) -> (u64, u64) {
    (count + 1, sum + number)
}

impl KeyedProcessFunction<u64, u64, String> for Gathering {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let key = uneven_key_of(number);
        self.numbers.add((number, format!("{number:0>60}")))?;
        let first = || (1, format!("{key:0>60}"));
        self.ends
            .upsert(number % 97, first, |(times, _)| *times += 1)?;
        let length = self.numbers.len()?;
        if length.is_multiple_of(GATHERED) {
            let line = self.tell("often", key)?;
            out.emit(line);
            self.numbers.remove_first(number % 4)?;
            self.ends.remove(&(number % 97))?;
        }
        context.timers().register_event_time(END)
    }

    fn on_timer(
        &mut self,
        _timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let line = self.tell("end", context.key().unwrap_or_default())?;
        self.numbers.clear()?;
        self.ends.clear()?;
        out.emit(line);
        Ok(())
    }
}

fn program_of_lists(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    numbers(environment, NUMBERS, rate, poison)
        .key_by(|number: &u64| uneven_key_of(*number))
        .process_function(|open: &mut OpenContext<u64>| Gathering {
            numbers: open.list_state("numbers"),
            ends: open.map_state("ends"),
        })
        .uid("gathering")
        .sink(FileSink::new(into))
        .uid("told");
}

fn check_of_lists(into: &Path) {
    let mut expected = BTreeMap::new();
    let mut keys: BTreeMap<u64, (Vec<u64>, BTreeMap<u64, u64>)> = BTreeMap::new();
    let tell = |what: &str, key: u64, numbers: &[u64], ends: &BTreeMap<u64, u64>| {
        let (count, sum) = numbers.iter().fold((0, 0), gathered);
        let ends: Vec<_> = ends.iter().collect();
        format!("{what} {key} {count} {sum} {ends:?}")
    };
    for number in 0..NUMBERS {
        let key = uneven_key_of(number);
        let (numbers, ends) = keys.entry(key).or_default();
        numbers.push(number);
        *ends.entry(number % 97).or_default() += 1;
        let length = numbers.len();
        if (length as u64).is_multiple_of(GATHERED) {
            expected.insert(tell("often", key, numbers, ends), 1);
            numbers.drain(..(number % 4) as usize);
            ends.remove(&(number % 97));
        }
    }
    for (key, (numbers, ends)) in keys {
        expected.insert(tell("end", key, &numbers, &ends), 1);
    }
    is_there_once(&expected, into);
}

const LISTS: Large = Large {
    name: "lists and maps on disk",
    memory: "6mb",
    program: program_of_lists,
    check: check_of_lists,
};

#[test]
fn lists_and_maps_on_disk_survive_failures() {
    LISTS.survives_failures(200_000.0, ("2", 9_011));
}

#[test]
fn lists_and_maps_on_disk_go_on_at_another_parallelism() {
    LISTS.goes_on_at_other_parallelisms(50_000.0);
}

pub(super) const SUMS: Large = Large {
    name: "functions on disk",
    memory: "4mb",
    program,
    check,
};

pub(super) const BOTH: Large = Large {
    name: "functions of two streams on disk",
    memory: "6mb",
    program: program_of_two,
    check: check_of_two,
};

#[test]
fn what_a_function_of_two_streams_keeps_on_disk_survives_failures() {
    BOTH.survives_failures(200_000.0, ("2", 20_011));
}

#[test]
fn what_a_function_of_two_streams_keeps_on_disk_goes_on_at_another_parallelism() {
    BOTH.goes_on_at_another_parallelism();
}

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
