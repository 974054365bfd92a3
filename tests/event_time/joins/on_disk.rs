//! The joins where what they keep does not fit their memory: between the records of a few keys with many come those of
//! many keys with few, some of them long, which drive one another to disk and come back again and again.
//!
//! Each case runs in the least memory in which it can. In that it fails where all has to stay in memory, mostly: so
//! state has gone to disk, and has come back.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use thalweg_connectors::Collected;
use thalweg_dataflow::stream::Environment;

use super::{Input, Pair, Row, Timed, gathered, key, pair, version_of};
use crate::event_time::trial::{Memory, Trial};
use crate::random_graphs::dice::Dice;
use crate::random_graphs::every;

/// Keys from here on are of the crowd.
const CROWD: u64 = 1 << 32;
/// So many of the crowd come behind each record of the others.
const BEHIND: u64 = 20;
const CASES: u64 = 8;

/// Puts rows of so many other keys among some rows.
pub(super) fn crowd(rows: &mut Vec<Timed>, keys: u64, dice: &mut Dice) {
    let mut next = rows.len() as u64;
    for nth in 0..rows.len() {
        let near = rows[nth].at;
        for _ in 0..BEHIND {
            let text = "x".repeat(40 + dice.below(600) as usize);
            let at = near + dice.below(21) as i64 - 10;
            let row = (CROWD + dice.below(keys), next, text);
            rows.push(Timed { row, at });
            next += 1;
        }
    }
}

/// Runs cases in little memory, each of which answers whether that was too little without a disk.
pub(crate) fn all(test: &str, compare: impl Fn(&mut Trial) -> Result<bool, String>) {
    let (ran, larger) = (Cell::new(0), Cell::new(0));
    every(CASES, test, |seed| {
        let mut trial = Trial::simulated(seed);
        trial.set("parallelism.default", 1 + seed % 3);
        let compared = compare(&mut trial);
        let compared = compared.map_err(|error| format!("{error}\n\ntrial: {trial:?}"))?;
        ran.set(ran.get() + 1);
        larger.set(larger.get() + u64::from(compared));
        Ok(())
    });
    let (ran, larger) = (ran.get(), larger.get());
    // One that is run again alone may be small.
    assert!(
        ran == 1 || 3 * larger > ran,
        "{larger} of {ran} cases were larger than their memory"
    );
}

/// The rows of each key.
fn by_key(input: &Input) -> BTreeMap<u64, (Vec<&Timed>, Vec<Timed>)> {
    let mut by_key = BTreeMap::<u64, (Vec<&Timed>, Vec<Timed>)>::new();
    for left in &input.left {
        by_key.entry(left.row.0).or_default().0.push(left);
    }
    for right in &input.right {
        let of_key = by_key.entry(right.row.0).or_default();
        of_key.1.push(right.clone());
    }
    by_key
}

/// Runs a program of two streams in little memory, and compares.
fn compare(
    (trial, input): (&Trial, &Input),
    mut expected: Vec<Pair>,
    program: impl Fn(&mut Dice, &Environment) -> Collected<Pair>,
) -> Result<bool, String> {
    let (mut pairs, larger) = trial.run_in(Memory::Little, |environment| {
        program(&mut trial.dice.clone(), environment)
    })?;
    pairs.sort_unstable();
    expected.sort_unstable();
    if pairs == expected {
        return Ok(larger);
    }
    let first = (pairs.iter().zip(&expected)).find(|(got, wanted)| got != wanted);
    Err(format!(
        "{} results of {} and {} rows, expected {}; sorted, the first that differs and what was expected: {first:?}",
        pairs.len(),
        input.left.len(),
        input.right.len(),
        expected.len()
    ))
}

fn interval_join(trial: &mut Trial) -> Result<bool, String> {
    let mut dice = trial.dice.clone();
    let input = Input::draw_in(Memory::Little, &mut dice);
    let lower = dice.below(200) as i64 - 100;
    let upper = lower + dice.pick(&[7, 90, 10_000]);
    let chained = dice.chance(50);
    let mut expected = Vec::new();
    for (lefts, rights) in by_key(&input).into_values() {
        for left in lefts {
            let near = |right: &&Timed| (lower..=upper).contains(&(right.at - left.at));
            let near = rights.iter().filter(near);
            expected.extend(near.map(|right| (Some(left.row.1), Some(right.row.1))));
        }
    }
    compare((trial, &input), expected, |dice, environment| {
        let (left, right) = input.streams(dice, environment);
        let joined = left.key_by(key).interval_join(right.key_by(key));
        gathered(joined.between(lower, upper).apply(pair), chained)
    })
}

fn temporal_join(trial: &mut Trial) -> Result<bool, String> {
    let mut dice = trial.dice.clone();
    let mut input = Input::draw_in(Memory::Little, &mut dice);
    // Which of two versions of one time comes last is nobody's promise.
    let mut times = BTreeSet::new();
    let once = |version: &Timed| times.insert((version.row.0, version.at));
    input.right.retain(once);
    let (outer, chained) = (dice.chance(50), dice.chance(50));
    let mut expected = Vec::new();
    for (rows, versions) in by_key(&input).into_values() {
        for row in rows {
            let version = version_of(row, &versions).map(|version| version.row.1);
            expected.extend((outer || version.is_some()).then_some((Some(row.row.1), version)));
        }
    }
    compare((trial, &input), expected, |dice, environment| {
        let (rows, versions) = input.streams(dice, environment);
        let joined = rows.key_by(key).temporal_join(versions.key_by(key));
        let joined = joined.deleted_when(|version| version.1.is_multiple_of(5));
        match outer {
            true => {
                let all = |row: &Row, version: Option<&Row>| (Some(row.1), version.map(|v| v.1));
                gathered(joined.apply_outer(all), chained)
            }
            false => gathered(joined.apply(pair), chained),
        }
    })
}

#[test]
fn interval_joins_on_disk_are_the_models_in_simulation() {
    let test = "interval_joins_on_disk_are_the_models_in_simulation";
    all(test, interval_join);
}

#[test]
fn temporal_joins_on_disk_are_the_models_in_simulation() {
    let test = "temporal_joins_on_disk_are_the_models_in_simulation";
    all(test, temporal_join);
}
