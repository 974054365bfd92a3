//! Drawn programs against a reference over vectors.
//!
//! A seed draws a [`program`] with its input and settings; [`build`] writes it down for the engine,
//! [`reference`] works it out over vectors, [`check`] runs both and compares. `functions` are the user
//! functions both call; nothing of the engine is in the reference.
//!
//! `THALWEG_SEED=n` runs one seed only, `THALWEG_SEEDS=n` so many from 0 on.

mod build;
mod check;
pub(crate) mod dice;
mod draw;
mod functions;
mod program;
mod reference;

use thalweg_core::seam::probe::probe;
use thalweg_core::seam::seccomp::forbid_io_uring_for_tests;

use crate::stage;

use self::check::{simulate, simulate_against_another, trace, work};

/// The seeds of a run: `default` of them from 0 on, unless the caller's environment says otherwise.
fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    match number("THALWEG_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("THALWEG_SEEDS").unwrap_or(default)).collect(),
    }
}

/// Runs every seed and fails with the first that is wrong.
pub(crate) fn every(default: u64, test: &str, run: impl Fn(u64) -> Result<(), String>) {
    for seed in seeds(default) {
        if let Err(wrong) = run(seed) {
            panic!(
                "seed {seed}: {wrong}\n\nreplay: THALWEG_SEED={seed} cargo test -p thalweg-tests \
                 --test engine {test}"
            );
        }
    }
}

#[test]
fn equal_the_reference_in_simulation() {
    every(400, "equal_the_reference_in_simulation", simulate);
}

#[test]
fn equal_the_reference_on_shards() {
    let driver = match probe().io_uring {
        Ok(()) => "io_uring",
        Err(_) => "epoll",
    };
    every(200, "equal_the_reference_on_shards", |seed| {
        work(seed, "auto", driver)
    });
}

#[test]
fn equal_the_reference_on_the_epoll_driver() {
    every(16, "equal_the_reference_on_the_epoll_driver", |seed| {
        work(seed, "epoll", "epoll")
    });
}

#[test]
fn equal_the_reference_where_io_uring_is_denied() {
    // The filter holds for the thread that sets it and for the shards that it starts.
    let denied = || {
        forbid_io_uring_for_tests().unwrap();
        every(8, "equal_the_reference_where_io_uring_is_denied", |seed| {
            work(seed, "auto", "epoll")
        });
    };
    if let Err(panic) = stage::thread(denied).join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let chosen = |seed: u64| seed % 20 == 7;
    for seed in (0..240).filter(|seed| chosen(*seed)) {
        assert_eq!(trace(seed, 1), trace(seed, 1), "seed {seed}");
        assert_ne!(
            trace(seed, 1),
            trace(seed, 2),
            "seed {seed}: nothing was drawn"
        );
    }
}

#[test]
fn a_lost_record_is_found() {
    for seed in 0..40 {
        let found = simulate_against_another(seed);
        assert!(
            found.is_err(),
            "seed {seed}: a record less makes no difference"
        );
    }
}
