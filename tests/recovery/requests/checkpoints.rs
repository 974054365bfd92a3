//! Checkpoints that are taken because somebody asks for one.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use thalweg_cluster::checkpoint::home::{Found, find};
use thalweg_cluster::checkpoint::storage::{AnyStorage, Location};
use thalweg_dataflow::executor::{CheckpointType, JobStatus, JobWish, TakenCheckpoint};

use super::{Asked, exists};
use crate::recovery::savepoints::let_it_run;

const CHANGES: JobWish = JobWish::Checkpoint {
    kind: CheckpointType::Configured,
};

fn take(asked: &Asked, kind: CheckpointType) -> TakenCheckpoint {
    let taken = asked.job.trigger_checkpoint(kind).unwrap();
    assert!(exists(&taken.path), "{taken:?}");
    taken
}

fn read(path: impl AsRef<Path>) -> Found {
    let at = Location::parse(path.as_ref().to_str().unwrap()).unwrap();
    find(&mut AnyStorage::new(), &at).unwrap()
}

/// The directory of the job that a checkpoint is of.
fn home(taken: &TakenCheckpoint) -> PathBuf {
    Path::new(&taken.path).parent().unwrap().to_owned()
}

fn count_of(home: &Path) -> usize {
    let entries = std::fs::read_dir(home).unwrap();
    let with_metadata = entries.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.join("_metadata").exists()
    });
    with_metadata.count()
}

#[test]
fn it_is_the_newest_is_kept_as_others_are_and_holds_changes_or_everything() {
    let more = [
        ("execution.checkpointing.num-retained", "2"),
        // Neither holds back what is asked for.
        ("execution.checkpointing.interval", "1h"),
        ("execution.checkpointing.min-pause", "1h"),
    ];
    let asked = Asked::start("1ms", &more);
    let mut before = take(&asked, CheckpointType::Configured);
    let home = home(&before);
    for (kind, kept) in [
        (CheckpointType::Configured, 2),
        (CheckpointType::Full, 2),
        (CheckpointType::Configured, 2),
    ] {
        let_it_run(&asked.job, Duration::from_millis(30));
        let taken = take(&asked, kind);
        assert!(taken.id > before.id, "{taken:?} after {before:?}");
        let newest = read(&home).metadata;
        assert_eq!(newest.checkpoint, taken.id);
        assert_eq!(newest, read(&taken.path).metadata);
        let full = newest.runs().all(|run| run.full);
        assert!(newest.runs().count() > 0);
        assert_eq!(full, kind == CheckpointType::Full, "{newest:?}");
        // Older ones go once it has been told of.
        while count_of(&home) != kept {
            assert!(!asked.job.status().is_terminal());
            std::thread::yield_now();
        }
        before = taken;
    }
    asked.cancel();
}

#[test]
fn a_job_that_takes_none_by_itself_begins_again_from_the_one_that_was_asked_for() {
    for (strategy, interval) in [("region", "1h"), ("region", ""), ("full", "")] {
        let more = [
            ("jobmanager.execution.failover-strategy", strategy),
            ("execution.checkpointing.interval", interval),
        ];
        let asked = Asked::start("1ms", &more);
        asked.wait_while(|| asked.orders.newest.load(Ordering::Acquire) < 100);
        let taken = take(&asked, CheckpointType::Configured);
        asked.orders.fail();
        asked.wait_while(|| asked.orders.fail.load(Ordering::Acquire));
        asked.wait_while(|| asked.orders.least.load(Ordering::Acquire) == u64::MAX);
        let least = asked.orders.least.load(Ordering::Acquire);
        assert!(least > 100, "{strategy}: it goes on with {least}");
        asked.until(JobStatus::Running);
        let how = if interval.is_empty() {
            "full"
        } else {
            strategy
        };
        asked.begins_again_by(how);
        assert!(take(&asked, CheckpointType::Configured).id > taken.id);
        asked.cancel();
    }
}

#[test]
fn one_that_fails_or_takes_too_long_says_so_and_counts_as_failed() {
    let more = [
        ("execution.checkpointing.timeout", "100ms"),
        (
            "execution.checkpointing.tolerable-failed-checkpoints",
            "1000",
        ),
    ];
    let asked = Asked::start("1ms", &more);
    asked.orders.hold();
    let failed = asked.job.trigger_checkpoint(CheckpointType::Configured);
    let failed = failed.unwrap_err().to_string();
    assert!(
        failed.contains("failed") && failed.contains("timeout"),
        "{failed}"
    );
    asked.orders.let_go();
    // The machine may be too busy for the first.
    let taken = std::iter::repeat_with(|| asked.job.trigger_checkpoint(CheckpointType::Full));
    assert!(taken.take(50).any(|taken| taken.is_ok()));
    assert_eq!(asked.job.status(), JobStatus::Running);

    asked.orders.hold();
    let waits = asked.job.control().put(CHANGES).unwrap();
    asked.orders.fail();
    assert!(waits.wait().is_err());
    asked.orders.let_go();
    asked.cancel();

    let more = [
        ("execution.checkpointing.timeout", "100ms"),
        ("jobmanager.execution.failover-strategy", "full"),
    ];
    let asked = Asked::start("1h", &more);
    asked.orders.hold();
    let failed = asked.job.trigger_checkpoint(CheckpointType::Configured);
    assert!(failed.is_err());
    asked.orders.let_go();
    asked.until(JobStatus::Restarting);
    asked.cancel();
}

#[test]
fn no_more_than_may_be_are_under_way_and_the_others_wait() {
    let asked = Asked::start("1ms", &[]);
    asked.orders.hold();
    let control = asked.job.control();
    let waiting: Vec<_> = (0..3).map(|_| control.put(CHANGES).unwrap()).collect();
    assert_eq!(waiting[0].wait_for(Duration::from_millis(200)), None);
    let shown = asked.reader.snapshot(Duration::ZERO).metrics.into_iter();
    let mut under_way = shown.filter(|it| it.name == "numberOfInProgressCheckpoints");
    assert_eq!(under_way.next().map(|it| it.number()), Some(1.0));
    asked.orders.let_go();
    let taken: Vec<_> = waiting.into_iter().map(|it| it.wait().unwrap()).collect();
    assert!(
        taken.is_sorted_by(|one, other| one.id < other.id),
        "{taken:?}"
    );
    let newest = taken.last().unwrap();
    assert_eq!(read(home(newest)).metadata.checkpoint, newest.id);
    asked.cancel();
}

#[test]
fn without_a_directory_for_checkpoints_it_is_refused_and_the_job_goes_on() {
    for savepoints in ["/tmp/nowhere-to-be-found", ""] {
        let more = [
            ("execution.checkpointing.dir", ""),
            ("execution.checkpointing.savepoint-dir", savepoints),
        ];
        let asked = Asked::start("1ms", &more);
        let refused = asked.job.trigger_checkpoint(CheckpointType::Full);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("execution.checkpointing.dir"), "{refused}");
        assert_eq!(asked.job.status(), JobStatus::Running);
        asked.cancel();
    }
}
