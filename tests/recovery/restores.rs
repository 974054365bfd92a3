//! A job that was stopped is begun by another process, or another program, from its checkpoint.

use std::path::Path;
use std::time::Duration;

use super::counting::{Poison, check, lines, program};
use crate::stage;

const RECORDS: u64 = 30_000;

fn settings<'s>(directory: &'s str, parallelism: &'s str) -> Vec<(&'s str, &'s str)> {
    vec![
        ("parallelism.default", parallelism),
        ("thalweg.shard.count", "2"),
        ("thalweg.shard.pin", "false"),
        ("execution.checkpointing.interval", "10ms"),
        ("execution.checkpointing.dir", directory),
        (
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        ),
        ("execution.state-recovery.path", "latest"),
    ]
}

fn run(state: &str, parallelism: &str, rate: f64, into: &Path, patience: Duration) -> bool {
    let settings = settings(state, parallelism);
    let (environment, token) = stage::shards(&settings);
    let _deadline = stage::cancel_after(&token, patience);
    program(&environment, RECORDS, rate, Poison::new(u64::MAX, 0), into);
    environment.execute("counting").is_ok()
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
        if ended {
            break;
        }
        stops += 1;
    }
    assert!(stops > 0, "it was cancelled at least once");
    check(RECORDS, &into);
}
