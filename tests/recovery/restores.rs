//! A job that was stopped is begun by another process, or another program, from its checkpoint.

use std::fs;
use std::path::Path;
use std::time::Duration;

use thalweg_dataflow::executor::{JobClient, JobError};

use super::counting::{Poison, check, lines, program};
use super::savepoints::let_it_run;
use crate::stage;

const RECORDS: u64 = 30_000;

fn settings<'s>(directory: &'s str, parallelism: &'s str) -> Vec<(&'s str, &'s str)> {
    vec![
        ("parallelism.default", parallelism),
        ("thalweg.shard.count", "2"),
        ("thalweg.shard.pin", "false"),
        ("execution.checkpointing.interval", "10ms"),
        ("execution.checkpointing.dir", directory),
        ("execution.state-recovery.path", "latest"),
    ]
}

fn run(
    state: &str,
    parallelism: &str,
    rate: f64,
    into: &Path,
    patience: Duration,
) -> Result<(), JobError> {
    let settings = settings(state, parallelism);
    let (environment, token) = stage::shards(&settings);
    let _deadline = stage::cancel_after(&token, patience);
    program(&environment, RECORDS, rate, Poison::new(u64::MAX, 0), into);
    environment.execute("counting").map(drop)
}

#[test]
fn a_job_that_is_cancelled_goes_on_at_another_parallelism_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let state = state.to_str().unwrap();
    let (mut seen, mut stops) = (0, 0);
    for parallelism in ["1", "4", "2", "3"].into_iter().cycle() {
        let patience = Duration::from_millis(250 + 50 * stops);
        let ended = run(state, parallelism, 25_000.0, &into, patience);
        let there: u32 = lines(&into.join("told")).values().sum();
        assert!(there >= seen, "what was shown stays");
        seen = there;
        match ended {
            Ok(()) => break,
            Err(JobError::Cancelled { .. }) => stops += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stops > 0, "it was cancelled at least once");
    check(RECORDS, &into);
}

/// Starts a job that would take long, and waits until some of its output is visible.
fn start(state: &str, into: &Path) -> JobClient {
    let mut settings = settings(state, "2");
    settings.push(("restart-strategy.type", "none"));
    let (environment, _) = stage::shards(&settings);
    program(
        &environment,
        RECORDS,
        2_000.0,
        Poison::new(u64::MAX, 0),
        into,
    );
    let job = environment.execute_async("counting").unwrap();
    while lines(&into.join("told")).is_empty() {
        let_it_run(&job, Duration::from_millis(10));
        assert!(!job.status().is_terminal(), "it goes on");
    }
    job
}

/// The same, and stops it as if it had been killed: what it had is kept.
fn begin(state: &str, into: &Path) {
    let job = start(state, into);
    job.cancel();
    assert!(matches!(job.wait(), Err(JobError::Cancelled { .. })));
}

#[test]
fn what_has_ended_is_begun_anew_and_not_gone_on_with_from_what_it_once_began_with() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let at = state.to_str().unwrap();
    begin(at, &into);
    assert!(fs::read_dir(&state).unwrap().next().is_some());
    run(at, "3", 1e9, &into, stage::PATIENCE).unwrap();
    check(RECORDS, &into);
    let left = fs::read_dir(&state).unwrap().count();
    assert_eq!(left, 0, "a job that has ended leaves no checkpoints");
    let again = directory.path().join("again");
    run(at, "1", 1e9, &again, stage::PATIENCE).unwrap();
    check(RECORDS, &again);
}

#[test]
fn a_start_that_is_refused_leaves_what_it_was_to_go_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let at = state.to_str().unwrap();
    begin(at, &into);
    let mut other = settings(at, "2");
    other.push(("pipeline.max-parallelism", "64"));
    let (environment, _) = stage::shards(&other);
    program(&environment, RECORDS, 1e9, Poison::new(u64::MAX, 0), &into);
    let refused = environment.execute("counting").unwrap_err().to_string();
    assert!(refused.contains("pipeline.max-parallelism"), "{refused}");
    run(at, "1", 1e9, &into, stage::PATIENCE).unwrap();
    check(RECORDS, &into);
}

#[test]
fn a_former_process_that_still_runs_completes_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let at = state.to_str().unwrap();
    let former = start(at, &into);
    // Nobody has told it that another one goes on with its job.
    run(at, "3", 1e9, &into, stage::PATIENCE).unwrap();
    let ended = former.wait();
    assert!(matches!(ended, Err(JobError::Failed { .. })), "{ended:?}");
    check(RECORDS, &into);
    // What it may have left is nothing to go on from.
    let again = directory.path().join("again");
    run(at, "1", 1e9, &again, stage::PATIENCE).unwrap();
    check(RECORDS, &again);
}
