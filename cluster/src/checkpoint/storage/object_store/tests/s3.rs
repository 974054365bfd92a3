//! The client for S3 against a stand-in for it: what goes over the wire is what the rules of this room need.

use super::s3_server::Server;
use super::*;
use crate::checkpoint::home::{JobLayout, take_over};
use crate::checkpoint::storage::object_store::connect::s3_of;

fn storage_of(server: &Server, patience: Patience) -> ObjectStorage {
    let builder = object_store::aws::AmazonS3Builder::new()
        .with_endpoint(&*server.endpoint)
        .with_region("nowhere")
        .with_access_key_id("key")
        .with_secret_access_key("secret");
    let store = s3_of("s3://bucket", "bucket", builder).unwrap();
    ObjectStorage::over("s3://bucket", store, patience)
}

fn in_bucket(name: &str) -> Location {
    Location::parse(&format!("s3://bucket/{name}")).unwrap()
}

/// Waits long enough for a server that is there.
const PATIENT: Patience = Patience {
    answer: Duration::from_secs(20),
    ..super::PATIENT
};

#[test]
fn what_the_contract_needs_goes_over_the_wire() {
    let server = Server::start();
    let mut storage = storage_of(&server, PATIENT);
    let root = in_bucket("checkpoints");
    storage.make_directory(&root).unwrap();
    assert_eq!(storage.list(&root).unwrap(), [], "the probe is gone");
    // More than fits a page of a list.
    for number in 0..5_u8 {
        let at = root.child("job").child(&format!("newest-{number}"));
        storage.create_exclusive(&at, &[number; 3]).unwrap();
        let refused = storage.create_exclusive(&at, &[number; 3]).unwrap_err();
        assert_eq!(refused.kind, StorageErrorKind::AlreadyThere, "{refused}");
    }
    storage
        .write_new(&root.child("job").child("shared").child("a.run"), b"run")
        .unwrap();
    let entries = storage.list(&root.child("job")).unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| &*entry.name).collect();
    assert_eq!(
        names,
        [
            "newest-0", "newest-1", "newest-2", "newest-3", "newest-4", "shared"
        ]
    );
    let missing = storage.read(&root.child("no"), 10).unwrap_err();
    assert_eq!(missing.kind, StorageErrorKind::Missing, "{missing}");
    let content: Vec<u8> = (0..19_000_001_u32).map(|at| (at / 3) as u8).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.run");
    std::fs::write(&path, &content).unwrap();
    let from = Location::parse(path.to_str().unwrap()).unwrap();
    let run = root.child("job").child("shared").child("b.run");
    storage.take_in((&from, &run), facts(&content)).unwrap();
    assert_eq!(storage.examine(&run).unwrap(), facts(&content));
    let file = storage.open(&run).unwrap();
    let mut middle = vec![0; 1_000];
    file.read_at(9_999_000, &mut middle).unwrap();
    assert_eq!(middle, content[9_999_000..10_000_000]);
    storage.delete(&run).unwrap();
    storage
        .delete_directory(&root.child("job").child("shared"))
        .unwrap();
    storage.delete_directory(&root.child("job")).unwrap();
    assert!(server.content.lock().unwrap().objects.is_empty());
}

#[test]
fn connections_that_break_after_the_request_make_no_second_leader() {
    let server = Server::start();
    let mut storage = storage_of(&server, PATIENT);
    for lost in [1, 3, 6] {
        server.content.lock().unwrap().lose = lost;
        let at = in_bucket(&format!("newest-{lost}"));
        storage.create_exclusive(&at, b"mine").unwrap();
        let refused = storage.create_exclusive(&at, b"mine").unwrap_err();
        assert_eq!(refused.kind, StorageErrorKind::AlreadyThere);
    }
    let layout = JobLayout::at(in_bucket("job"));
    server.content.lock().unwrap().lose = 2;
    let first = take_over(&mut storage, &layout, 1).unwrap().leadership;
    let mut other = storage_of(&server, PATIENT);
    let second = take_over(&mut other, &layout, 1).unwrap().leadership;
    assert_eq!((first.term, second.term), (1, 2));
    assert_eq!(second.sequence, first.sequence + 1);
}
