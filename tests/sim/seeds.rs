//! The simulator's seeds: no line lost, none doubled, and every planted bug found.
//!
//! `THALWEG_SEEDS=n` runs so many; `THALWEG_FULL=1` runs 120.
#![forbid(unsafe_code)]

use thalweg_tests::sim::{History, Plant, Trial, replay, run};

/// Seeds within which a planted bug must be found.
const FOUND_WITHIN: u64 = 2_000;

fn seeds() -> u64 {
    let said = std::env::var("THALWEG_SEEDS").ok();
    let full = std::env::var("THALWEG_FULL").is_ok_and(|full| full == "1");
    match said.and_then(|said| said.parse().ok()) {
        Some(seeds) => seeds,
        None if full => 120,
        None => 60,
    }
}

#[test]
fn what_is_visible_in_the_end_is_what_an_undisturbed_job_writes() {
    let mut histories = Vec::new();
    for seed in 0..seeds() {
        let trial = Trial {
            seed,
            ..Trial::default()
        };
        match run(trial) {
            Ok(history) => histories.push(history),
            Err(wrong) => panic!("seed {seed}: {wrong}\n\nreplay: {}", replay(trial)),
        }
    }
    let sum = |of: fn(&History) -> u64| histories.iter().map(of).sum::<u64>();
    let kills = sum(|history| u64::from(history.kills));
    let cuts = sum(|history| u64::from(history.power_cuts));
    assert!(
        kills > histories.len() as u64,
        "the knobs kill too seldom: {kills}"
    );
    assert!(cuts > 0, "power was never lost");
    let overflowed = sum(|history| u64::from(history.overflowed));
    assert!(overflowed > 0, "no state was larger than its memory");
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
fn barriers_that_are_not_waited_for_double_lines_and_lose_none() {
    let mut doubled = 0;
    for seed in 0..seeds().min(60) {
        let trial = Trial {
            seed,
            at_least_once: true,
            ..Trial::default()
        };
        match run(trial) {
            Ok(history) => doubled += history.doubled,
            Err(wrong) => panic!("seed {seed}: {wrong}\n\nreplay: {}", replay(trial)),
        }
    }
    assert!(doubled > 0, "the kills miss every window");
}

#[test]
fn every_planted_bug_is_found() {
    for plant in Plant::all() {
        let fails = |seed: &u64| {
            let trial = Trial {
                seed: *seed,
                plant: Some(plant),
                ..Trial::default()
            };
            run(trial).is_err()
        };
        let found = (0..FOUND_WITHIN).find(fails);
        assert!(
            found.is_some(),
            "{plant} was not found within {FOUND_WITHIN} seeds"
        );
    }
}
