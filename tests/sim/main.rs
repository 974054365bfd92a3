//! `cargo run -p thalweg-tests --bin sim -- --seeds A..B`: the simulator over as many seeds as one likes.
//!
//! Prints what was done in all; a seed that fails is told with the command that runs it again, and ends the run
//! with code 1. `--plant NAME` plants a bug, `--at-least-once` lets barriers pass, `--verbose` tells of each seed,
//! `--log` shows what the engine logs, `--plants` lists the bugs there are.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this is a command")]

use std::process::ExitCode;

use thalweg_tests::sim::{Plant, Trial, replay, run};

/// What is to be done.
struct Wanted {
    seeds: std::ops::Range<u64>,
    plant: Option<Plant>,
    at_least_once: bool,
    verbose: bool,
    log: bool,
}

fn wanted(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        seeds: 0..100,
        plant: None,
        at_least_once: false,
        verbose: false,
        log: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seeds" => {
                let range = arguments.next().unwrap_or_default();
                let parsed = range.split_once("..").and_then(|(from, to)| {
                    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
                    Some(from..to)
                });
                wanted.seeds = parsed.ok_or("--seeds takes A..B, seeds from A up to below B")?;
            }
            "--plant" => {
                let name = arguments.next().unwrap_or_default();
                let found = Plant::named(&name);
                wanted.plant = Some(found.ok_or(format!("there is no bug {name}: see --plants"))?);
            }
            "--at-least-once" => wanted.at_least_once = true,
            "--verbose" => wanted.verbose = true,
            "--log" => wanted.log = true,
            "--plants" => {
                Plant::all().iter().for_each(|plant| println!("{plant}"));
                wanted.seeds = 0..0;
            }
            other => {
                return Err(format!(
                    "{other} is not known: --seeds A..B [--plant NAME] [--plants] [--at-least-once] [--verbose] \
                     [--log]"
                ));
            }
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
    let (mut seeds, mut failed) = (0_u64, 0_u64);
    let (mut processes, mut kills, mut cuts, mut failures, mut rounds) = (0, 0, 0, 0, 0);
    let (mut doubled, mut virtual_ms, mut overflowed) = (0, 0, 0);
    for seed in wanted.seeds {
        let trial = Trial {
            seed,
            plant: wanted.plant,
            at_least_once: wanted.at_least_once,
        };
        seeds += 1;
        match run(trial) {
            Ok(history) => {
                if wanted.verbose {
                    println!("seed {seed}: {history:?}");
                }
                processes += u64::from(history.processes);
                kills += u64::from(history.kills);
                cuts += u64::from(history.power_cuts);
                failures += u64::from(history.failures);
                rounds += history.rounds;
                doubled += history.doubled;
                overflowed += history.overflowed;
                virtual_ms += history.virtual_ms;
            }
            Err(wrong) => {
                failed += 1;
                println!("seed {seed}: {wrong}\nreplay: {}\n", replay(trial));
            }
        }
    }
    println!(
        "{seeds} seeds, {failed} failed; {processes} processes, {kills} killed, {cuts} with the power, {failures} \
         ended by the disk, {overflowed} killed with state on disk; {rounds} rounds, {virtual_ms} ms of virtual time, {doubled} lines too many"
    );
    ExitCode::from(u8::from(failed > 0))
}
