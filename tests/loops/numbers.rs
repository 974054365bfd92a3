//! Numbers that go around until they are 1 (Collatz), each on its own.

use std::time::Duration;

use thalweg_connectors::{Collected, Collects};
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Environment, Pipe};
use thalweg_dataflow::window::assigner::TumblingWindows;

use crate::event_time::on_time::on_time;
use crate::event_time::script::{Event, Script};
use crate::event_time::trial::{self, Trial};
use crate::random_graphs::dice::Dice;

/// The number it began with, what it has become, in how many steps.
type Walk = (u64, u64, u64);
type Walks = DataStream<Walk, BoxedPipe<Walk>>;

fn step((start, number, steps): Walk) -> Walk {
    let number = match number % 2 {
        0 => number / 2,
        _ => 3 * number + 1,
    };
    (start, number, steps + 1)
}

fn steps_of(start: u64) -> u64 {
    let mut walk = (start, start, 0);
    while walk.1 != 1 {
        walk = step(walk);
    }
    walk.2
}

/// Another way for the records of a stream, as drawn.
fn other_way<P: Pipe<Out = Walk>>(dice: &mut Dice, walks: DataStream<Walk, P>) -> Walks {
    match dice.below(6) {
        0 => walks.boxed(),
        1 => walks.rebalance().boxed(),
        2 => walks.shuffle().boxed(),
        3 => walks.rescale().boxed(),
        4 => walks
            .partition_custom(|walk, many| walk.1 as usize % many)
            .boxed(),
        _ => walks.start_new_chain().boxed(),
    }
}

/// What a loop makes of the numbers it is given.
fn looped(mut dice: Dice, walks: Walks) -> Walks {
    let walks = walks.filter(|walk| walk.1 > 1).boxed();
    walks.iterate().close_with(|walks| {
        let walks = other_way(&mut dice, walks);
        let stepped = walks.map(step).share();
        let again = stepped.stream().filter(|walk| walk.1 != 1).boxed();
        let done = stepped.stream().filter(|walk| walk.1 == 1).boxed();
        (other_way(&mut dice, again), done)
    })
}

fn script(dice: &mut Dice, starts: &[u64]) -> Script<Walk> {
    let walks: Vec<(Walk, i64)> = starts
        .iter()
        .map(|start| ((*start, *start, 0), 0))
        .collect();
    let splits = 1 + dice.below(3) as u32;
    Script::draw(dice, &walks, splits, 0)
}

fn starts(dice: &mut Dice) -> Vec<u64> {
    let many = dice.pick(&[0, 1, 40, 400]);
    (0..many).map(|_| 2 + dice.below(1_000)).collect()
}

fn walk(trial: &mut Trial) -> Result<(), String> {
    trial.batch = false;
    let mut dice = trial.dice.clone();
    let starts = starts(&mut dice);
    let expected = starts.iter().map(|start| (*start, 1, steps_of(*start)));
    let script = script(&mut dice, &starts);
    trial.compare(expected.collect(), |environment| {
        looped(dice, environment.source(script).boxed()).collect()
    })
}

#[test]
fn walks_equal_the_model_in_simulation() {
    trial::simulate(300, "walks_equal_the_model_in_simulation", walk);
}

#[test]
fn walks_equal_the_model_on_shards() {
    trial::on_shards(40, "walks_equal_the_model_on_shards", walk);
}

/// Two loops, the second over what the first lets go.
fn two_loops(trial: &mut Trial) -> Result<(), String> {
    trial.batch = false;
    let mut dice = trial.dice.clone();
    let starts = starts(&mut dice);
    let expected = starts.iter().map(|start| {
        let first = steps_of(*start);
        let again = first + 27;
        (*start, 1, first + steps_of(again))
    });
    let script = script(&mut dice, &starts);
    trial.compare(expected.collect(), |environment| {
        let first = looped(dice.clone(), environment.source(script).boxed());
        let between = first.map(|(start, _, steps): Walk| (start, steps + 27, steps));
        looped(dice, between.boxed()).collect()
    })
}

#[test]
fn loops_that_follow_one_another_equal_the_model_in_simulation() {
    let test = "loops_that_follow_one_another_equal_the_model_in_simulation";
    trial::simulate(100, test, two_loops);
}

/// Windows behind a loop whose input promises nothing before its end: all that leaves the loop is on
/// time for them, because the last watermark waits.
fn windows_behind(trial: &mut Trial) -> Result<(), String> {
    trial.batch = false;
    let mut dice = trial.dice.clone();
    let starts = starts(&mut dice);
    let mut expected = std::collections::BTreeMap::<i64, u64>::new();
    for start in &starts {
        *expected.entry(*start as i64 / 100).or_default() += 1;
    }
    let events = starts
        .iter()
        .map(|start| Event::Record((*start, *start, 0), *start as i64));
    let script = Script::of([events.collect::<Vec<_>>()]);
    let build = |environment: &Environment| -> Collected<(i64, u64)> {
        let walks = looped(dice, environment.source(script).boxed());
        let hundreds = walks.key_by(|walk: &Walk| walk.0 / 100);
        let windows = hundreds.window(TumblingWindows::event_time(Duration::from_millis(100)));
        let counts = windows.count().map(|row: (u64, u64)| (row.0 as i64, row.1));
        on_time(counts).collect()
    };
    trial.compare(expected.into_iter().collect(), build)
}

#[test]
fn windows_behind_a_loop_get_all_of_it_in_simulation() {
    let test = "windows_behind_a_loop_get_all_of_it_in_simulation";
    trial::simulate(100, test, windows_behind);
}
