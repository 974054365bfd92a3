//! Which job `latest` names, and what becomes of it until it is taken over.

use thalweg_core::ids::CheckpointId;

use super::*;
use crate::checkpoint::home::pointer::{self, Pointer};
use crate::checkpoint::metadata::facts::MetadataFacts;
use crate::checkpoint::metadata::{CheckpointKind, CheckpointMetadata, encode};
use crate::checkpoint::storage::DirectoryStorage;
use crate::checkpoint::storage::simulated::SimulatedDisk;

const JOB: JobId = JobId(0xB0B);

fn root() -> Location {
    Location::parse("/checkpoints").unwrap()
}

/// A job that has completed its first checkpoint, and its leader's last pointer.
fn job(storage: &mut dyn CheckpointStorage) -> (JobLayout, Pointer) {
    let layout = JobLayout::new(&root(), JOB);
    let led = take_over(storage, &layout, 1).unwrap().leadership;
    let metadata = CheckpointMetadata {
        job: JOB,
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
        let found = latest(&mut storage, &root(), false).unwrap();
        assert_eq!(found.as_ref().unwrap().job, JOB);
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
        assert!(latest(&mut storage, &root(), false).unwrap().is_none());
    }
}

#[test]
fn what_has_the_name_of_a_job_and_is_no_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Location::parse(folder.path().to_str().unwrap()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = folder.path().join(JOB.to_string());
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    let refused = latest(&mut DirectoryStorage::new(), &checkpoints, false)
        .err()
        .unwrap();
    let said = refused.to_string();
    assert!(said.contains(link.to_str().unwrap()), "{said}");
    assert!(said.contains("no directory"), "{said}");
}
