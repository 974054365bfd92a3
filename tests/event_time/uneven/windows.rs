//! Joins of uneven streams in windows that overlap, cumulate or merge: a record may come in time for some
//! of its windows only.
//!
//! What is sure: a record that no promise stands before is in all its windows; one that comes out as late
//! may have been late and is in none; any other is in the last of its windows and in those, from some
//! window on, that end after the watermark it met.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_connectors::{Collected, Collects};
use thalweg_dataflow::operator::Either;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::window::assigner::{
    CumulateWindows, SessionWindows, SlidingWindows, WindowAssigner,
};
use thalweg_dataflow::{Collector, OpenContext, OutputTag, ProcessContext};

use super::run;
use super::script::Script;
use crate::event_time::joins::{Input, Row, Timed, key};
use crate::event_time::trial::{self, Trial};
use crate::event_time::windows::drawn::ms;

/// Whether it is a group, the numbers of its rows, left and right, and its time.
type Came = (bool, Vec<u64>, Vec<u64>, i64);

const LATE: OutputTag<Either<Row, Row>> = OutputTag::new("late");

/// One row, whichever side it is of: sides are joined, so their rows differ by number and side only.
type Id = (bool, u64);

/// All rows, what may have been late of them, and for the last of its windows.
struct Known {
    rows: BTreeMap<Id, (u64, i64)>,
    behind: BTreeSet<Id>,
    too_late: BTreeSet<Id>,
}

impl Known {
    /// `last` is the last time of the last window of a time.
    fn of(
        input: &Input,
        (left, right): (&Script<Row>, &Script<Row>),
        last: impl Fn(i64) -> i64 + Copy,
    ) -> Self {
        let ids = |rows: &[Timed], is_left| {
            let rows = rows.iter();
            let row = move |row: &Timed| ((is_left, row.row.1), (row.row.0, row.at));
            rows.map(row).collect::<Vec<_>>()
        };
        let late = |promised_by: &dyn Fn(i64) -> i64| {
            let of_left = left.may_be_late(right.highest(), promised_by);
            let of_right = right.may_be_late(left.highest(), promised_by);
            let of_left = of_left.map(|row| (true, row.1));
            of_left.chain(of_right.map(|row| (false, row.1))).collect()
        };
        Self {
            rows: [ids(&input.left, true), ids(&input.right, false)]
                .concat()
                .into_iter()
                .collect(),
            behind: late(&|at| at),
            too_late: late(&last),
        }
    }
}

/// The groups by key and last time, and the rows that came out as late.
struct Judged {
    groups: BTreeMap<(u64, i64), BTreeSet<Id>>,
    late: BTreeSet<Id>,
}

/// Takes apart what came: every row of a group has its key and is in it once, and what is late may be.
fn judge(came: Vec<Came>, known: &Known) -> Result<Judged, String> {
    let (mut groups, mut late) = (BTreeMap::new(), BTreeSet::new());
    for (is_group, left, right, at) in came {
        let left = left.into_iter().map(|number| (true, number));
        let rows: Vec<Id> = left
            .chain(right.into_iter().map(|number| (false, number)))
            .collect();
        let all: BTreeSet<Id> = rows.iter().copied().collect();
        let of_key = known.rows[&rows[0]].0;
        if !is_group {
            late.extend(all);
        } else if all.len() < rows.len() || all.iter().any(|id| known.rows[id].0 != of_key) {
            return Err(format!(
                "a group at {at} has rows twice or of others: {rows:?}"
            ));
        } else if groups.insert((of_key, at), all).is_some() {
            return Err(format!("a group of key {of_key} came twice at {at}"));
        }
    }
    match late.difference(&known.too_late).next() {
        Some(wrong) => Err(format!("the row {wrong:?} was not late")),
        None => Ok(Judged { groups, late }),
    }
}

impl Judged {
    /// Windows at fixed places: `ends` are the last times of the windows of a time, in order. Answers how
    /// many rows were late for some window.
    fn fixed(&self, known: &Known, ends: impl Fn(i64) -> Vec<i64>) -> Result<usize, String> {
        let mut places = 0;
        let mut cut_off = 0;
        for (id, (key, at)) in &known.rows {
            let ends = ends(*at);
            let is_in = |end: &i64| {
                let group = self.groups.get(&(*key, *end));
                group.is_some_and(|group| group.contains(id))
            };
            let first = ends.iter().position(is_in).unwrap_or(ends.len());
            places += ends.len() - first;
            let in_place = match (self.late.contains(id), known.behind.contains(id)) {
                (true, _) => first == ends.len(),
                (false, true) => first < ends.len(),
                (false, false) => first == 0,
            };
            if !in_place || !ends[first..].iter().all(is_in) {
                let windows: Vec<_> = ends.iter().filter(|end| is_in(end)).collect();
                return Err(format!(
                    "the row {id:?} of time {at} is in the windows that end at {windows:?} of {ends:?}"
                ));
            }
            cut_off += usize::from(first > 0);
        }
        let held: usize = self.groups.values().map(BTreeSet::len).sum();
        match held == places {
            true => Ok(cut_off),
            false => Err(format!("the groups hold {held} rows, not {places}")),
        }
    }

    /// Sessions. Answers how many rows were late.
    fn sessions(&self, known: &Known, gap: i64) -> Result<usize, String> {
        let mut place = BTreeMap::new();
        for ((key, end), rows) in &self.groups {
            let mut times: Vec<i64> = rows.iter().map(|id| known.rows[id].1).collect();
            times.sort_unstable();
            let apart = times.windows(2).any(|two| two[1] - two[0] > gap);
            if apart || times.last().map(|last| last + gap - 1) != Some(*end) {
                return Err(format!(
                    "a session of key {key} that ends at {end}: {times:?}"
                ));
            }
            for id in rows {
                if place.insert(*id, *end).is_some() {
                    return Err(format!("the row {id:?} is in two sessions"));
                }
            }
        }
        let mut by_key = BTreeMap::<u64, Vec<(i64, Id)>>::new();
        for (id, (key, at)) in &known.rows {
            if self.late.contains(id) == place.contains_key(id) {
                return Err(format!("the row {id:?} is late and not, or neither"));
            }
            if !known.behind.contains(id) {
                by_key.entry(*key).or_default().push((*at, *id));
            }
        }
        for rows in by_key.values_mut() {
            rows.sort_unstable();
            let near = |two: &&[(i64, Id)]| two[1].0 - two[0].0 <= gap;
            for two in rows.windows(2).filter(near) {
                if place[&two[0].1] != place[&two[1].1] {
                    return Err(format!("{two:?} are in different sessions"));
                }
            }
        }
        Ok(self.late.len())
    }
}

fn in_windows<W: WindowAssigner<Either<Row, Row>>>(
    environment: &Environment,
    (left, right): (Script<Row>, Script<Row>),
    windows: W,
) -> Collected<Came> {
    let left = environment.source(left).key_by(key);
    let right = environment.source(right).key_by(key);
    let groups = left.join(right).window(windows).late_output(&LATE);
    let groups = groups.co_group(
        |left: &[&Row], right: &[&Row], out: &mut Collector<'_, (Vec<u64>, Vec<u64>)>| {
            let numbers = |rows: &[&Row]| rows.iter().map(|row| row.1).collect::<Vec<_>>();
            out.emit((numbers(left), numbers(right)));
        },
    );
    let late = groups.side_output(&LATE);
    let late = late.map(|late: Either<Row, Row>| match late {
        Either::Left(row) => (false, vec![row.1], Vec::new(), 0),
        Either::Right(row) => (false, Vec::new(), vec![row.1], 0),
    });
    let groups = groups.process(|_: &mut OpenContext| {
        |(left, right): (Vec<u64>, Vec<u64>),
         context: &ProcessContext,
         out: &mut Collector<'_, Came>| {
            out.emit((true, left, right, context.timestamp().0));
            Ok(())
        }
    });
    groups.union(late).collect()
}

/// What was drawn of two streams, and what came of them in these windows.
fn judged<W: WindowAssigner<Either<Row, Row>>>(
    trial: &Trial,
    (input, scripts): (&Input, (Script<Row>, Script<Row>)),
    windows: W,
    last: impl Fn(i64) -> i64 + Copy,
) -> Result<(Judged, Known), String> {
    let known = Known::of(input, (&scripts.0, &scripts.1), last);
    let came = trial.run(|environment| in_windows(environment, scripts, windows))?;
    Ok((judge(came, &known)?, known))
}

fn draw(
    trial: &Trial,
) -> (
    Input,
    (Script<Row>, Script<Row>),
    crate::random_graphs::dice::Dice,
) {
    let mut dice = trial.dice.clone();
    let mut input = Input::draw(&mut dice);
    for timed in input.left.iter_mut().chain(&mut input.right) {
        // Even, so that with an odd gap no two rows are apart by the gap itself.
        timed.at *= 2;
    }
    let mut script = |rows: &[Timed]| {
        let rows: Vec<_> = rows
            .iter()
            .map(|timed| (timed.row.clone(), timed.at))
            .collect();
        Script::draw(&mut dice, &rows)
    };
    let scripts = (script(&input.left), script(&input.right));
    (input, scripts, dice)
}

fn sliding(trial: &mut Trial) -> Result<usize, String> {
    let (input, scripts, mut dice) = draw(trial);
    let slide = dice.pick(&[3, 10, 70]);
    let size = slide * (1 + dice.below(6) as i64) + dice.pick(&[0, 1]);
    let last = move |at: i64| at.div_euclid(slide) * slide + size - 1;
    let windows = SlidingWindows::event_time(ms(size), ms(slide));
    let (judged, known) = judged(trial, (&input, scripts), windows, last)?;
    judged.fixed(&known, |at| {
        let ends = (0..).map(|before| last(at) - before * slide);
        let mut ends: Vec<i64> = ends.take_while(|end| *end >= at).collect();
        ends.reverse();
        ends
    })
}

fn cumulating(trial: &mut Trial) -> Result<usize, String> {
    let (input, scripts, mut dice) = draw(trial);
    let step = dice.pick(&[2, 9, 80]);
    let size = step * (1 + dice.below(6) as i64);
    let start = move |at: i64| at.div_euclid(size) * size;
    let last = move |at: i64| start(at) + size - 1;
    let windows = CumulateWindows::event_time(ms(size), ms(step));
    let (judged, known) = judged(trial, (&input, scripts), windows, last)?;
    judged.fixed(&known, |at| {
        let ends = (1..=size / step).map(|steps| start(at) + steps * step - 1);
        ends.filter(|end| *end >= at).collect()
    })
}

fn sessions(trial: &mut Trial) -> Result<usize, String> {
    let (input, scripts, mut dice) = draw(trial);
    let gap = dice.pick(&[1, 15, 101]);
    let windows = SessionWindows::event_time(ms(gap));
    let last = move |at: i64| at + gap - 1;
    let (judged, known) = judged(trial, (&input, scripts), windows, last)?;
    judged.sessions(&known, gap)
}

both!(sliding: uneven_joins_in_sliding_windows_are_consistent_in_simulation, uneven_joins_in_sliding_windows_are_consistent_on_shards);
both!(cumulating: uneven_joins_in_cumulating_windows_are_consistent_in_simulation, uneven_joins_in_cumulating_windows_are_consistent_on_shards);
both!(sessions: uneven_joins_in_sessions_are_consistent_in_simulation, uneven_joins_in_sessions_are_consistent_on_shards);
