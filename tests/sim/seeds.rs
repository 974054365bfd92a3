//! The simulator's seeds: no line lost, none doubled, and every planted bug found.
//!
//! `THALWEG_SEEDS=n` runs so many; `THALWEG_FULL=1` runs 300.
#![forbid(unsafe_code)]

use thalweg_tests::sim::{Plant, Total, Trial, replay, run, run_all};

/// Seeds within which a planted bug must be found.
const FOUND_WITHIN: u64 = 2_000;

fn seeds() -> u64 {
    let said = std::env::var("THALWEG_SEEDS").ok();
    let full = std::env::var("THALWEG_FULL").is_ok_and(|full| full == "1");
    match said.and_then(|said| said.parse().ok()) {
        Some(seeds) => seeds,
        None if full => 300,
        None => 60,
    }
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
    let total = run_up_to(seeds(), trial);
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

#[test]
fn every_planted_bug_is_found() {
    for (plant, larger_than_memory) in Plant::where_found() {
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
        let found = (0..FOUND_WITHIN).find(fails);
        assert!(
            found.is_some(),
            "{plant} was not found within {FOUND_WITHIN} seeds, larger than memory: {larger_than_memory}"
        );
    }
}
