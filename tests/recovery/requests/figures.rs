//! What a job shows of its checkpoints and restarts, while it runs, while it waits, and at its end.

use std::time::Duration;

use thalweg_cluster::rest::metrics::text;
use thalweg_core::seam::clock::wall_ms;
use thalweg_dataflow::executor::{CheckpointType, JobStatus, JobWish};

use super::{Asked, failover};
use crate::recovery::savepoints::let_it_run;
use crate::stage;

/// Completed, failed, under way, and all of them.
fn checkpoints(asked: &Asked) -> [f64; 4] {
    let shown = asked.figures();
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
    let first = asked.figures();
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
    let shown = asked.figures();
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
    asked.wait_while(|| checkpoints(asked) != [3.0, 0.0, 1.0, 4.0]);
    let failed = wall_ms() as f64;
    asked.orders.fail();
    waits.wait().unwrap_err();
    asked.orders.let_go();
    asked.wait_while(|| !(asked.figures()).contains_key("lastCheckpointRestoreTimestamp"));
    asked.until(JobStatus::Running);
    failed
}

#[test]
fn checkpoints_and_restarts_of_a_job_are_counted() {
    for strategy in ["region", "full"] {
        let asked = Asked::start("1ms", &failover(strategy));
        takes_three(&asked);
        let failed = fails_under_way(&asked);
        asked.job.trigger_savepoint(None).unwrap();
        assert_eq!(checkpoints(&asked), [4.0, 1.0, 0.0, 5.0], "{strategy}");
        asked.begins_again_by(strategy);
        let shown = asked.figures();
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
            assert_eq!(result.metric(name), Some(value), "{strategy} {name}");
        }
        assert!(result.metric("runningTimeTotal").unwrap() > 0.0);
        let over = asked.reader.snapshot(Duration::ZERO);
        assert!(over.metrics.is_empty() && over.missing.is_empty());
    }
}

#[test]
fn a_job_that_waits_to_begin_again_shows_for_how_long() {
    for strategy in ["region", "full"] {
        let asked = Asked::start("1h", &failover(strategy));
        let_it_run(&asked.job, Duration::from_millis(60));
        let shown = asked.figures();
        assert!(shown["runningTime"] >= 50.0, "{shown:?}");
        assert_eq!(shown["restartingTime"], 0.0);
        asked.orders.fail();
        asked.until(JobStatus::Restarting);
        asked.begins_again_by(strategy);
        let_it_run(&asked.job, Duration::from_millis(60));
        let shown = asked.figures();
        assert_eq!(shown["runningTime"], 0.0, "{strategy}");
        assert!(shown["runningTimeTotal"] >= 50.0, "{shown:?}");
        assert!(shown["restartingTime"] >= 50.0, "{shown:?}");
        asked.cancel();
    }
}
