//! A job with every kind of state, killed with SIGKILL 60 times: no line lost, none doubled; and controls that show
//! that the oracle would have seen it.
//!
//! With the cargo feature `postgres` some of its output goes into tables too, and their server is killed as well.
//! `THALWEG_KILLS=n` kills so often, `THALWEG_SEED=s` draws otherwise.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a test may say what it saw")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
#[cfg(feature = "postgres")]
use std::time::Duration;

#[cfg(feature = "postgres")]
use thalweg_tests::oracle::lacking;
use thalweg_tests::oracle::{Report, Trial, replay, run};

/// Trials of the control within which lines must be doubled.
const CONTROLS: u64 = 6;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn judged(trial: &Trial) -> Report {
    println!("{}", replay(trial));
    match run(trial) {
        Ok(report) => {
            println!("{report}");
            report
        }
        Err(wrong) => panic!("{wrong}"),
    }
}

fn trial(kills: u64) -> Trial {
    Trial {
        program: PathBuf::from(env!("CARGO_BIN_EXE_oracle")),
        seed: number("THALWEG_SEED").unwrap_or(1),
        kills,
        at_most: None,
        rate: 2_000,
        at_least_once: false,
        power_cuts: false,
        postgres: false,
    }
}

#[test]
fn a_job_that_is_killed_again_and_again_writes_what_one_that_never_was_does() {
    let kills = number("THALWEG_KILLS").unwrap_or(60);
    let report = judged(&trial(kills));
    assert_eq!((report.lost, report.doubled), (0, 0));
    assert!(
        report.kills > kills / 2,
        "it came to its end before: {report}"
    );
    assert!(report.from_checkpoint > 0, "{report}");
    // Each fifth life is to end with a savepoint, some are killed at a moment that is waited for.
    assert!(kills < 60 || report.from_savepoint > 0, "{report}");
    assert!(kills < 60 || report.ambushes > 0, "{report}");
    assert!(kills < 60 || report.crashes() > 0, "{report}");
    assert!(report.leaked_twice > 0, "the kills miss every window");
}

#[test]
fn barriers_that_are_not_waited_for_double_lines() {
    let doubled = (1..=CONTROLS).any(|seed| {
        let control = Trial {
            seed,
            at_least_once: true,
            rate: 10_000,
            ..trial(8)
        };
        judged(&control).doubled > 0
    });
    assert!(doubled, "the kills miss every window");
}

/// The same with tables, slower; none, with words, where there is no server.
#[cfg(feature = "postgres")]
fn with_tables(kills: u64) -> Option<Trial> {
    let trial = Trial {
        postgres: true,
        rate: 1_000,
        at_most: Some(Duration::from_secs(45)),
        ..trial(kills)
    };
    let Some(lacking) = lacking(&trial) else {
        return Some(trial);
    };
    // Past the test harness, which keeps what a test prints that passes.
    writeln!(std::io::stderr(), "skipped: {lacking}").unwrap_or_default();
    None
}

#[cfg(feature = "postgres")]
#[test]
fn rows_in_postgres_are_there_once_whatever_is_killed_job_or_server() {
    let Some(trial) = with_tables(number("THALWEG_KILLS").unwrap_or(60)) else {
        return;
    };
    let report = judged(&trial);
    assert_eq!((report.lost, report.doubled), (0, 0));
    assert!(report.transactions > 0, "there are rows: {report}");
    assert!(report.kills >= 5, "it came to its end before: {report}");
    assert!(report.from_checkpoint > 0, "{report}");
    assert!(report.outages > 0, "the server was killed: {report}");
    assert!(report.leaked_twice > 0, "the kills miss every window");
}

#[cfg(feature = "postgres")]
#[test]
fn barriers_that_are_not_waited_for_double_rows_in_postgres() {
    let doubled = (2..2 + CONTROLS).any(|seed| {
        let control = with_tables(8).map(|trial| Trial {
            seed,
            at_least_once: true,
            rate: 3_000,
            ..trial
        });
        control.is_none_or(|control| judged(&control).doubled > 0)
    });
    assert!(doubled, "the kills miss every window");
}

#[test]
fn no_checkpoint_that_was_reported_is_lost_with_the_power() {
    let cuts = number("THALWEG_POWER_CUTS").unwrap_or(12);
    let seed = number("THALWEG_SEED").unwrap_or(1);
    // In a mount namespace of its own, which a process gets when it starts.
    let output = Command::new(env!("CARGO_BIN_EXE_oracle"))
        .args(["--power-cuts", "--kills", &cuts.to_string()])
        .args(["--seed", &seed.to_string()])
        .output();
    let output = output.unwrap_or_else(|error| panic!("{error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    match output.status.code() {
        Some(0) => assert!(said.contains(&format!("{cuts} killed")), "{said}"),
        Some(4) => {
            assert!(said.starts_with("SKIPPED"), "{said}");
            // Past the test harness, which keeps what a test prints that passes.
            write!(std::io::stderr(), "{said}").unwrap_or_default();
        }
        _ => panic!("{said}{}", String::from_utf8_lossy(&output.stderr)),
    }
}
