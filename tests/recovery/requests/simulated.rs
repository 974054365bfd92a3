//! The figures of a job in virtual time, where they can be told to the millisecond.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thalweg_cluster::SimulatedExecutor;
use thalweg_connectors::{Generator, Sinks as _};
use thalweg_core::seam::simulated::{SimDisk, SimOptions};
use thalweg_dataflow::executor::{CheckpointType, JobResult, JobWish};
use thalweg_dataflow::stream::Environment;

use crate::stage;

/// How long the job takes to its end when nothing fails, how long it waits to begin again, and how exactly, ms.
const RUNS: f64 = 1_000.0;
const WAITS: f64 = 3_600_000.0;
const ABOUT: f64 = 50.0;
/// The number that fails once, a millisecond each.
const FATAL: u64 = 600;
/// Some round before that.
const SOON: u64 = 1_500;
const NEVER: u64 = u64::MAX;

/// Runs a job of two pipelines, of which one fails once; this is asked of it before that round.
fn run(seed: u64, asked: (u64, JobWish), strategy: &str) -> JobResult {
    let settings = [
        ("parallelism.default", "2"),
        ("thalweg.shard.count", "2"),
        ("execution.checkpointing.dir", "/checkpoints"),
        // None is taken by itself while it lasts; see `failover`.
        ("execution.checkpointing.interval", "100h"),
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.delay", "1h"),
        ("jobmanager.execution.failover-strategy", strategy),
    ];
    let executor = SimulatedExecutor::on(SimDisk::new(), seed, SimOptions::default());
    let executor = executor.ask_at(asked.0, asked.1);
    let configuration = stage::configuration(&settings);
    let environment = Environment::with_executor(Arc::new(executor), configuration);
    let failed = Arc::<AtomicBool>::default();
    for (name, fatal) in [("fails", FATAL), ("other", NEVER)] {
        let failed = Arc::clone(&failed);
        environment
            .source(Generator::new(RUNS as u64, |number| number).rate(1_000.0))
            .uid(&format!("{name} numbers"))
            .map(move |number: u64| {
                let fails = number == fatal && !failed.swap(true, Ordering::AcqRel);
                assert!(!fails, "{number} is fatal");
                number
            })
            .key_by(|number: &u64| *number % 7)
            .count()
            .uid(&format!("{name} counts"))
            .discard();
    }
    environment.execute("figures").unwrap()
}

/// What is shown of the job as a whole; how many checkpoints there were fits what else is told of them.
fn figures(result: &JobResult) -> BTreeMap<String, f64> {
    let metrics = result.summary.metrics.iter();
    let of_job = metrics.filter(|metric| metric.scope.labels().len() == 1);
    let of_job = of_job.map(|metric| (metric.name.to_string(), metric.number()));
    let shown: BTreeMap<String, f64> = of_job.collect();
    let told = &result.summary.checkpoints;
    let completed = shown["numberOfCompletedCheckpoints"];
    assert_eq!(completed, told.completed as f64);
    assert_eq!(shown["numberOfFailedCheckpoints"], told.given_up as f64);
    let all = (told.completed + told.given_up) as f64;
    assert_eq!(shown["totalNumberOfCheckpoints"], all);
    assert_eq!(shown["numberOfInProgressCheckpoints"], 0.0);
    let last = told.recent.back().unwrap();
    let took = shown["lastCheckpointDuration"];
    assert_eq!(took, last.duration.as_millis() as f64);
    assert_eq!(shown["lastCheckpointSize"], last.bytes_written as f64);
    shown
}

fn is_about(shown: f64, wanted: f64) -> bool {
    (shown - wanted).abs() <= ABOUT
}

#[test]
fn a_job_that_fails_once_shows_how_long_it_ran_and_waited_and_what_it_went_on_from() {
    for (strategy, full) in [("region", 0.0), ("full", 1.0)] {
        for (seed, round) in [(1, SOON), (2, NEVER), (3, SOON), (4, NEVER)] {
            let kind = CheckpointType::Configured;
            let result = run(seed, (round, JobWish::Checkpoint { kind }), strategy);
            let shown = figures(&result);
            let case = format!("{strategy}, seed {seed}: {shown:?}");
            let restarts = [shown["numRestarts"], shown["fullRestarts"]];
            assert_eq!(restarts, [1.0, full], "{case}");
            // Another ends the job.
            let asked = if round == SOON { 1.0 } else { 0.0 };
            let completed = shown["numberOfCompletedCheckpoints"];
            assert_eq!(completed, 1.0 + asked, "{case}");
            assert_eq!([shown["runningTime"], shown["restartingTime"]], [0.0; 2]);
            assert!(is_about(shown["restartingTimeTotal"], WAITS), "{case}");
            let ended = shown["lastCheckpointCompletedTimestamp"];
            let restored = shown.get("lastCheckpointRestoreTimestamp").copied();
            assert_eq!(restored.is_some(), round == SOON, "{case}");
            // What the second life does of it again follows from what it begins with.
            let again = shown["runningTimeTotal"] - FATAL as f64;
            let second = restored.map_or(RUNS, |restored| ended - restored);
            assert!(is_about(again, second), "{case}");
            let is_less = again < RUNS - ABOUT;
            assert_eq!(is_less, round == SOON, "{case}");
        }
    }
}

#[test]
fn a_job_that_ends_by_a_savepoint_shows_it_as_its_last_checkpoint() {
    for seed in 1..4 {
        let stop = JobWish::Stop {
            directory: Some("/savepoints".to_owned()),
            drain: false,
        };
        let result = run(seed, (SOON, stop), "full");
        assert!(result.savepoint.is_some());
        let shown = figures(&result);
        assert_eq!(shown["numberOfCompletedCheckpoints"], 1.0, "{shown:?}");
        assert_eq!(shown["numRestarts"], 0.0, "{shown:?}");
        assert!(shown["lastCheckpointDuration"] > 0.0, "{shown:?}");
        let (written, whole) = (shown["lastCheckpointSize"], shown["lastCheckpointFullSize"]);
        assert!(0.0 < written && written == whole, "{shown:?}");
        assert!(shown["runningTimeTotal"] < FATAL as f64, "{shown:?}");
    }
}
