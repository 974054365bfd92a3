//! `cargo run -p thalweg-tests --bin sim -- --seeds A..B`: the simulator over as many seeds as one likes.
//!
//! Prints what was done in all; a seed that fails is told with the command that runs it again, and ends the run
//! with code 1. `--threads N` runs so many seeds at a time, `--plant NAME` plants a bug, `--larger-than-memory` takes
//! the job whose state is larger than memory in every seed, `--apart` that of parts which begin again alone,
//! `--at-least-once` lets barriers pass, `--verbose` tells
//! of each seed, `--log` shows what the engine logs, `--plants` lists the bugs there are.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this is a command")]

use std::process::ExitCode;

use thalweg_tests::sim::{Plant, Total, Trial, replay, run_all};

/// What is to be done.
struct Wanted {
    seeds: std::ops::Range<u64>,
    trial: Trial,
    threads: usize,
    verbose: bool,
    log: bool,
}

const USAGE: &str = "--seeds A..B [--threads N] [--plant NAME] [--plants] [--larger-than-memory] [--apart] \
                     [--at-least-once] [--verbose] [--log]";

fn wanted(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        seeds: 0..100,
        trial: Trial::default(),
        threads: 1,
        verbose: false,
        log: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--seeds" => {
                let range = value();
                let parsed = range.split_once("..").and_then(|(from, to)| {
                    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
                    Some(from..to)
                });
                wanted.seeds = parsed.ok_or("--seeds takes A..B, seeds from A up to below B")?;
            }
            "--threads" => {
                let threads = value().parse().ok().filter(|threads| *threads > 0);
                wanted.threads = threads.ok_or("--threads takes a number from 1 up")?;
            }
            "--plant" => {
                let name = value();
                let found = Plant::named(&name);
                wanted.trial.plant =
                    Some(found.ok_or(format!("there is no bug {name}: see --plants"))?);
            }
            "--larger-than-memory" => wanted.trial.larger_than_memory = true,
            "--apart" => wanted.trial.apart = true,
            "--at-least-once" => wanted.trial.at_least_once = true,
            "--verbose" => wanted.verbose = true,
            "--log" => wanted.log = true,
            "--plants" => {
                Plant::all().iter().for_each(|plant| println!("{plant}"));
                wanted.seeds = 0..0;
            }
            other => return Err(format!("{other} is not known: {USAGE}")),
        }
    }
    Ok(wanted)
}

fn main() -> ExitCode {
    let wanted = match wanted(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(message) => {
            println!("{message}");
            return ExitCode::from(2);
        }
    };
    if wanted.log {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .without_time()
            .init();
    }
    let mut total = Total::default();
    run_all(
        wanted.trial,
        wanted.seeds,
        wanted.threads,
        |trial, result| {
            let seed = trial.seed;
            match &result {
                Ok(history) if wanted.verbose => println!("seed {seed}: {history:?}"),
                Ok(_) => {}
                Err(wrong) => println!("seed {seed}: {wrong}\nreplay: {}\n", replay(trial)),
            }
            total.add(result.as_ref().ok());
        },
    );
    println!("{total}");
    ExitCode::from(u8::from(total.failed > 0))
}
