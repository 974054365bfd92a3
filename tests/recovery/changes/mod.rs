//! Programs that changed since their savepoint was taken: refused by name, or allowed, or migrated.

use std::collections::BTreeMap;
use std::path::Path;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::error::ErrorKind;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::operator::KeyedProcessFunction;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
use thalweg_memory::record::Record;
use thalweg_state::{ListState, MapState, StateDescriptor, ValueState};

use super::counting::lines;
use crate::stage;

mod fields;

const KEYS: u64 = 101;
/// Enough that a program is stopped on its way.
const RECORDS: u64 = 22_000;

/// A count as one version of the program keeps it.
trait Count: Record + Clone + Default {
    fn one_more(&mut self);
    fn number(&self) -> u64;
}

impl Count for u32 {
    fn one_more(&mut self) {
        *self += 1;
    }
    fn number(&self) -> u64 {
        u64::from(*self)
    }
}

impl Count for String {
    fn one_more(&mut self) {
        *self = (self.number() + 1).to_string();
    }
    fn number(&self) -> u64 {
        self.parse().unwrap_or(0)
    }
}

/// Counts the numbers of each key in a value, in a list of several parts, and in a map by last digit.
struct Counting<C: Count> {
    count: ValueState<u64, C>,
    list: ListState<u64, C>,
    digits: MapState<u64, u64, C>,
}

impl<C: Count> KeyedProcessFunction<u64, u64, String> for Counting<C> {
    fn process(
        &mut self,
        number: u64,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.count.update(C::one_more)?;
        let mut one = C::default();
        one.one_more();
        self.list.add(one)?;
        let digit = number / KEYS % 10;
        let mut of_digit = self.digits.get(&digit)?.unwrap_or_default();
        of_digit.one_more();
        self.digits.put(digit, of_digit.clone())?;
        let (key, count) = (context.key().unwrap_or_default(), self.count.get()?);
        let listed: u64 = self.list.get()?.iter().map(C::number).sum();
        let count = count.unwrap_or_default().number();
        out.emit(format!("{key} {count} {listed} {}", of_digit.number()));
        Ok(())
    }
}

/// How the program is written.
#[derive(Clone, Copy, PartialEq)]
enum Version {
    /// Counts are `u32`.
    First,
    /// Another operator counts by key too.
    WithAnother,
    /// Counts are texts, and nobody says how they become such.
    Texts,
    /// Counts are texts, made of numbers.
    TextsOfNumbers,
    /// The value is called otherwise.
    Renamed,
    /// Counts are records.
    Tallies,
    /// Counts are records of the same name and fields, in another order, and nobody says so.
    OtherTallies,
    /// The same, made of what they were.
    OtherTalliesOfTallies,
}

fn counting(open: &mut OpenContext<u64>, version: Version) -> Counting<u32> {
    let count = match version {
        Version::Renamed => "how often",
        _ => "count",
    };
    Counting {
        count: open.value_state(count),
        list: open.list_state("list"),
        digits: open.map_state("digits"),
    }
}

fn texts(open: &mut OpenContext<u64>, version: Version) -> Counting<String> {
    let count = StateDescriptor::value::<String>("count");
    let list = StateDescriptor::list::<String>("list");
    let digits = StateDescriptor::map::<u64, String>("digits");
    if version == Version::Texts {
        return Counting {
            count: open.value_state_with(count),
            list: open.list_state_with(list),
            digits: open.map_state_with(digits),
        };
    }
    let text = |number: u32| number.to_string();
    let digits = digits.entries_migrated_from::<u64, u32, String>(1, text);
    Counting {
        count: open.value_state_with(count.migrated_from(1, text)),
        list: open.list_state_with(list.migrated_from(1, text)),
        digits: open.map_state_with(digits),
    }
}

fn program(environment: &Environment, version: Version, into: &Path) {
    let numbers = environment
        .source(Generator::new(RECORDS, |number| number).rate(20_000.0))
        .uid("numbers")
        .parallelism(1)
        .share();
    let keyed = numbers.stream().key_by(|number: &u64| number % KEYS);
    let lines = FileSink::new(into);
    match version {
        Version::Tallies => keyed
            .process_function(fields::first)
            .uid("counter")
            .name("the counter")
            .sink(lines)
            .uid("out"),
        Version::OtherTallies | Version::OtherTalliesOfTallies => keyed
            .process_function(move |open: &mut OpenContext<u64>| fields::then(open, version))
            .uid("counter")
            .name("the counter")
            .sink(lines)
            .uid("out"),
        Version::Texts | Version::TextsOfNumbers => keyed
            .process_function(move |open: &mut OpenContext<u64>| texts(open, version))
            .uid("counter")
            .name("the counter")
            .sink(lines)
            .uid("out"),
        _ => keyed
            .process_function(move |open: &mut OpenContext<u64>| counting(open, version))
            .uid("counter")
            .name("the counter")
            .sink(lines)
            .uid("out"),
    };
    if version == Version::WithAnother {
        let another = numbers.stream().key_by(|number: &u64| number % 3).count();
        another
            .uid("another")
            .name("another count")
            .map(|(key, count): (u64, u64)| format!("{key} {count}"))
            .sink(FileSink::new(into.join("another")))
            .uid("another out");
    }
}

struct Place(tempfile::TempDir);

impl Place {
    fn out(&self) -> std::path::PathBuf {
        self.0.path().join("out")
    }

    /// Runs a version until it has read some records, and stops it.
    fn stopped(version: Version) -> (Place, String) {
        Place::stopped_on("hashmap", version)
    }

    /// The same, with state kept so.
    fn stopped_on(backend: &str, version: Version) -> (Place, String) {
        let place = Place(tempfile::tempdir().unwrap());
        let savepoints = place.0.path().join("savepoints");
        let settings = [
            ("parallelism.default", "2"),
            ("thalweg.shard.pin", "false"),
            ("state.backend.type", backend),
            (
                "execution.checkpointing.savepoint-dir",
                savepoints.to_str().unwrap(),
            ),
        ];
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        program(&environment, version, &place.out());
        let job = environment.execute_async("counting").unwrap();
        super::savepoints::let_it_run(&job, std::time::Duration::from_millis(250));
        let savepoint = job.stop_with_savepoint(None, false).unwrap();
        job.wait().unwrap();
        (place, savepoint)
    }

    /// Goes on with another version.
    fn goes_on(&self, version: Version, savepoint: &str, ignore: bool) -> Result<(), JobError> {
        self.goes_on_on("hashmap", version, savepoint, ignore)
    }

    /// The same, with state kept so.
    fn goes_on_on(
        &self,
        backend: &str,
        version: Version,
        savepoint: &str,
        ignore: bool,
    ) -> Result<(), JobError> {
        let mut settings = vec![
            ("parallelism.default", "3"),
            ("thalweg.shard.pin", "false"),
            ("state.backend.type", backend),
            ("execution.state-recovery.path", savepoint),
            // Trying again would not help.
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "1000"),
        ];
        if ignore {
            settings.push(("execution.state-recovery.ignore-unclaimed-state", "true"));
        }
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        program(&environment, version, &self.out());
        environment.execute("counting").map(|_| ())
    }

    #[track_caller]
    fn refuses(&self, version: Version, savepoint: &str, parts: &[&str]) {
        let refused = self.goes_on(version, savepoint, false).unwrap_err();
        let JobError::Rejected { message, kind } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(kind, ErrorKind::Invalid);
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}

/// What counting so many numbers says.
fn expected() -> BTreeMap<String, u32> {
    let mut lines = BTreeMap::new();
    for number in 0..RECORDS {
        let (key, count) = (number % KEYS, number / KEYS + 1);
        let of_digit = (count - 1) / 10 + 1;
        *lines
            .entry(format!("{key} {count} {count} {of_digit}"))
            .or_insert(0) += 1;
    }
    lines
}

#[test]
fn state_of_an_operator_that_is_gone_is_refused_by_name_unless_that_is_allowed() {
    let (place, savepoint) = Place::stopped(Version::WithAnother);
    place.refuses(
        Version::First,
        &savepoint,
        &["another count", "uid", "ignore-unclaimed"],
    );
    // The sink has gone too, and its output up to the savepoint was made visible when the job stopped.
    place.goes_on(Version::First, &savepoint, true).unwrap();
    assert_eq!(lines(&place.out()), expected());
}

#[test]
fn a_state_that_is_gone_is_refused_by_name_unless_that_is_allowed() {
    let (place, savepoint) = Place::stopped(Version::First);
    place.refuses(Version::Renamed, &savepoint, &["'count'", "the counter"]);
    place.goes_on(Version::Renamed, &savepoint, true).unwrap();
    // What it is called now begins with nothing; the others went on.
    let there = lines(&place.out());
    let last = (RECORDS - 1) / KEYS + 1;
    let of_last = |line: &&String| line.split(' ').nth(2) == Some(&last.to_string());
    assert!(there.keys().any(|line| of_last(&line)), "{there:?}");
}

#[test]
fn values_of_another_type_are_refused_by_name_or_migrated() {
    let (place, savepoint) = Place::stopped(Version::First);
    let says = ["'count'", "u32", "String", "migrated_from", "the counter"];
    place.refuses(Version::Texts, &savepoint, &says);
    place
        .goes_on(Version::TextsOfNumbers, &savepoint, false)
        .unwrap();
    assert_eq!(lines(&place.out()), expected());
}
