//! One task begins again while the others run on.

use super::*;

fn rolled_back(rig: &Rig) -> Vec<Vec<Vec<u8>>> {
    let rolled_back = rig.seen.iter().filter_map(|output| match output {
        Output::RollBack { withdrawn, .. } => Some(bytes_of(withdrawn)),
        _ => None,
    });
    rolled_back.collect()
}

#[test]
fn what_is_under_way_is_given_up_and_only_the_regions_output_is_taken_back() {
    let storage = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(&settings(|_| {}), 3, storage);
    let first = rig.checkpoint();
    assert_eq!(rig.completed(), [first]);
    rig.step(Input::Committed { checkpoint: first });
    rig.pass(100);
    let (second, kind, _) = rig.triggered();
    // One of the region has answered, one of the others too, and the third answers when it is too late.
    rig.answer(0, second, kind);
    rig.answer(1, second, kind);
    rig.rest(1, |rig| {
        let given_up = |output: &Output| matches!(output, Output::Aborted { checkpoint, .. } if *checkpoint == second);
        assert!(rig.seen.iter().any(given_up));
        rig.answer(2, second, kind);
    });
    assert_eq!(rolled_back(&rig), [[prepared(1, second)]]);
    rig.pass(1_000);
    assert_eq!(
        rig.triggered().0,
        second,
        "none starts while a task does not run"
    );
    rig.resume(1);
    assert_eq!(rig.chains[&1].len(), 1, "it goes on from the first");
    let third = rig.checkpoint();
    assert_eq!(rig.completed(), [first, third]);
    let listed = rig.seen.iter().rev().find_map(|output| match output {
        Output::Complete { commit, .. } => Some(bytes_of(commit)),
        _ => None,
    });
    let others = [0, 2].map(|task| prepared(task, second));
    let all = (0..3).map(|task| prepared(task, third));
    let expected: Vec<_> = others.into_iter().chain(all).collect();
    assert_eq!(listed, Some(expected));
    // The next was due by then, and what goes by the third goes when that one is over.
    let (fourth, kind, tasks) = rig.triggered();
    assert!(fourth > third);
    for task in tasks {
        rig.answer(task.index, fourth, kind);
    }
    let kept = rig.coordinator.kept().last().unwrap().clone();
    let named = kept.files().into_keys().map(str::to_owned).collect();
    assert_eq!(
        rig.shared_names(),
        named,
        "what the region wrote for the second is gone"
    );
    assert_eq!(rig.job_failures(), []);
}

#[test]
fn a_task_that_had_finished_begins_again_with_its_region() {
    let storage = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(&settings(|_| {}), 2, storage);
    rig.checkpoint();
    let attempt = rig.attempt;
    rig.step(Input::TaskFinished {
        attempt,
        task: task(1),
        last: None,
    });
    rig.rest(1, |_| {});
    rig.resume(1);
    rig.pass(100);
    let (_, _, asked) = rig.triggered();
    assert_eq!(asked, [task(0), task(1)]);
}

fn ask(rig: &mut Rig, request: u64) {
    let directory = Location::parse(&format!("/savepoints/{request}")).unwrap();
    rig.step(Input::Wanted {
        request: RequestId(request),
        wanted: Wanted::Savepoint { directory },
    });
}

fn triggers(rig: &Rig) -> usize {
    let triggers = rig.seen.iter();
    triggers
        .filter(|output| matches!(output, Output::Trigger { .. }))
        .count()
}

#[test]
fn while_any_region_rests_what_is_asked_for_is_refused() {
    let storage = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(
        &settings(|settings| settings.interval_ms = None),
        3,
        storage,
    );
    rig.rest(0, |rig| rig.rest(2, |_| {}));
    ask(&mut rig, 1);
    assert!(matches!(&rig.answers()[..], [(RequestId(1), Err(why))] if why.contains("tasks")));
    rig.resume(2);
    ask(&mut rig, 2);
    assert!(matches!(&rig.answers()[..], [_, (RequestId(2), Err(_))]));
    rig.resume(0);
    assert_eq!(triggers(&rig), 0, "nothing comes late");
    ask(&mut rig, 3);
    assert_eq!(triggers(&rig), 1);
    answer_all(&mut rig);
    assert_eq!(triggers(&rig), 2, "a checkpoint is to commit what it lists");
    answer_all(&mut rig);
    assert!(matches!(&rig.answers()[..], [_, _, (RequestId(3), Ok(_))]));
}

#[test]
fn what_waits_its_turn_when_a_region_fails_is_refused_with_what_is_under_way() {
    let storage = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(
        &settings(|settings| settings.interval_ms = None),
        2,
        storage,
    );
    ask(&mut rig, 1);
    ask(&mut rig, 2);
    assert_eq!(triggers(&rig), 1, "one at a time");
    rig.rest(1, |rig| {
        let answers = rig.answers();
        let refused = answers.iter().filter(|(_, answer)| answer.is_err());
        assert_eq!(refused.count(), 2, "{answers:?}");
    });
    rig.resume(1);
    assert_eq!(triggers(&rig), 1, "nothing comes late");
}

#[test]
fn what_is_asked_of_a_job_whose_attempt_is_over_is_refused_and_not_left_to_the_next() {
    let storage = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(
        &settings(|settings| settings.interval_ms = None),
        2,
        storage,
    );
    let attempt = rig.attempt;
    rig.step(Input::Failing {
        attempt,
        reason: "a task failed".to_owned(),
    });
    ask(&mut rig, 1);
    rig.step(Input::Stopped);
    ask(&mut rig, 2);
    let answers = rig.answers();
    let refused = answers.iter().filter(|(_, answer)| answer.is_err());
    assert_eq!(refused.count(), 2, "{answers:?}");
    rig.run();
    assert_eq!(triggers(&rig), 0);
}

#[test]
fn what_nobody_waits_for_any_more_is_not_begun_and_what_was_begun_goes_on() {
    let storage = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(
        &settings(|settings| settings.interval_ms = None),
        2,
        storage,
    );
    (1..=3).for_each(|request| ask(&mut rig, request));
    for request in [RequestId(1), RequestId(2)] {
        rig.step(Input::Withdrawn { request });
    }
    assert!(matches!(&rig.answers()[..], [(RequestId(2), Err(_))]));
    let directories = |rig: &Rig| {
        let completed = rig.answers().into_iter();
        let completed = completed.filter_map(|(who, answer)| answer.is_ok().then_some(who.0));
        completed.collect::<Vec<_>>()
    };
    while directories(&rig).len() < 2 {
        answer_all(&mut rig);
    }
    assert_eq!(directories(&rig), [1, 3]);
}

fn answer_all(rig: &mut Rig) {
    let (checkpoint, kind, tasks) = rig.triggered();
    for task in tasks {
        rig.answer(task.index, checkpoint, kind);
    }
}

#[test]
fn a_savepoint_that_lists_what_a_region_takes_back_is_given_up() {
    let storage = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(
        &settings(|settings| settings.interval_ms = None),
        2,
        storage,
    );
    let directory = Location::parse("/savepoints/one").unwrap();
    rig.step(Input::Wanted {
        request: RequestId(1),
        wanted: Wanted::Savepoint { directory },
    });
    let (savepoint, ..) = rig.triggered();
    answer_all(&mut rig);
    rig.rest(1, |rig| {
        assert!(matches!(&rig.answers()[..], [(RequestId(1), Err(_))]));
    });
    assert_eq!(rolled_back(&rig), [[prepared(1, savepoint)]]);
    rig.resume(1);
    assert_eq!(rig.job_failures(), []);
}

#[test]
fn once_sources_stop_for_good_nothing_begins_again_alone() {
    let storage = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(
        &settings(|settings| settings.interval_ms = None),
        2,
        storage,
    );
    assert!(rig.coordinator.may_rest());
    rig.step(Input::Wanted {
        request: RequestId(1),
        wanted: Wanted::Stop {
            directory: Location::parse("/savepoints/last").unwrap(),
            drain: false,
        },
    });
    assert!(!rig.coordinator.may_rest());
    rig.restart();
    assert!(rig.coordinator.may_rest());
}

#[test]
fn what_a_region_was_writing_goes_with_it_and_what_is_needed_or_of_others_stays() {
    let settings = settings(|_| {});
    let disk = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(&settings, 2, disk);
    rig.checkpoint();
    let needed = rig.shared_names();
    let attempt = rig.attempt.0;
    let write = |rig: &mut Rig, name: String| {
        let at = rig.layout.shared().child(&name);
        rig.storage.write_new(&at, b"half").unwrap();
        name
    };
    let gone = [
        format!("{COUNT}-0-{attempt}-9.run"),
        format!("{COUNT}-0.1-{attempt}-9.run"),
        format!("v0-0.0.r-{attempt}-9.flight"),
    ]
    .map(|name| write(&mut rig, name));
    let stays = [
        format!("{COUNT}-1-{attempt}-9.run"),
        format!("{COUNT}-01-{attempt}-9.run"),
        format!("v0-1.0.r-{attempt}-9.flight"),
        // Of a former leader.
        format!("{COUNT}-0-{}-9.run", attempt - 1),
    ]
    .map(|name| write(&mut rig, name));
    rig.rest(0, |_| {});
    let there = rig.shared_names();
    assert!(gone.iter().all(|name| !there.contains(name)), "{there:?}");
    assert!(stays.iter().all(|name| there.contains(name)), "{there:?}");
    assert!(there.is_superset(&needed), "{there:?}");
    rig.resume(0);
    let next = rig.checkpoint();
    assert_eq!(rig.completed().last(), Some(&next));
}
