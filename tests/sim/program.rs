//! The job under test: every kind of state, timers, windows, sessions, a join and rules that are broadcast, each
//! into a sink of its own.
//!
//! A key's records all come from one stride of its source, whatever its parallelism, so that their order is
//! theirs alone; nothing else of what is written depends on an order. Invariant: what the job writes in the end
//! follows from the knobs, as [`model`](super::model) works it out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use thalweg_connectors::Generator;
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::stream::{DataStream, Environment, Pipe};
use thalweg_dataflow::time::WatermarkStrategy;
use thalweg_dataflow::window::assigner::{SessionWindows, TumblingWindows};
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};

use super::functions::{Ruled, Telling};
use super::knobs::Knobs;
use super::larger;
use super::shelf::Shelf;

/// Every so manieth record of a key is told of.
pub(super) const TOLD: u64 = 5;
/// How long after it its timer fires, ms.
pub(super) const LATER: i64 = 40;
/// The windows' size, ms.
pub(super) const WINDOW: i64 = 32;
/// The pause that ends a session, ms.
pub(super) const GAP: i64 = 7;
/// How far apart joined records are at most, ms.
pub(super) const REACH: i64 = 3;
/// One number in so many is put together with a rule.
pub(super) const SELDOM: u64 = 3;
/// So many numbers in a row share a rule.
pub(super) const RULED: u64 = 16;
/// Numbers that differ by a multiple of this are of one stride, at every parallelism up to 4.
const STRIDES: u64 = 12;

/// The output of the join.
pub(super) const PAIRS: &str = "pairs";
/// The outputs of the job of parts that nothing connects; the last is of one without an exchange.
pub(super) const APART: [&str; 3] = ["one", "two", "alone"];
/// The outputs of the job.
pub(super) const OUTPUTS: [&str; 5] = ["told", "windows", "sessions", PAIRS, "ruled"];

/// The key of a number: strides share none.
pub(super) fn key_of(number: u64, keys: u64) -> u64 {
    let within = (keys / STRIDES).max(1);
    number % STRIDES + STRIDES * (mix(number) % within)
}

/// Numbers, mixed.
pub(super) fn mix(number: u64) -> u64 {
    let mixed = (number ^ 0x9E37_79B9).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33
}

/// The event time of a number, ms. It is even, so that no two records are apart by [`GAP`] itself: whether they
/// are of one session depends on when the watermark passes between them.
pub(super) fn time_of(number: u64, knobs: &Knobs) -> i64 {
    let early = match knobs.disorder {
        0 => 0,
        disorder => (mix(number) % disorder as u64) as i64,
    };
    2 * ((number / knobs.density) as i64 - early)
}

/// Fails at some records, so many times in all, in whichever processes.
#[derive(Clone)]
pub(super) struct Poison {
    every: u64,
    left: Arc<AtomicU32>,
}

impl Poison {
    pub(super) fn of(knobs: &Knobs) -> Poison {
        Poison {
            every: knobs.poison_every,
            left: Arc::new(AtomicU32::new(knobs.poison)),
        }
    }

    pub(super) fn taste(&self, number: u64) -> Result<(), FunctionError> {
        if number % self.every != self.every - 1 {
            return Ok(());
        }
        let spend = |left: u32| left.checked_sub(1);
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        match self.left.fetch_update(set, get, spend) {
            Ok(_) => Err(FunctionError::new(format!("number {number} is poison"))),
            Err(_) => Ok(()),
        }
    }
}

fn key(record: &(u64, u64)) -> u64 {
    record.0
}

/// A source of (key, number).
fn numbers(
    environment: &Environment,
    knobs: &Knobs,
    name: &str,
) -> DataStream<(u64, u64), impl Pipe<Out = (u64, u64)> + use<>> {
    let disorder = Duration::from_millis(2 * knobs.disorder as u64);
    let strategy = WatermarkStrategy::<(u64, u64)>::for_bounded_out_of_orderness(disorder);
    let told = knobs.clone();
    let made = move |number: u64| {
        let record = (key_of(number, told.keys), number);
        (record, Timestamp(time_of(number, &told)))
    };
    environment
        .source_with(
            Generator::timed(knobs.records, made).rate(knobs.rate),
            strategy.with_interval(Duration::from_millis(1)),
        )
        .uid(name)
}

/// Writes the job down. `shelf` makes the sink of an output.
pub(super) fn program(
    environment: &Environment,
    knobs: &Knobs,
    poison: &Poison,
    shelf: impl Fn(&str) -> Shelf,
) {
    match knobs.memory {
        _ if knobs.apart => apart(environment, knobs, poison, shelf),
        None => every_kind_of_state(environment, knobs, poison, shelf),
        Some(_) => larger::program(environment, knobs, poison, shelf),
    }
}

/// Two parts that count by key, and one whose subtasks are parts of their own. Any of them may fail.
fn apart(environment: &Environment, knobs: &Knobs, poison: &Poison, shelf: impl Fn(&str) -> Shelf) {
    for output in APART {
        let tasted = poison.clone();
        let numbers = environment
            .source(Generator::new(knobs.records, |number| number).rate(knobs.rate))
            .uid(&format!("numbers for {output}"))
            .process(move |_open: &mut OpenContext| {
                let poison = tasted.clone();
                move |number: u64, _context: &ProcessContext, out: &mut Collector<'_, u64>| {
                    poison.taste(number)?;
                    out.emit(number);
                    Ok(())
                }
            });
        if output == APART[2] {
            let lines = numbers.map(move |number: u64| format!("{output} {number}"));
            lines.sink(shelf(output)).uid(output);
            continue;
        }
        let keys = knobs.keys;
        numbers
            .key_by(move |number: &u64| key_of(*number, keys))
            .fold(0_u64, |count, _number: u64| *count += 1)
            .uid(&format!("counting for {output}"))
            .map(move |(key, count): (u64, u64)| format!("{output} {key} {count}"))
            .sink(shelf(output))
            .uid(output);
    }
}

fn every_kind_of_state(
    environment: &Environment,
    knobs: &Knobs,
    poison: &Poison,
    shelf: impl Fn(&str) -> Shelf,
) {
    let left = numbers(environment, knobs, "left").share();
    let right = numbers(environment, knobs, "right");
    let poison = poison.clone();
    left.stream()
        .key_by(key)
        .process_function(move |open: &mut OpenContext<u64>| Telling::open(open, &poison))
        .uid("telling")
        .sink(shelf("told"))
        .uid("told");
    left.stream()
        .key_by(key)
        .window(TumblingWindows::event_time(Duration::from_millis(
            WINDOW as u64,
        )))
        .count()
        .uid("counting")
        .map(|(key, count): (u64, u64)| format!("window {key} {count}"))
        .sink(shelf("windows"))
        .uid("windows");
    left.stream()
        .key_by(key)
        .window(SessionWindows::event_time(Duration::from_millis(
            GAP as u64,
        )))
        .count()
        .uid("sessions")
        .map(|(key, count): (u64, u64)| format!("session {key} {count}"))
        .sink(shelf("sessions"))
        .uid("shown sessions");
    left.stream()
        .key_by(key)
        .interval_join(right.key_by(key))
        .between(-REACH, REACH)
        .apply(|left: &(u64, u64), right: &(u64, u64)| {
            format!("pair {} {} {}", left.0, left.1, right.1)
        })
        .uid("joining")
        .sink(shelf(PAIRS))
        .uid(PAIRS);
    let rows = knobs.records.div_ceil(RULED);
    let rules = environment
        .source(Generator::new(rows, |row| (row, rule_of(row))).rate(knobs.rate / RULED as f64))
        .uid("rules");
    left.stream()
        .key_by(key)
        .connect(rules.broadcast_stream())
        .process(Ruled::open)
        .uid("ruling")
        .sink(shelf("ruled"))
        .uid("ruled");
}

/// The rule of a row.
pub(super) fn rule_of(row: u64) -> u64 {
    mix(row) % 1_000
}
