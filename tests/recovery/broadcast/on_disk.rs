//! Functions with broadcast state whose keys have several times as much as memory holds: every rule visits every key,
//! after failures, at any parallelism, and where state goes from disk to memory and back.

use std::collections::BTreeMap;
use std::path::Path;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::Environment;
use thalweg_dataflow::operator::BroadcastOpenContext;

use crate::recovery::counting::{Poison, is_there_once};
use crate::recovery::larger::Large;
use crate::stage::taking::{Row, Taking};

const RECORDS: u64 = 60_000;
const KEYS: u64 = 20_000;
const RULES: u64 = 16;

fn row_of(number: u64) -> Row {
    let key = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24) % KEYS;
    (key, number, format!("{number:0>80}"))
}

fn program(environment: &Environment, rate: f64, poison: Poison, into: &Path) {
    let made = move |number: u64| (number, Timestamp(number as i64));
    let rules = Generator::timed(RULES, made).rate(rate * RULES as f64 / RECORDS as f64);
    let rules = environment.source(rules).uid("rules").parallelism(1);
    environment
        .source(Generator::timed(RECORDS, made).rate(rate))
        .uid("numbers")
        .parallelism(1)
        .map(move |number: u64| {
            poison.taste(number);
            row_of(number)
        })
        .key_by(|row: &Row| row.0)
        .connect(rules.broadcast_stream())
        .process(|open: &mut BroadcastOpenContext<'_, u64>| Taking::open(open))
        .uid("taking")
        .map(|number: u64| number.to_string())
        .sink(FileSink::new(into))
        .uid("taken");
}

fn check(into: &Path) {
    let expected: BTreeMap<String, u32> = (0..RECORDS).map(|it| (it.to_string(), 1)).collect();
    is_there_once(&expected, into);
}

const TAKING: Large = Large {
    name: "keys on disk that rules visit",
    memory: "8mb",
    program,
    check,
};

#[test]
fn keys_on_disk_are_visited_by_every_rule_after_failures() {
    for run in [("1", 17_013), ("2", 13_011)] {
        TAKING.survives_failures(40_000.0, run);
    }
}

#[test]
fn keys_on_disk_are_visited_by_every_rule_at_another_parallelism() {
    TAKING.goes_on_at_other_parallelisms(20_000.0);
}

#[test]
fn keys_are_visited_by_every_rule_where_state_moves_between_memory_and_disk() {
    TAKING.goes_from_one_backend_to_the_other(20_000.0);
}
