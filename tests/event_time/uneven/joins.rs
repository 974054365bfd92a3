//! Joins of uneven streams: what comes out as late may have been late, and the pairs of everything else
//! are the model's.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_connectors::{Collected, Collects};
use thalweg_dataflow::operator::Either;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::window::assigner::TumblingWindows;
use thalweg_dataflow::{Collector, OutputTag};

use super::run;
use super::script::Script;
use crate::event_time::joins::{Input, Row, Timed, key, version_of};
use crate::event_time::script::Script as EvenScript;
use crate::event_time::trial::{self, Trial};
use crate::event_time::windows::drawn::ms;

/// What it is, and the numbers of the rows in it.
type Came = (u8, Vec<u64>, Vec<u64>);

const JOINED: u8 = 0;
const LATE_LEFT: u8 = 1;
const LATE_RIGHT: u8 = 2;

const LEFT: OutputTag<Row> = OutputTag::new("late left");
const RIGHT: OutputTag<Row> = OutputTag::new("late right");
const EITHER: OutputTag<Either<Row, Row>> = OutputTag::new("late");

fn late_left(row: Row) -> Came {
    (LATE_LEFT, vec![row.1], Vec::new())
}

fn late_right(row: Row) -> Came {
    (LATE_RIGHT, Vec::new(), vec![row.1])
}

fn timed(rows: &[Timed]) -> Vec<(Row, i64)> {
    rows.iter()
        .map(|timed| (timed.row.clone(), timed.at))
        .collect()
}

/// The rows of both sides that were not late, if those that were may have been.
struct Judged {
    joined: Vec<Came>,
    left: Vec<Timed>,
    right: Vec<Timed>,
    late: usize,
}

/// Numbers of rows.
type Numbers = BTreeSet<u64>;

fn numbers(rows: impl Iterator<Item = Row>) -> Numbers {
    rows.map(|row| row.1).collect()
}

/// Takes apart what came.
fn judge(came: Vec<Came>, input: &Input, may_be: (Numbers, Numbers)) -> Result<Judged, String> {
    let (mut joined, mut left, mut right) = (Vec::new(), Numbers::new(), Numbers::new());
    for one in came {
        let new = match one.0 {
            LATE_LEFT => left.insert(one.1[0]),
            LATE_RIGHT => right.insert(one.2[0]),
            _ => {
                joined.push(one);
                continue;
            }
        };
        if !new {
            return Err(format!("{one:?} came out late twice"));
        }
    }
    for (side, late, may_be) in [("left", &left, &may_be.0), ("right", &right, &may_be.1)] {
        if let Some(wrong) = late.difference(may_be).next() {
            return Err(format!("the {side} row {wrong} is no late one"));
        }
    }
    let without = |rows: &[Timed], late: &Numbers| {
        let rows = rows.iter().filter(|timed| !late.contains(&timed.row.1));
        rows.cloned().collect()
    };
    joined.sort();
    Ok(Judged {
        joined,
        left: without(&input.left, &left),
        right: without(&input.right, &right),
        late: left.len() + right.len(),
    })
}

impl Judged {
    /// What came of the rows that were not late must be this. Answers how many were.
    fn equals(&self, mut expected: Vec<Came>, trial: &Trial) -> Result<usize, String> {
        expected.sort();
        if self.joined == expected {
            return Ok(self.late);
        }
        let mut both = self.joined.iter().zip(&expected);
        let first = both.find(|(came, wanted)| came != wanted);
        Err(format!(
            "{} results, expected {}, {} rows were late; sorted, the first that differs and what was \
             expected: {first:?}\n\ntrial: {trial:?}",
            self.joined.len(),
            expected.len(),
            self.late
        ))
    }
}

fn pair(left: u64, right: Option<u64>) -> Came {
    (JOINED, vec![left], right.into_iter().collect())
}

fn in_interval(
    environment: &Environment,
    (left, right): (Script<Row>, Script<Row>),
    (lower, upper): (i64, i64),
) -> Collected<Came> {
    let left = environment.source(left).key_by(key);
    let right = environment.source(right).key_by(key);
    let joined = left.interval_join(right).between(lower, upper);
    let joined = joined.late_left(&LEFT).late_right(&RIGHT);
    let joined = joined.apply(|left: &Row, right: &Row| pair(left.1, Some(right.1)));
    let left = joined.side_output(&LEFT).map(late_left);
    let right = joined.side_output(&RIGHT).map(late_right);
    joined.union(left).boxed().union(right).collect()
}

fn interval_join(trial: &mut Trial) -> Result<usize, String> {
    let mut dice = trial.dice.clone();
    let input = Input::draw(&mut dice);
    let lower = dice.below(200) as i64 - 100;
    let upper = lower + dice.pick(&[0, 7, 90]);
    let left = Script::draw(&mut dice, &timed(&input.left));
    let right = Script::draw(&mut dice, &timed(&input.right));
    let may_be = (
        numbers(left.may_be_late(right.highest(), |at| at)),
        numbers(right.may_be_late(left.highest(), |at| at)),
    );
    let came = trial.run(|environment| in_interval(environment, (left, right), (lower, upper)))?;
    let judged = judge(came, &input, may_be)?;
    let mut expected = Vec::new();
    for left in &judged.left {
        let of_key = judged
            .right
            .iter()
            .filter(|right| right.row.0 == left.row.0);
        let near = of_key.filter(|right| (lower..=upper).contains(&(right.at - left.at)));
        expected.extend(near.map(|right| pair(left.row.1, Some(right.row.1))));
    }
    judged.equals(expected, trial)
}

fn in_windows(
    environment: &Environment,
    (left, right): (Script<Row>, Script<Row>),
    size: i64,
) -> Collected<Came> {
    let left = environment.source(left).key_by(key);
    let right = environment.source(right).key_by(key);
    let windows = left
        .join(right)
        .window(TumblingWindows::event_time(ms(size)));
    let groups = windows.late_output(&EITHER).co_group(
        |left: &[&Row], right: &[&Row], out: &mut Collector<'_, Came>| {
            let numbers = |rows: &[&Row]| {
                let mut numbers: Vec<u64> = rows.iter().map(|row| row.1).collect();
                numbers.sort_unstable();
                numbers
            };
            out.emit((JOINED, numbers(left), numbers(right)));
        },
    );
    let late = groups
        .side_output(&EITHER)
        .map(|late: Either<Row, Row>| match late {
            Either::Left(row) => late_left(row),
            Either::Right(row) => late_right(row),
        });
    groups.union(late).collect()
}

fn window_join(trial: &mut Trial) -> Result<usize, String> {
    let mut dice = trial.dice.clone();
    let input = Input::draw(&mut dice);
    let size = dice.pick(&[5, 30, 300]);
    let left = Script::draw(&mut dice, &timed(&input.left));
    let right = Script::draw(&mut dice, &timed(&input.right));
    let window = |at: i64| at.div_euclid(size);
    let last = |at| (window(at) + 1) * size - 1;
    let may_be = (
        numbers(left.may_be_late(right.highest(), last)),
        numbers(right.may_be_late(left.highest(), last)),
    );
    let came = trial.run(|environment| in_windows(environment, (left, right), size))?;
    let judged = judge(came, &input, may_be)?;
    let mut groups = BTreeMap::<(u64, i64), Came>::new();
    for (rows, is_left) in [(&judged.left, true), (&judged.right, false)] {
        for timed in rows {
            let group = groups.entry((timed.row.0, window(timed.at))).or_default();
            let side = if is_left { &mut group.1 } else { &mut group.2 };
            side.push(timed.row.1);
        }
    }
    for group in groups.values_mut() {
        group.1.sort_unstable();
        group.2.sort_unstable();
    }
    judged.equals(groups.into_values().collect(), trial)
}

fn at_their_times(
    environment: &Environment,
    (rows, versions): (Script<Row>, EvenScript<Row>),
) -> Collected<Came> {
    let rows = environment.source(rows).key_by(key);
    let versions = environment.source(versions).key_by(key);
    let joined = rows.temporal_join(versions).late_rows(&LEFT);
    let joined = joined.deleted_when(|version| version.1 % 5 == 0);
    let joined = joined
        .apply_outer(|row: &Row, version: Option<&Row>| pair(row.1, version.map(|row| row.1)));
    let late = joined.side_output(&LEFT).map(late_left);
    joined.union(late).collect()
}

/// The rows are uneven; the versions come in time, so that every row has the one of its time.
fn temporal_join(trial: &mut Trial) -> Result<usize, String> {
    let mut dice = trial.dice.clone();
    let mut input = Input::draw(&mut dice);
    let mut times = BTreeSet::new();
    let once = |version: &Timed| times.insert((version.row.0, version.at));
    input.right.retain(once);
    let rows = Script::draw(&mut dice, &timed(&input.left));
    let disorder = dice.pick(&[0, 10, 300]);
    let splits = 1 + dice.below(4) as u32;
    let versions = EvenScript::draw(&mut dice, &timed(&input.right), splits, disorder);
    let late = rows.may_be_late(versions.highest(), |at| at);
    let may_be = (numbers(late), Numbers::new());
    let came = trial.run(|environment| at_their_times(environment, (rows, versions)))?;
    let judged = judge(came, &input, may_be)?;
    let version = |row: &Timed| version_of(row, &judged.right).map(|version| version.row.1);
    let expected = judged.left.iter().map(|row| pair(row.row.1, version(row)));
    judged.equals(expected.collect(), trial)
}

both!(interval_join: interval_joins_of_uneven_streams_equal_the_model_in_simulation, interval_joins_of_uneven_streams_equal_the_model_on_shards);
both!(window_join: window_joins_of_uneven_streams_equal_the_model_in_simulation, window_joins_of_uneven_streams_equal_the_model_on_shards);
both!(temporal_join: temporal_joins_of_uneven_streams_equal_the_model_in_simulation, temporal_joins_of_uneven_streams_equal_the_model_on_shards);
