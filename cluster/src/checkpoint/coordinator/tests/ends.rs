//! The mark of the end of a job: whatever happens at the end, whoever comes after it goes on from the last checkpoint or
//! learns that the job has ended, and never finds nothing; whoever begins anew after it, or leads before there is any
//! checkpoint, is harmed by nobody who came before.

use std::sync::mpsc::sync_channel;

use super::interleaved::held;
use super::two_leaders::{checkpoint, found, leads, receipt};
use super::*;
use crate::checkpoint::home::EndedJob;
use crate::checkpoint::home::find::{FindError, find};
use crate::checkpoint::home::takeover::begin_anew;
use crate::checkpoint::protocol::JobEnd;
use crate::checkpoint::storage::StorageErrorKind;
use crate::checkpoint::storage::simulated::Survival;

const SURVIVALS: [Survival; 6] = [
    Survival::Nothing,
    Survival::Everything,
    Survival::Names,
    Survival::Content,
    Survival::Drawn(11),
    Survival::Drawn(12),
];

fn marking() -> CheckpointSettings {
    settings(|settings| {
        settings.tolerable_failures = 5;
        settings.marks_end = true;
    })
}

/// How a job comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Finishes,
    Stops,
}

const WAYS: [Way; 2] = [Way::Finishes, Way::Stops];

fn savepoint() -> Location {
    Location::parse("/savepoints/last").unwrap()
}

/// A savepoint to stop with is asked for and answered.
fn stop(rig: &mut Rig) {
    let (directory, drain) = (savepoint(), false);
    let wanted = Wanted::Stop { directory, drain };
    let request = RequestId(1);
    rig.step(Input::Wanted { request, wanted });
    let (stop, kind, _) = rig.triggered();
    rig.answer(0, stop, kind);
}

/// A job that has completed a checkpoint with a file, and has nothing more to do.
fn done(way: Way, storage: Storage) -> Rig {
    let mut rig = Rig::start(&marking(), 1, storage);
    rig.checkpoint();
    if way == Way::Stops {
        stop(&mut rig);
    }
    rig
}

fn empty_disk() -> Storage {
    DirectoryStorage::on(SimulatedDisk::new())
}

fn ended(rig: &Rig) -> Option<EndedJob> {
    match found(rig) {
        Ok(_) => None,
        Err(FindError::Ended(job)) => Some(*job),
        Err(other) => panic!("{other:?}"),
    }
}

/// The job has ended so, and only the mark is left.
fn assert_ended(rig: &mut Rig, way: Way, when: &str) {
    let job = ended(rig).expect(when);
    assert!(job.ended.is_of("job"), "{when}");
    let by = (way == Way::Stops).then(savepoint);
    assert_eq!(job.savepoint, by, "{when}");
    assert_eq!(rig.home_names(), [job.pointer.name(), "shared"], "{when}");
    assert!(rig.shared_names().is_empty(), "{when}");
    let refused = take_over(&mut rig.look_at(), &rig.layout, 1);
    assert!(matches!(refused, Err(FindError::Ended(_))), "{when}");
}

#[test]
fn a_job_that_has_ended_leaves_a_mark_of_how_and_nothing_else() {
    for way in WAYS {
        let mut rig = done(way, empty_disk());
        rig.now.wall_ms += 5;
        rig.step(Input::Ended(JobEnd::Finished));
        assert_ended(&mut rig, way, "");
        assert_eq!(ended(&rig).unwrap().ended.at_ms, rig.now.wall_ms);
    }
}

#[test]
fn one_that_failed_or_was_cancelled_or_marks_nothing_leaves_no_mark() {
    for (end, marks_end) in [
        (JobEnd::Failed, true),
        (JobEnd::Cancelled, true),
        (JobEnd::Finished, false),
    ] {
        let settings = settings(|settings| settings.marks_end = marks_end);
        let mut rig = leads(&settings);
        checkpoint(&mut rig);
        rig.step(Input::Ended(end));
        assert!(matches!(found(&rig), Err(FindError::Nothing(_))), "{end:?}");
    }
}

/// It failed as it showed what the savepoint lists, went on from that, and came to its end another time.
#[test]
fn a_job_that_went_on_after_it_was_stopped_has_finished() {
    let mut rig = done(Way::Stops, empty_disk());
    rig.restart();
    rig.checkpoint();
    rig.step(Input::Ended(JobEnd::Finished));
    assert_ended(&mut rig, Way::Finishes, "");
}

/// Power is lost before an operation of the end; false if there was none.
fn cut(way: Way, before: u64, survival: Survival) -> bool {
    let when = format!("{way:?}, {survival:?}, cut {before} operations later");
    let mut rig = done(way, empty_disk());
    let operations = rig.storage.disk().operations();
    rig.storage.disk().cut_before(operations + before);
    rig.step(Input::Ended(JobEnd::Finished));
    let happened = rig.storage.disk().is_off();
    rig.storage.disk().crash(survival);
    match ended(&rig) {
        Some(job) => {
            // Whoever finds it removes what is left.
            let (home, last) = (job.home, job.pointer);
            perform(&mut rig.storage, &StorageCommand::ClearHome { home, last }).expect(&when);
            assert_ended(&mut rig, way, &when);
        }
        None => {
            assert!(happened, "{when}: nothing kept it from its end");
            let mut next = Rig::start(&marking(), 1, rig.storage.clone());
            let point = next.coordinator.restore_point().expect(&when);
            assert_whole(&mut next.storage, &point.metadata, &point.runs, &when);
            next.step(Input::Ended(JobEnd::Finished));
            assert_ended(&mut next, Way::Finishes, &when);
        }
    }
    happened
}

#[test]
fn a_cut_anywhere_in_the_end_leaves_the_checkpoint_or_the_mark() {
    for way in WAYS {
        for survival in SURVIVALS {
            let cuts = (0..).find(|before| !cut(way, *before, survival));
            assert!(cuts.unwrap() > 10, "the end takes some operations");
        }
    }
}

/// Another takes the job over while its leader is held up at the end and dies a little later; false if that did not come
/// so far.
fn overtaken_before(call: u64, dies_after: u64, way: Way) -> bool {
    let when = format!("{way:?} before call {call}, dead {dies_after} later");
    let mut old = done(way, empty_disk());
    let newest = old.coordinator.restore_point().unwrap();
    let newest = newest.metadata.checkpoint;
    let (disk, (tell, told)) = (old.storage.clone(), sync_channel(1));
    let other = move || {
        let new = Rig::try_still(&marking(), 1, disk, None);
        tell.send(new.ok()).unwrap();
    };
    let mut storage = held(&old, call, call.saturating_add(dies_after), other);
    old.step_on(&mut storage, Input::Ended(JobEnd::Finished));
    drop(storage);
    let Ok(new) = told.recv() else {
        return false;
    };
    let Some(mut new) = new else {
        // It was told so, and so is everybody after it.
        let job = ended(&old).expect(&when);
        let (home, last) = (job.home, job.pointer);
        perform(&mut old.storage, &StorageCommand::ClearHome { home, last }).expect(&when);
        assert_ended(&mut old, way, &when);
        return true;
    };
    let point = new.coordinator.restore_point().expect(&when);
    assert_eq!(point.metadata.checkpoint, newest, "{when}");
    assert_whole(&mut new.storage, &point.metadata, &point.runs, &when);
    new.run();
    let last = new.checkpoint();
    assert_eq!(found(&new).unwrap(), last, "{when}");
    new.step(Input::Ended(JobEnd::Finished));
    assert_ended(&mut new, Way::Finishes, &when);
    true
}

#[test]
fn who_comes_at_the_end_goes_on_or_is_told_of_it() {
    for way in WAYS {
        for dies_after in (0..12).chain([u64::MAX]) {
            let held = |call: &u64| !overtaken_before(*call, dies_after, way);
            assert!((0..).find(held).unwrap() > 10, "{way:?}");
        }
    }
}

/// A job that may begin anew, in the directory of one that has ended.
fn anew(storage: Storage) -> Rig {
    let mut rig = leads(&marking());
    let takeover = begin_anew(&mut storage.clone(), &rig.layout, 1).unwrap();
    let job = (JOB, "job".to_owned());
    let layout = rig.layout.clone();
    rig.coordinator = CheckpointCoordinator::new(&marking(), job, layout, takeover, None);
    rig.storage = storage;
    rig.attempt = rig.coordinator.attempt(0);
    rig
}

/// Another begins the job anew while its former leader is held up as it deletes what it had, and dies a little later;
/// false if that did not come so far.
fn begun_anew_before(call: u64, dies_after: u64) -> bool {
    let when = format!("before call {call}, dead {dies_after} later");
    let mut old = done(Way::Finishes, empty_disk());
    let (disk, (tell, told)) = (old.storage.clone(), sync_channel(1));
    let other = move || {
        let mut new = anew(disk);
        let began = new.coordinator.restore_point().is_some();
        new.run();
        new.checkpoint();
        tell.send((new, began)).unwrap();
    };
    let mut storage = held(&old, call, call.saturating_add(dies_after), other);
    old.step_on(&mut storage, Input::Ended(JobEnd::Finished));
    drop(storage);
    let Ok((mut new, began)) = told.recv() else {
        return false;
    };
    if began {
        // The mark was not there yet.
        return true;
    }
    for _ in 0..2 {
        let last = *new.completed().last().unwrap();
        assert_eq!(found(&new).unwrap(), last, "{when}");
        let point = new.coordinator.restore_point().unwrap();
        assert_whole(&mut new.storage, &point.metadata, &point.runs, &when);
        new.checkpoint();
        assert_eq!(new.job_failures(), [], "{when}");
    }
    new.step(Input::Ended(JobEnd::Finished));
    assert_ended(&mut new, Way::Finishes, &when);
    true
}

#[test]
fn who_begins_anew_is_not_harmed_by_who_still_deletes_what_it_had() {
    for dies_after in (0..12).chain([u64::MAX]) {
        let calls = (0..).find(|call| !begun_anew_before(*call, dies_after));
        assert!(calls.unwrap() > 10);
    }
}

#[test]
fn numbers_go_on_where_a_job_begins_anew() {
    let mut old = done(Way::Finishes, empty_disk());
    let (last, attempt) = (old.triggered().0, old.attempt);
    old.step(Input::Ended(JobEnd::Finished));
    let mut new = anew(old.storage.clone());
    assert_eq!(new.coordinator.restore_point(), None);
    assert!(new.attempt > attempt, "names of runs do not come again");
    new.run();
    assert!(new.checkpoint() > last);
}

/// A leader that has no checkpoint yet is overtaken before a call of its first; false if it did not come so far.
fn overtaken_before_its_first(call: u64, dies_after: u64, checkpoints: u32) -> bool {
    let when = format!("{checkpoints} checkpoints before call {call}, dead {dies_after} later");
    let mut old = leads(&marking());
    old.pass(100);
    let (open, ..) = old.triggered();
    let (disk, (tell, told)) = (old.storage.clone(), sync_channel(1));
    let other = move || {
        let mut new = Rig::start(&marking(), 1, disk);
        let point = new.coordinator.restore_point();
        let began = point.map(|point| point.metadata.checkpoint);
        for _ in 0..checkpoints {
            checkpoint(&mut new);
        }
        tell.send((new, began)).unwrap();
    };
    let mut storage = held(&old, call, call.saturating_add(dies_after), other);
    let receipt = receipt(&old);
    old.step_on(&mut storage, receipt);
    drop(storage);
    let Ok((mut new, began)) = told.recv() else {
        return false;
    };
    let committed = old.completed().contains(&open);
    assert!(
        !committed || began == Some(open),
        "{when}: committed by both"
    );
    if !committed && dies_after == u64::MAX {
        // One that is given up for what was cleared away meanwhile is followed by one that is overtaken.
        if old.job_failures().is_empty() {
            checkpoint(&mut old);
        }
        assert_eq!(old.completed(), [], "{when}");
        let failures = old.job_failures();
        assert!(
            matches!(&failures[..], [(_, false)]),
            "{when}: {failures:?}"
        );
    }
    let before = new.completed().len();
    while new.completed().len() == before {
        checkpoint(&mut new);
        assert_eq!(new.job_failures(), [], "{when}");
    }
    assert_eq!(found(&new).unwrap(), *new.completed().last().unwrap());
    true
}

#[test]
fn a_leader_without_a_checkpoint_is_overtaken_like_any_other() {
    for checkpoints in [0, 1, 3] {
        for dies_after in (0..12).chain([u64::MAX]) {
            let held = |call: &u64| !overtaken_before_its_first(*call, dies_after, checkpoints);
            assert!((0..).find(held).unwrap() > 10);
        }
    }
}

#[test]
fn a_damaged_mark_is_refused_and_not_taken_for_no_checkpoint() {
    let mut rig = done(Way::Finishes, empty_disk());
    rig.step(Input::Ended(JobEnd::Finished));
    let at = ended(&rig).unwrap().pointer;
    let bytes = rig.storage.read(&at, 8_192).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        rig.storage.delete(&at).unwrap();
        rig.storage.create_exclusive(&at, &damaged).unwrap();
        let home = rig.layout.home().clone();
        let found = find(&mut rig.storage, &home);
        assert!(matches!(found, Err(FindError::Damaged(_))), "{bit}");
        let taken = begin_anew(&mut rig.storage, &rig.layout, 1);
        assert!(matches!(taken, Err(FindError::Damaged(_))), "{bit}");
    }
    rig.storage.delete(&at).unwrap();
    let gone = rig.storage.read(&at, 8_192).unwrap_err();
    assert_eq!(gone.kind, StorageErrorKind::Missing);
}
