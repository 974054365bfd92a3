//! Storage in directories: what is answered survives the loss of power before any operation, and faults.

use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::checkpoint::storage::HostDisk;
use crate::checkpoint::storage::simulated::{Fault, SimulatedDisk, Survival};

const SURVIVALS: [Survival; 8] = [
    Survival::Nothing,
    Survival::Everything,
    Survival::Names,
    Survival::Content,
    Survival::Drawn(1),
    Survival::Drawn(2),
    Survival::Drawn(3),
    Survival::Drawn(4),
];

fn place(path: &str) -> Location {
    Location::parse(path).unwrap()
}

fn long(byte: u8) -> Vec<u8> {
    (0..1_500_u32).map(|at| byte ^ at as u8).collect()
}

/// Runs `act` with power lost before each of its operations in turn, and all ways to survive it; shows the
/// disk after that with what `act` answered.
fn cut_everywhere(
    act: impl Fn(&mut DirectoryStorage<SimulatedDisk>) -> Result<(), StorageError>,
    mut check: impl FnMut(&mut DirectoryStorage<SimulatedDisk>, bool, &str),
) {
    for survival in SURVIVALS {
        for cut in 0.. {
            let mut storage = DirectoryStorage::on(SimulatedDisk::new());
            storage.disk().cut_before(cut);
            let answer = act(&mut storage);
            let whole = storage.disk().operations() <= cut;
            assert!(!whole || answer.is_ok());
            storage.disk().crash(survival);
            check(
                &mut storage,
                answer.is_ok(),
                &format!("{survival:?}, cut before {cut}"),
            );
            if whole {
                break;
            }
        }
    }
}

#[test]
fn a_new_file_is_whole_or_not_there_wherever_power_goes() {
    let (at, content) = (place("/a/b/c"), long(7));
    cut_everywhere(
        |storage| {
            storage.make_directory(&place("/a"))?;
            storage.write_new(&at, &content)
        },
        |storage, answered, when| match storage.read(&at, 10_000) {
            Ok(found) => assert_eq!(found, content, "{when}"),
            Err(error) => {
                assert_eq!(error.kind, StorageErrorKind::Missing, "{when}");
                assert!(!answered, "{when}");
            }
        },
    );
}

#[test]
fn a_file_in_a_directory_that_somebody_was_killed_making_survives_the_loss_of_power() {
    let (at, content) = (place("/a/b/c"), long(7));
    for cut in 0.. {
        let mut killed = DirectoryStorage::on(SimulatedDisk::new());
        killed.disk().cut_before(cut);
        let answer = killed.make_directory(&place("/a/b"));
        let disk = killed.into_disk();
        disk.end_processes();
        let mut storage = DirectoryStorage::on(disk);
        storage.make_directory(&place("/a/b")).unwrap();
        storage.write_new(&at, &content).unwrap();
        storage.disk().crash(Survival::Nothing);
        let found = storage.read(&at, 10_000);
        assert_eq!(
            found.as_ref(),
            Ok(&content),
            "killed before operation {cut}"
        );
        if answer.is_ok() {
            return;
        }
    }
}

#[test]
fn a_second_file_does_not_touch_the_first_and_leftovers_do_not_stop_it() {
    let (first, second) = (place("/a/b/1"), place("/a/b/2"));
    cut_everywhere(
        |storage| {
            storage.make_directory(&place("/a"))?;
            storage.write_new(&first, &long(1))?;
            storage.write_new(&second, &long(2))
        },
        |storage, _, when| {
            if storage.read(&first, 10_000).is_ok() {
                storage.delete(&second).unwrap();
                storage.write_new(&second, &long(3)).expect(when);
                assert_eq!(storage.read(&second, 10_000).unwrap(), long(3), "{when}");
                assert_eq!(storage.read(&first, 10_000).unwrap(), long(1), "{when}");
                let names = storage.list(&place("/a/b")).unwrap();
                assert_eq!(names.len(), 2, "{when}: {names:?}");
            }
        },
    );
}

#[test]
fn an_exclusive_file_that_was_answered_is_whole() {
    let at = place("/a/newest-1");
    cut_everywhere(
        |storage| {
            storage.make_directory(&place("/a"))?;
            storage.create_exclusive(&at, &long(5))
        },
        |storage, answered, when| {
            let found = storage.read(&at, 10_000).ok();
            assert!(!answered || found == Some(long(5)), "{when}");
        },
    );
    let mut storage = DirectoryStorage::on(SimulatedDisk::new());
    storage.make_directory(&place("/a")).unwrap();
    storage.create_exclusive(&at, b"mine").unwrap();
    let refused = storage.create_exclusive(&at, b"yours").unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::AlreadyThere);
    assert_eq!(storage.read(&at, 10).unwrap(), b"mine");
}

/// Every operation fails in turn: the answer is an error, nothing half-made has the name, and after the loss
/// of power there is either the whole file, and then only if nobody could know, or none.
#[test]
fn no_fault_makes_a_file_that_is_not_whole() {
    let (at, content) = (place("/a/b/c"), long(9));
    for fault in [Fault::Io, Fault::Full] {
        for survival in SURVIVALS {
            for failing in 0.. {
                let mut storage = DirectoryStorage::on(SimulatedDisk::new());
                storage.disk().fail(failing, fault);
                let made = storage.make_directory(&place("/a"));
                let answer = made.and_then(|()| storage.write_new(&at, &content));
                let over = storage.disk().operations() <= failing;
                let when = format!("{fault:?} at {failing}, {survival:?}");
                let uncertain = (answer.as_ref().err())
                    .is_some_and(|error| error.kind == StorageErrorKind::Uncertain);
                storage.disk().crash(survival);
                match storage.read(&at, 10_000) {
                    Ok(found) => {
                        assert_eq!(found, content, "{when}");
                        assert!(answer.is_ok() || uncertain, "{when}: {answer:?}");
                    }
                    Err(_) => assert!(answer.is_err(), "{when}"),
                }
                if over {
                    break;
                }
            }
        }
    }
}

#[test]
fn what_a_failed_sync_lost_is_not_called_durable_by_trying_again() {
    let at = place("/c");
    let mut storage = DirectoryStorage::on(SimulatedDisk::new());
    storage.write_new(&place("/x"), b"x").unwrap();
    let before = storage.disk().operations();
    storage.write_new(&place("/y"), b"y").unwrap();
    let operations = storage.disk().operations() - before;
    for failing in 0..operations {
        let mut storage = DirectoryStorage::on(SimulatedDisk::new());
        storage.disk().fail(failing, Fault::Io);
        if storage.write_new(&at, &long(1)).is_err() && storage.write_new(&at, &long(2)).is_ok() {
            storage.disk().crash(Survival::Nothing);
            assert_eq!(storage.read(&at, 10_000).unwrap(), long(2), "{failing}");
        }
    }
}

#[test]
fn a_full_disk_is_said_to_be_full_and_leaves_nothing_behind() {
    let mut storage = DirectoryStorage::on(SimulatedDisk::new());
    storage.disk().set_capacity(Some(1_000));
    let refused = storage.write_new(&place("/d/a"), &long(1)).unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Full);
    assert!(refused.message.contains("free space"), "{refused}");
    assert_eq!(storage.disk().list(Path::new("/d")).unwrap(), []);
    storage.disk().set_capacity(None);
    storage.write_new(&place("/d/a"), &long(1)).unwrap();
}

#[test]
fn a_copy_is_checked_on_the_way() {
    let (from, to) = (place("/s/run"), place("/p/run"));
    let mut storage = DirectoryStorage::on(SimulatedDisk::new());
    let content = long(4);
    storage.write_new(&from, &content).unwrap();
    let facts = storage.examine(&from).unwrap();
    assert_eq!((facts.bytes, facts.checksum), (1_500, crc32c(&content)));
    let other = FileFacts {
        checksum: facts.checksum ^ 1,
        ..facts
    };
    let refused = storage.copy_new(&from, &to, other).unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Damaged);
    assert!(storage.read(&to, 10_000).is_err());
    storage.copy_new(&from, &to, facts).unwrap();
    storage.disk().crash(Survival::Nothing);
    assert_eq!(storage.read(&to, 10_000).unwrap(), content);
    let missing = storage.copy_new(&place("/s/no"), &place("/p/no"), facts);
    assert_eq!(missing.unwrap_err().kind, StorageErrorKind::Missing);
}

#[test]
fn the_host_does_the_same() {
    let home = tempfile::tempdir().unwrap();
    let root = place(home.path().to_str().unwrap());
    let (chk, shared) = (
        root.child("job").child("chk-1"),
        root.child("job").child("shared"),
    );
    let mut storage: DirectoryStorage<HostDisk> = DirectoryStorage::new();
    let at = chk.child("_metadata");
    storage.make_directory(&root.child("job")).unwrap();
    storage.write_new(&at, &long(1)).unwrap();
    assert_eq!(
        storage.write_new(&at, &long(2)).unwrap_err().kind,
        StorageErrorKind::AlreadyThere
    );
    assert_eq!(storage.read(&at, 1_500).unwrap(), long(1));
    let too_long = storage.read(&at, 1_499).unwrap_err();
    assert!(too_long.message.contains("1499"), "{too_long}");
    storage.create_exclusive(&root.child("p"), b"p").unwrap();
    assert!(storage.create_exclusive(&root.child("p"), b"q").is_err());
    let facts = storage.examine(&at).unwrap();
    let wrong = FileFacts {
        checksum: facts.checksum ^ 1,
        ..facts
    };
    let refused = storage.copy_new(&at, &shared.child("copy"), wrong);
    assert_eq!(refused.unwrap_err().kind, StorageErrorKind::Damaged);
    storage.copy_new(&at, &shared.child("copy"), facts).unwrap();
    assert_eq!(storage.examine(&shared.child("copy")).unwrap(), facts);
    for (from, to, kind) in [
        (&at, "copy", StorageErrorKind::AlreadyThere),
        (&root.child("no"), "other", StorageErrorKind::Missing),
    ] {
        let refused = storage.copy_new(from, &shared.child(to), facts);
        assert_eq!(refused.unwrap_err().kind, kind);
    }
    // One file with two names: the copy stays when the original goes.
    let inode = |at: &Location| std::fs::metadata(at.path().unwrap()).unwrap().ino();
    assert_eq!(inode(&at), inode(&shared.child("copy")));
    assert_eq!(storage.list(&root.child("nothing")).unwrap(), []);
    let names: Vec<String> = (storage.list(&root.child("job")).unwrap().into_iter())
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["chk-1", "shared"]);
    storage.delete_directory(&chk).unwrap();
    storage.delete_directory(&chk).unwrap();
    storage.delete(&shared.child("copy")).unwrap();
    storage.delete(&shared.child("copy")).unwrap();
    assert_eq!(storage.list(&shared).unwrap(), []);
}

/// The directory of a job goes with the job: who still writes into it does not bring it back.
#[test]
fn what_is_written_late_makes_no_directory_on_the_way() {
    let (home, run) = (place("/checkpoints/job"), place("/checkpoints/run"));
    let late = [
        home.child("chk-7").child("_metadata"),
        home.child("newest-9"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let host = place(folder.path().to_str().unwrap());
    let mut storage = DirectoryStorage::on(SimulatedDisk::new());
    storage.make_directory(&place("/checkpoints")).unwrap();
    storage.write_new(&run, b"run").unwrap();
    let facts = storage.examine(&run).unwrap();
    let refused = [
        storage.write_new(&late[0], b"late"),
        storage.create_exclusive(&late[1], b"late"),
        storage.copy_new(&run, &late[0], facts),
        DirectoryStorage::new().write_new(
            &host.child("job").child("chk-7").child("_metadata"),
            b"late",
        ),
        DirectoryStorage::new().create_exclusive(&host.child("job").child("newest-9"), b"late"),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().kind, StorageErrorKind::Missing);
    }
    assert_eq!(
        storage.disk().names_in(Path::new("/checkpoints")),
        [PathBuf::from("run")]
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
