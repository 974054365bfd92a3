//! A job that does not run refuses what it cannot do now, and does it later for nobody.

use std::fmt::Debug;
use std::time::Duration;

use thalweg_dataflow::executor::{CheckpointType, JobStatus, JobWish, RequestRefused};

use super::{Asked, exists, failover};
use crate::recovery::savepoints::let_it_run;

fn is_refused<T: Debug>(answer: Result<T, RequestRefused>, status: JobStatus) {
    let refused = answer.unwrap_err().to_string();
    let named = format!("the job is {status}");
    assert!(refused.contains(&named), "{refused}");
    assert!(refused.contains("Try again"), "{refused}");
}

#[test]
fn while_it_waits_to_begin_again_nothing_is_waited_for_and_it_can_be_cancelled() {
    for strategy in ["region", "full"] {
        let asked = Asked::start("1h", &failover(strategy));
        asked.orders.fail();
        asked.until(JobStatus::Restarting);
        asked.begins_again_by(strategy);
        for _ in 0..50 {
            is_refused(asked.job.trigger_savepoint(None), JobStatus::Restarting);
            let stopped = asked.job.stop_with_savepoint(None, false);
            is_refused(stopped, JobStatus::Restarting);
            let taken = asked.job.trigger_checkpoint(CheckpointType::Full);
            is_refused(taken, JobStatus::Restarting);
        }
        assert_eq!(asked.savepoints(), 0);
        asked.cancel();
    }
}

#[test]
fn when_it_runs_again_only_what_is_asked_then_is_done() {
    for strategy in ["region", "full"] {
        let asked = Asked::start("1s", &failover(strategy));
        asked.orders.fail();
        asked.until(JobStatus::Restarting);
        is_refused(asked.job.trigger_savepoint(None), JobStatus::Restarting);
        let stopped = asked.job.stop_with_savepoint(None, false);
        is_refused(stopped, JobStatus::Restarting);
        asked.until(JobStatus::Running);
        let savepoint = asked.job.trigger_savepoint(None).unwrap();
        assert!(exists(&savepoint), "{savepoint}");
        assert_eq!(asked.savepoints(), 1, "{strategy}: nothing came late");
        assert_eq!(asked.job.status(), JobStatus::Running);
        asked.cancel();
    }
}

#[test]
fn while_its_tasks_are_being_stopped_nothing_is_waited_for() {
    let more = [("jobmanager.execution.failover-strategy", "full")];
    let asked = Asked::start("1ms", &more);
    asked.orders.hold();
    // Asked before the failure, and held up by the task that does not return.
    let directory = None;
    let control = asked.job.control();
    let before = control.put(JobWish::Savepoint { directory }).unwrap();
    assert_eq!(before.wait_for(Duration::from_millis(200)), None);
    asked.orders.fail();
    asked.until(JobStatus::Failing);
    is_refused(asked.job.trigger_savepoint(None), JobStatus::Failing);
    let shown = asked.figures();
    assert_eq!(shown["runningTime"], 0.0, "{shown:?}");
    assert_eq!(shown["numRestarts"], 0.0, "it has not been decided yet");
    let failed = before.wait().unwrap_err().to_string();
    assert!(failed.contains("told to fail"), "{failed}");
    asked.orders.let_go();
    asked.until(JobStatus::Running);
    assert!(exists(&asked.job.trigger_savepoint(None).unwrap()));
    assert_eq!(asked.savepoints(), 1);
    asked.cancel();
}

/// No place for checkpoints or savepoints.
fn no_places(strategy: &str) -> [(&str, &str); 3] {
    [
        ("jobmanager.execution.failover-strategy", strategy),
        ("execution.checkpointing.dir", ""),
        ("execution.checkpointing.savepoint-dir", ""),
    ]
}

#[test]
fn a_job_without_checkpoints_says_too_that_it_waits_to_begin_again() {
    for strategy in ["region", "full"] {
        let asked = Asked::start_into("1h", &no_places(strategy), true);
        asked.orders.fail();
        asked.until(JobStatus::Restarting);
        asked.begins_again_by(strategy);
        assert_eq!(asked.figures()["runningTime"], 0.0, "{strategy}");
        asked.wait_while(|| asked.figures()["restartingTime"] == 0.0);
        is_refused(asked.job.trigger_savepoint(None), JobStatus::Restarting);
        asked.cancel();
    }
}

#[test]
fn a_job_without_checkpoints_says_too_that_its_tasks_are_being_stopped() {
    let asked = Asked::start_into("1ms", &no_places("full"), true);
    asked.orders.hold();
    asked.orders.fail();
    asked.until(JobStatus::Failing);
    assert_eq!(asked.figures()["runningTime"], 0.0);
    is_refused(asked.job.trigger_savepoint(None), JobStatus::Failing);
    asked.orders.let_go();
    asked.until(JobStatus::Running);
    asked.cancel();
}

#[test]
fn while_it_stops_because_its_process_is_to_end_nothing_is_waited_for() {
    for places in [&failover("full")[..], &no_places("full")] {
        let asked = Asked::start_into("1ms", places, true);
        asked.orders.hold();
        asked.token.interrupt();
        asked.until(JobStatus::Cancelling);
        assert_eq!(asked.figures()["runningTime"], 0.0);
        let refused = asked.job.trigger_savepoint(None).unwrap_err();
        assert!(refused.to_string().contains("cancelled"), "{refused}");
        asked.orders.let_go();
        asked.cancel();
    }
}

#[test]
fn a_job_is_not_stopped_for_whoever_has_gone_before_it_was_begun() {
    let asked = Asked::start("1ms", &[]);
    asked.orders.hold();
    let control = asked.job.control();
    let copy = || JobWish::Savepoint { directory: None };
    let under_way = control.put(copy()).unwrap();
    assert_eq!(under_way.wait_for(Duration::from_millis(200)), None);
    let stop = JobWish::Stop {
        directory: None,
        drain: false,
    };
    let gone = [control.put(copy()).unwrap(), control.put(stop).unwrap()];
    // The job has taken them in, and they wait for the one under way.
    let_it_run(&asked.job, Duration::from_millis(200));
    drop(gone);
    let_it_run(&asked.job, Duration::from_millis(200));
    asked.orders.let_go();
    assert!(exists(&under_way.wait().unwrap().path));
    assert!(exists(&asked.job.trigger_savepoint(None).unwrap()));
    assert_eq!(asked.savepoints(), 2, "one for each who waited");
    assert_eq!(asked.job.status(), JobStatus::Running);
    asked.cancel();
}
