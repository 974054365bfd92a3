//! Which job `latest` names, and what becomes of it until it is taken over.

use thalweg_core::ids::CheckpointId;

use super::latest::{latest, latest_of};
use super::origin::Asked;
use super::*;
use crate::checkpoint::home::Ended;
use crate::checkpoint::home::pointer::{self, Pointer};
use crate::checkpoint::metadata::facts::MetadataFacts;
use crate::checkpoint::metadata::{CheckpointKind, CheckpointMetadata, encode};
use crate::checkpoint::storage::DirectoryStorage;
use crate::checkpoint::storage::simulated::SimulatedDisk;

const JOB: JobId = JobId(0xB0B);
const ASKED: Asked<'static> = Asked {
    name: "clicks",
    fall_back: false,
    begins_anew: false,
};

fn root() -> Location {
    Location::parse("/checkpoints").unwrap()
}

/// A job that has completed its first checkpoint, and its leader's last pointer.
fn job(storage: &mut dyn CheckpointStorage) -> (JobLayout, Pointer) {
    job_of(storage, JOB)
}

fn job_of(storage: &mut dyn CheckpointStorage, job: JobId) -> (JobLayout, Pointer) {
    let layout = JobLayout::new(&root(), job);
    let led = take_over(storage, &layout, 1).unwrap().leadership;
    let metadata = CheckpointMetadata {
        job,
        job_name: "clicks".to_owned(),
        checkpoint: CheckpointId(1),
        kind: CheckpointKind::Checkpoint,
        started_ms: 1_790_000_000_123,
        vertices: Vec::new(),
        committables: Vec::new(),
        in_flight: Vec::new(),
    };
    let bytes = encode(&metadata).unwrap();
    storage
        .write_new(&layout.metadata(CheckpointId(1)), &bytes)
        .unwrap();
    let pointer = Pointer {
        sequence: led.sequence + 1,
        term: led.term,
        next: CheckpointId(2),
        newest: Some((CheckpointId(1), MetadataFacts::of(&bytes).facts())),
        savepoint: None,
        ended: None,
    };
    pointer::create(storage, layout.home(), &pointer, Some(led.sequence)).unwrap();
    (layout, pointer)
}

#[test]
fn a_job_that_ends_while_it_is_taken_over_is_not_begun_empty() {
    // All of it is gone, or only the last pointer has been made.
    for is_gone in [true, false] {
        let mut storage = DirectoryStorage::on(SimulatedDisk::new());
        let (layout, last) = job(&mut storage);
        let found = latest(&mut storage, &root(), &ASKED).unwrap();
        assert_eq!(found.id, Some(JOB));
        let none = Pointer {
            sequence: last.sequence + 1,
            newest: None,
            ..last
        };
        pointer::create(&mut storage, layout.home(), &none, Some(last.sequence)).unwrap();
        if is_gone {
            let (home, last) = (layout.home().clone(), layout.pointer(none.sequence));
            perform(&mut storage, &StorageCommand::DeleteHome { home, last }).unwrap();
        }
        let refused = taken_over(&mut storage, &layout, 1, found).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("ended while it was taken over"), "{said}");
        assert!(said.contains(&layout.home().to_string()), "{said}");
        assert_eq!(storage.list(&root()).unwrap(), [], "nothing is left of it");
        assert_eq!(latest(&mut storage, &root(), &ASKED).unwrap().id, None);
    }
}

#[test]
fn what_has_the_name_of_a_job_and_is_no_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Location::parse(folder.path().to_str().unwrap()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = folder.path().join(JOB.to_string());
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    let refused = latest(&mut DirectoryStorage::new(), &checkpoints, &ASKED)
        .err()
        .unwrap();
    let said = refused.to_string();
    assert!(said.contains(link.to_str().unwrap()), "{said}");
    assert!(said.contains("no directory"), "{said}");
}

/// The job has ended at this time.
fn end(storage: &mut dyn CheckpointStorage, layout: &JobLayout, last: &Pointer, at_ms: i64) {
    let mark = Pointer {
        sequence: last.sequence + 1,
        newest: None,
        ended: Some(Ended::new(at_ms, "clicks")),
        ..last.clone()
    };
    pointer::create(storage, layout.home(), &mark, Some(last.sequence)).unwrap();
}

#[test]
fn of_a_job_that_has_ended_and_another_the_newer_counts_unless_their_names_differ() {
    let started_ms = 1_790_000_000_123;
    for (name, at_ms, ended) in [
        ("clicks", started_ms, true),
        ("clicks", started_ms - 1, false),
        ("other", started_ms + 1, false),
    ] {
        let mut storage = DirectoryStorage::on(SimulatedDisk::new());
        let (layout, last) = job_of(&mut storage, JobId(0xE4D));
        end(&mut storage, &layout, &last, at_ms);
        job(&mut storage);
        let asked = Asked { name, ..ASKED };
        match latest(&mut storage, &root(), &asked) {
            Ok(origin) => assert!(!ended && origin.id == Some(JOB), "{name} {at_ms}"),
            Err(JobError::Ended { savepoint, .. }) => {
                assert!(ended && savepoint.is_none(), "{name} {at_ms}");
                let left = storage.list(layout.home()).unwrap();
                assert_eq!(left.len(), 2, "what was left of it is removed: {left:?}");
            }
            Err(error) => panic!("{name} {at_ms}: {error}"),
        }
    }
}

#[test]
fn one_that_has_finished_begins_anew_where_that_is_asked_for_and_its_mark_goes_then() {
    let mut storage = DirectoryStorage::on(SimulatedDisk::new());
    let (layout, last) = job(&mut storage);
    end(&mut storage, &layout, &last, 7);
    let asked = Asked {
        begins_anew: true,
        ..ASKED
    };
    let origin = latest(&mut storage, &root(), &asked).unwrap();
    assert!(origin.id.is_none() && origin.latest.is_none() && origin.anew);
    let new = JobLayout::new(&root(), JobId(0xE4D));
    taken_over(&mut storage, &new, 1, origin).unwrap();
    let there = storage.list(&root()).unwrap();
    assert_eq!(there.len(), 1, "{there:?}");
    assert_eq!(there[0].name, new.home().name());
}

#[test]
fn jobs_with_an_identity_are_gone_on_with_by_nobody_else() {
    let mut storage = DirectoryStorage::on(SimulatedDisk::new());
    let id = JobId::of_identity("clicks-1");
    let (layout, last) = job_of(&mut storage, id);
    assert!(
        latest(&mut storage, &root(), &ASKED)
            .unwrap()
            .latest
            .is_none()
    );
    let named = (id, layout.home().clone());
    let origin = latest_of(&mut storage, named.clone(), &ASKED).unwrap();
    assert_eq!(origin.latest.unwrap().metadata.checkpoint, CheckpointId(1));
    end(&mut storage, &layout, &last, 7);
    assert!(latest(&mut storage, &root(), &ASKED).is_ok());
    let ended = latest_of(&mut storage, named.clone(), &ASKED).err();
    assert!(matches!(ended, Some(JobError::Ended { .. })), "{ended:?}");
    // Another day is another identity.
    let other = JobId::of_identity("clicks-2");
    let home = JobLayout::new(&root(), other).home().clone();
    let origin = latest_of(&mut storage, (other, home), &ASKED).unwrap();
    assert!(origin.latest.is_none() && origin.id == Some(other));
    // In the same directory it begins anew only when asked to, and nothing of its mark is left then.
    let asked = Asked {
        begins_anew: true,
        ..ASKED
    };
    let origin = latest_of(&mut storage, named, &asked).unwrap();
    assert!(origin.anew && origin.id == Some(id));
    taken_over(&mut storage, &layout, 1, origin).unwrap();
    let found = find(&mut storage, layout.home());
    assert!(matches!(found, Err(FindError::Nothing(_))), "{found:?}");
}

#[test]
fn one_that_is_to_begin_anew_and_has_a_checkpoint_by_then_is_refused() {
    let mut storage = DirectoryStorage::on(SimulatedDisk::new());
    let id = JobId::of_identity("clicks");
    let origin = Origin {
        id: Some(id),
        is_new: true,
        anew: true,
        ..Origin::default()
    };
    let (layout, _) = job_of(&mut storage, id);
    let refused = taken_over(&mut storage, &layout, 1, origin).unwrap_err();
    let said = refused.to_string();
    let newest = layout.checkpoint(CheckpointId(1)).to_string();
    assert!(said.contains(&newest) && said.contains("latest"), "{said}");
}
