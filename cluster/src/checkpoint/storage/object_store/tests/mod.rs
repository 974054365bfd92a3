//! Object storage when requests fail, before and after they had their effect.

mod drawn;
pub(crate) mod faulty;
mod leaders;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "s3")]
mod s3_server;

use std::time::Duration;

use crc32c::crc32c;
use object_store::memory::InMemory;

use self::faulty::{Fate, Faulty};
use super::*;

/// Enough for every script of faults.
const PATIENT: Patience = Patience {
    answer: Duration::from_millis(50),
    whole: Duration::from_secs(60),
    first_pause: Duration::from_micros(10),
    longest_pause: Duration::from_micros(100),
};
/// One try.
const IMPATIENT: Patience = Patience {
    whole: Duration::ZERO,
    ..PATIENT
};

fn place(name: &str) -> Location {
    Location::parse(&format!("memory:///{name}")).unwrap()
}

fn storage(store: &Arc<Faulty>, patience: Patience) -> ObjectStorage {
    ObjectStorage::over(
        "memory://",
        Arc::clone(store) as Arc<dyn ObjectStore>,
        patience,
    )
}

fn facts(bytes: &[u8]) -> FileFacts {
    FileFacts {
        bytes: bytes.len() as u64,
        checksum: crc32c(bytes),
    }
}

#[test]
fn a_lost_answer_is_not_taken_for_somebody_else() {
    for fates in [
        vec![Fate::FailAfter],
        vec![Fate::Silent],
        vec![Fate::FailBefore, Fate::FailAfter],
        vec![
            Fate::FailAfter,
            Fate::FailBefore,
            Fate::Pass,
            Fate::FailBefore,
        ],
    ] {
        let store = Faulty::over(&Arc::default(), fates.clone());
        let mut storage = storage(&store, PATIENT);
        storage.create_exclusive(&place("a"), b"mine").unwrap();
        let other = storage.create_exclusive(&place("a"), b"mine").unwrap_err();
        assert_eq!(other.kind, StorageErrorKind::AlreadyThere, "{fates:?}");
    }
}

#[test]
fn what_nobody_can_know_is_said_to_be_unknown() {
    for fate in [Fate::FailBefore, Fate::FailAfter, Fate::Silent] {
        let store = Faulty::over(&Arc::default(), [fate]);
        let mut storage = storage(&store, IMPATIENT);
        let unknown = storage.create_exclusive(&place("a"), b"mine").unwrap_err();
        assert_eq!(
            unknown.kind,
            StorageErrorKind::Unknown,
            "{fate:?}: {unknown}"
        );
        assert!(unknown.message.contains("memory:///a"), "{unknown}");
    }
    // It is there, but whose it is cannot be read.
    let store = Faulty::over(&Arc::default(), [Fate::Pass, Fate::Pass, Fate::FailBefore]);
    let mut storage = storage(&store, IMPATIENT);
    storage.create_exclusive(&place("a"), b"mine").unwrap();
    let unknown = storage.create_exclusive(&place("a"), b"mine").unwrap_err();
    assert_eq!(unknown.kind, StorageErrorKind::Unknown);
}

#[test]
fn what_is_forbidden_is_said_at_once_with_what_to_do() {
    let store = Faulty::over(&Arc::default(), [Fate::Forbidden]);
    let mut storage = storage(&store, PATIENT);
    let refused = storage.create_exclusive(&place("a/b"), b"x").unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Failed(ErrorKind::Invalid));
    for said in ["cannot create memory:///a/b", "check the credentials"] {
        assert!(refused.message.contains(said), "{refused}");
    }
    assert!(!refused.message.contains("tried"), "{refused}");
    storage.create_exclusive(&place("a/b"), b"x").unwrap();
}

#[test]
fn passing_trouble_passes() {
    let store = Faulty::over(&Arc::default(), []);
    let mut storage = storage(&store, PATIENT);
    let three = [Fate::FailBefore, Fate::Silent, Fate::FailAfter];
    let content = vec![7; 100_000];
    store.then(three);
    storage.write_new(&place("d/a"), &content).unwrap();
    store.then(three);
    assert_eq!(storage.read(&place("d/a"), 1 << 20).unwrap(), content);
    store.then(three);
    assert_eq!(storage.list(&place("d")).unwrap().len(), 1);
    store.then(three);
    assert_eq!(storage.examine(&place("d/a")).unwrap(), facts(&content));
    store.then(three);
    let copied = storage.copy_new(&place("d/a"), &place("d/b"), facts(&content));
    copied.unwrap();
    store.then(three);
    storage.delete(&place("d/a")).unwrap();
    store.then(three);
    storage.delete_directory(&place("d")).unwrap();
    assert_eq!(storage.list(&place("d")).unwrap(), []);
}

#[test]
fn a_long_file_arrives_whole_whatever_breaks_on_the_way() {
    let content: Vec<u8> = (0..(PIECES_OF_TEST * transfer::PIECE) as u32 + 5)
        .map(|at| (at / 13) as u8)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.run");
    std::fs::write(&path, &content).unwrap();
    let from = Location::parse(path.to_str().unwrap()).unwrap();
    for at in 0..7 {
        for fate in [Fate::FailBefore, Fate::FailAfter] {
            let mut fates = vec![Fate::Pass; at];
            fates.push(fate);
            let store = Faulty::over(&Arc::default(), fates);
            let mut storage = storage(&store, PATIENT);
            let to = place("shared/a.run");
            storage.take_in((&from, &to), facts(&content)).unwrap();
            assert_eq!(
                storage.examine(&to).unwrap(),
                facts(&content),
                "{at} {fate:?}"
            );
        }
    }
}

/// Whole pieces of the file above.
const PIECES_OF_TEST: u64 = 2;

#[test]
fn files_are_fetched_and_damage_is_noticed() {
    let store = Faulty::over(&Arc::default(), []);
    let mut storage = storage(&store, PATIENT);
    let shared = place("job/shared");
    let content: Vec<u8> = (0..100_000_u32).map(|at| (at / 5) as u8).collect();
    for file in ["a.run", "b.run", "c.run", "d.run", "e.run", "f.run"] {
        storage.write_new(&shared.child(file), &content).unwrap();
    }
    let files: BTreeMap<&str, FileFacts> = ["a.run", "b.run", "c.run", "d.run", "e.run", "f.run"]
        .into_iter()
        .map(|file| (file, facts(&content)))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    store.then([Fate::FailBefore, Fate::FailAfter, Fate::Silent]);
    storage.fetch((&shared, folder.path()), &files).unwrap();
    for file in files.keys() {
        assert_eq!(std::fs::read(folder.path().join(file)).unwrap(), content);
    }
    // One bit of one of them.
    let mut damaged = content.clone();
    damaged[77_777] ^= 4;
    storage.delete(&shared.child("c.run")).unwrap();
    storage.write_new(&shared.child("c.run"), &damaged).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let refused = storage.fetch((&shared, folder.path()), &files).unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Damaged);
    assert!(refused.message.contains("c.run"), "{refused}");
    storage.delete(&shared.child("c.run")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let missing = storage.fetch((&shared, folder.path()), &files).unwrap_err();
    assert_eq!(missing.kind, StorageErrorKind::Missing);
    assert!(missing.message.contains("c.run"), "{missing}");
}

#[test]
fn a_store_that_replaces_what_is_there_is_refused() {
    let inner = Arc::new(InMemory::new());
    let mut good = storage(&Faulty::over(&inner, []), PATIENT);
    good.make_directory(&place("job")).unwrap();
    assert_eq!(good.list(&place("job")).unwrap(), [], "nothing is left");
    let careless = Faulty {
        careless: true,
        ..Faulty::default()
    };
    let mut careless = storage(&Arc::new(careless), PATIENT);
    let refused = careless.make_directory(&place("job")).unwrap_err();
    assert!(refused.message.contains("If-None-Match"), "{refused}");
}

#[test]
fn storage_can_be_used_and_dropped_within_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    runtime.block_on(async {
        let store = Faulty::over(&Arc::default(), []);
        let mut storage = storage(&store, PATIENT);
        storage.write_new(&place("a"), b"1").unwrap();
        assert_eq!(storage.read(&place("a"), 1).unwrap(), b"1");
    });
}
