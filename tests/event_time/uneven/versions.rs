//! Temporal joins whose versions are uneven too: late, out of order, silent for a while.
//!
//! What is sure: the versions that no promise stands before have come when a row of their time or later is
//! joined. So the version of a row is the newest of them, or a newer one that may have been late; never an
//! older one, and none that was deleted.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_connectors::{Collected, Collects};
use thalweg_dataflow::OutputTag;
use thalweg_dataflow::stream::Environment;

use super::run;
use super::script::Script;
use crate::event_time::joins::{Input, Row, Timed, key, on_disk};
use crate::event_time::trial::{self, Memory, Trial};

/// What it is, and the numbers of the row and of its version, where there are.
type Came = (u8, Option<u64>, Option<u64>);

const JOINED: u8 = 0;
const LATE_ROW: u8 = 1;
const LATE_VERSION: u8 = 2;

const ROWS: OutputTag<Row> = OutputTag::new("late rows");
const VERSIONS: OutputTag<Row> = OutputTag::new("late versions");

/// Whether a version says that there is none from its time on.
fn is_deletion(version: &Row) -> bool {
    version.1.is_multiple_of(5)
}

fn at_their_times(
    environment: &Environment,
    (rows, versions): (Script<Row>, Script<Row>),
) -> Collected<Came> {
    let rows = environment.source(rows).key_by(key);
    let versions = environment.source(versions).key_by(key);
    let joined = rows.temporal_join(versions).deleted_when(is_deletion);
    let joined = joined.late_rows(&ROWS).late_versions(&VERSIONS);
    let joined = joined.apply_outer(|row: &Row, version: Option<&Row>| {
        (JOINED, Some(row.1), version.map(|version| version.1))
    });
    let rows = joined.side_output(&ROWS);
    let rows = rows.map(|row: Row| (LATE_ROW, Some(row.1), None));
    let versions = joined.side_output(&VERSIONS);
    let versions = versions.map(|version: Row| (LATE_VERSION, None, Some(version.1)));
    joined.union(rows).boxed().union(versions).collect()
}

/// The versions of a row that a join may have found, by number; none for that there is none.
fn candidates(
    row: &Timed,
    versions: &[&Timed],
    may_be_late: &BTreeSet<u64>,
) -> BTreeSet<Option<u64>> {
    let of_row = |version: &&&Timed| version.row.0 == row.row.0 && version.at <= row.at;
    let mut valid: Vec<&&Timed> = versions.iter().filter(of_row).collect();
    valid.sort_by_key(|version| std::cmp::Reverse(version.at));
    let mut candidates = BTreeSet::new();
    for version in valid {
        candidates.insert((!is_deletion(&version.row)).then_some(version.row.1));
        if !may_be_late.contains(&version.row.1) {
            return candidates;
        }
    }
    candidates.insert(None);
    candidates
}

fn temporal_join(trial: &mut Trial) -> Result<usize, String> {
    let (late, _) = temporal_join_in(Memory::Enough, trial)?;
    Ok(late)
}

/// Answers how many were late, and whether memory was too little to do without a disk.
fn temporal_join_in(memory: Memory, trial: &Trial) -> Result<(usize, bool), String> {
    let mut dice = trial.dice.clone();
    let mut input = Input::draw_in(memory, &mut dice);
    let mut times = BTreeSet::new();
    let once = |version: &Timed| times.insert((version.row.0, version.at));
    input.right.retain(once);
    let mut script = |rows: &[Timed]| {
        let rows: Vec<_> = rows
            .iter()
            .map(|timed| (timed.row.clone(), timed.at))
            .collect();
        Script::draw(&mut dice, &rows)
    };
    let (rows, versions) = (script(&input.left), script(&input.right));
    let late_rows = rows.may_be_late(versions.highest(), |at| at);
    let late_rows: BTreeSet<u64> = late_rows.map(|row| row.1).collect();
    let late = |promised_by: &dyn Fn(i64) -> i64| {
        let late = versions.may_be_late(rows.highest(), promised_by);
        late.map(|row| row.1).collect::<BTreeSet<u64>>()
    };
    // One of the watermark's own time is of use to all rows that come in time.
    let (behind, too_late) = (late(&|at| at), late(&|at| at + 1));
    let (came, larger) = trial.run_in(memory, |environment| {
        at_their_times(environment, (rows.clone(), versions.clone()))
    })?;
    let of = |kind: u8| came.iter().filter(move |one| one.0 == kind);
    let unused: BTreeSet<u64> = of(LATE_VERSION).filter_map(|one| one.2).collect();
    if unused.len() < of(LATE_VERSION).count() || !unused.is_subset(&too_late) {
        return Err(format!(
            "late versions {unused:?}, there may be {too_late:?}"
        ));
    }
    let used: Vec<&Timed> = input
        .right
        .iter()
        .filter(|version| !unused.contains(&version.row.1))
        .collect();
    let mut answers = BTreeMap::new();
    for (kind, row, version) in came.iter().filter(|one| one.0 != LATE_VERSION) {
        let answer = (*kind, *version);
        if let Some(twice) = answers.insert(row.unwrap_or(u64::MAX), answer) {
            return Err(format!("the row {row:?} came twice: {answer:?}, {twice:?}"));
        }
    }
    for row in &input.left {
        let fits = match answers.remove(&row.row.1) {
            Some((LATE_ROW, _)) => late_rows.contains(&row.row.1),
            Some((_, version)) => candidates(row, &used, &behind).contains(&version),
            None => false,
        };
        if !fits {
            let kind = came.iter().find(|one| one.1 == Some(row.row.1));
            let candidates = candidates(row, &used, &behind);
            return Err(format!("{row:?}: {kind:?} came, not one of {candidates:?}"));
        }
    }
    match answers.is_empty() {
        true => Ok((unused.len() + of(LATE_ROW).count(), larger)),
        false => Err(format!("rows came that are none: {answers:?}")),
    }
}

both!(temporal_join: temporal_joins_of_uneven_versions_are_consistent_in_simulation, temporal_joins_of_uneven_versions_are_consistent_on_shards);

#[test]
fn temporal_joins_of_uneven_versions_on_disk_are_consistent() {
    let test = "temporal_joins_of_uneven_versions_on_disk_are_consistent";
    on_disk::all(test, |trial| {
        let (_, larger) = temporal_join_in(Memory::Little, trial)?;
        Ok(larger)
    });
}
