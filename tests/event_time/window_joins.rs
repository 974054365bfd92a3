//! Joins and co-groups by window against models that list all windows of all keys.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_connectors::{Collected, Generator, Sinks};
use thalweg_core::event_time::Timestamp;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::operator::Either;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::window::assigner::{
    SessionWindows, SlidingWindows, TumblingWindows, WindowAssigner,
};
use thalweg_dataflow::{Collector, OpenContext, ProcessContext};

use super::joins::{Input, Pair, Row, gathered, key, pair};
use super::trial::{self, Trial};
use crate::random_graphs::dice::Dice;
use crate::stage;

/// The kinds of windows, in ms. Gaps are odd and times are made even (see [`draw`]): records of one key
/// that are apart by the gap itself are in one session only if the second comes before the watermark
/// has passed the first, and which comes first is open.
#[derive(Clone, Copy, Debug)]
enum Windows {
    Tumbling { size: i64, offset: i64 },
    Sliding { size: i64, slide: i64 },
    Session { gap: i64 },
}

/// The left and right numbers of one window.
type Group = (Vec<u64>, Vec<u64>);

/// A group with its key, as it is emitted.
type KeyedGroup = (u64, Vec<u64>, Vec<u64>);

impl Windows {
    fn draw(dice: &mut Dice) -> Self {
        let size = dice.pick(&[5, 30, 300]);
        match dice.below(3) {
            0 => Self::Tumbling {
                size,
                offset: dice.below(5) as i64,
            },
            // A record is in some dozens of windows at most.
            1 => Self::Sliding {
                size,
                slide: 1 + size / 30 + dice.below(40) as i64,
            },
            _ => Self::Session {
                gap: dice.pick(&[1, 5, 31]),
            },
        }
    }

    /// What is in which window of which key.
    fn groups(self, input: &Input) -> BTreeMap<(u64, i64, i64), Group> {
        let mut groups = BTreeMap::<(u64, i64, i64), Group>::new();
        let left = input.left.iter().map(|timed| (timed, true));
        let right = input.right.iter().map(|timed| (timed, false));
        let mut all: Vec<_> = left.chain(right).collect();
        all.sort_by_key(|(timed, _)| timed.at);
        for (timed, is_left) in all {
            let key = timed.row.0;
            for (start, end) in self.windows(timed.at) {
                let open = match self {
                    Self::Session { .. } => groups
                        .keys()
                        .rev()
                        .find(|(k, _, e)| *k == key && *e >= start),
                    _ => None,
                };
                let (mut group, start) = match open.copied() {
                    Some(open) => (groups.remove(&open).unwrap_or_default(), open.1),
                    None => (groups.remove(&(key, start, end)).unwrap_or_default(), start),
                };
                if is_left {
                    group.0.push(timed.row.1);
                } else {
                    group.1.push(timed.row.1);
                }
                groups.insert((key, start, end), group);
            }
        }
        groups
    }

    /// The windows of a time on its own.
    fn windows(self, at: i64) -> Vec<(i64, i64)> {
        match self {
            Self::Tumbling { size, offset } => {
                let start = (at - offset).div_euclid(size) * size + offset;
                vec![(start, start + size)]
            }
            Self::Sliding { size, slide } => (at - size + 1..=at)
                .filter(|start| start.rem_euclid(slide) == 0)
                .map(|start| (start, start + size))
                .collect(),
            Self::Session { gap } => vec![(at, at + gap)],
        }
    }
}

fn ms(milliseconds: i64) -> Duration {
    Duration::from_millis(milliseconds as u64)
}

/// Builds the program over whichever windows were drawn.
macro_rules! over {
    ($windows:expr, $build:ident, $input:expr, $dice:expr, $environment:expr) => {
        match $windows {
            Windows::Tumbling { size, offset } => {
                let windows = TumblingWindows::event_time(ms(size)).offset_ms(offset);
                $build(windows, $input, $dice, $environment)
            }
            Windows::Sliding { size, slide } => {
                let windows = SlidingWindows::event_time(ms(size), ms(slide));
                $build(windows, $input, $dice, $environment)
            }
            Windows::Session { gap } => $build(
                SessionWindows::event_time(ms(gap)),
                $input,
                $dice,
                $environment,
            ),
        }
    };
}

fn joined<W: WindowAssigner<Either<Row, Row>>>(
    windows: W,
    input: &Input,
    dice: &mut Dice,
    environment: &Environment,
) -> Collected<Pair> {
    let (left, right) = input.streams(dice, environment);
    let joined = left.join(right).where_key(key).equal_to(key);
    gathered(joined.window(windows).apply(pair), dice.chance(50))
}

fn grouped<W: WindowAssigner<Either<Row, Row>>>(
    windows: W,
    input: &Input,
    dice: &mut Dice,
    environment: &Environment,
) -> Collected<KeyedGroup> {
    let (left, right) = input.streams(dice, environment);
    let joined = left.key_by(key).join(right.key_by(key)).window(windows);
    let groups = joined.co_group(
        |left: &[&Row], right: &[&Row], out: &mut Collector<'_, KeyedGroup>| {
            let numbers = |rows: &[&Row]| {
                let mut numbers: Vec<u64> = rows.iter().map(|row| row.1).collect();
                numbers.sort_unstable();
                numbers
            };
            let key = left.iter().chain(right).map(|row| row.0).max();
            out.emit((key.unwrap_or(u64::MAX), numbers(left), numbers(right)));
        },
    );
    gathered(groups, dice.chance(50))
}

/// Input whose times are even, and windows.
fn draw(dice: &mut Dice) -> (Input, Windows) {
    let mut input = Input::draw(dice);
    for timed in input.left.iter_mut().chain(&mut input.right) {
        timed.at *= 2;
    }
    (input, Windows::draw(dice))
}

fn window_join(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let (input, windows) = draw(&mut dice);
    let mut expected = Vec::new();
    for (left, right) in windows.groups(&input).values() {
        for left in left {
            expected.extend(right.iter().map(|right| (Some(*left), Some(*right))));
        }
    }
    trial.compare(expected, |environment| {
        over!(windows, joined, &input, &mut dice, environment)
    })
}

fn co_group(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let (input, windows) = draw(&mut dice);
    let groups = windows
        .groups(&input)
        .into_iter()
        .map(|((key, _, _), mut group)| {
            group.0.sort_unstable();
            group.1.sort_unstable();
            (key, group.0, group.1)
        });
    trial.compare(groups.collect(), |environment| {
        over!(windows, grouped, &input, &mut dice, environment)
    })
}

#[test]
fn window_joins_equal_the_model_in_simulation() {
    trial::simulate(
        200,
        "window_joins_equal_the_model_in_simulation",
        window_join,
    );
}

#[test]
fn window_joins_equal_the_model_on_shards() {
    trial::on_shards(200, "window_joins_equal_the_model_on_shards", window_join);
}

/// One key with more pairs than there is memory for, over segments and credits as small as they may be.
#[test]
fn a_hot_key_has_all_its_pairs_without_memory_for_them() {
    const EACH: u64 = 700;
    let settings = [
        ("parallelism.default", "2"),
        ("thalweg.shard.count", "2"),
        ("taskmanager.memory.segment-size", "512b"),
        ("taskmanager.network.memory.buffers-per-channel", "1"),
        ("taskmanager.network.memory.floating-buffers-per-gate", "0"),
        ("taskmanager.memory.network.size", "256kb"),
        ("taskmanager.memory.managed.size", "2mb"),
    ];
    let (simulated, _) = stage::simulation(5, SimOptions::default(), &settings);
    let (environment, token) = stage::shards(&settings);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    for environment in [simulated, environment] {
        let rows = |environment: &Environment| {
            let rows = Generator::timed(EACH, |number| ((7, number), Timestamp(number as i64)));
            environment.source(rows).key_by(|row: &(u64, u64)| row.0)
        };
        let joined = rows(&environment).join(rows(&environment));
        let windows = joined.window(TumblingWindows::event_time(ms(1_000)));
        let pairs = windows.apply(|left: &(u64, u64), right: &(u64, u64)| (left.1, right.1));
        let checked = pairs.rebalance().process(|open: &mut OpenContext| {
            let (pairs, sum) = (open.accumulator("pairs"), open.accumulator("sum"));
            move |pair: (u64, u64), _: &ProcessContext, _: &mut Collector<'_, u64>| {
                pairs.add(1);
                sum.add((pair.0 * EACH + pair.1) as i64);
                Ok(())
            }
        });
        checked.discard();
        let result = environment.execute("hot key").unwrap();
        let pairs = (EACH * EACH) as i64;
        assert_eq!(result.accumulator("pairs"), Some(pairs));
        assert_eq!(result.accumulator("sum"), Some(pairs * (pairs - 1) / 2));
    }
}

#[test]
fn co_groups_equal_the_model_in_simulation() {
    trial::simulate(200, "co_groups_equal_the_model_in_simulation", co_group);
}

#[test]
fn co_groups_equal_the_model_on_shards() {
    trial::on_shards(200, "co_groups_equal_the_model_on_shards", co_group);
}
