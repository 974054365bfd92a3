//! Joins and connected streams against nested loops; `on_disk` takes the joins to where memory is too little for them.

pub(crate) mod on_disk;

use thalweg_connectors::{Collected, Collects};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::operator::CoProcessFunction;
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Environment, Pipe};
use thalweg_dataflow::time::FiredTimer;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
use thalweg_memory::Record;
use thalweg_state::ValueState;

use super::on_time::on_time;
use super::script::Script;
use super::trial::{self, Memory, Trial};
use crate::random_graphs::dice::Dice;

/// Key, number, some text.
pub(crate) type Row = (u64, u64, String);
pub(crate) type Stream = DataStream<Row, BoxedPipe<Row>>;
/// The numbers of two rows; none where there is no partner.
pub(crate) type Pair = (Option<u64>, Option<u64>);

pub(crate) fn key(row: &Row) -> u64 {
    row.0
}

/// A row of a stream with its time.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub(crate) row: Row,
    pub(crate) at: i64,
}

/// Two streams of rows as they are drawn.
pub(crate) struct Input {
    pub(crate) left: Vec<Timed>,
    pub(crate) right: Vec<Timed>,
    left_splits: u32,
    right_splits: u32,
    disorder: u64,
}

impl Input {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let keys = dice.pick(&[1, 3, 40]);
        let span = dice.pick(&[40, 400, 4_000]);
        let most = if keys == 1 { 120 } else { 600 };
        let side = |dice: &mut Dice| {
            let count = dice.below(most);
            (0..count)
                .map(|number| Timed::draw(dice, number, keys, span))
                .collect()
        };
        let (left, right) = (side(dice), side(dice));
        Self {
            left,
            right,
            left_splits: 1 + dice.below(4) as u32,
            right_splits: 1 + dice.below(4) as u32,
            disorder: dice.pick(&[0, 10, 300]),
        }
    }

    /// The same in memory that is too little: with many more rows of many more keys among them.
    pub(crate) fn draw_in(memory: Memory, dice: &mut Dice) -> Self {
        let mut input = Self::draw(dice);
        if memory == Memory::Little {
            let keys = dice.pick(&[1_000, 4_000]);
            on_disk::crowd(&mut input.left, keys, dice);
            on_disk::crowd(&mut input.right, keys, dice);
        }
        input
    }

    /// The two streams.
    pub(crate) fn streams(&self, dice: &mut Dice, environment: &Environment) -> (Stream, Stream) {
        let mut stream = |rows: &[Timed], splits| {
            let rows: Vec<_> = rows
                .iter()
                .map(|timed| (timed.row.clone(), timed.at))
                .collect();
            let script = Script::draw(dice, &rows, splits, self.disorder);
            environment.source(script).boxed()
        };
        let left = stream(&self.left, self.left_splits);
        (left, stream(&self.right, self.right_splits))
    }

    /// All pairs of one key that `belong` together.
    fn pairs(&self, belong: impl Fn(&Timed, &Timed) -> bool) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for left in &self.left {
            for right in &self.right {
                if left.row.0 == right.row.0 && belong(left, right) {
                    pairs.push((Some(left.row.1), Some(right.row.1)));
                }
            }
        }
        pairs
    }
}

impl Timed {
    fn draw(dice: &mut Dice, number: u64, keys: u64, span: u64) -> Self {
        let text = "x".repeat(dice.below(20) as usize);
        let at = dice.below(span) as i64 - span as i64 / 3;
        Self {
            row: (dice.below(keys), number, text),
            at,
        }
    }
}

pub(crate) fn pair(left: &Row, right: &Row) -> Pair {
    assert_eq!(left.0, right.0, "rows of one key");
    (Some(left.1), Some(right.1))
}

/// The end of every program: its results must be on time.
pub(crate) fn gathered<T: Record + Clone, P: Pipe<Out = T>>(
    results: DataStream<T, P>,
    chained: bool,
) -> Collected<T> {
    match chained {
        true => on_time(results).collect(),
        false => on_time(results.start_new_chain()).collect(),
    }
}

fn interval_join(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let input = Input::draw(&mut dice);
    let lower = dice.below(200) as i64 - 100;
    let upper = lower + dice.pick(&[0, 1, 7, 90, 10_000]);
    let (lower_open, upper_open) = (
        upper > lower + 1 && dice.chance(30),
        upper > lower + 2 && dice.chance(30),
    );
    let expected = input.pairs(|left, right| {
        let distance = right.at - left.at;
        let above = distance > lower || (distance == lower && !lower_open);
        above && (distance < upper || (distance == upper && !upper_open))
    });
    trial.compare(expected, |environment| {
        let (left, right) = input.streams(&mut dice, environment);
        let mut joined = left
            .key_by(key)
            .interval_join(right.key_by(key))
            .between(lower, upper);
        if lower_open {
            joined = joined.lower_bound_exclusive();
        }
        if upper_open {
            joined = joined.upper_bound_exclusive();
        }
        gathered(joined.apply(pair), dice.chance(50))
    })
}

#[test]
fn interval_joins_equal_the_model_in_simulation() {
    trial::simulate(
        200,
        "interval_joins_equal_the_model_in_simulation",
        interval_join,
    );
}

#[test]
fn interval_joins_equal_the_model_on_shards() {
    trial::on_shards(
        200,
        "interval_joins_equal_the_model_on_shards",
        interval_join,
    );
}

/// The row's version: the latest at or before it, unless that is a deletion (a number that 5 divides).
pub(crate) fn version_of<'a>(row: &Timed, versions: &'a [Timed]) -> Option<&'a Timed> {
    let of_key = versions.iter().filter(|version| version.row.0 == row.row.0);
    let valid = of_key.filter(|version| version.at <= row.at);
    let latest = valid.max_by_key(|version| version.at);
    latest.filter(|version| version.row.1 % 5 != 0)
}

fn temporal_join(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let mut input = Input::draw(&mut dice);
    // Which of two versions of one time comes last is nobody's promise.
    let mut times = std::collections::BTreeSet::new();
    input
        .right
        .retain(|version| times.insert((version.row.0, version.at)));
    let outer = dice.chance(50);
    let rows = input.left.iter().filter_map(|row| {
        let version = version_of(row, &input.right);
        (outer || version.is_some()).then_some((Some(row.row.1), version.map(|v| v.row.1)))
    });
    trial.compare(rows.collect(), |environment| {
        let (rows, versions) = input.streams(&mut dice, environment);
        let joined = rows.key_by(key).temporal_join(versions.key_by(key));
        let joined = joined.deleted_when(|version| version.1 % 5 == 0);
        match outer {
            true => {
                let all = |row: &Row, version: Option<&Row>| (Some(row.1), version.map(|v| v.1));
                gathered(joined.apply_outer(all), dice.chance(50))
            }
            false => gathered(joined.apply(pair), dice.chance(50)),
        }
    })
}

#[test]
fn temporal_joins_equal_the_model_in_simulation() {
    trial::simulate(
        200,
        "temporal_joins_equal_the_model_in_simulation",
        temporal_join,
    );
}

#[test]
fn temporal_joins_equal_the_model_on_shards() {
    trial::on_shards(
        200,
        "temporal_joins_equal_the_model_on_shards",
        temporal_join,
    );
}

/// What a key has been given and what was taken from it, told at each full hundred behind a record.
struct Balance(ValueState<u64, Vec<(i64, i64)>>);

/// Key, time, balance.
type Told = (u64, i64, i64);

fn next_hundred(at: i64) -> i64 {
    (at + 100).div_euclid(100) * 100
}

impl Balance {
    fn change(&mut self, amount: i64, context: &ProcessContext<u64>) -> Result<(), FunctionError> {
        let at = context.timestamp().0;
        self.0.update(|changes| changes.push((at, amount)))?;
        let timers = context.timers();
        timers.register_event_time(Timestamp(next_hundred(at)))
    }
}

impl CoProcessFunction<u64, Row, Row, Told> for Balance {
    fn process_first(
        &mut self,
        given: Row,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        self.change(given.1 as i64, context)
    }

    fn process_second(
        &mut self,
        taken: Row,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        self.change(-(taken.1 as i64), context)
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        let until = |changes: &Vec<(i64, i64)>| balance(changes, timer.at.0);
        let balance = self.0.with(|changes| changes.map_or(0, until))?;
        out.emit((context.key().unwrap_or(u64::MAX), timer.at.0, balance));
        Ok(())
    }
}

fn balance(changes: &[(i64, i64)], until: i64) -> i64 {
    let counted = changes.iter().filter(|(at, _)| *at <= until);
    counted.map(|(_, amount)| amount).sum()
}

fn connected_state(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let input = Input::draw(&mut dice);
    let mut changes = std::collections::BTreeMap::<u64, Vec<(i64, i64)>>::new();
    for (rows, sign) in [(&input.left, 1), (&input.right, -1)] {
        for timed in rows {
            let change = (timed.at, sign * timed.row.1 as i64);
            changes.entry(timed.row.0).or_default().push(change);
        }
    }
    let told = changes.iter().flat_map(|(key, changes)| {
        let times: std::collections::BTreeSet<i64> =
            changes.iter().map(|(at, _)| next_hundred(*at)).collect();
        let told = |at| (*key, at, balance(changes, at));
        times.into_iter().map(told).collect::<Vec<_>>()
    });
    trial.compare(told.collect(), |environment| {
        let (given, taken) = input.streams(&mut dice, environment);
        let connected = given.key_by(key).connect(taken.key_by(key));
        let told =
            connected.process(|open: &mut OpenContext<u64>| Balance(open.value_state("all")));
        gathered(told, dice.chance(50))
    })
}

#[test]
fn connected_functions_equal_the_model_in_simulation() {
    trial::simulate(
        200,
        "connected_functions_equal_the_model_in_simulation",
        connected_state,
    );
}

#[test]
fn connected_functions_equal_the_model_on_shards() {
    trial::on_shards(
        200,
        "connected_functions_equal_the_model_on_shards",
        connected_state,
    );
}

fn connected_streams(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let input = Input::draw(&mut dice);
    let left = input.left.iter().map(|timed| (true, timed.row.1));
    let mut expected: Vec<(bool, u64)> = left.collect();
    for timed in &input.right {
        expected.extend((0..timed.row.1 % 3).map(|_| (false, timed.row.1)));
    }
    trial.compare(expected, |environment| {
        let (left, right) = input.streams(&mut dice, environment);
        let right = match dice.chance(50) {
            true => right.rebalance().boxed(),
            false => right,
        };
        let rows = left.connect(right).flat_map(
            |row: Row, out: &mut Collector<'_, (bool, u64)>| out.emit((true, row.1)),
            |row: Row, out: &mut Collector<'_, (bool, u64)>| {
                (0..row.1 % 3).for_each(|_| out.emit((false, row.1)));
            },
        );
        gathered(rows, dice.chance(50))
    })
}

#[test]
fn connected_streams_lose_nothing_in_simulation() {
    trial::simulate(
        200,
        "connected_streams_lose_nothing_in_simulation",
        connected_streams,
    );
}

#[test]
fn connected_streams_lose_nothing_on_shards() {
    let test = "connected_streams_lose_nothing_on_shards";
    trial::on_shards(200, test, connected_streams);
}
