//! Broadcast state outlives failures and stops: rules that came once are there at the end, in every subtask; `on_disk`
//! has more per key than memory.

mod on_disk;

use std::collections::BTreeMap;
use std::path::Path;

use thalweg_connectors::{FileSink, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::{
    BroadcastContext, BroadcastOpenContext, KeyedBroadcastProcessFunction,
};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::time::{FiredTimer, WatermarkStrategy};
use thalweg_dataflow::{Collector, FunctionError, ProcessContext};
use thalweg_state::{BroadcastState, ValueState};

use crate::recovery::counting::{Poison, lines};
use crate::recovery::savepoints::run_through_failures_and_stops;

const RECORDS: u64 = 12_000;
const RATE: f64 = 30_000.0;
const KEYS: u64 = 23;
const RULES: u64 = 300;
/// Later than every record.
const AT_THE_END: Timestamp = Timestamp(1_000_000);

/// Counts the numbers of each key, and at the end says that with the sum of all rules.
struct Ruled {
    count: ValueState<u64, u64>,
    rules: BroadcastState<u64, u64>,
}

impl KeyedBroadcastProcessFunction<u64, u64, u64, String> for Ruled {
    fn process(
        &mut self,
        _number: u64,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.count.update(|count| *count += 1)?;
        context.timers().register_event_time(AT_THE_END)
    }

    fn process_broadcast(
        &mut self,
        rule: u64,
        context: &BroadcastContext<'_, u64>,
        _out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        self.rules.put(context, rule, rule * 3)?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        _timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, String>,
    ) -> Result<(), FunctionError> {
        let key = context.key().unwrap_or_default();
        let count = self.count.get()?.unwrap_or(0);
        let sum: u64 = self.rules.entries().values().sum();
        out.emit(format!("{key} {count} {sum}"));
        Ok(())
    }
}

fn program(environment: &Environment, poison: Poison, into: &Path) {
    let rules = environment
        .source(Generator::new(RULES, |number| number))
        .uid("rules")
        .parallelism(1);
    let made = |number: u64| (number, Timestamp((number / 8) as i64));
    let strategy = WatermarkStrategy::<u64>::for_monotonous_timestamps();
    let numbers = environment
        .source_with(Generator::timed(RECORDS, made).rate(RATE), strategy)
        .uid("numbers")
        .parallelism(1)
        .map(move |number: u64| {
            poison.taste(number);
            number
        });
    numbers
        .key_by(|number: &u64| number % KEYS)
        .connect(rules.broadcast_stream())
        .process(|open: &mut BroadcastOpenContext<'_, u64>| Ruled {
            count: open.value_state("count"),
            rules: open.broadcast_state("rules"),
        })
        .uid("ruled")
        .sink(FileSink::new(into))
        .uid("out");
}

#[test]
fn rules_that_came_once_are_there_after_failures_and_stops_at_any_parallelism() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().join("out");
    run_through_failures_and_stops(
        "ruled",
        &[
            ("thalweg.shard.count", "2"),
            ("taskmanager.memory.segment-size", "1kb"),
        ],
        |environment, poison| {
            program(environment, poison, &into);
        },
    );
    let sum: u64 = (0..RULES).map(|rule| rule * 3).sum();
    let expected: BTreeMap<String, u32> = (0..KEYS)
        .map(|key| {
            let count = (0..RECORDS).filter(|number| number % KEYS == key).count();
            (format!("{key} {count} {sum}"), 1)
        })
        .collect();
    assert_eq!(lines(&into), expected);
}
