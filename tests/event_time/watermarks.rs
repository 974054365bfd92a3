//! Watermarks of several splits, idle ones among them: never too early, and not held for ever.
//!
//! The bounds are worked out by the source from the records and the clock (see `split_script`); a
//! function right behind it, or behind an exchange, compares them with the watermark it sees.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use thalweg_connectors::{Generator, Sinks};
use thalweg_core::event_time::Timestamp;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::time::WatermarkStrategy;
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};

use super::split_script::{Bounded, Rules, SplitScript, Step};
use super::trial::{self, Trial};
use crate::random_graphs::dice::Dice;
use crate::stage;

const INTERVAL_US: u64 = 500;
const TIMEOUT_US: u64 = 8_000;
/// Long enough for an interval to end and an idle split to be found, shorter than the timeout.
const SETTLED_US: u64 = TIMEOUT_US / 2;

/// What is wrong with the watermark when this record comes.
fn judged((at, least, most): Bounded, watermark: i64) -> Result<(), String> {
    if watermark > most {
        return Err(format!(
            "record {at}: watermark {watermark} promises more than {most}"
        ));
    }
    if watermark < least {
        return Err(format!(
            "record {at}: watermark {watermark} is held below {least}"
        ));
    }
    Ok(())
}

fn steps(dice: &mut Dice, splits: u64) -> Vec<Step> {
    let disorder = dice.pick(&[1, 20]);
    let mut reached: Vec<i64> = (0..splits).map(|_| dice.below(100) as i64).collect();
    let mut steps = Vec::new();
    for _ in 0..2 + dice.below(20) {
        // Some splits speak in this phase, the others are silent.
        let speaking: Vec<u64> = (0..splits).filter(|_| dice.chance(50)).collect();
        for _ in 0..dice.below(60) {
            let Some(split) = speaking.get(dice.below(splits) as usize) else {
                continue;
            };
            let reached = &mut reached[*split as usize];
            *reached += dice.below(10) as i64;
            let at = *reached - dice.below(disorder) as i64;
            steps.push(Step::Record(*split, at));
        }
        if dice.chance(5) {
            steps.push(Step::End(dice.below(splits)));
        }
        let pause = dice.pick(&[0, 100, SETTLED_US, SETTLED_US, 3 * TIMEOUT_US]);
        if pause > 0 {
            steps.push(Step::Pause(pause));
        }
    }
    steps
}

struct Drawn {
    script: SplitScript,
    strategy: WatermarkStrategy<Bounded>,
}

/// `forgets` draws a strategy without the idle timeout that its rules ask for.
fn draw(dice: &mut Dice, forgets: bool) -> Drawn {
    let splits = dice.pick(&[1, 2, 3, 10]);
    let timeout = Duration::from_micros(TIMEOUT_US);
    let idle_after = (forgets || dice.chance(70)).then_some(timeout);
    let behind = dice.pick(&[0, 20]);
    let script = SplitScript {
        steps: steps(dice, splits).into(),
        splits,
        rules: Rules {
            behind: behind + 1,
            idle_after,
            settled: Duration::from_micros(SETTLED_US),
        },
    };
    let behind = Duration::from_millis(behind as u64);
    let mut strategy = WatermarkStrategy::<Bounded>::for_bounded_out_of_orderness(behind)
        .with_interval(Duration::from_micros(INTERVAL_US));
    if let Some(timeout) = idle_after.filter(|_| !forgets) {
        strategy = strategy.with_idleness(timeout);
    }
    Drawn { script, strategy }
}

fn check(drawn: Drawn, trial: &Trial, exchanged: bool) -> Result<(), String> {
    let records = drawn.script.steps.clone();
    let ran = trial.run(|environment: &Environment| {
        let stream = environment
            .source_with(drawn.script, drawn.strategy)
            .boxed();
        let stream = match exchanged {
            true => stream.rebalance().parallelism(1).boxed(),
            false => stream,
        };
        let judge = |_: &mut OpenContext| {
            |record: Bounded, context: &ProcessContext, _: &mut Collector<'_, u64>| {
                judged(record, context.watermark().0).map_err(FunctionError::new)
            }
        };
        thalweg_connectors::Collects::collect(stream.process(judge))
    });
    ran.map(|_: Vec<u64>| ())
        .map_err(|error| format!("{error}\n\nsteps: {:?}", &records[..records.len().min(400)]))
}

fn keep_the_bounds(trial: &mut Trial) -> Result<(), String> {
    trial.batch = false;
    let drawn = draw(&mut trial.dice, false);
    let exchanged = trial.dice.chance(30);
    check(drawn, trial, exchanged)
}

#[test]
fn watermarks_of_splits_keep_their_bounds_in_simulation() {
    let test = "watermarks_of_splits_keep_their_bounds_in_simulation";
    trial::simulate(300, test, keep_the_bounds);
}

/// An idle split that holds the minimum is found.
#[test]
fn a_silent_split_that_holds_the_watermark_is_found() {
    let found = Cell::new(0);
    trial::simulate(
        60,
        "a_silent_split_that_holds_the_watermark_is_found",
        |trial| {
            trial.batch = false;
            let drawn = draw(&mut trial.dice, true);
            let wrong = check(drawn, trial, false).is_err();
            found.set(found.get() + usize::from(wrong));
            Ok(())
        },
    );
    let found = found.get();
    let all = std::env::var("THALWEG_SEED").is_err();
    assert!(!all || found >= 10, "{found} of 60");
}

/// A thousand splits, one of which speaks: the watermark follows it, and it costs little.
#[test]
fn one_of_a_thousand_splits_speaks() {
    let mut steps = Vec::new();
    for round in 0..200_i64 {
        let records = 0..100_i64;
        steps.extend(records.map(|record| Step::Record(7, round * 100 + record)));
        steps.push(Step::Pause(SETTLED_US));
    }
    let timeout = Duration::from_micros(TIMEOUT_US);
    let script = SplitScript {
        steps: steps.into(),
        splits: 1_000,
        rules: Rules {
            behind: 1,
            idle_after: Some(timeout),
            settled: Duration::from_micros(SETTLED_US),
        },
    };
    let strategy = WatermarkStrategy::<Bounded>::for_monotonous_timestamps()
        .with_interval(Duration::from_micros(INTERVAL_US))
        .with_idleness(timeout);
    trial::simulate(1, "one_of_a_thousand_splits_speaks", |trial| {
        trial.batch = false;
        let (script, strategy) = (script.clone(), strategy.clone());
        check(Drawn { script, strategy }, trial, false)
    });
}

/// Records of the slow source.
const SLOW: u64 = 5_000;

/// Two sources, a fast one and one that has a record per millisecond: answers how far the fast one was
/// ahead at most.
fn drift(aligned: bool) -> i64 {
    let settings = [("parallelism.default", "1"), ("thalweg.shard.count", "2")];
    let options = SimOptions {
        turn_budget_ns: 1_000,
        ..SimOptions::default()
    };
    let (environment, _) = stage::simulation(1, options, &settings);
    let slow = Arc::new(AtomicI64::new(0));
    let ahead = Arc::new(AtomicI64::new(0));
    let strategy = || {
        let strategy = WatermarkStrategy::<u64>::for_monotonous_timestamps()
            .with_timestamp_assigner(|number, _| Timestamp(*number as i64));
        match aligned {
            true => strategy
                .with_alignment("pair", Duration::from_millis(500))
                .with_alignment_interval(Duration::from_millis(1)),
            false => strategy,
        }
    };
    let paced = Generator::new(SLOW, |number| number).rate(1_000.0);
    let reached = Arc::clone(&slow);
    environment
        .source_with(paced, strategy())
        .for_each(move |number: u64| reached.store(number as i64, Ordering::Relaxed));
    let (reached, most) = (slow, Arc::clone(&ahead));
    environment
        .source_with(Generator::new(20_000, |number| number), strategy())
        .for_each(move |number: u64| {
            // Behind the end of the slow one nobody holds the other.
            let reached = reached.load(Ordering::Relaxed);
            if reached < SLOW as i64 - 1 {
                most.fetch_max(number as i64 - reached, Ordering::Relaxed);
            }
        });
    environment.execute("drift").unwrap();
    ahead.load(Ordering::Relaxed)
}

#[test]
fn aligned_sources_do_not_run_apart() {
    let free = drift(false);
    assert!(free > 15_000, "without alignment it is {free} ahead");
    // What is read in one turn, some polls of 1,024 records, comes on top of the drift that is allowed.
    let aligned = drift(true);
    assert!((1..=500 + 4 * 1_024).contains(&aligned), "{aligned} ahead");
}
