//! What survives, what is torn, and what fails.

use super::*;
use crate::seam::reactor::{IoBuffer, Op, OpResult, Outcome};

fn write_new(disk: &SimDisk, path: &str, bytes: &[u8]) -> SimFile {
    let file = disk.open(Path::new(path), OpenOptions::WRITE_NEW).unwrap();
    disk.write(&file, 0, bytes).unwrap();
    file
}

fn disk_with(directory: &str) -> SimDisk {
    let disk = SimDisk::new();
    disk.make_directories(Path::new(directory)).unwrap();
    let parent = Path::new(directory).parent().unwrap();
    disk.sync_directory(parent).unwrap();
    disk
}

fn perform(disk: &SimDisk, op: Op) -> OpResult {
    disk.lock().perform(1, op)
}

#[test]
fn what_was_synced_survives_and_the_rest_is_torn() {
    let mut torn = 0;
    for seed in 0..200 {
        let disk = disk_with("/d");
        let file = write_new(&disk, "/d/a", &[1; 4096]);
        disk.sync(&file).unwrap();
        disk.sync_directory(Path::new("/d")).unwrap();
        disk.write(&file, 0, &[2; 4096]).unwrap();
        disk.crash(Survival::Drawn(seed));
        let content = disk.content(Path::new("/d/a")).unwrap();
        assert_eq!(content.len(), 4096);
        let new = content.iter().filter(|byte| **byte == 2).count();
        assert_eq!(new % 512, 0);
        torn += usize::from(new > 0 && new < 4096);
    }
    assert!(torn > 150, "{torn}");
}

#[test]
fn a_rename_without_a_directory_sync_may_be_lost_but_never_loses_the_file() {
    for (from, to) in [("/d/new", "/d/name"), ("/d/new", "/d/in/name")] {
        let mut lost = 0;
        for seed in 0..200 {
            let disk = disk_with("/d/in");
            disk.sync_directory(Path::new("/")).unwrap();
            let file = write_new(&disk, from, b"x");
            disk.sync(&file).unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
            disk.rename(Path::new(from), Path::new(to)).unwrap();
            disk.crash(Survival::Drawn(seed));
            let (old, new) = (disk.content(Path::new(from)), disk.content(Path::new(to)));
            assert!(old.is_some() != new.is_some(), "{old:?} {new:?}");
            lost += usize::from(old.is_some());
        }
        assert!((50..170).contains(&lost), "{lost}");
    }
}

#[test]
fn a_move_is_durable_when_either_of_its_directories_was_synced() {
    for synced in ["/d", "/d/in"] {
        let disk = disk_with("/d/in");
        disk.sync_directory(Path::new("/")).unwrap();
        let file = write_new(&disk, "/d/new", b"x");
        disk.sync(&file).unwrap();
        disk.rename(Path::new("/d/new"), Path::new("/d/in/name"))
            .unwrap();
        disk.sync_directory(Path::new(synced)).unwrap();
        disk.crash(Survival::Nothing);
        assert_eq!(disk.content(Path::new("/d/in/name")).unwrap(), b"x");
        assert_eq!(disk.content(Path::new("/d/new")), None);
    }
}

#[test]
fn a_directory_that_was_not_synced_takes_with_it_what_lies_in_it() {
    let disk = SimDisk::new();
    disk.make_directory(Path::new("/d")).unwrap();
    let file = write_new(&disk, "/d/a", b"x");
    disk.sync(&file).unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    disk.crash(Survival::Nothing);
    assert_eq!(disk.content(Path::new("/d/a")), None);
    assert!(
        disk.open(Path::new("/d/b"), OpenOptions::WRITE_NEW)
            .is_err()
    );
}

#[test]
fn processes_that_end_lose_nothing_and_make_nothing_durable() {
    let disk = disk_with("/d");
    write_new(&disk, "/d/a", b"x");
    disk.end_processes();
    assert_eq!(disk.content(Path::new("/d/a")).unwrap(), b"x");
    disk.crash(Survival::Nothing);
    assert_eq!(disk.content(Path::new("/d/a")), None);
}

#[test]
fn a_full_disk_and_a_broken_one_say_so() {
    let faults = DiskFaults {
        capacity: 10,
        ..DiskFaults::NONE
    };
    let disk = SimDisk::with_faults(1, faults);
    let path = PathBuf::from("/a");
    let options = OpenOptions::WRITE_NEW;
    let Ok(Outcome::Opened { file, .. }) = perform(&disk, Op::Open { path, options }) else {
        panic!("it can be opened");
    };
    let write = |bytes: usize| Op::Write {
        file,
        buffer: IoBuffer::from(vec![0; bytes]),
        offset: 0,
    };
    let full = perform(&disk, write(11)).unwrap_err();
    assert_eq!(full.error.raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(full.buffer.unwrap().len(), 11);
    disk.set_faults(DiskFaults {
        error_per_million: 1_000_000,
        ..faults
    });
    let broken = perform(&disk, write(1)).unwrap_err();
    assert_eq!(broken.error.raw_os_error(), Some(libc::EIO));
}

#[test]
fn a_sync_that_failed_has_lost_what_it_was_for_and_the_next_one_is_silent() {
    let disk = disk_with("/d");
    let file = write_new(&disk, "/d/a", b"xyz");
    disk.sync_directory(Path::new("/d")).unwrap();
    disk.fail(disk.operations(), Fault::Io);
    assert!(disk.sync(&file).is_err());
    assert!(disk.sync(&file).is_ok());
    disk.end_processes();
    assert_eq!(disk.content(Path::new("/d/a")).unwrap(), b"xyz");
    let file = disk
        .open(Path::new("/d/a"), OpenOptions::READ_WRITE)
        .unwrap();
    disk.fail(disk.operations(), Fault::Io);
    disk.write(&file, 3, b"!").unwrap_err();
    disk.crash(Survival::Nothing);
    assert_ne!(disk.content(Path::new("/d/a")).unwrap(), b"xyz");
}

#[test]
fn nothing_works_after_the_cut_until_the_power_is_back() {
    let disk = disk_with("/d");
    disk.cut_before(disk.operations() + 1);
    let file = disk
        .open(Path::new("/d/a"), OpenOptions::WRITE_NEW)
        .unwrap();
    assert!(!disk.is_off());
    assert!(disk.write(&file, 0, b"x").is_err());
    assert!(disk.is_off());
    assert!(disk.exists(Path::new("/d")).is_err());
    disk.crash(Survival::Everything);
    assert!(disk.exists(Path::new("/d/a")).unwrap());
    assert_eq!(disk.content(Path::new("/d/a")).unwrap(), b"");
}

#[test]
fn a_directory_holds_files_and_directories_of_its_own() {
    let disk = disk_with("/d/empty/within");
    disk.make_directories(Path::new("/d/in")).unwrap();
    for path in ["/d/b", "/d/a", "/d/in/c", "/other"] {
        write_new(&disk, path, b"");
    }
    let names = |path: &str| -> Vec<(String, FileKind)> {
        let listed = disk.list(Path::new(path)).unwrap().into_iter();
        let named = listed.map(|entry| (entry.name.into_string().unwrap(), entry.about.kind));
        named.collect()
    };
    let named = |name: &str, kind| (name.to_owned(), kind);
    let expected = [
        named("a", FileKind::File),
        named("b", FileKind::File),
        named("empty", FileKind::Directory),
        named("in", FileKind::Directory),
    ];
    assert_eq!(names("/d"), expected);
    assert_eq!(names("/d/empty/within"), []);
    let code = |path: &str| disk.list(Path::new(path)).unwrap_err().raw_os_error();
    assert_eq!(code("/nowhere"), Some(libc::ENOENT));
    assert_eq!(code("/d/a"), Some(libc::ENOTDIR));
    assert!(disk.make_directories(Path::new("/d/a/x")).is_err());
}

#[test]
fn a_file_has_two_names_and_both_are_durable_each_with_its_directory() {
    let disk = disk_with("/d/in");
    disk.sync_directory(Path::new("/")).unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    let (old, new) = (Path::new("/d/a"), Path::new("/d/in/b"));
    let file = write_new(&disk, "/d/a", &[7; 100]);
    disk.sync(&file).unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    disk.link_new(old, new).unwrap();
    assert_eq!(disk.used_bytes(), 100, "it is one file");
    let taken = disk.link_new(old, new).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    let missing = disk.link_new(Path::new("/d/none"), Path::new("/d/c"));
    assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    disk.crash(Survival::Nothing);
    assert_eq!(disk.content(new), None, "its directory was not synced");
    disk.link_new(old, new).unwrap();
    disk.sync_directory(Path::new("/d/in")).unwrap();
    disk.remove_file(old).unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    disk.crash(Survival::Nothing);
    assert_eq!(disk.content(old), None);
    assert_eq!(disk.content(new).unwrap(), [7; 100]);
    disk.set_faults(DiskFaults {
        links: false,
        ..DiskFaults::NONE
    });
    let refused = disk.link_new(new, old).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    assert_eq!(disk.content(old), None);
}
