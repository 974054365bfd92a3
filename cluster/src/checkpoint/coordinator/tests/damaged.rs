//! Files that say which checkpoint is the newest and what it is made of, damaged in every way: whoever begins with
//! them is refused by name, nothing is deleted, and no job begins empty for it.

use std::path::{Path, PathBuf};

use super::*;
use crate::checkpoint::home::damage::Damage;
use crate::checkpoint::home::find::{FindError, find};
use crate::checkpoint::home::older::find_whole;
use crate::checkpoint::home::pointer::Pointer;
use crate::checkpoint::home::takeover::take_over_from;
use crate::checkpoint::protocol::JobEnd;
use crate::checkpoint::storage::Disk;
use crate::checkpoint::storage::simulated::Survival;

/// A job with these checkpoints, the last of them the newest, whose leader has died.
fn job(retained: usize, checkpoints: usize) -> Rig {
    let disk = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(&settings(|s| s.retained = retained), 2, disk);
    for _ in 0..checkpoints {
        rig.checkpoint();
    }
    rig
}

fn path_of(at: &Location) -> PathBuf {
    at.path().unwrap().to_owned()
}

fn put(rig: &mut Rig, at: &Path, bytes: &[u8]) {
    let disk = rig.storage.disk();
    Disk::remove_file(disk, at).unwrap();
    let mut file = disk.create_new(at).unwrap();
    Disk::write(disk, &mut file, bytes).unwrap();
}

/// Every file below a directory.
fn below(disk: &SimulatedDisk, directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in disk.names_in(directory) {
        let path = directory.join(name);
        match disk.content(&path) {
            Some(content) => drop(files.insert(path, content)),
            None => files.extend(below(disk, &path)),
        }
    }
    files
}

/// The highest pointer, as a path.
fn pointer(rig: &mut Rig) -> PathBuf {
    let names = rig.home_names().into_iter();
    let newest = names
        .filter(|name| JobLayout::pointer_of(name).is_some())
        .max();
    path_of(&rig.layout.home().child(&newest.unwrap()))
}

fn metadata(rig: &Rig, checkpoint: u64) -> PathBuf {
    path_of(&rig.layout.metadata(CheckpointId(checkpoint)))
}

/// Who looks for the newest checkpoint and who takes the job over is refused, by the name of the file, and leaves
/// all of it as it is.
fn refused(rig: &mut Rig, file: &Path, when: &str) -> FindError {
    let (home, layout) = (rig.layout.home().clone(), rig.layout.clone());
    let before = below(rig.storage.disk(), &path_of(&home));
    let mut errors = Vec::new();
    match find(&mut rig.storage, &home) {
        Ok(found) => panic!("{when}: found {}", found.metadata.checkpoint),
        Err(error) => errors.push(error),
    }
    match take_over(&mut rig.storage, &layout, 3) {
        Ok(takeover) => panic!("{when}: taken over with {} kept", takeover.kept.len()),
        Err(error) => errors.push(error),
    }
    let mut after = below(rig.storage.disk(), &path_of(&home));
    after.retain(|path, _| before.contains_key(path));
    assert_eq!(after, before, "{when}");
    for error in &errors {
        assert!(matches!(error, FindError::Damaged(_)), "{when}: {error:?}");
        let said = error.to_string();
        assert!(said.contains(&file.display().to_string()), "{when}: {said}");
        let mends = [
            "from a copy",
            "older checkpoint",
            "check the path",
            "the release",
        ];
        assert!(
            mends.iter().any(|mend| said.contains(mend)),
            "{when}: {said}"
        );
    }
    errors.remove(0)
}

/// Refused with every `step`th bit of a file flipped, and with every part of it.
fn flipped_and_cut(rig: &mut Rig, at: &Path, whole: &[u8], step: usize) {
    for bit in (0..whole.len() * 8).step_by(step) {
        let mut damaged = whole.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        put(rig, at, &damaged);
        refused(rig, at, &format!("bit {bit}"));
    }
    for cut in 0..whole.len() {
        put(rig, at, &whole[..cut]);
        refused(rig, at, &format!("cut at {cut}"));
    }
}

#[test]
fn no_job_begins_empty_because_its_pointer_is_damaged() {
    let mut rig = job(1, 2);
    let at = pointer(&mut rig);
    let whole = rig.storage.disk().content(&at).unwrap();
    flipped_and_cut(&mut rig, &at, &whole, 1);
    let longer = [&whole[..], b"!"].concat();
    for (other, when) in [(&longer[..], "longer"), (&[0; 60], "zeros")] {
        put(&mut rig, &at, other);
        refused(&mut rig, &at, when);
    }
    // One of another number.
    let mut other = Pointer::decode(&whole).unwrap();
    other.sequence += 1;
    put(&mut rig, &at, &other.encode());
    refused(&mut rig, &at, "another number");
    Disk::remove_file(rig.storage.disk(), &at).unwrap();
    let home = path_of(rig.layout.home());
    let error = refused(&mut rig, &home, "no pointer");
    assert!(error.to_string().contains("newest-"), "{error}");
    // Put back from a copy.
    let mut file = rig.storage.disk().create_new(&at).unwrap();
    Disk::write(rig.storage.disk(), &mut file, &whole).unwrap();
    let layout = rig.layout.clone();
    let takeover = take_over(&mut rig.storage, &layout, 1).unwrap();
    assert_eq!(takeover.kept[0].checkpoint, CheckpointId(2));
}

#[test]
fn no_job_begins_empty_because_its_metadata_is_damaged() {
    let mut rig = job(1, 2);
    let at = metadata(&rig, 2);
    let whole = rig.storage.disk().content(&at).unwrap();
    flipped_and_cut(&mut rig, &at, &whole, 7);
    Disk::remove_file(rig.storage.disk(), &at).unwrap();
    let is_lost = |error: &FindError| match error {
        FindError::Damaged(damage) => matches!(**damage, Damage::Lost { .. }),
        _ => false,
    };
    let error = refused(&mut rig, &at, "missing");
    assert!(is_lost(&error), "{error:?}");
    let directory = rig.layout.checkpoint(CheckpointId(2));
    for named in [directory.child("_metadata"), directory] {
        let error = find(&mut rig.storage, &named).unwrap_err();
        assert!(is_lost(&error), "{error:?}");
    }
}

/// A metadata file that is whole, but of another job or checkpoint.
#[test]
fn metadata_of_another_checkpoint_is_refused_however_it_was_named() {
    let mut rig = job(2, 3);
    let at = metadata(&rig, 3);
    let older = metadata(&rig, 2);
    let older = rig.storage.disk().content(&older).unwrap();
    let own = rig.storage.disk().content(&at).unwrap();
    let mut foreign = crate::checkpoint::metadata::decode(&own).unwrap();
    foreign.job = JobId(0xF0E);
    let foreign = crate::checkpoint::metadata::encode(&foreign).unwrap();
    let mut later = crate::checkpoint::metadata::decode(&own).unwrap();
    later.started_ms += 1;
    let later = crate::checkpoint::metadata::encode(&later).unwrap();
    for (other, when) in [(older, "older"), (foreign, "foreign"), (later, "later")] {
        put(&mut rig, &at, &other);
        refused(&mut rig, &at, when);
        let directory = rig.layout.checkpoint(CheckpointId(3));
        for named in [directory.child("_metadata"), directory.clone()] {
            let error = find(&mut rig.storage, &named).unwrap_err();
            assert!(matches!(error, FindError::Damaged(_)), "{when}: {error:?}");
        }
    }
}

#[test]
fn older_checkpoints_that_are_damaged_stay_as_they_are() {
    let mut rig = job(3, 3);
    let (at, home) = (metadata(&rig, 2), path_of(rig.layout.home()));
    let whole = rig.storage.disk().content(&at).unwrap();
    put(&mut rig, &at, &whole[..whole.len() - 1]);
    let runs = rig.shared_names();
    let layout = rig.layout.clone();
    // For all it is worth: nobody knows which files it needs.
    rig.storage
        .disk()
        .create_new(&home.join("shared/other.run"))
        .unwrap();
    let takeover = take_over(&mut rig.storage, &layout, 3).unwrap();
    let kept: Vec<u64> = takeover.kept.iter().map(|kept| kept.checkpoint.0).collect();
    assert_eq!(kept, [1, 3]);
    let [aside] = &takeover.aside[..] else {
        panic!("{:?}", takeover.aside);
    };
    assert_eq!(aside.checkpoint, CheckpointId(2));
    assert!(aside.damage.to_string().contains("chk-2/_metadata"));
    assert!(rig.storage.disk().content(&at).is_some(), "it stays");
    assert!(rig.shared_names().is_superset(&runs), "so do all runs");
    // With a lost run its files are known.
    put(&mut rig, &at, &whole);
    let lost = rig
        .shared_names()
        .into_iter()
        .find(|name| name.ends_with("-2.run"));
    let lost = path_of(&rig.layout.shared().child(&lost.unwrap()));
    // The newest needs the run too: it is refused, by the name of the run.
    Disk::remove_file(rig.storage.disk(), &lost).unwrap();
    let error = take_over(&mut rig.storage, &layout, 3).unwrap_err();
    assert!(
        error.to_string().contains(&lost.display().to_string()),
        "{error}"
    );
    assert!(
        rig.storage.disk().content(&at).is_some(),
        "nothing is deleted"
    );
}

/// Wherever the end of a job is cut, what is left of it is none of its checkpoints or one that is whole, and never
/// looks damaged.
#[test]
fn a_job_that_has_ended_is_told_from_one_that_is_damaged() {
    let survivals = [
        Survival::Nothing,
        Survival::Everything,
        Survival::Names,
        Survival::Content,
    ];
    let drawn = (0..12).map(Survival::Drawn);
    for survival in survivals.into_iter().chain(drawn) {
        for after in 0.. {
            let mut rig = job(2, 3);
            let operations = rig.storage.disk().operations();
            rig.storage.disk().cut_before(operations + after);
            rig.step(Input::Ended(JobEnd::Finished));
            let cut = rig.storage.disk().is_off();
            rig.storage.disk().crash(survival);
            let home = rig.layout.home().clone();
            match find(&mut rig.storage, &home) {
                Ok(found) => assert_whole(
                    &mut rig.storage,
                    &found.metadata,
                    &found.runs,
                    "before it ended",
                ),
                Err(FindError::Nothing(_)) => {}
                Err(error) => panic!("{survival:?}, cut after {after}: {error}"),
            }
            if !cut {
                assert!(after > 10, "the end did something");
                break;
            }
        }
    }
}

/// Takes the runs out of a checkpoint, whose bytes are no runs in these tests: it is whole then.
fn without_runs(rig: &mut Rig, checkpoint: u64) {
    let at = metadata(rig, checkpoint);
    let bytes = rig.storage.disk().content(&at).unwrap();
    let mut content = crate::checkpoint::metadata::decode(&bytes).unwrap();
    let vertices = content.vertices.iter_mut();
    for operator in vertices.flat_map(|vertex| &mut vertex.operators) {
        for subtask in &mut operator.subtasks {
            subtask.runs.clear();
        }
    }
    let bytes = crate::checkpoint::metadata::encode(&content).unwrap();
    put(rig, &at, &bytes);
}

/// With a new checksum behind it.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = bytes.len() - 4;
    let checksum = crc32c::crc32c(&bytes[..at]).to_le_bytes();
    bytes[at..].copy_from_slice(&checksum);
    bytes
}

#[test]
fn what_a_newer_release_wrote_is_no_damage_and_not_passed_over() {
    // A pointer, of whatever length.
    for longer in [0, 24] {
        let mut rig = job(2, 2);
        let at = pointer(&mut rig);
        let mut newer = rig.storage.disk().content(&at).unwrap();
        newer[8] = 4;
        newer.splice(56..56, vec![7; longer]);
        put(&mut rig, &at, &sealed(newer));
        is_of_a_newer_release(&mut rig, &at);
    }
    // Metadata, of the newest checkpoint or of one that would be taken instead.
    let mut rig = job(2, 2);
    let (own, older) = (metadata(&rig, 2), metadata(&rig, 1));
    let mut newer = rig.storage.disk().content(&older).unwrap();
    newer[8] = 9;
    let head = sealed(newer[..24].to_vec());
    newer[..24].copy_from_slice(&head);
    put(&mut rig, &own, &newer);
    is_of_a_newer_release(&mut rig, &own);
    put(&mut rig, &older, &newer);
    put(&mut rig, &own, b"");
    let home = rig.layout.home().clone();
    let error = find_whole(&mut rig.storage, &home).unwrap_err().to_string();
    assert!(error.contains(&older.display().to_string()), "{error}");
    assert!(error.contains("a newer release"), "{error}");
}

fn is_of_a_newer_release(rig: &mut Rig, file: &Path) {
    let (home, layout) = (rig.layout.home().clone(), rig.layout.clone());
    let errors = [
        find(&mut rig.storage, &home).unwrap_err().to_string(),
        find_whole(&mut rig.storage, &home).unwrap_err().to_string(),
        take_over(&mut rig.storage, &layout, 2)
            .unwrap_err()
            .to_string(),
    ];
    for said in errors {
        assert!(said.contains(&file.display().to_string()), "{said}");
        assert!(said.contains("a newer release"), "{said}");
    }
}

#[test]
fn who_takes_an_older_checkpoint_gives_numbers_above_those_the_pointer_knows_of() {
    let mut rig = job(2, 2);
    let (at, own) = (pointer(&mut rig), metadata(&rig, 2));
    let mut said = Pointer::decode(&rig.storage.disk().content(&at).unwrap()).unwrap();
    // Seven more were begun and left no directory.
    said.next = CheckpointId(10);
    put(&mut rig, &at, &said.encode());
    without_runs(&mut rig, 1);
    Disk::remove_file(rig.storage.disk(), &own).unwrap();
    let home = rig.layout.home().clone();
    let whole = find_whole(&mut rig.storage, &home).unwrap();
    assert_eq!(whole.found.metadata.checkpoint, CheckpointId(1));
    assert_eq!(whole.found.given, CheckpointId(9));
}

/// A leader whose tasks write everything anew needs none of what it took over; what is kept aside does.
#[test]
fn files_of_a_damaged_checkpoint_stay_while_others_are_subsumed() {
    for is_readable in [false, true] {
        let mut rig = job(3, 3);
        let files = rig.shared_names();
        let at = metadata(&rig, 2);
        let whole = rig.storage.disk().content(&at).unwrap();
        match is_readable {
            false => put(&mut rig, &at, &whole[..whole.len() - 1]),
            // Of the runs it names one has been lost: one that the others do not need.
            true => {
                let mut names = crate::checkpoint::metadata::decode(&whole).unwrap();
                let operator = &mut names.vertices[0].operators[0];
                operator.subtasks[0].runs[0].file = "lost.run".to_owned();
                let named = crate::checkpoint::metadata::encode(&names).unwrap();
                put(&mut rig, &at, &named);
            }
        }
        let mut next = Rig::start(&settings(|s| s.retained = 2), 2, rig.storage);
        for _ in 0..4 {
            next.chains.clear();
            next.checkpoint();
        }
        assert_eq!(next.coordinator.kept().count(), 2);
        assert!(next.storage.disk().content(&at).is_some(), "{is_readable}");
        let left = next.shared_names();
        let needed: BTreeSet<String> = match is_readable {
            false => files.clone(),
            true => {
                let named = crate::checkpoint::metadata::decode(&whole).unwrap();
                let lost = &named.vertices[0].operators[0].subtasks[0].runs[0].file;
                (named.files().into_keys().map(str::to_owned))
                    .filter(|file| file != lost)
                    .collect()
            }
        };
        assert!(left.is_superset(&needed), "{is_readable}: {left:?}");
    }
}

#[test]
fn a_job_that_is_taken_over_goes_on_from_an_older_checkpoint() {
    // The newest lost, damaged, or unknown.
    for case in 0..3 {
        let mut rig = job(3, 3);
        let (own, at) = (metadata(&rig, 3), pointer(&mut rig));
        match case {
            0 => Disk::remove_file(rig.storage.disk(), &own).unwrap(),
            1 => put(&mut rig, &own, b"no metadata"),
            _ => {
                put(&mut rig, &own, b"no metadata");
                put(&mut rig, &at, b"no pointer");
            }
        }
        without_runs(&mut rig, 2);
        let (home, layout) = (rig.layout.home().clone(), rig.layout.clone());
        let files = rig.shared_names();
        let whole = find_whole(&mut rig.storage, &home).unwrap();
        let takeover = take_over_from(&mut rig.storage, &layout, 3, whole).unwrap();
        let kept: Vec<u64> = takeover.kept.iter().map(|kept| kept.checkpoint.0).collect();
        assert_eq!(kept, [1, 2], "case {case}");
        assert_eq!(takeover.next, CheckpointId(4), "case {case}");
        assert!(takeover.leadership.term > 1, "case {case}");
        // The former leader can complete nothing more.
        rig.checkpoint();
        assert_eq!(rig.completed().len(), 3, "case {case}");
        let mut storage = rig.storage;
        let mut next = Rig::start(&settings(|s| s.retained = 3), 2, storage);
        // Of the one it had begun in vain nothing was written.
        assert_eq!(next.checkpoint(), CheckpointId(4), "case {case}");
        storage = next.storage;
        let found = find(&mut storage, &home).unwrap();
        assert_eq!(found.metadata.checkpoint, CheckpointId(4), "case {case}");
        assert_whole(&mut storage, &found.metadata, &found.runs, "taken over");
        if case > 0 {
            assert_eq!(storage.disk().content(&own).unwrap(), b"no metadata");
            let there = storage.list(&layout.shared()).unwrap().into_iter();
            let there: BTreeSet<String> = there.map(|entry| entry.name).collect();
            assert!(there.is_superset(&files), "case {case}");
        }
    }
}

#[test]
fn who_goes_on_from_an_older_checkpoint_overtakes_nobody_who_came_between() {
    let mut rig = job(3, 3);
    let own = metadata(&rig, 3);
    let (home, layout) = (rig.layout.home().clone(), rig.layout.clone());
    let bytes = rig.storage.disk().content(&own).unwrap();
    put(&mut rig, &own, b"no metadata");
    without_runs(&mut rig, 2);
    let whole = find_whole(&mut rig.storage, &home).unwrap();
    put(&mut rig, &own, &bytes);
    assert_eq!(rig.checkpoint(), CheckpointId(4));
    let error = take_over_from(&mut rig.storage, &layout, 3, whole).unwrap_err();
    assert!(matches!(error, FindError::Storage(_)), "{error:?}");
    let found = find(&mut rig.storage, &home).unwrap();
    assert_eq!(found.metadata.checkpoint, CheckpointId(4));
}

/// The newest is passed over for damage that only its bytes show, and the process that took the older one dies before it
/// has completed one: the next does not delete what the first has left for its user.
#[test]
fn what_was_passed_over_stays_until_a_newer_one_is_true() {
    let mut rig = job(2, 2);
    let own = metadata(&rig, 2);
    without_runs(&mut rig, 1);
    let (home, layout) = (rig.layout.home().clone(), rig.layout.clone());
    let files = rig.shared_names();
    let whole = find_whole(&mut rig.storage, &home).unwrap();
    assert_eq!(whole.found.metadata.checkpoint, CheckpointId(1));
    take_over_from(&mut rig.storage, &layout, 2, whole).unwrap();
    for _ in 0..2 {
        let takeover = take_over(&mut rig.storage, &layout, 2).unwrap();
        assert_eq!(takeover.kept.len(), 1);
        assert!(rig.storage.disk().content(&own).is_some(), "it stays");
        assert!(rig.shared_names().is_superset(&files), "so do its runs");
    }
    let mut next = Rig::start(&settings(|s| s.retained = 2), 2, rig.storage);
    assert!(next.storage.disk().content(&own).is_some(), "it stays");
    next.checkpoint();
    assert_eq!(next.completed(), [CheckpointId(3)]);
    assert_eq!(next.storage.disk().content(&own), None);
    let kept: Vec<Arc<CheckpointMetadata>> = next.coordinator.kept().cloned().collect();
    let needed = kept.iter().flat_map(|kept| kept.files().into_keys());
    let needed: BTreeSet<String> = needed.map(str::to_owned).collect();
    assert_eq!(next.shared_names(), needed);
}
