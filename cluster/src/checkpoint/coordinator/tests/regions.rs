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

#[test]
fn two_regions_rest_and_a_savepoint_that_is_asked_for_waits_for_both() {
    let storage = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(
        &settings(|settings| settings.interval_ms = None),
        3,
        storage,
    );
    rig.rest(0, |rig| rig.rest(2, |_| {}));
    let directory = Location::parse("/savepoints/one").unwrap();
    rig.step(Input::Wanted {
        request: RequestId(1),
        wanted: Wanted::Savepoint { directory },
    });
    rig.resume(2);
    let triggers = |rig: &Rig| {
        let triggers = rig.seen.iter();
        triggers
            .filter(|output| matches!(output, Output::Trigger { .. }))
            .count()
    };
    assert_eq!(triggers(&rig), 0);
    rig.resume(0);
    assert_eq!(triggers(&rig), 1);
    answer_all(&mut rig);
    assert_eq!(triggers(&rig), 2, "a checkpoint is to commit what it lists");
    answer_all(&mut rig);
    assert!(matches!(&rig.answers()[..], [(RequestId(1), Ok(_))]));
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
