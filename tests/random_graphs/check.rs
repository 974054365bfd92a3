//! Runs a drawn program on the engine and compares it with the reference.

use std::collections::BTreeMap;

use thalweg_connectors::Collected;
use thalweg_core::config::RuntimeMode;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::stream::Environment;

use super::build::{self, PROCESSED};
use super::draw;
use super::functions::Pair;
use super::program::Program;
use super::reference::{Outcome, expected};
use crate::stage;

/// Runs the program of a seed in simulation.
pub(crate) fn simulate(seed: u64) -> Result<(), String> {
    let program = draw::program(seed);
    let (environment, _) = simulation(&program, seed);
    judge(&program, &environment, "simulated")
}

/// Runs the program of a seed in simulation, with these dice; answers its trace.
pub(crate) fn trace(seed: u64, dice: u64) -> u64 {
    let program = draw::program(seed);
    let (environment, executor) = simulation(&program, dice);
    judge(&program, &environment, "simulated")
        .unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    executor.trace_hash()
}

/// Runs the program of a seed in simulation and compares it with the reference of another input, one
/// record longer: as if the engine had lost it.
pub(crate) fn simulate_against_another(seed: u64) -> Result<(), String> {
    let program = draw::program(seed);
    let (environment, _) = simulation(&program, seed);
    let mut other = program.clone();
    other.input.count += 1;
    compare_run(&program, &environment, &other).map(|_| ())
}

/// Runs the program of a seed on real shards, which are to come out on the driver `expected`.
pub(crate) fn work(seed: u64, driver: &str, expected: &str) -> Result<(), String> {
    let program = draw::program(seed);
    let mut settings = settings_of(&program);
    settings.push(("thalweg.io.driver", driver.to_owned()));
    let (environment, token) = stage::shards(&borrowed(&settings));
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    judge(&program, &environment, expected)
}

fn simulation(program: &Program, dice: u64) -> (Environment, thalweg_cluster::SimulatedExecutor) {
    let host = program.host;
    let options = SimOptions {
        turn_budget_ns: program.turn_budget_us * 1000,
        max_tick_ns: host.tick_ns,
        max_latency_ns: host.latency_ns,
        stall_per_million: host.stalls,
        max_stall_rounds: host.stall_rounds,
        ..SimOptions::default()
    };
    stage::simulation(dice, options, &borrowed(&settings_of(program)))
}

fn settings_of(program: &Program) -> Vec<(&'static str, String)> {
    vec![
        ("parallelism.default", program.parallelism.to_string()),
        ("thalweg.shard.count", program.shards.to_string()),
        (
            "taskmanager.memory.segment-size",
            program.segment.to_owned(),
        ),
        (
            "taskmanager.network.memory.buffers-per-channel",
            program.exclusive.to_string(),
        ),
        (
            "taskmanager.network.memory.floating-buffers-per-gate",
            program.floating.to_string(),
        ),
        (
            "thalweg.shard.turn-budget",
            format!("{}us", program.turn_budget_us),
        ),
        (
            "execution.buffer-timeout.interval",
            program.buffer_timeout.to_owned(),
        ),
    ]
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    settings
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect()
}

/// Runs the program and compares; the answer says what is wrong and with which program.
fn judge(program: &Program, environment: &Environment, driver: &str) -> Result<(), String> {
    let took = compare_run(program, environment, program)?;
    if took != driver {
        return Err(format!("the shards ran on {took}, expected {driver}"));
    }
    Ok(())
}

/// Answers the driver that the shards ran on.
fn compare_run(
    program: &Program,
    environment: &Environment,
    reference: &Program,
) -> Result<String, String> {
    let wrong = |what: String| format!("{what}\n\nprogram: {program:?}");
    environment.set_runtime_mode(match program.batch {
        true => RuntimeMode::Batch,
        false => RuntimeMode::Streaming,
    });
    let gathered = build::program(environment, &program.input, &program.steps, program.end);
    let result = environment
        .execute("random")
        .map_err(|error| wrong(format!("the job ended with: {error} ({error:?})")))?;
    let expected = expected(reference);
    let written = gathered.len() as u64;
    let processed = result.accumulator(PROCESSED).unwrap_or_default();
    let summary = result.summary;
    compare(&gathered, &expected.result).map_err(wrong)?;
    for (what, told, expected) in [
        ("records in", summary.records_in, expected.read),
        ("records out", summary.records_out, written),
        ("records processed", processed as u64, expected.processed),
    ] {
        if told != expected {
            return Err(wrong(format!("{what}: {told}, expected {expected}")));
        }
    }
    Ok(summary.io_driver)
}

fn compare(gathered: &Collected<Pair>, expected: &Outcome) -> Result<(), String> {
    let mut gathered = gathered.take();
    match expected {
        Outcome::Rows(expected) => {
            gathered.sort();
            if gathered == *expected {
                return Ok(());
            }
            let first = (gathered.iter().zip(expected)).find(|(got, wanted)| got != wanted);
            Err(format!(
                "{} rows, expected {}; sorted, the first that differs and what was expected: \
                 {first:?}",
                gathered.len(),
                expected.len()
            ))
        }
        Outcome::Last(expected) => {
            let mut last: BTreeMap<u64, (u64, String)> = BTreeMap::new();
            for (key, row) in gathered {
                let of_key = last.entry(key).or_default();
                *of_key = (of_key.0 + 1, row);
            }
            match last == *expected {
                true => Ok(()),
                false => Err(format!(
                    "rows per key and the last: {last:?}\nexpected: {expected:?}"
                )),
            }
        }
    }
}
