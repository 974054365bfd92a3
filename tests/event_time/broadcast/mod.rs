//! Broadcast streams: every subtask has every broadcast record when both streams have ended; `on_disk` visits keys where
//! memory is too little for them.

mod on_disk;

use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::{
    BroadcastContext, BroadcastOpenContext, KeyedBroadcastProcessFunction,
};
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::{Collector, FunctionError, ProcessContext};
use thalweg_state::{BroadcastState, ValueState};

use super::joins::{Input, Pair, Row, gathered, key};
use super::trial::{self, Trial};

/// Later than every record.
const AT_THE_END: Timestamp = Timestamp(1_000_000);

/// Keeps the rows of each key, and at the end pairs them with the rules they fall under. Says each
/// rule when it comes.
struct Ruled {
    rows: ValueState<u64, Vec<u64>>,
    rules: BroadcastState<u64, u64>,
}

fn falls_under(key: u64, rule: u64) -> bool {
    key % 3 == rule % 3
}

impl KeyedBroadcastProcessFunction<u64, Row, Row, Pair> for Ruled {
    fn process(
        &mut self,
        row: Row,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, Pair>,
    ) -> Result<(), FunctionError> {
        self.rows.update(|rows| rows.push(row.1))?;
        context.timers().register_event_time(AT_THE_END)
    }

    fn process_broadcast(
        &mut self,
        rule: Row,
        context: &BroadcastContext<'_, u64>,
        out: &mut Collector<'_, Pair>,
    ) -> Result<(), FunctionError> {
        out.emit((None, Some(rule.1)));
        self.rules.put(context, rule.1, rule.0)?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        _timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Pair>,
    ) -> Result<(), FunctionError> {
        let key = context.key().unwrap_or_default();
        for row in self.rows.get()?.unwrap_or_default() {
            let rules = self.rules.entries();
            for (number, _) in rules.iter().filter(|(_, rule)| falls_under(key, **rule)) {
                out.emit((Some(row), Some(*number)));
            }
        }
        Ok(())
    }
}

fn broadcast(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let mut input = Input::draw(&mut dice);
    input.right.truncate(60);
    let parallelism = trial.parallelism;
    let mut expected: Vec<Pair> = Vec::new();
    for rule in &input.right {
        expected.extend((0..parallelism).map(|_| (None, Some(rule.row.1))));
        let rows = input
            .left
            .iter()
            .filter(|row| falls_under(row.row.0, rule.row.0));
        expected.extend(rows.map(|row| (Some(row.row.1), Some(rule.row.1))));
    }
    trial.compare(expected, |environment| {
        let (rows, rules) = input.streams(&mut dice, environment);
        let connected = rows.key_by(key).connect(rules.broadcast_stream());
        let ruled = connected.process(|open: &mut BroadcastOpenContext<'_, u64>| Ruled {
            rows: open.value_state("rows"),
            rules: open.broadcast_state("rules"),
        });
        gathered(ruled, dice.chance(50))
    })
}

#[test]
fn every_subtask_has_every_rule_in_simulation() {
    trial::simulate(200, "every_subtask_has_every_rule_in_simulation", broadcast);
}

#[test]
fn every_subtask_has_every_rule_on_shards() {
    trial::on_shards(200, "every_subtask_has_every_rule_on_shards", broadcast);
}
