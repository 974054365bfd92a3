//! What a user would tell as a story, one test each.

use super::*;
use crate::checkpoint::home::find::{find, read};
use crate::checkpoint::protocol::JobEnd;
use crate::checkpoint::storage::simulated::Fault;
use thalweg_core::config::CheckpointRetention;

fn disk() -> Storage {
    DirectoryStorage::on(SimulatedDisk::new())
}

fn savepoint_place() -> Location {
    Location::parse("/savepoints/savepoint-1").unwrap()
}

fn want(rig: &mut Rig, request: u64, wanted: Wanted) {
    rig.step(Input::Wanted {
        request: RequestId(request),
        wanted,
    });
}

#[test]
fn checkpoints_follow_one_another_and_only_the_newest_stays() {
    let mut rig = Rig::start(&settings(|_| {}), 2, disk());
    for number in 1..=4 {
        assert_eq!(rig.checkpoint(), CheckpointId(number));
    }
    assert_eq!(rig.completed(), [1, 2, 3, 4].map(CheckpointId));
    let names = rig.home_names();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains(&"chk-4".to_owned()), "{names:?}");
    let found = find(&mut rig.storage, &rig.layout.home().clone()).unwrap();
    assert_eq!(found.metadata.checkpoint, CheckpointId(4));
    // Each is an increment: the newest needs the runs of all.
    assert_eq!(rig.shared_names().len(), 8);
    assert_whole(&mut rig.storage, &found.metadata, &found.runs, "the newest");
}

#[test]
fn what_was_prepared_is_committed_with_its_checkpoint_and_once_known_no_more() {
    let mut rig = Rig::start(&settings(|_| {}), 1, disk());
    let commits = |rig: &Rig| -> Vec<Vec<Vec<u8>>> {
        let commits = rig.seen.iter().filter_map(|output| match output {
            Output::Complete { commit, .. } => Some(bytes_of(commit)),
            _ => None,
        });
        commits.collect()
    };
    let first = rig.checkpoint();
    let second = rig.checkpoint();
    rig.step(Input::Committed { checkpoint: second });
    let third = rig.checkpoint();
    let of = |checkpoint| prepared(0, checkpoint);
    assert_eq!(
        commits(&rig),
        [
            vec![of(first)],
            vec![of(first), of(second)],
            vec![of(third)]
        ]
    );
}

#[test]
fn a_checkpoint_that_is_late_fails_and_its_late_answers_still_count_for_what_they_prepared() {
    let mut rig = Rig::start(&settings(|s| s.tolerable_failures = 1), 2, disk());
    rig.pass(100);
    let (late, ..) = rig.triggered();
    rig.answer(0, late, CutKind::Changes);
    rig.pass(1_000);
    assert!(rig.job_failures().is_empty());
    let aborted = |output: &Output| matches!(output, Output::Aborted { checkpoint, reason } if *checkpoint == late && reason.contains("count (2/2)"));
    assert!(rig.seen.iter().any(aborted), "{:?}", rig.seen);
    rig.answer(1, late, CutKind::Changes);
    assert!(rig.completed().is_empty());
    let (next, _, tasks) = rig.triggered();
    assert!(next > late);
    for task in tasks {
        rig.answer(task.index, next, CutKind::Changes);
    }
    let Some(Output::Complete { commit, .. }) = (rig.seen.iter())
        .find(|output| matches!(output, Output::Complete { .. }))
        .cloned()
    else {
        panic!("{:?}", rig.seen);
    };
    let expected = [
        prepared(0, late),
        prepared(1, late),
        prepared(0, next),
        prepared(1, next),
    ];
    assert_eq!(bytes_of(&commit), expected);
    // The runs of the one that failed are part of the one that did not.
    assert_eq!(rig.shared_names().len(), 4);
}

#[test]
fn failures_in_a_row_beyond_the_tolerable_fail_the_job_and_a_success_forgives() {
    let mut rig = Rig::start(&settings(|s| s.tolerable_failures = 1), 1, disk());
    let decline = |rig: &mut Rig| {
        rig.pass(100);
        let (checkpoint, ..) = rig.triggered();
        rig.step(Input::Declined {
            attempt: rig.attempt,
            task: task(0),
            checkpoint,
            reason: "the disk is full".to_owned(),
        });
    };
    decline(&mut rig);
    rig.checkpoint();
    decline(&mut rig);
    assert!(rig.job_failures().is_empty());
    decline(&mut rig);
    let failures = rig.job_failures();
    assert_eq!(failures.len(), 1);
    assert!(
        failures[0].1 && failures[0].0.contains("the disk is full"),
        "{failures:?}"
    );
    let started = rig.triggered().0;
    rig.pass(10_000);
    assert_eq!(
        rig.triggered().0,
        started,
        "nothing starts while the job fails"
    );
    rig.restart();
    assert!(rig.checkpoint() > started);
}

#[test]
fn a_restart_goes_back_to_the_newest_and_sweeps_what_the_failed_attempt_left() {
    let mut rig = Rig::start(&settings(|_| {}), 2, disk());
    let kept = rig.checkpoint();
    rig.pass(100);
    let (open, ..) = rig.triggered();
    rig.answer(0, open, CutKind::Changes);
    assert_eq!(rig.shared_names().len(), 3);
    let before = rig.attempt;
    rig.restart();
    assert_eq!(rig.shared_names().len(), 2);
    let point = rig.coordinator.restore_point().unwrap();
    assert_eq!(point.metadata.checkpoint, kept);
    let discarded = |output: &Output| matches!(output, Output::Discard(gone) if bytes_of(gone) == [prepared(0, open)]);
    assert!(rig.seen.iter().any(discarded), "{:?}", rig.seen);
    // What the former attempt says now changes nothing.
    let late = rig.answer_of(1, open, CutKind::Changes);
    rig.step(Input::Receipt {
        attempt: before,
        snapshot: late,
    });
    assert!(matches!(rig.seen.last(), Some(Output::Refused { .. })));
    rig.chains.clear();
    rig.run();
    assert!(rig.checkpoint() > open);
}

#[test]
fn a_savepoint_holds_all_it_needs_and_the_engine_never_deletes_it() {
    let mut rig = Rig::start(&settings(|_| {}), 2, disk());
    rig.checkpoint();
    let directory = savepoint_place();
    want(
        &mut rig,
        5,
        Wanted::Savepoint {
            directory: directory.clone(),
        },
    );
    let (savepoint, kind, _) = rig.triggered();
    assert_eq!(kind, CutKind::Copy);
    rig.answer(0, savepoint, CutKind::Copy);
    rig.answer(1, savepoint, CutKind::Copy);
    let commits = |output: &Output| matches!(output, Output::Complete { completed, commit } if completed.metadata.checkpoint == savepoint && commit.is_empty());
    assert!(
        rig.seen.iter().any(commits),
        "a savepoint the job goes on after commits nothing"
    );
    assert_eq!(rig.answers(), [], "what it lists may still be removed");
    let (follows, kind, _) = rig.triggered();
    assert!(follows > savepoint, "a checkpoint follows at once");
    rig.answer(0, follows, kind);
    rig.answer(1, follows, kind);
    assert_eq!(rig.completed().last(), Some(&follows));
    let answers = rig.answers();
    assert!(matches!(&answers[..], [(RequestId(5), Ok(done))] if done.directory == directory));
    for _ in 0..3 {
        rig.checkpoint();
    }
    rig.step(Input::Ended(JobEnd::Finished));
    assert_eq!(rig.home_names(), [""; 0]);
    let found = read(&mut rig.storage, &directory).unwrap();
    assert_eq!(found.runs, directory);
    assert_whole(&mut rig.storage, &found.metadata, &directory, "a savepoint");
    assert_eq!(found.metadata.committables.len(), 4);
}

/// The job goes back behind it and its sinks remove what it lists, so nothing is left of it.
#[test]
fn a_savepoint_whose_output_is_not_committed_is_none() {
    let declines: fn(&mut Rig, CheckpointId) = |rig, checkpoint| {
        rig.step(Input::Declined {
            attempt: rig.attempt,
            task: task(0),
            checkpoint,
            reason: "the disk is full".to_owned(),
        });
    };
    let restarts: fn(&mut Rig, CheckpointId) = |rig, _| rig.restart();
    let ends: fn(&mut Rig, CheckpointId) = |rig, _| rig.step(Input::Ended(JobEnd::Failed));
    for (trouble, goes_on) in [(declines, true), (restarts, true), (ends, false)] {
        let mut rig = Rig::start(&settings(|s| s.tolerable_failures = 9), 1, disk());
        let before = rig.checkpoint();
        rig.step(Input::Committed { checkpoint: before });
        let directory = savepoint_place();
        let named = directory.clone();
        want(&mut rig, 5, Wanted::Savepoint { directory: named });
        let (savepoint, ..) = rig.triggered();
        rig.answer(0, savepoint, CutKind::Copy);
        let (follows, ..) = rig.triggered();
        trouble(&mut rig, follows);
        let answers = rig.answers();
        assert!(
            matches!(&answers[..], [(RequestId(5), Err(_))]),
            "{answers:?}"
        );
        let left = rig.look_at().list(&directory).unwrap();
        assert!(left.is_empty(), "{left:?}");
        if goes_on {
            let next = rig.checkpoint();
            assert_eq!(rig.completed(), [before, next]);
        }
        assert_eq!(rig.job_failures(), []);
    }
}

/// Two savepoints and what comes after them, when several may be under way.
#[test]
fn one_checkpoint_settles_all_savepoints_before_it() {
    let mut rig = Rig::start(&settings(|s| s.max_concurrent = 3), 1, disk());
    let place = |name| Location::parse(&format!("/savepoints/{name}")).unwrap();
    for (request, name) in [(1, "a"), (2, "b")] {
        let directory = place(name);
        want(&mut rig, request, Wanted::Savepoint { directory });
    }
    for savepoint in [1, 2] {
        rig.answer(0, CheckpointId(savepoint), CutKind::Copy);
    }
    assert_eq!(rig.answers(), []);
    let (follows, kind, _) = rig.triggered();
    assert_eq!(follows, CheckpointId(3), "one after both");
    rig.answer(0, follows, kind);
    assert_eq!(rig.answers().len(), 2);
    // Where nothing was prepared nothing is waited for.
    let committed = Input::Committed {
        checkpoint: follows,
    };
    rig.step(committed);
    let directory = place("c");
    want(&mut rig, 3, Wanted::Savepoint { directory });
    let (savepoint, kind, _) = rig.triggered();
    let mut snapshot = rig.answer_of(0, savepoint, kind);
    snapshot.operators[0].committables.clear();
    let attempt = rig.attempt;
    rig.step(Input::Receipt { attempt, snapshot });
    assert_eq!(rig.answers().len(), 3);
    assert_eq!(rig.triggered().0, savepoint);
}

#[test]
fn stopping_waits_its_turn_commits_and_lets_nothing_start_after_it() {
    let mut rig = Rig::start(&settings(|_| {}), 1, disk());
    rig.pass(100);
    let (open, ..) = rig.triggered();
    want(
        &mut rig,
        1,
        Wanted::Stop {
            directory: savepoint_place(),
            drain: true,
        },
    );
    assert_eq!(rig.triggered().0, open, "it waits for the one under way");
    rig.answer(0, open, CutKind::Changes);
    let (stop, ..) = rig.triggered();
    assert!(stop > open);
    let drains = |output: &Output| {
        matches!(
            output,
            Output::Trigger {
                stop: Some(true),
                ..
            }
        )
    };
    assert!(rig.seen.iter().any(drains));
    rig.answer(0, stop, CutKind::Copy);
    rig.pass(10_000);
    assert_eq!(rig.triggered().0, stop);
    let Some(Output::Complete { commit, .. }) =
        (rig.seen.iter().rev()).find(|output| matches!(output, Output::Complete { .. }))
    else {
        panic!("{:?}", rig.seen);
    };
    assert_eq!(bytes_of(commit), [prepared(0, open), prepared(0, stop)]);
    let point = rig.coordinator.restore_point().unwrap();
    assert_eq!(
        point.runs,
        savepoint_place(),
        "what is committed is never gone back behind"
    );
}

#[test]
fn a_savepoint_to_stop_with_that_fails_restarts_the_job() {
    let mut rig = Rig::start(&settings(|s| s.tolerable_failures = 9), 1, disk());
    let stop = Wanted::Stop {
        directory: savepoint_place(),
        drain: false,
    };
    want(&mut rig, 1, stop);
    rig.pass(1_000);
    assert!(matches!(&rig.answers()[..], [(RequestId(1), Err(_))]));
    assert!(rig.job_failures()[0].1);
}

#[test]
fn tasks_that_finished_count_as_answered_and_what_they_left_is_in_every_later_one() {
    let mut rig = Rig::start(&settings(|_| {}), 2, disk());
    rig.pass(100);
    let (first, ..) = rig.triggered();
    let last = rig.answer_of(1, CheckpointId(0), CutKind::Changes);
    rig.step(Input::TaskFinished {
        attempt: rig.attempt,
        task: task(1),
        last: Some(last),
    });
    rig.answer(0, first, CutKind::Changes);
    assert_eq!(rig.completed(), [first]);
    rig.step(Input::Committed { checkpoint: first });
    let second = rig.checkpoint();
    assert_eq!(rig.triggered().2, [task(0)]);
    let point = rig.coordinator.restore_point().unwrap().metadata;
    assert_eq!(point.checkpoint, second);
    assert_eq!(point.vertices[0].finished, [1]);
    assert_eq!(point.vertices[0].operators[0].subtasks.len(), 2);
    assert_eq!(bytes_of(&point.committables), [prepared(0, second)]);
    rig.step(Input::TaskFinished {
        attempt: rig.attempt,
        task: task(0),
        last: None,
    });
    // The last one of a bounded job asks nobody.
    want(&mut rig, 1, Wanted::Checkpoint { full: false });
    let last = *rig.completed().last().unwrap();
    assert!(last > second);
    let point = rig.coordinator.restore_point().unwrap().metadata;
    assert!(point.vertices[0].is_finished());
}

#[test]
fn what_was_restored_from_is_not_needed_once_the_first_checkpoint_is_true() {
    let mut rig = Rig::start(&settings(|_| {}), 2, disk());
    let directory = savepoint_place();
    want(
        &mut rig,
        1,
        Wanted::Savepoint {
            directory: directory.clone(),
        },
    );
    let (savepoint, ..) = rig.triggered();
    rig.answer(0, savepoint, CutKind::Copy);
    rig.answer(1, savepoint, CutKind::Copy);
    let (follows, kind, _) = rig.triggered();
    rig.answer(0, follows, kind);
    rig.answer(1, follows, kind);
    rig.step(Input::Ended(JobEnd::Finished));
    let mut storage = rig.storage;
    let found = read(&mut storage, &directory).unwrap();
    let mut rig = Rig::still(
        &settings(|s| s.tolerable_failures = 1),
        2,
        storage,
        Some(found),
    );
    rig.run();
    assert_eq!(rig.coordinator.restore_point().unwrap().runs, directory);
    rig.pass(100);
    let (first, kind, _) = rig.triggered();
    assert!(kind == CutKind::Everything && first > savepoint);
    // A task that still builds on the savepoint's files is refused.
    rig.answer(0, first, CutKind::Changes);
    let refused = |output: &Output| matches!(output, Output::Aborted { reason, .. } if reason.contains("restored from"));
    assert!(rig.seen.iter().any(refused), "{:?}", rig.seen);
    rig.chains.clear();
    let second = rig.checkpoint();
    assert_eq!(rig.completed(), [second]);
    assert_eq!(
        rig.coordinator.restore_point().unwrap().runs,
        rig.layout.shared()
    );
    let (third, kind) = (rig.checkpoint(), rig.triggered().1);
    assert!(third > second && kind == CutKind::Changes);
}

#[test]
fn a_leader_that_was_overtaken_makes_nothing_true_any_more() {
    let mut rig = Rig::start(&settings(|_| {}), 1, disk());
    rig.checkpoint();
    rig.pass(100);
    let (open, ..) = rig.triggered();
    let other = take_over(&mut rig.storage, &rig.layout.clone(), 1).unwrap();
    assert_eq!(other.kept.len(), 1);
    rig.answer(0, open, CutKind::Changes);
    assert_eq!(rig.completed(), [CheckpointId(1)]);
    let failures = rig.job_failures();
    assert!(matches!(&failures[..], [(_, false)]), "{failures:?}");
    let newest = find(&mut rig.storage, &rig.layout.home().clone()).unwrap();
    assert_eq!(newest.metadata.checkpoint, CheckpointId(1));
    rig.pass(10_000);
    assert_eq!(rig.triggered().0, open);
}

#[test]
fn a_full_disk_fails_checkpoints_and_leaves_nothing_and_space_mends_it() {
    let mut rig = Rig::start(&settings(|s| s.tolerable_failures = 5), 1, disk());
    let first = rig.checkpoint();
    rig.pass(100);
    let (open, ..) = rig.triggered();
    let answer = rig.answer_of(0, open, CutKind::Changes);
    rig.storage.disk().set_capacity(Some(0));
    rig.step(Input::Receipt {
        attempt: rig.attempt,
        snapshot: answer,
    });
    assert_eq!(rig.completed(), [first]);
    let full = |output: &Output| matches!(output, Output::Aborted { reason, .. } if reason.contains("free space"));
    assert!(rig.seen.iter().any(full), "{:?}", rig.seen);
    assert!(!rig.home_names().contains(&format!("chk-{}", open.0)));
    rig.storage.disk().set_capacity(None);
    let next = rig.checkpoint();
    assert_eq!(rig.completed(), [first, next]);
}

#[test]
fn a_pointer_nobody_can_be_sure_of_is_followed_by_another() {
    let mut found = 0;
    for failing in 0..60 {
        let mut rig = Rig::start(&settings(|s| s.tolerable_failures = 5), 1, disk());
        let first = rig.checkpoint();
        let operations = rig.storage.disk().operations();
        rig.storage.disk().fail(operations + failing, Fault::Io);
        let second = rig.checkpoint();
        let third = rig.checkpoint();
        // What could not be deleted is deleted with the next.
        let fourth = rig.checkpoint();
        found += usize::from(rig.completed() == [first, second, third, fourth]);
        let newest = find(&mut rig.storage, &rig.layout.home().clone()).unwrap();
        assert_eq!(Some(&newest.metadata.checkpoint), rig.completed().last());
        // What nobody could be sure of is removed by the next leader.
        take_over(&mut rig.storage, &rig.layout.clone(), 1).unwrap();
        let home = rig.home_names();
        assert_eq!(home.len(), 3, "{failing}: {home:?}");
    }
    assert!(found > 0);
}

#[test]
fn what_stays_when_the_job_ends_is_as_the_settings_say() {
    let kept = |retention, end| {
        let settings = settings(|s| s.retention = retention);
        let mut rig = Rig::start(&settings, 1, disk());
        rig.checkpoint();
        rig.step(Input::Ended(end));
        rig.pass(1_000);
        let home = rig.layout.home().clone();
        find(&mut rig.storage, &home).is_ok()
    };
    use CheckpointRetention as Retention;
    let ends = [
        JobEnd::Finished,
        JobEnd::Cancelled,
        JobEnd::Failed,
        JobEnd::Interrupted,
    ];
    let of = |retention| ends.map(|end| kept(retention, end));
    assert_eq!(
        of(Retention::NoExternalizedCheckpoints),
        [false, false, false, true]
    );
    assert_eq!(
        of(Retention::DeleteOnCancellation),
        [false, false, true, true]
    );
    assert_eq!(
        of(Retention::RetainOnCancellation),
        [false, true, true, true]
    );
}

#[test]
fn several_at_once_complete_in_order_and_older_ones_give_way() {
    let settings = settings(|s| s.max_concurrent = 3);
    let mut rig = Rig::start(&settings, 2, disk());
    let mut open = Vec::new();
    for _ in 0..3 {
        rig.pass(100);
        open.push(rig.triggered().0);
    }
    rig.pass(100);
    assert_eq!(rig.triggered().0, open[2], "no more than three");
    for checkpoint in &open {
        rig.answer(0, *checkpoint, CutKind::Changes);
    }
    rig.answer(1, open[0], CutKind::Changes);
    let late = rig.answer_of(1, open[1], CutKind::Changes);
    let last = rig.answer_of(1, open[2], CutKind::Changes);
    // Out of order: the second is answered after the third has completed.
    rig.step(Input::Receipt {
        attempt: rig.attempt,
        snapshot: last,
    });
    rig.step(Input::Receipt {
        attempt: rig.attempt,
        snapshot: late,
    });
    assert_eq!(rig.completed(), [open[0], open[2]]);
    assert!(rig.job_failures().is_empty());
}

/// Hands the disk to another process's job and back.
fn elsewhere(rig: &mut Rig, other: impl FnOnce(Storage) -> Storage) {
    let storage = std::mem::take(&mut rig.storage);
    rig.storage = other(storage);
}

#[test]
fn a_leader_that_was_overtaken_and_does_not_know_it_removes_nothing_of_the_new_one() {
    let ends: [fn(&mut Rig); 3] = [
        |old| old.restart(),
        |old| old.step(Input::Ended(JobEnd::Finished)),
        |old| {
            let (open, ..) = old.triggered();
            old.answer(0, open, CutKind::Changes);
            old.step(Input::Ended(JobEnd::Cancelled));
        },
    ];
    for end in ends {
        let mut old = Rig::start(&settings(|_| {}), 1, disk());
        old.checkpoint();
        old.pass(100);
        let (open, ..) = old.triggered();
        let mut newest = None;
        elsewhere(&mut old, |storage| {
            let mut new = Rig::start(&settings(|_| {}), 1, storage);
            // It takes the number the old one has begun and not told anybody of.
            assert_eq!(new.checkpoint(), open);
            newest = new.coordinator.restore_point();
            new.storage
        });
        end(&mut old);
        let home = old.layout.home().clone();
        let found = find(&mut old.storage, &home).unwrap();
        assert_eq!(
            Some(&found.metadata),
            newest.as_ref().map(|point| &*point.metadata)
        );
        assert_whole(
            &mut old.storage,
            &found.metadata,
            &found.runs,
            "the new leader's",
        );
    }
}

#[test]
fn a_savepoint_goes_only_where_nothing_is() {
    let mut rig = Rig::start(&settings(|_| {}), 1, disk());
    let directory = savepoint_place();
    for request in [1, 2] {
        want(
            &mut rig,
            request,
            Wanted::Savepoint {
                directory: directory.clone(),
            },
        );
        for _ in 0..2 {
            let (open, kind, _) = rig.triggered();
            rig.answer(0, open, kind);
        }
    }
    let answers = rig.answers();
    assert!(
        matches!(&answers[..], [(_, Ok(_)), (_, Err(why))] if why.contains("see who else")),
        "{answers:?}"
    );
    let found = read(&mut rig.storage, &directory).unwrap();
    assert_eq!(found.metadata.checkpoint, CheckpointId(1));
    assert_whole(&mut rig.storage, &found.metadata, &directory, "the first");
}

#[test]
fn a_savepoint_that_fails_leaves_nothing() {
    let mut rig = Rig::start(&settings(|_| {}), 1, disk());
    want(
        &mut rig,
        1,
        Wanted::Savepoint {
            directory: savepoint_place(),
        },
    );
    let (savepoint, ..) = rig.triggered();
    let answer = rig.answer_of(0, savepoint, CutKind::Copy);
    // The second copy does not fit.
    rig.storage.disk().set_capacity(Some(30));
    rig.step(Input::Receipt {
        attempt: rig.attempt,
        snapshot: answer,
    });
    assert!(matches!(&rig.answers()[..], [(_, Err(why))] if why.contains("free space")));
    assert!(
        rig.job_failures().is_empty(),
        "a savepoint that fails is the user's matter"
    );
    let parent = savepoint_place().parent().unwrap();
    assert_eq!(rig.storage.list(&parent).unwrap(), []);
}
