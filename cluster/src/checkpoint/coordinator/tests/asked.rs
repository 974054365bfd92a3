//! What is asked for beside what the interval wants.

use super::*;

fn ask(rig: &mut Rig, request: u64, wanted: Wanted) {
    let request = RequestId(request);
    rig.step(Input::Wanted { request, wanted });
}

const CHANGES: Wanted = Wanted::Checkpoint { full: false };

fn stop() -> Wanted {
    Wanted::Stop {
        directory: Location::parse("/savepoints/last").unwrap(),
        drain: false,
    }
}

fn answer_all(rig: &mut Rig) {
    let (checkpoint, kind, tasks) = rig.triggered();
    for task in tasks {
        rig.answer(task.index, checkpoint, kind);
    }
}

fn start(change: impl FnOnce(&mut CheckpointSettings)) -> Rig {
    Rig::start(
        &settings(change),
        2,
        DirectoryStorage::on(SimulatedDisk::new()),
    )
}

#[test]
fn the_pause_counts_from_the_end_of_one_that_was_asked_for_well_or_badly() {
    for fails in [false, true] {
        let mut rig = start(|settings| {
            settings.min_pause_ms = 500;
            settings.tolerable_failures = 1;
        });
        rig.pass(90);
        ask(&mut rig, 1, CHANGES);
        let asked = rig.triggered();
        rig.now.ms += 5;
        if fails {
            let (attempt, checkpoint) = (rig.attempt, asked.0);
            rig.step(Input::Declined {
                attempt,
                task: task(0),
                checkpoint,
                reason: "it cannot".to_owned(),
            });
        } else {
            answer_all(&mut rig);
        }
        assert_eq!(rig.answers().len(), 1);
        assert_eq!(rig.coordinator.wake_ms(), Some(rig.now.ms + 500));
        rig.pass(499);
        assert_eq!(rig.triggered(), asked);
        rig.pass(1);
        assert_ne!(rig.triggered(), asked);
    }
}

#[test]
fn one_that_was_asked_for_and_fails_counts_as_others_do() {
    let mut rig = start(|settings| {
        settings.interval_ms = None;
        settings.tolerable_failures = 1;
    });
    for request in [1, 2] {
        assert_eq!(rig.job_failures(), []);
        ask(&mut rig, request, CHANGES);
        rig.pass(1_000);
    }
    assert!(matches!(&rig.job_failures()[..], [(why, true)] if why.contains("2 checkpoints")));
    assert!(rig.answers().iter().all(|(_, answer)| answer.is_err()));
}

#[test]
fn while_a_stop_waits_for_what_is_under_way_nothing_else_is_due() {
    let mut rig = start(|settings| settings.max_concurrent = 2);
    rig.pass(100);
    let (first, ..) = rig.triggered();
    ask(&mut rig, 1, stop());
    rig.pass(150);
    let deadline = 1_100 + 1_000;
    assert_eq!(
        rig.coordinator.wake_ms(),
        Some(deadline),
        "and no moment that is over"
    );
    assert_eq!(rig.triggered().0, first);
    answer_all(&mut rig);
    assert_ne!(rig.triggered().0, first, "it is stopped");
    answer_all(&mut rig);
    assert!(matches!(&rig.answers()[..], [(RequestId(1), Ok(_))]));
}

#[test]
fn what_a_job_cannot_do_now_is_refused_with_when_to_try_again() {
    let mut rig = start(|settings| settings.interval_ms = None);
    (1..3).for_each(|request| ask(&mut rig, request, CHANGES));
    rig.rest(1, |rig| ask(rig, 3, CHANGES));
    let answers = rig.answers();
    // The first was under way.
    for request in [2, 3] {
        let of = |(who, _): &&(RequestId, _)| *who == RequestId(request);
        let (_, answer) = answers.iter().find(of).unwrap();
        let why = answer.clone().unwrap_err();
        assert!(why.contains("try again when it is RUNNING"), "{why}");
    }
}
