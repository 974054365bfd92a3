//! The jobs whose state is larger than memory: they count far more keys than fit, join what is kept of two streams, or
//! wait for far more timers.
//!
//! Invariant: what they write in the end follows from the knobs, as [`expected`] works it out.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_connectors::Generator;
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::JoinContext;
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Environment};
use thalweg_dataflow::time::WatermarkStrategy;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};

use super::alarms::{Alarms, Waking};
use super::functions::Collecting;
use super::knobs::{Knobs, Larger};
use super::model::Lines;
use super::program::{Poison, mix};
use super::shelf::Shelf;

/// How many times as many records there are.
const MANY: u64 = 16;
/// Numbers kept of each key, or of each record that is joined.
const WIDE: usize = 32;
/// The output.
pub(super) const COUNTED: &str = "counted";

/// What is joined: a number, many times.
type Wide = [u64; WIDE];

/// How many records there are.
fn records(knobs: &Knobs) -> u64 {
    knobs.records * MANY
}

/// The key of a number.
fn key_of(number: u64, knobs: &Knobs) -> u64 {
    let keys = match knobs.larger {
        Larger::Folding | Larger::Collecting => records(knobs) / 2,
        Larger::Pairing | Larger::Looking | Larger::Waking => records(knobs) / 4,
    };
    mix(number) % keys
}

/// How far apart records are that are joined, and how long rows wait for their versions, ms.
fn reach(knobs: &Knobs) -> u64 {
    records(knobs) / 8
}

/// What a version that says that there is none is a multiple of.
const DELETED: u64 = 7;

/// Writes the job down.
pub(super) fn program(
    environment: &Environment,
    knobs: &Knobs,
    poison: &Poison,
    shelf: impl Fn(&str) -> Shelf,
) {
    let lines = match knobs.larger {
        Larger::Folding => folding(environment, knobs, poison),
        Larger::Collecting => collecting(environment, knobs, poison),
        Larger::Pairing => pairing(environment, knobs, poison),
        Larger::Looking => looking(environment, knobs, poison),
        Larger::Waking => waking(environment, knobs, poison),
    };
    lines.sink(shelf(COUNTED)).uid(COUNTED);
}

fn tasted(
    numbers: DataStream<u64, BoxedPipe<u64>>,
    poison: &Poison,
) -> DataStream<u64, BoxedPipe<u64>> {
    let poison = poison.clone();
    let numbers = numbers.process(move |_open: &mut OpenContext| {
        let poison = poison.clone();
        move |number: u64, _context: &ProcessContext, out: &mut Collector<'_, u64>| {
            poison.taste(number)?;
            out.emit(number);
            Ok::<(), FunctionError>(())
        }
    });
    numbers.boxed()
}

fn many(
    environment: &Environment,
    knobs: &Knobs,
    poison: &Poison,
) -> DataStream<u64, BoxedPipe<u64>> {
    let numbers = Generator::new(records(knobs), |number| number).rate(knobs.rate);
    tasted(environment.source(numbers).uid("many").boxed(), poison)
}

fn folding(
    environment: &Environment,
    knobs: &Knobs,
    poison: &Poison,
) -> DataStream<String, BoxedPipe<String>> {
    let told = knobs.clone();
    many(environment, knobs, poison)
        .key_by(move |number: &u64| key_of(*number, &told))
        .fold([0_u64; WIDE], |counts, _number: u64| {
            counts.iter_mut().for_each(|count| *count += 1);
        })
        .uid("counting")
        .map(|(key, counts): (u64, [u64; WIDE])| {
            let all_alike = counts.iter().all(|count| *count == counts[0]);
            let count = if all_alike { counts[0] } else { 0 };
            format!("counted {key} {count}")
        })
        .boxed()
}

fn collecting(
    environment: &Environment,
    knobs: &Knobs,
    poison: &Poison,
) -> DataStream<String, BoxedPipe<String>> {
    let told = knobs.clone();
    many(environment, knobs, poison)
        .key_by(move |number: &u64| key_of(*number, &told))
        .process_function(Collecting::open)
        .uid("collecting")
        .boxed()
}

/// One of two streams that are joined; its times are late by so much.
fn side(
    environment: &Environment,
    knobs: &Knobs,
    name: &str,
    later: u64,
) -> DataStream<Wide, BoxedPipe<Wide>> {
    let made = move |number: u64| ([number; WIDE], Timestamp((number + later) as i64));
    let strategy = WatermarkStrategy::<Wide>::for_monotonous_timestamps();
    let strategy = strategy.with_interval(Duration::from_millis(1));
    let numbers = Generator::timed(records(knobs), made).rate(knobs.rate);
    environment.source_with(numbers, strategy).uid(name).boxed()
}

/// The number of what was joined, unless it is not what it was.
fn number_of(wide: &Wide) -> u64 {
    let all_alike = wide.iter().all(|number| *number == wide[0]);
    if all_alike { wide[0] } else { u64::MAX }
}

/// Two streams whose records of one key are put together, where their times are near.
fn pairing(
    environment: &Environment,
    knobs: &Knobs,
    poison: &Poison,
) -> DataStream<String, BoxedPipe<String>> {
    let (of_left, of_right, poison) = (knobs.clone(), knobs.clone(), poison.clone());
    let near = reach(knobs) as i64;
    let left = side(environment, knobs, "many", 0);
    let right = side(environment, knobs, "others", 0);
    left.key_by(move |wide: &Wide| key_of(wide[0], &of_left))
        .interval_join(right.key_by(move |wide: &Wide| key_of(wide[0], &of_right)))
        .between(-near, near / 2)
        .process(move |_open: &mut OpenContext| {
            let poison = poison.clone();
            move |left: &Wide,
                  right: &Wide,
                  _times: &JoinContext,
                  out: &mut Collector<'_, String>| {
                let (left, right) = (number_of(left), number_of(right));
                poison.taste(left.max(right))?;
                out.emit(format!("pair {left} {right}"));
                Ok(())
            }
        })
        .uid("pairing")
        .boxed()
}

/// Rows that wait long for the versions of their time.
fn looking(
    environment: &Environment,
    knobs: &Knobs,
    poison: &Poison,
) -> DataStream<String, BoxedPipe<String>> {
    let (of_rows, of_versions) = (knobs.clone(), knobs.clone());
    let poison = poison.clone();
    let rows = side(environment, knobs, "many", reach(knobs));
    let versions = side(environment, knobs, "versions", 0);
    let joined = rows
        .key_by(move |wide: &Wide| key_of(wide[0], &of_rows))
        .temporal_join(versions.key_by(move |wide: &Wide| key_of(wide[0], &of_versions)))
        .deleted_when(|version| version[0].is_multiple_of(DELETED))
        .apply_outer(|row: &Wide, version: Option<&Wide>| {
            (number_of(row), version.map_or(u64::MAX, number_of))
        })
        .uid("looking");
    joined
        .process(move |_open: &mut OpenContext| {
            let poison = poison.clone();
            move |(row, version): (u64, u64),
                  _context: &ProcessContext,
                  out: &mut Collector<'_, String>| {
                poison.taste(row)?;
                out.emit(format!("row {row} {version}"));
                Ok::<(), FunctionError>(())
            }
        })
        .boxed()
}

/// Numbers each of which is told of again and again, much later.
fn waking(
    environment: &Environment,
    knobs: &Knobs,
    poison: &Poison,
) -> DataStream<String, BoxedPipe<String>> {
    let (told, alarms) = (knobs.clone(), alarms(knobs));
    let made = move |number: u64| (number, alarms.time_of(number));
    let strategy = WatermarkStrategy::<u64>::for_monotonous_timestamps();
    let strategy = strategy.with_interval(Duration::from_millis(1));
    let numbers = Generator::timed(records(knobs), made).rate(knobs.rate);
    let numbers = environment.source_with(numbers, strategy).uid("many");
    tasted(numbers.boxed(), poison)
        .key_by(move |number: &u64| key_of(*number, &told))
        .process_function(move |_open: &mut OpenContext<u64>| Waking(alarms))
        .uid("waking")
        .boxed()
}

fn alarms(knobs: &Knobs) -> Alarms {
    Alarms::of(records(knobs))
}

/// What is written in the end.
pub(super) fn expected(knobs: &Knobs) -> Lines {
    let mut by_key: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for number in 0..records(knobs) {
        by_key
            .entry(key_of(number, knobs))
            .or_default()
            .push(number);
    }
    let near = reach(knobs);
    let mut lines = Lines::new();
    for (key, numbers) in &by_key {
        for (nth, number) in numbers.iter().enumerate() {
            match knobs.larger {
                Larger::Folding | Larger::Collecting => {
                    lines.insert(format!("counted {key} {}", nth + 1), 1);
                }
                Larger::Pairing => {
                    let others = numbers
                        .iter()
                        .filter(|other| **other + near >= *number && **other <= *number + near / 2);
                    let pairs = others.map(|other| (format!("pair {number} {other}"), 1));
                    lines.extend(pairs);
                }
                Larger::Waking => {
                    let told = alarms(knobs).told(*number);
                    lines.extend(told.into_iter().map(|at| (format!("timer {key} {at}"), 1)));
                }
                Larger::Looking => {
                    let mut valid = numbers
                        .iter()
                        .rev()
                        .filter(|other| **other <= number + near);
                    let version = valid.next().filter(|other| !other.is_multiple_of(DELETED));
                    let version = version.copied().unwrap_or(u64::MAX);
                    lines.insert(format!("row {number} {version}"), 1);
                }
            }
        }
    }
    lines
}
