//! A process that still believes that it leads a job, and the one that has taken the job over since: whatever the
//! order, the former makes nothing true any more, and leaves nothing that stands in the way of others.

use super::*;
use crate::checkpoint::home::find::{FindError, find};
use crate::checkpoint::home::pointer::{self, Pointer};
use crate::checkpoint::protocol::JobEnd;
use crate::checkpoint::storage::StorageErrorKind;
use crate::checkpoint::storage::simulated::Fault;

/// A job that runs on the disk of another.
fn beside(rig: &Rig, settings: &CheckpointSettings) -> Rig {
    Rig::start(settings, 1, rig.storage.clone())
}

pub(super) fn leads(settings: &CheckpointSettings) -> Rig {
    Rig::start(settings, 1, DirectoryStorage::on(SimulatedDisk::new()))
}

/// What a task without state answers: nothing of it is in the directory of the job.
fn stateless(checkpoint: CheckpointId) -> TaskSnapshot {
    let mut operator = OperatorSnapshot::empty(COUNT, "count");
    operator.committables.push(prepared(0, checkpoint));
    TaskSnapshot {
        vertex: VertexId(0),
        subtask: 0,
        checkpoint,
        operators: vec![operator],
        in_flight: Vec::new(),
        effort: SnapshotEffort::default(),
    }
}

/// The answer of the one task to the checkpoint that is open.
pub(super) fn receipt(rig: &Rig) -> Input {
    let (open, ..) = rig.triggered();
    Input::Receipt {
        attempt: rig.attempt,
        snapshot: stateless(open),
    }
}

fn answer(rig: &mut Rig) {
    let receipt = receipt(rig);
    rig.step(receipt);
}

/// A checkpoint of a job without state.
pub(super) fn checkpoint(rig: &mut Rig) {
    rig.pass(100);
    answer(rig);
}

pub(super) fn found(rig: &Rig) -> Result<CheckpointId, FindError> {
    let mut storage = rig.storage.clone();
    find(&mut storage, rig.layout.home()).map(|found| found.metadata.checkpoint)
}

#[test]
fn a_former_leader_completes_nothing_after_the_end_of_the_job() {
    let settings = settings(|_| {});
    let mut old = leads(&settings);
    checkpoint(&mut old);
    old.pass(100);
    let mut new = beside(&old, &settings);
    checkpoint(&mut new);
    new.step(Input::Ended(JobEnd::Finished));
    assert!(new.home_names().is_empty());
    answer(&mut old);
    assert_eq!(old.completed(), [CheckpointId(1)]);
    let failures = old.job_failures();
    assert!(matches!(&failures[..], [(_, false)]), "{failures:?}");
    let home = old.layout.home().clone();
    assert!(!old.storage.disk().exists(home.path().unwrap()).unwrap());
}

/// Where it has looked whether it still leads before the job ended, and goes on after that.
#[test]
fn a_former_leader_makes_the_directory_of_an_ended_job_no_more() {
    let settings = settings(|_| {});
    let mut old = leads(&settings);
    checkpoint(&mut old);
    let mut new = beside(&old, &settings);
    new.step(Input::Ended(JobEnd::Finished));
    let at = old.layout.metadata(CheckpointId(2));
    let pointer = old.layout.pointer(9);
    for late in [
        old.storage.write_new(&at, b"whole metadata"),
        old.storage.create_exclusive(&pointer, b"whole pointer"),
    ] {
        assert_eq!(late.unwrap_err().kind, StorageErrorKind::Missing);
    }
    assert!(matches!(found(&old), Err(FindError::Nothing(_))));
}

/// The directory has been made again since, by a begin that found none; somebody may lead in it.
#[test]
fn a_pointer_is_taken_back_where_the_one_it_follows_on_is_gone() {
    for (other, kind) in [
        (None, StorageErrorKind::AlreadyThere),
        (Some(1), StorageErrorKind::Overtaken),
    ] {
        let settings = settings(|_| {});
        let mut old = leads(&settings);
        checkpoint(&mut old);
        beside(&old, &settings).step(Input::Ended(JobEnd::Finished));
        let home = old.layout.home().clone();
        old.storage.make_directory(&old.layout.shared()).unwrap();
        let pointer = |sequence| Pointer {
            sequence,
            term: 1,
            next: CheckpointId(3),
            newest: None,
            savepoint: None,
            ended: None,
        };
        if let Some(other) = other {
            pointer::create(&mut old.storage, &home, &pointer(other), None).unwrap();
        }
        // Two of which nobody knew whether they lasted, after the second.
        for tried in [3, 4] {
            let at = old.layout.pointer(tried);
            let bytes = pointer(tried).encode();
            old.storage.create_exclusive(&at, &bytes).unwrap();
        }
        let refused = pointer::create(&mut old.storage, &home, &pointer(5), Some(2));
        assert_eq!(refused.unwrap_err().kind, kind);
        let left = old.home_names().into_iter();
        let left: Vec<u64> = left
            .filter_map(|name| JobLayout::pointer_of(&name))
            .collect();
        assert_eq!(left, Vec::from_iter(other));
        let led = pointer::still_leads(&mut old.storage, &old.layout.pointer(2));
        assert_eq!(led.unwrap_err().kind, StorageErrorKind::Overtaken);
    }
}

#[test]
fn a_leader_whose_pointer_failed_is_overtaken_all_the_same() {
    let mut failed = 0;
    for failing in 0.. {
        let mut happened = false;
        for fault in [Fault::Full, Fault::Io] {
            let settings = settings(|settings| settings.tolerable_failures = 5);
            let mut old = leads(&settings);
            let first = old.checkpoint();
            let operations = old.storage.disk().operations();
            old.storage.disk().fail(operations + failing, fault);
            old.checkpoint();
            happened |= old.storage.disk().operations() > operations + failing;
            if old.completed() != [first] {
                continue;
            }
            failed += 1;
            old.storage.disk().mend();
            let new = beside(&old, &settings);
            old.checkpoint();
            assert_eq!(old.completed(), [first], "{fault:?} at {failing}");
            let found = found(&new).unwrap();
            assert_eq!(found, first, "{fault:?} at {failing}");
        }
        if !happened {
            break;
        }
    }
    assert!(failed > 10, "checkpoints failed");
}

/// The new leader comes between the metadata of the former and its pointer.
#[test]
fn nothing_is_left_of_what_was_overtaken_before_its_pointer() {
    let settings = settings(|_| {});
    let mut old = leads(&settings);
    checkpoint(&mut old);
    old.pass(100);
    let mut new = None;
    let receipt = receipt(&old);
    let mut outputs: VecDeque<Output> = old.coordinator.step(receipt, old.now).into();
    while let Some(output) = outputs.pop_front() {
        let Output::Store { ticket, command } = output else {
            old.seen.push(output);
            continue;
        };
        if matches!(command, StorageCommand::Point { .. }) {
            new = Some(beside(&old, &settings));
        }
        let outcome = perform(&mut old.storage, &command);
        let stored = Input::Stored { ticket, outcome };
        outputs.extend(old.coordinator.step(stored, old.now));
    }
    assert_eq!(old.completed(), [CheckpointId(1)]);
    let mut new = new.unwrap();
    assert_eq!(found(&new).unwrap(), CheckpointId(1));
    checkpoint(&mut new);
    assert_eq!(new.completed().len(), 1);
    let names = new.home_names();
    assert_eq!(names.len(), 3, "{names:?}");
}

/// The former leader was at the end of the job, and another has taken it over before all was deleted.
#[test]
fn who_ends_a_job_deletes_nothing_of_who_has_taken_it_over() {
    let settings = settings(|_| {});
    let mut old = leads(&settings);
    checkpoint(&mut old);
    let mut outputs = VecDeque::from(
        old.coordinator
            .step(Input::Ended(JobEnd::Finished), old.now),
    );
    let mut new = None;
    while let Some(output) = outputs.pop_front() {
        let Output::Store { ticket, command } = output else {
            continue;
        };
        if matches!(command, StorageCommand::DeleteHome { .. }) {
            let mut rig = beside(&old, &settings);
            rig.checkpoint();
            new = Some(rig);
        }
        let outcome = perform(&mut old.storage, &command);
        let stored = Input::Stored { ticket, outcome };
        outputs.extend(old.coordinator.step(stored, old.now));
    }
    let mut new = new.unwrap();
    let kept: Vec<Arc<CheckpointMetadata>> = new.coordinator.kept().cloned().collect();
    assert_eq!(found(&new).unwrap(), kept[0].checkpoint);
    let shared = new.layout.shared();
    assert_whole(&mut new.storage, &kept[0], &shared, "taken over");
    assert_eq!(new.checkpoint(), *new.completed().last().unwrap());
}

/// A pointer has its name when it is whole. One that is not may be of a process that still writes it, which an earlier
/// build did under that name: it is refused, and nothing is passed over for it.
#[test]
fn a_pointer_that_is_not_whole_is_not_taken_for_that_of_a_dead_writer() {
    for torn in [&b""[..], &[0; 60], b"THALWEGP\x01\0\0"] {
        let settings = settings(|_| {});
        let mut old = leads(&settings);
        checkpoint(&mut old);
        let names = old.home_names();
        let last = (names.iter())
            .filter_map(|name| JobLayout::pointer_of(name))
            .max();
        let next = old.layout.pointer(last.unwrap() + 1);
        old.storage.create_exclusive(&next, torn).unwrap();
        let layout = old.layout.clone();
        for refused in [
            found(&old).map(drop),
            take_over(&mut old.storage, &layout, 1).map(drop),
        ] {
            let said = refused.unwrap_err().to_string();
            assert!(said.contains(&next.to_string()), "{said}");
        }
        // Nor does the leader of before, which finds its number taken.
        checkpoint(&mut old);
        assert_eq!(old.completed(), [CheckpointId(1)]);
    }
}

/// A start that is refused when the job has been taken over already, before any task ran.
#[test]
fn who_never_ran_deletes_nothing_of_the_job_it_was_to_go_on_with() {
    let retention = CheckpointRetention::NoExternalizedCheckpoints;
    let settings = settings(|settings| settings.retention = retention);
    for end in [JobEnd::Failed, JobEnd::Cancelled] {
        let mut old = leads(&settings);
        old.checkpoint();
        let mut new = Rig::still(&settings, 1, old.storage.clone(), None);
        new.step(Input::Ended(end));
        assert_eq!(found(&new).unwrap(), CheckpointId(1));
        let kept = new.coordinator.kept().next().cloned().unwrap();
        let shared = new.layout.shared();
        assert_whole(&mut new.storage, &kept, &shared, "refused");
        // One that was never begun leaves nothing behind.
        let storage = DirectoryStorage::on(SimulatedDisk::new());
        let mut first = Rig::still(&settings, 1, storage, None);
        first.step(Input::Ended(end));
        assert!(first.home_names().is_empty());
    }
}
