//! What a job shows of its checkpoints and restarts, while it runs, while it waits, and at its end.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_cluster::rest::metrics::text;
use thalweg_core::seam::clock::wall_ms;
use thalweg_dataflow::executor::{CheckpointType, JobStatus, JobWish};

use super::Asked;
use crate::recovery::savepoints::let_it_run;
use crate::stage;

/// What is shown of the job as a whole, by name.
fn figures(asked: &Asked) -> BTreeMap<String, f64> {
    // A shard that is held does not answer; what is of the job is there all the same.
    let shown = asked.reader.snapshot(Duration::ZERO).metrics.into_iter();
    let of_job = shown.filter(|metric| metric.scope.labels().len() == 1);
    let of_job = of_job.map(|metric| (metric.name.to_string(), metric.number()));
    of_job.collect()
}

/// Completed, failed, under way, and all of them.
fn checkpoints(asked: &Asked) -> [f64; 4] {
    let shown = figures(asked);
    [
        "numberOfCompletedCheckpoints",
        "numberOfFailedCheckpoints",
        "numberOfInProgressCheckpoints",
        "totalNumberOfCheckpoints",
    ]
    .map(|name| shown[name])
}

/// Takes three checkpoints of a job that has taken none: what is shown of them.
fn takes_three(asked: &Asked) {
    assert_eq!(checkpoints(asked), [0.0; 4]);
    let first = figures(asked);
    assert!(!first.contains_key("lastCheckpointDuration"), "{first:?}");
    assert_eq!(first["numRestarts"], 0.0);
    let from = wall_ms() as f64;
    for _ in 0..3 {
        // Something changes.
        let_it_run(&asked.job, Duration::from_millis(30));
        let taken = asked.job.trigger_checkpoint(CheckpointType::Configured);
        taken.unwrap();
    }
    assert_eq!(checkpoints(asked), [3.0, 0.0, 0.0, 3.0]);
    let shown = figures(asked);
    let completed = shown["lastCheckpointCompletedTimestamp"];
    assert!((from..=wall_ms() as f64).contains(&completed), "{shown:?}");
    let took = shown["lastCheckpointDuration"];
    assert!(took <= wall_ms() as f64 - from + 1.0, "{shown:?}");
    // It names files of the two before.
    let (written, whole) = (shown["lastCheckpointSize"], shown["lastCheckpointFullSize"]);
    assert!(0.0 < written && written < whole, "{shown:?}");
    assert!(!shown.contains_key("lastCheckpointRestoreTimestamp"));
}

/// Fails a task while a checkpoint is under way, and waits until the job runs again; answers since when it did not.
fn fails_under_way(asked: &Asked) -> f64 {
    asked.orders.hold();
    let kind = CheckpointType::Configured;
    let control = asked.job.control();
    let waits = control.put(JobWish::Checkpoint { kind }).unwrap();
    // A shard that is held keeps every question for later: too many, and it cannot be told to stop.
    while checkpoints(asked) != [3.0, 0.0, 1.0, 4.0] {
        let_it_run(&asked.job, Duration::from_millis(1));
    }
    let failed = wall_ms() as f64;
    asked.orders.fail();
    waits.wait().unwrap_err();
    asked.orders.let_go();
    while !figures(asked).contains_key("lastCheckpointRestoreTimestamp") {
        let_it_run(&asked.job, Duration::from_millis(1));
    }
    asked.until(JobStatus::Running);
    failed
}

#[test]
fn checkpoints_and_restarts_of_a_job_are_counted() {
    for (failover, full) in [("region", 0.0), ("full", 1.0)] {
        // It takes checkpoints by itself, though none while this test lasts: without, its sinks could take back nothing,
        // and no region would begin again alone.
        let more = [
            ("jobmanager.execution.failover-strategy", failover),
            ("execution.checkpointing.interval", "1h"),
        ];
        let asked = Asked::start("1ms", &more);
        takes_three(&asked);
        let failed = fails_under_way(&asked);
        asked.job.trigger_savepoint(None).unwrap();
        assert_eq!(checkpoints(&asked), [4.0, 1.0, 0.0, 5.0], "{failover}");
        let shown = figures(&asked);
        let restarts = (shown["numRestarts"], shown["fullRestarts"]);
        assert_eq!(restarts, (1.0, full), "{failover}");
        let restored = shown["lastCheckpointRestoreTimestamp"];
        assert!((failed..=wall_ms() as f64).contains(&restored), "{shown:?}");
        let text = text(&asked.reader.snapshot(stage::PATIENCE).metrics).unwrap();
        for line in [
            "thalweg_job_checkpoints_completed_total{job=\"asked\"} 4",
            "thalweg_job_checkpoints_failed_total{job=\"asked\"} 1",
            "thalweg_job_checkpoints_in_progress{job=\"asked\"} 0",
            "thalweg_job_checkpoints_total{job=\"asked\"} 5",
            "thalweg_job_restarts_total{job=\"asked\"} 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }

        asked.job.stop_with_savepoint(None, false).unwrap();
        let result = asked.job.wait().unwrap();
        for (name, value) in [
            ("numberOfCompletedCheckpoints", 5.0),
            ("totalNumberOfCheckpoints", 6.0),
            ("numberOfInProgressCheckpoints", 0.0),
            ("numRestarts", 1.0),
            ("runningTime", 0.0),
        ] {
            assert_eq!(result.metric(name), Some(value), "{failover} {name}");
        }
        assert!(result.metric("runningTimeTotal").unwrap() > 0.0);
        let over = asked.reader.snapshot(Duration::ZERO);
        assert!(over.metrics.is_empty() && over.missing.is_empty());
    }
}

#[test]
fn a_job_that_waits_to_begin_again_shows_for_how_long() {
    for failover in ["region", "full"] {
        let more = [("jobmanager.execution.failover-strategy", failover)];
        let asked = Asked::start("1h", &more);
        let_it_run(&asked.job, Duration::from_millis(60));
        let shown = figures(&asked);
        assert!(shown["runningTime"] >= 50.0, "{shown:?}");
        assert_eq!(shown["restartingTime"], 0.0);
        asked.orders.fail();
        asked.until(JobStatus::Restarting);
        let_it_run(&asked.job, Duration::from_millis(60));
        let shown = figures(&asked);
        assert_eq!(shown["runningTime"], 0.0, "{failover}");
        assert!(shown["runningTimeTotal"] >= 50.0, "{shown:?}");
        assert!(shown["restartingTime"] >= 50.0, "{shown:?}");
        asked.cancel();
    }
}
