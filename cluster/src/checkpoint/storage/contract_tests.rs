//! What every storage must keep, on every kind there is.

use crc32c::crc32c;
use proptest::prelude::*;

use super::*;
use crate::checkpoint::metadata::model::FileFacts;

/// Runs `check` on storage of every kind, in a place where nothing is.
fn on_every_kind(check: impl Fn(&mut dyn CheckpointStorage, Location)) {
    let folder = tempfile::tempdir().unwrap();
    let place = Location::parse(folder.path().to_str().unwrap()).unwrap();
    let in_directory = |storage: &mut dyn CheckpointStorage, root: Location| {
        storage.make_directory(&root).unwrap();
        check(storage, root);
    };
    in_directory(&mut DirectoryStorage::new(), place.child("host"));
    in_directory(&mut AnyStorage::new(), place.child("any"));
    let mut simulated = DirectoryStorage::on(simulated::SimulatedDisk::new());
    in_directory(&mut simulated, Location::parse("/simulated").unwrap());
    #[cfg(feature = "object-store")]
    {
        use std::sync::Arc;

        use ::object_store::local::LocalFileSystem;
        use ::object_store::memory::InMemory;

        let root = Location::parse("memory:///root").unwrap();
        let over = |store| ObjectStorage::over("memory://", store, Patience::default());
        check(&mut over(Arc::new(InMemory::new())), root.clone());
        let files = folder.path().join("files");
        std::fs::create_dir(&files).unwrap();
        let files = LocalFileSystem::new_with_prefix(files).unwrap();
        let files = files.with_automatic_cleanup(true);
        check(&mut over(Arc::new(files)), root);
        let drawn = thalweg_core::seam::clock::entropy();
        let shared = Location::parse(&format!("memory:///{drawn:x}")).unwrap();
        check(&mut AnyStorage::new(), shared);
    }
}

fn long(byte: u8) -> Vec<u8> {
    (0..3_000_u32).map(|at| byte ^ at as u8).collect()
}

fn facts(bytes: &[u8]) -> FileFacts {
    FileFacts {
        bytes: bytes.len() as u64,
        checksum: crc32c(bytes),
    }
}

fn names(storage: &mut dyn CheckpointStorage, at: &Location) -> Vec<(String, u64, bool)> {
    let entries = storage.list(at).unwrap().into_iter();
    entries
        .map(|entry| (entry.name, entry.bytes, entry.directory))
        .collect()
}

fn kind(outcome: Result<(), StorageError>) -> StorageErrorKind {
    outcome.unwrap_err().kind
}

#[test]
fn a_file_is_written_once_and_read_as_it_was_written() {
    on_every_kind(|storage, root| {
        let at = root.child("chk-1").child("_metadata");
        storage.make_directory(&root).unwrap();
        storage.write_new(&at, &long(1)).unwrap();
        let again = storage.write_new(&at, &long(2));
        assert_eq!(kind(again), StorageErrorKind::AlreadyThere);
        assert_eq!(storage.read(&at, 3_000).unwrap(), long(1));
        let too_long = storage.read(&at, 2_999).unwrap_err();
        assert_eq!(too_long.kind, StorageErrorKind::Damaged, "{too_long}");
        assert_eq!(storage.examine(&at).unwrap(), facts(&long(1)));
        storage.settle(&at).unwrap();
        let missing = root.child("chk-1").child("no");
        for missed in [
            storage.read(&missing, 1).map(|_| ()),
            storage.settle(&missing),
            storage.examine(&missing).map(|_| ()),
            storage.open(&missing).map(|_| ()),
        ] {
            let missed = missed.unwrap_err();
            assert_eq!(missed.kind, StorageErrorKind::Missing, "{missed}");
            assert!(missed.message.contains(&missing.to_string()), "{missed}");
        }
        storage.write_new(&root.child("empty"), b"").unwrap();
        assert_eq!(storage.read(&root.child("empty"), 0).unwrap(), b"");
        assert_eq!(storage.examine(&root.child("empty")).unwrap(), facts(b""));
    });
}

#[test]
fn of_all_who_create_a_file_one_succeeds() {
    on_every_kind(|storage, root| {
        let at = root.child("newest-1");
        storage.create_exclusive(&at, b"mine").unwrap();
        // The same words are no proof of the same writer.
        for content in [b"mine", b"hers"] {
            let refused = storage.create_exclusive(&at, content);
            assert_eq!(kind(refused), StorageErrorKind::AlreadyThere);
        }
        assert_eq!(storage.read(&at, 4).unwrap(), b"mine");
    });
}

#[test]
fn a_file_is_read_from_any_place_in_it() {
    on_every_kind(|storage, root| {
        let content: Vec<u8> = (0..2_500_000_u32).map(|at| (at / 7) as u8).collect();
        let at = root.child("a.run");
        storage.write_new(&at, &content).unwrap();
        let file = storage.open(&at).unwrap();
        assert_eq!(file.length(), content.len() as u64);
        for (offset, count) in [
            (0, 10),
            (2_499_990, 10),
            (5, 0),
            (1_048_570, 20),
            (3, 2_000_000),
        ] {
            let mut into = vec![0; count];
            file.read_at(offset as u64, &mut into).unwrap();
            assert_eq!(into, content[offset..offset + count], "{offset}");
        }
        for (offset, count) in [(2_499_991, 10), (2_500_001, 1), (u64::MAX, 1)] {
            let past = file.read_at(offset, &mut vec![0; count]);
            assert!(past.is_err(), "{offset}");
        }
    });
}

#[test]
fn a_copy_is_checked_on_the_way_and_replaces_nothing() {
    on_every_kind(|storage, root| {
        let (from, to) = (root.child("s").child("run"), root.child("p").child("run"));
        storage.write_new(&from, &long(4)).unwrap();
        let good = facts(&long(4));
        let (mut other, mut longer) = (good, good);
        other.checksum ^= 1;
        longer.bytes += 1;
        for wrong in [other, longer] {
            let refused = storage.copy_new(&from, &to, wrong);
            assert_eq!(kind(refused), StorageErrorKind::Damaged);
            let nothing = storage.read(&to, 10_000).unwrap_err();
            assert_eq!(nothing.kind, StorageErrorKind::Missing);
        }
        storage.copy_new(&from, &to, good).unwrap();
        assert_eq!(storage.read(&to, 10_000).unwrap(), long(4));
        let again = storage.copy_new(&from, &to, good);
        assert_eq!(kind(again), StorageErrorKind::AlreadyThere);
        let missing = storage.copy_new(&root.child("no"), &root.child("to"), good);
        assert_eq!(kind(missing), StorageErrorKind::Missing);
    });
}

#[test]
fn a_long_copy_goes_in_parts() {
    on_every_kind(|storage, root| {
        let content: Vec<u8> = (0..20_000_003_u32).map(|at| (at / 11) as u8).collect();
        let (from, to) = (root.child("from"), root.child("to"));
        storage.write_new(&from, &content).unwrap();
        let good = facts(&content);
        let mut wrong = good;
        wrong.checksum ^= 1;
        let refused = storage.copy_new(&from, &to, wrong);
        assert_eq!(kind(refused), StorageErrorKind::Damaged);
        assert_eq!(
            storage.list(&root).unwrap().len(),
            1,
            "nothing is left of it"
        );
        storage.copy_new(&from, &to, good).unwrap();
        assert_eq!(storage.examine(&to).unwrap(), good);
    });
}

#[test]
fn directories_are_listed_and_go_with_what_is_in_them() {
    on_every_kind(|storage, root| {
        let (chk, shared) = (root.child("chk-1"), root.child("shared"));
        assert_eq!(names(storage, &root), []);
        storage.write_new(&chk.child("_metadata"), b"12").unwrap();
        storage.write_new(&shared.child("a.run"), b"123").unwrap();
        storage.write_new(&root.child("newest-1"), b"1").unwrap();
        let seen = [
            ("chk-1".to_owned(), 0, true),
            ("newest-1".to_owned(), 1, false),
            ("shared".to_owned(), 0, true),
        ];
        assert_eq!(names(storage, &root), seen);
        assert_eq!(names(storage, &chk), [("_metadata".to_owned(), 2, false)]);
        assert!(storage.delete_directory(&root).is_err(), "others lie in it");
        storage.delete_if_empty(&chk).unwrap();
        assert_eq!(names(storage, &chk).len(), 1, "it is not empty");
        for _ in 0..2 {
            storage.delete_directory(&chk).unwrap();
            storage.delete(&shared.child("a.run")).unwrap();
            storage.delete_if_empty(&shared).unwrap();
        }
        assert_eq!(names(storage, &root), []);
        storage.delete_directory(&root).unwrap();
    });
}

#[test]
fn of_all_who_make_a_new_directory_one_succeeds() {
    on_every_kind(|storage, root| {
        let new = root.child("savepoint-1");
        storage.make_new_directory(&new).unwrap();
        let again = storage.make_new_directory(&new);
        assert_eq!(kind(again), StorageErrorKind::AlreadyThere);
        assert_eq!(names(storage, &new), []);
        assert_eq!(names(storage, &root), [("savepoint-1".to_owned(), 0, true)]);
        storage.delete_if_empty(&new).unwrap();
        storage.make_new_directory(&new).unwrap();
        storage.write_new(&new.child("_metadata"), b"1").unwrap();
        storage.delete_if_empty(&new).unwrap();
        assert_eq!(names(storage, &new).len(), 1);
        let again = storage.make_new_directory(&new);
        assert_eq!(kind(again), StorageErrorKind::AlreadyThere);
        storage.delete_directory(&new).unwrap();
        storage.make_new_directory(&new).unwrap();
    });
}

#[test]
fn files_go_from_one_kind_to_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let host = Location::parse(folder.path().to_str().unwrap()).unwrap();
    let drawn = thalweg_core::seam::clock::entropy();
    let other = match Location::parse(&format!("memory:///{drawn:x}")) {
        Ok(memory) => memory,
        Err(_) => host.child("other"),
    };
    let mut storage = AnyStorage::new();
    let good = facts(&long(6));
    let mut wrong = good;
    wrong.checksum ^= 1;
    storage.write_new(&host.child("a"), &long(6)).unwrap();
    let (a, b, c) = (host.child("a"), other.child("b"), host.child("c"));
    for (from, to) in [(&a, &b), (&b, &c)] {
        let refused = storage.copy_new(from, to, wrong);
        assert_eq!(kind(refused), StorageErrorKind::Damaged);
        storage.copy_new(from, to, good).unwrap();
        assert_eq!(
            kind(storage.copy_new(from, to, good)),
            StorageErrorKind::AlreadyThere
        );
        assert_eq!(storage.examine(to).unwrap(), good);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Pieces of a file are read as they are, whatever was read before.
    #[test]
    fn any_order_of_reading_reads_the_same(
        reads in prop::collection::vec((0..2_000_000_u64, 0..300_000_usize), 1..8),
    ) {
        let content: Vec<u8> = (0..2_000_000_u32).map(|at| (at / 3) as u8).collect();
        let drawn = thalweg_core::seam::clock::entropy();
        let folder = tempfile::tempdir().unwrap();
        let root = Location::parse(&format!("memory:///{drawn:x}"))
            .unwrap_or_else(|_| Location::parse(folder.path().to_str().unwrap()).unwrap());
        let mut storage = AnyStorage::new();
        let at = root.child("run");
        storage.write_new(&at, &content).unwrap();
        let file = storage.open(&at).unwrap();
        for (offset, count) in reads {
            let mut into = vec![0; count];
            let read = file.read_at(offset, &mut into);
            match content.get(offset as usize..offset as usize + count) {
                Some(expected) => prop_assert_eq!(&into[..], expected),
                None => prop_assert!(read.is_err()),
            }
        }
        storage.delete(&at).unwrap();
    }
}
