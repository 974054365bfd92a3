//! Jobs whose checkpoints and savepoints are in an object store: one in the memory of this process.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thalweg_cluster::checkpoint::home::find;
use thalweg_cluster::checkpoint::home::verify::{files, verify};
use thalweg_cluster::checkpoint::storage::{AnyStorage, CheckpointStorage, Location};
use thalweg_core::seam::clock::entropy;

use super::counting::{Poison, check, program};
use super::larger;
use super::savepoints::let_it_run;
use crate::stage;

const RECORDS: u64 = 24_000;
const RATE: f64 = 40_000.0;

/// An address below which nothing is.
fn address() -> String {
    format!("memory:///{:016x}", entropy())
}

fn settings<'s>(state: &'s str, parallelism: &'s str, backend: &'s str) -> Vec<(&'s str, &'s str)> {
    vec![
        ("parallelism.default", parallelism),
        ("thalweg.shard.count", "2"),
        ("thalweg.shard.pin", "false"),
        ("state.backend.type", backend),
        ("execution.checkpointing.interval", "15ms"),
        ("execution.checkpointing.dir", state),
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.attempts", "20"),
        ("restart-strategy.fixed-delay.delay", "1ms"),
    ]
}

/// What is below an address.
fn left(address: &str) -> usize {
    let at = Location::parse(address).unwrap();
    AnyStorage::new().list(&at).unwrap().len()
}

#[test]
fn a_job_that_fails_goes_on_from_checkpoints_in_an_object_store() {
    let runs = [
        ("1", "hashmap", 7_919, "false"),
        ("3", "lsm", 5_003, "false"),
        ("2", "hashmap", 6_007, "true"),
        ("3", "lsm", 5_003, "true"),
    ];
    for (parallelism, backend, every, from_local) in runs {
        let (directory, state) = (tempfile::tempdir().unwrap(), address());
        let (spill, into) = (directory.path().join("spill"), directory.path().join("out"));
        let mut settings = settings(&state, parallelism, backend);
        settings.push(("io.tmp.dirs", spill.to_str().unwrap()));
        settings.push(("execution.state-recovery.from-local", from_local));
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        let poison = Poison::new(every, 4);
        program(&environment, RECORDS, RATE, poison.clone(), &into);
        let result = environment.execute("counting").unwrap();
        assert_eq!(poison.left.load(Ordering::Acquire), 0, "it has failed");
        assert!(result.summary.checkpoints.completed > 2);
        check(RECORDS, &into);
        assert_eq!(left(&state), 0, "they go with the job");
        let files = std::fs::read_dir(&spill).unwrap().count();
        assert_eq!(files, 0, "so do files on their way");
    }
}

#[test]
fn state_larger_than_memory_goes_on_from_an_object_store() {
    let (directory, state) = (tempfile::tempdir().unwrap(), address());
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (spill, into) = (place("spill"), place("out"));
    let mut stops = 0;
    for parallelism in ["2", "3", "1"].into_iter().cycle() {
        let settings = larger::settings((&state, &spill, parallelism), "1mb");
        let (environment, token) = stage::shards(&settings);
        let patience = Duration::from_millis(600 << stops);
        let _deadline = stage::cancel_after(&token, patience);
        let poison = Poison::new(50_021, 1);
        larger::program(&environment, 100_000.0, poison, Path::new(&into));
        if environment.execute("larger than memory").is_ok() {
            break;
        }
        stops += 1;
    }
    assert!(stops > 0, "it was cancelled at least once");
    larger::check(Path::new(&into));
    assert_eq!(std::fs::read_dir(&spill).unwrap().count(), 0);
}

#[test]
fn savepoints_go_from_directories_to_object_stores_and_back() {
    let directory = tempfile::tempdir().unwrap();
    let (state, into) = (directory.path().join("state"), directory.path().join("out"));
    let (state, savepoints) = (state.to_str().unwrap(), address());
    let objects = address();
    let mut from = None::<String>;
    // Checkpoints here, savepoints there; then both there; then none but the one it begins with.
    for (place, copies) in [(Some(state), &*savepoints), (Some(&*objects), state)] {
        let mut settings = settings(place.unwrap_or_default(), "2", "hashmap");
        settings.extend(
            from.as_deref()
                .map(|from| ("execution.state-recovery.path", from)),
        );
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        program(&environment, RECORDS, RATE, Poison::new(u64::MAX, 0), &into);
        let job = environment.execute_async("counting").unwrap();
        let_it_run(&job, Duration::from_millis(150));
        let savepoint = job.stop_with_savepoint(Some(copies), false).unwrap();
        job.wait().unwrap();
        assert!(savepoint.starts_with(copies), "{savepoint}");
        let mut storage = AnyStorage::new();
        let found = find(&mut storage, &Location::parse(&savepoint).unwrap()).unwrap();
        let runs = files(&found);
        assert!(!runs.is_empty());
        for (file, facts) in runs {
            verify(&mut storage, &file, facts).unwrap();
        }
        from = Some(savepoint);
    }
    let (environment, token) = stage::shards(&[
        ("parallelism.default", "3"),
        ("thalweg.shard.pin", "false"),
        ("execution.state-recovery.path", from.as_deref().unwrap()),
    ]);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    program(&environment, RECORDS, RATE, Poison::new(u64::MAX, 0), &into);
    environment.execute("counting").unwrap();
    check(RECORDS, &into);
}

#[test]
fn a_store_this_program_does_not_have_is_refused_by_the_feature_that_brings_it() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings("gs://bucket/checkpoints", "1", "hashmap");
    let (environment, _) = stage::shards(&settings);
    let into = directory.path().join("out");
    program(&environment, 10, RATE, Poison::new(u64::MAX, 0), &into);
    let refused = environment.execute("counting").unwrap_err().to_string();
    assert!(refused.contains("`gs:`"), "{refused}");
    assert!(!into.exists(), "nothing was written");
}
