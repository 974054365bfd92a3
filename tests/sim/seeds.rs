//! The simulator's seeds: no line lost, none doubled, and every planted bug found.
//!
//! `THALWEG_SEEDS=n` runs so many. A build without optimisation takes ten times as long for each: it runs fewer, and
//! looks for bugs of checkpoints in one kind of job each. `.ci/run` runs all of this optimised.
#![forbid(unsafe_code)]

use std::ops::Range;

use thalweg_tests::sim::{Plant, Total, Trial, replay, run, run_all};

/// Seeds within which a planted bug must be found. The sixth draws a job that runs forty times as long as others.
const FOUND_WITHIN: Range<u64> = 7..2_007;

const OPTIMISED: bool = !cfg!(debug_assertions);

fn seeds() -> u64 {
    let said = std::env::var("THALWEG_SEEDS").ok();
    let few = if OPTIMISED { 300 } else { 60 };
    said.and_then(|said| said.parse().ok()).unwrap_or(few)
}

/// Runs a trial with all seeds up to this one; fails with the first that does.
fn run_up_to(seeds: u64, trial: Trial) -> Total {
    let (mut total, mut failures) = (Total::default(), Vec::new());
    run_all(trial, 0..seeds, 2, |trial, result| {
        total.add(result.as_ref().ok());
        if let Err(wrong) = result {
            failures.push(format!(
                "seed {}: {wrong}\n\nreplay: {}",
                trial.seed,
                replay(trial)
            ));
        }
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    total
}

#[test]
fn what_is_visible_in_the_end_is_what_an_undisturbed_job_writes() {
    let total = run_up_to(seeds(), Trial::default());
    let sum = &total.sum;
    assert!(
        u64::from(sum.kills) > total.seeds,
        "the knobs kill too seldom: {total}"
    );
    assert!(sum.power_cuts > 0, "power was never lost: {total}");
    assert!(sum.killed_at_start > 0, "no recovery was killed: {total}");
    assert!(
        total.spilled > 0,
        "no state was larger than its memory: {total}"
    );
    assert!(
        total.went_on > 0,
        "nothing went on from a savepoint: {total}"
    );
    assert!(total.cramped > 0, "the disk was never full: {total}");
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..6 {
        let trial = Trial {
            seed,
            ..Trial::default()
        };
        assert_eq!(run(trial), run(trial), "seed {seed}");
    }
}

#[test]
fn parts_that_begin_again_alone_lose_and_double_nothing() {
    let trial = Trial {
        apart: true,
        ..Trial::default()
    };
    let total = run_up_to(seeds().min(300), trial);
    assert!(total.sum.kills > 0, "no process was killed: {total}");
}

#[test]
fn barriers_that_are_not_waited_for_double_lines_and_lose_none() {
    let trial = Trial {
        at_least_once: true,
        ..Trial::default()
    };
    let total = run_up_to(seeds().min(60), trial);
    assert!(
        total.sum.doubled > 0,
        "the kills miss every window: {total}"
    );
}

fn are_found(plants: impl Iterator<Item = Plant>, larger_than_memory: bool) {
    for plant in plants {
        // What fails without it as well says nothing of the plant.
        let fails = |seed: &u64| {
            let sound = Trial {
                seed: *seed,
                larger_than_memory,
                ..Trial::default()
            };
            let planted = Trial {
                plant: Some(plant),
                ..sound
            };
            run(planted).is_err() && run(sound).is_ok()
        };
        let found = FOUND_WITHIN.clone().find(fails);
        assert!(
            found.is_some(),
            "{plant} was not found with seeds {FOUND_WITHIN:?}, larger than memory: {larger_than_memory}"
        );
    }
}

#[test]
fn every_planted_bug_of_a_sink_is_found() {
    let of_sinks = (Plant::all().into_iter()).filter(|plant| plant.defect().is_none());
    are_found(of_sinks, false);
}

#[test]
fn every_planted_bug_of_checkpoints_is_found() {
    let engine = (Plant::all().into_iter()).filter(|plant| plant.defect().is_some());
    are_found(engine.filter(|plant| !plant.is_of_runs()), false);
}

#[test]
fn every_planted_bug_of_checkpoints_is_found_where_state_is_larger_than_memory() {
    let engine = (Plant::all().into_iter()).filter(|plant| plant.defect().is_some());
    are_found(engine.filter(|plant| OPTIMISED || plant.is_of_runs()), true);
}
