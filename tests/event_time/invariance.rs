//! The same records in another order, cut otherwise, over more splits and subtasks: the same results.
//!
//! What a program gives of its records in the order of their times, from one split and at parallelism 1,
//! it must give of them shuffled as far as its watermarks allow, at every parallelism up to 8, with
//! segments, credits and turns drawn anew each time. Whether that is right, the models say.

use std::fmt::Debug;

use thalweg_connectors::{Collected, Collects};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::window::assigner::SessionWindows;

use super::joins::{Pair, gathered, key, pair};
use super::on_time::on_time;
use super::script::Script;
use super::timers::{Ask, Later, REGISTER};
use super::trial::{self, Trial};
use super::windows::aligned::{self, Way};
use super::windows::drawn::{Rec, ms};
use super::windows::model::{Case, Firing, Function, Kind, Row};
use super::windows::whole;
use crate::random_graphs::dice::Dice;

/// The most subtasks.
const WIDEST: u32 = 8;
/// Records of an input, about.
const RECORDS: u64 = 300;

/// How records are dealt out.
#[derive(Debug)]
struct Dealer {
    dice: Dice,
    splits: u32,
    disorder: u64,
}

impl Dealer {
    /// In the order of their times.
    fn in_order(dice: Dice) -> Self {
        Self {
            dice,
            splits: 1,
            disorder: 0,
        }
    }

    fn draw(mut dice: Dice) -> Self {
        let splits = 1 + dice.below(6) as u32;
        let disorder = dice.pick(&[0, 10, 300]);
        Self {
            dice,
            splits,
            disorder,
        }
    }

    fn deal<T: Clone>(&mut self, records: &[(T, i64)]) -> Script<T> {
        Script::draw(&mut self.dice, records, self.splits, self.disorder)
    }

    /// Whether what comes last is in one chain with its operator.
    fn chained(&mut self) -> bool {
        self.dice.chance(50)
    }
}

/// Runs a program in order, and then at each parallelism in another order; the results must be the same.
fn however_they_come<T: Ord + Debug + Clone>(
    trial: &Trial,
    build: impl Fn(&Environment, &mut Dealer) -> Collected<T>,
) -> Result<(), String> {
    let first = trial.again(trial.seed, 1);
    let mut dealer = Dealer::in_order(first.dice.clone());
    let results = first.run(|environment| build(environment, &mut dealer))?;
    if results.is_empty() {
        return Err(format!(
            "no results: nothing is compared\n\ntrial: {first:?}"
        ));
    }
    for parallelism in 1..=WIDEST {
        let seed = (trial.seed + 1) * 1_000 + u64::from(parallelism);
        let next = trial.again(seed, parallelism);
        let mut dealer = Dealer::draw(next.dice.clone());
        let (splits, disorder) = (dealer.splits, dealer.disorder);
        let compared = next.compare(results.clone(), |environment| {
            build(environment, &mut dealer)
        });
        compared.map_err(|difference| {
            format!("{difference}\n\nfrom {splits} splits in disorder of {disorder} ms")
        })?;
    }
    Ok(())
}

/// Records of some keys, whose times are even.
fn records(dice: &mut Dice) -> Vec<(Rec, i64)> {
    let keys = dice.pick(&[1, 3, 40]);
    let span = dice.pick(&[100, 1_000]);
    let count = RECORDS / 2 + dice.below(RECORDS);
    let record = |number| {
        let at = 2 * (dice.below(span) as i64 - span as i64 / 3);
        ((dice.below(keys), number), at)
    };
    (0..count).map(record).collect()
}

fn aligned(trial: &Trial, kind: impl Fn(&mut Dice) -> Kind) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let case = Case {
        kind: kind(&mut dice),
        firing: Firing::End,
        discarding: false,
        lateness: 0,
        eviction: None,
        function: Function::Totals,
        events: Vec::new(),
    };
    let records = records(&mut dice);
    let run = |environment: &Environment, dealer: &mut Dealer| -> Collected<Row> {
        let way = Way {
            local: dealer.dice.chance(50),
            late_output: false,
            called: false,
        };
        let (script, chained) = (dealer.deal(&records), dealer.chained());
        aligned::program(&case, script, way, environment, Some(chained))
    };
    however_they_come(trial, run).map_err(|error| format!("{error}\n\ncase: {case:?}"))
}

fn tumbling(trial: &mut Trial) -> Result<(), String> {
    aligned(trial, |dice| Kind::Tumbling {
        size: 1 + dice.below(60) as i64,
        offset: dice.below(50) as i64 - 25,
    })
}

fn sliding(trial: &mut Trial) -> Result<(), String> {
    aligned(trial, |dice| Kind::Sliding {
        size: 1 + dice.below(90) as i64,
        slide: 1 + dice.below(40) as i64,
        offset: dice.below(50) as i64 - 25,
    })
}

fn cumulate(trial: &mut Trial) -> Result<(), String> {
    aligned(trial, |dice| {
        let step = 1 + dice.below(20) as i64;
        Kind::Cumulate {
            size: step * (1 + dice.below(5) as i64),
            step,
            offset: dice.below(50) as i64 - 25,
        }
    })
}

/// The gap is odd and times are even: whether two records that are apart by the gap itself are of one
/// session depends on which comes first.
fn sessions(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let gap = dice.pick(&[1, 7, 31]);
    let records = records(&mut dice);
    however_they_come(trial, |environment, dealer| {
        let keyed = environment
            .source(dealer.deal(&records))
            .key_by(|record: &Rec| record.0);
        let sessions = keyed.window(SessionWindows::event_time(ms(gap)));
        gathered(sessions.process(whole), dealer.chained())
    })
}

fn interval_join(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let lower = dice.below(60) as i64 - 30;
    let upper = lower + dice.pick(&[0, 2, 20, 90]);
    let mut side = || -> Vec<_> {
        let rows = records(&mut dice).into_iter();
        rows.map(|((key, number), at)| ((key, number, "x".repeat(number as usize % 9)), at))
            .collect()
    };
    let (left, mut right) = (side(), side());
    // One pair there is always.
    let (row, at) = left[0].clone();
    right.push(((row.0, u64::MAX, row.2), at + lower));
    however_they_come(trial, |environment, dealer| -> Collected<Pair> {
        let left = environment.source(dealer.deal(&left)).key_by(key);
        let right = environment.source(dealer.deal(&right)).key_by(key);
        let joined = left.interval_join(right).between(lower, upper);
        gathered(joined.apply(pair), dealer.chained())
    })
}

fn timers(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let asks = records(&mut dice).into_iter().map(|((key, _), at)| {
        let ask: Ask = (key, REGISTER, at + dice.below(50) as i64);
        (ask, at)
    });
    let asks: Vec<_> = asks.collect();
    however_they_come(trial, |environment, dealer| {
        let asks = environment.source(dealer.deal(&asks));
        let keyed = asks.key_by(|ask: &Ask| ask.0);
        on_time(keyed.process_function(|_| Later)).collect()
    })
}

/// The tests of a program.
macro_rules! both {
    ($program:ident: $simulated:ident, $on_shards:ident) => {
        #[test]
        fn $simulated() {
            trial::simulate(25, stringify!($simulated), $program);
        }

        #[test]
        fn $on_shards() {
            trial::on_shards(2, stringify!($on_shards), $program);
        }
    };
}

both!(tumbling: tumbling_windows_are_the_same_in_simulation, tumbling_windows_are_the_same_on_shards);
both!(sliding: sliding_windows_are_the_same_in_simulation, sliding_windows_are_the_same_on_shards);
both!(cumulate: cumulating_windows_are_the_same_in_simulation, cumulating_windows_are_the_same_on_shards);
both!(sessions: sessions_are_the_same_in_simulation, sessions_are_the_same_on_shards);
both!(interval_join: interval_joins_are_the_same_in_simulation, interval_joins_are_the_same_on_shards);
both!(timers: timers_are_the_same_in_simulation, timers_are_the_same_on_shards);
