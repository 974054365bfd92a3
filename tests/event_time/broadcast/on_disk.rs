//! Keys visited where what they have does not fit their memory: every rule visits every key of its subtask, and what
//! was taken and what was left is each row once.
//!
//! Each case runs in the least memory in which it can, as joins do.

use thalweg_connectors::Collects;
use thalweg_dataflow::operator::BroadcastOpenContext;

use crate::event_time::joins::{Input, Row, key, on_disk};
use crate::event_time::trial::{Memory, Trial};
use crate::stage::taking::Taking;

fn taken(trial: &mut Trial) -> Result<bool, String> {
    let mut dice = trial.dice.clone();
    let mut input = Input::draw_in(Memory::Little, &mut dice);
    // Each of them visits thousands of keys.
    input.right.truncate(1 + dice.below(3) as usize);
    let (mut numbers, larger) = trial.run_in(Memory::Little, |environment| {
        let (rows, rules) = input.streams(&mut trial.dice.clone(), environment);
        let rules = rules.map(|rule: Row| rule.1);
        let connected = rows.key_by(key).connect(rules.broadcast_stream());
        let taken =
            connected.process(|open: &mut BroadcastOpenContext<'_, u64>| Taking::open(open));
        taken.collect()
    })?;
    numbers.sort_unstable();
    let mut expected: Vec<u64> = input.left.iter().map(|row| row.row.1).collect();
    expected.sort_unstable();
    match numbers == expected {
        true => Ok(larger),
        false => Err(format!("{} of {} rows", numbers.len(), expected.len())),
    }
}

#[test]
fn every_rule_visits_every_key_on_disk_in_simulation() {
    on_disk::all("every_rule_visits_every_key_on_disk_in_simulation", taken);
}
