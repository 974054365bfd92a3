//! `cargo run -p thalweg-tests --bin oracle -- --kills N --seed S`: a job killed so often, and what of its output is
//! lost or doubled.
//!
//! `--rate R` reads so many records a second from each source, `--seconds T` kills no more after that time,
//! `--at-least-once` does not wait for barriers. `--power-cuts` takes the power with every kill, on an ext4 file system
//! in a file: that needs root. `--postgres` has some of the output go into tables of a PostgreSQL server of the trial's
//! own, which is killed too: that needs the cargo feature `postgres`. Both end with code 4 where they cannot be done. Ends with code 1 if anything is lost or
//! doubled; the directory is kept then, and named. `job …` is the job itself, and for this command to start; `apart …`
//! is this command in a mount namespace of its own.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this is a command")]

use std::process::ExitCode;
use std::time::Duration;

use thalweg_tests::oracle::{Trial, job::job, lacking, power, replay, run};

const USAGE: &str =
    "[--kills N] [--seed S] [--rate R] [--seconds T] [--at-least-once] [--power-cuts | --postgres]";
/// What this command is called with to run apart.
const APART: &str = "apart";
/// The code it ends with where what is asked for cannot be done.
const SKIPPED: u8 = 4;

fn wanted(mut arguments: impl Iterator<Item = String>) -> Result<Trial, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut trial = Trial {
        program,
        seed: thalweg_core::seam::clock::entropy() % 1_000_000,
        kills: 60,
        at_most: None,
        rate: 2_000,
        at_least_once: false,
        power_cuts: false,
        postgres: false,
    };
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let said = arguments.next().unwrap_or_default();
            said.parse()
                .map_err(|_| format!("{argument} takes a number, and not `{said}`"))
        };
        match argument.as_str() {
            "--kills" => trial.kills = number()?,
            "--seed" => trial.seed = number()?,
            "--rate" => trial.rate = number()?,
            "--seconds" => trial.at_most = Some(Duration::from_secs(number()?)),
            "--power-cuts" => trial.power_cuts = true,
            "--postgres" => trial.postgres = true,
            "--at-least-once" => trial.at_least_once = true,
            other => return Err(format!("{other} is not known: {USAGE}")),
        }
    }
    Ok(trial)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, rest)) if first == "job" => job(rest),
        Some((first, rest)) if first == APART => try_it(rest, true),
        _ => try_it(&arguments, false),
    }
}

/// Does what is asked for, in a mount namespace of its own where it mounts something.
fn try_it(arguments: &[String], apart: bool) -> ExitCode {
    let trial = match wanted(arguments.iter().cloned()) {
        Ok(trial) => trial,
        Err(message) => {
            println!("{message}");
            return ExitCode::from(2);
        }
    };
    if let Some(lacking) = lacking(&trial) {
        println!("SKIPPED: this cannot be tried here: {lacking}");
        return ExitCode::from(SKIPPED);
    }
    if trial.power_cuts && !apart {
        return in_a_namespace(arguments);
    }
    println!("{}", replay(&trial));
    match run(&trial) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            println!("{wrong}");
            ExitCode::FAILURE
        }
    }
}

fn in_a_namespace(arguments: &[String]) -> ExitCode {
    let inner = [&[APART.to_owned()], arguments].concat();
    match power::apart(&inner).map(|status| status.code()) {
        Ok(Some(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(None) => ExitCode::FAILURE,
        Err(wrong) => {
            println!("{wrong}");
            ExitCode::FAILURE
        }
    }
}
