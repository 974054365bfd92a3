//! A job that fails within its process is begun again in it.

use std::sync::atomic::Ordering;

use thalweg_dataflow::executor::JobError;

use super::counting::{Poison, check, lines, program};
use crate::stage;

const RECORDS: u64 = 24_000;
/// Slow enough for some checkpoints.
const RATE: f64 = 40_000.0;

fn settings<'s>(
    directory: &'s str,
    parallelism: &'s str,
    segment: &'s str,
) -> Vec<(&'s str, &'s str)> {
    vec![
        ("parallelism.default", parallelism),
        ("thalweg.shard.count", "2"),
        ("thalweg.shard.pin", "false"),
        ("taskmanager.memory.segment-size", segment),
        ("execution.checkpointing.interval", "15ms"),
        ("execution.checkpointing.dir", directory),
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.attempts", "20"),
        ("restart-strategy.fixed-delay.delay", "1ms"),
    ]
}

#[test]
fn a_job_that_fails_again_and_again_writes_what_one_that_never_fails_writes() {
    for (parallelism, segment, every) in [
        ("1", "32kb", 7_919),
        ("2", "512b", 5_003),
        ("3", "1kb", 6_007),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (state, into) = (directory.path().join("state"), directory.path().join("out"));
        let state = state.to_str().unwrap();
        let settings = settings(state, parallelism, segment);
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        let poison = Poison::new(every, 4);
        program(&environment, RECORDS, RATE, poison.clone(), &into);
        environment.execute("counting").unwrap();
        assert_eq!(
            poison.left.load(Ordering::Acquire),
            0,
            "it has failed four times"
        );
        check(RECORDS, &into);
    }
}

#[test]
fn a_job_that_fails_too_often_says_so_and_shows_only_what_was_true() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let mut settings = settings(state.to_str().unwrap(), "2", "1kb");
    settings.retain(|(key, _)| *key != "restart-strategy.fixed-delay.attempts");
    settings.push(("restart-strategy.fixed-delay.attempts", "2"));
    let (environment, token) = stage::shards(&settings);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    program(&environment, RECORDS, RATE, Poison::new(4_001, 100), &into);
    let failed = environment.execute("counting");
    assert!(
        matches!(&failed, Err(JobError::Failed { panicked: true, message, .. }) if message.contains("poison")),
        "{failed:?}"
    );
    let expected = super::counting::expected_told(RECORDS);
    for (line, times) in lines(&into.join("told")) {
        assert_eq!(expected.get(&line), Some(&times), "{line}");
    }
}

#[test]
fn checkpoints_without_a_place_are_refused_with_the_key_to_set() {
    let directory = tempfile::tempdir().unwrap();
    let (environment, _) = stage::shards(&[("execution.checkpointing.interval", "1s")]);
    program(
        &environment,
        10,
        RATE,
        Poison::new(1_000, 0),
        directory.path(),
    );
    let refused = environment.execute("counting").unwrap_err().to_string();
    assert!(refused.contains("execution.checkpointing.dir"), "{refused}");
}
