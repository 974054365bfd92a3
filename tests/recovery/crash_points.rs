//! The points that are named for a crash: a job that lives through everything comes to each of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thalweg_cluster::{CancelToken, CrashPoint, LocalExecutor};
use thalweg_dataflow::stream::Environment;

use super::counting::{Poison, check, program};
use super::savepoints::let_it_run;
use crate::stage;

const RECORDS: u64 = 24_000;
const RATE: f64 = 30_000.0;

type Met = Arc<Mutex<BTreeSet<CrashPoint>>>;

/// Where a job runs that tells of the points it comes to.
fn told_of(met: &Met, settings: &[(&str, &str)]) -> Environment {
    let met = Arc::clone(met);
    let executor = LocalExecutor::new(CancelToken::new()).with_crash_points(move |point| {
        met.lock().unwrap().insert(point);
    });
    Environment::with_executor(Arc::new(executor), stage::configuration(settings))
}

#[test]
fn a_job_comes_to_every_point_that_is_named_for_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let below = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (state, savepoints) = (below("state"), below("savepoints"));
    let met = Met::default();
    let start = |from: &str, parallelism: &str| {
        let settings = [
            ("parallelism.default", parallelism),
            ("thalweg.shard.count", "2"),
            ("thalweg.shard.pin", "false"),
            ("execution.checkpointing.interval", "15ms"),
            ("execution.checkpointing.dir", &state),
            ("execution.checkpointing.savepoint-dir", &savepoints),
            ("execution.state-recovery.path", from),
        ];
        let environment = told_of(&met, &settings);
        let poison = Poison::new(u64::MAX, 0);
        program(
            &environment,
            RECORDS,
            RATE,
            poison,
            &directory.path().join("out"),
        );
        environment.execute_async("counting").unwrap()
    };
    let job = start("latest", "2");
    let_it_run(&job, Duration::from_millis(300));
    let savepoint = job.control().stop(None, false).unwrap();
    job.wait().unwrap();
    start(&savepoint, "3").wait().unwrap();
    check(RECORDS, &directory.path().join("out"));
    let met = met.lock().unwrap();
    let missed = CrashPoint::ALL
        .into_iter()
        .filter(|point| !met.contains(point));
    assert_eq!(missed.collect::<Vec<_>>(), []);
}
