//! Between any two calls of the file system that one leader makes another goes on: it takes the job over, completes
//! checkpoints, brings the job to its end. Whatever the moment, and though the first dies there or later, what one of
//! them has committed is in what the other begins with, and nothing locks out who comes after.

use std::io;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use thalweg_state::run::ReadAt;

use super::two_leaders::{checkpoint, found, leads, receipt};
use super::*;
use crate::checkpoint::home::find::{FindError, read};
use crate::checkpoint::protocol::JobEnd;
use crate::checkpoint::storage::simulated::SimulatedFile;
use crate::checkpoint::storage::{Disk, Entry};

/// The disk as one process sees it: before one of its calls another process goes on, and from some call on it is dead.
pub(super) struct Held<F> {
    disk: SimulatedDisk,
    calls: u64,
    before: u64,
    other: Option<F>,
    dies_before: u64,
}

impl<F: FnOnce() + Send> Held<F> {
    fn call(&mut self) -> io::Result<&mut SimulatedDisk> {
        if self.calls == self.before
            && let Some(other) = self.other.take()
        {
            other();
        }
        self.calls += 1;
        match self.calls > self.dies_before {
            true => Err(io::Error::other("the process has died")),
            false => Ok(&mut self.disk),
        }
    }
}

impl<F: FnOnce() + Send> Disk for Held<F> {
    type File = SimulatedFile;

    fn create_new(&mut self, path: &Path) -> io::Result<SimulatedFile> {
        Disk::create_new(self.call()?, path)
    }

    fn open(&mut self, path: &Path) -> io::Result<SimulatedFile> {
        Disk::open(self.call()?, path)
    }

    fn open_run(&mut self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        Disk::open_run(self.call()?, path)
    }

    fn write(&mut self, file: &mut SimulatedFile, bytes: &[u8]) -> io::Result<()> {
        Disk::write(self.call()?, file, bytes)
    }

    fn read(&mut self, file: &mut SimulatedFile, buffer: &mut [u8]) -> io::Result<usize> {
        Disk::read(self.call()?, file, buffer)
    }

    fn sync(&mut self, file: &mut SimulatedFile) -> io::Result<()> {
        Disk::sync(self.call()?, file)
    }

    fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        Disk::sync_directory(self.call()?, path)
    }

    fn draw(&mut self) -> u64 {
        Disk::draw(&mut self.disk)
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        Disk::rename_new(self.call()?, from, to)
    }

    fn link_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        Disk::link_new(self.call()?, from, to)
    }

    fn exists(&mut self, path: &Path) -> io::Result<bool> {
        Disk::exists(self.call()?, path)
    }

    fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        Disk::make_directory(self.call()?, path)
    }

    fn list(&mut self, path: &Path) -> io::Result<Vec<Entry>> {
        Disk::list(self.call()?, path)
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        Disk::remove_file(self.call()?, path)
    }

    fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        Disk::remove_directory(self.call()?, path)
    }
}

/// A process that is held up before a call, while another goes on.
pub(super) fn held<F: FnOnce() + Send>(
    rig: &Rig,
    before: u64,
    dies_before: u64,
    other: F,
) -> DirectoryStorage<Held<F>> {
    DirectoryStorage::on(Held {
        disk: rig.storage.clone().into_disk(),
        calls: 0,
        before,
        other: Some(other),
        dies_before,
    })
}

/// What the other does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Does {
    checkpoints: u32,
    ends: bool,
}

const ALL: [Does; 6] = [
    does(0, false),
    does(1, false),
    does(3, false),
    does(0, true),
    does(1, true),
    does(3, true),
];

const fn does(checkpoints: u32, ends: bool) -> Does {
    Does { checkpoints, ends }
}

impl Does {
    fn with(self, rig: &mut Rig) {
        for _ in 0..self.checkpoints {
            checkpoint(rig);
        }
        if self.ends {
            rig.step(Input::Ended(JobEnd::Finished));
        }
    }
}

/// One that a former leader has left fails the checkpoint of its number.
fn tolerant() -> CheckpointSettings {
    settings(|settings| settings.tolerable_failures = 5)
}

fn begun_with(rig: &Rig) -> Option<CheckpointId> {
    let point = rig.coordinator.restore_point();
    point.map(|point| point.metadata.checkpoint)
}

/// The new leader goes on while the former is held up; false if the former did not come so far.
fn overtaken_before(call: u64, dies_after: u64, does: Does) -> bool {
    let when = format!("{does:?} before call {call}, dead {dies_after} calls later");
    let mut old = leads(&tolerant());
    checkpoint(&mut old);
    old.pass(100);
    let (open, ..) = old.triggered();
    let (disk, (tell, told)) = (old.storage.clone(), sync_channel(1));
    let other = move || {
        let mut new = Rig::start(&tolerant(), 1, disk);
        let began = begun_with(&new);
        does.with(&mut new);
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
        !committed || began >= Some(open),
        "{when}: committed by both"
    );
    assert!(began >= Some(CheckpointId(1)), "{when}: {began:?}");
    if does.ends {
        let nothing = found(&old);
        assert!(
            matches!(nothing, Err(FindError::Nothing(_))),
            "{when}: {nothing:?}"
        );
        let left = new.home_names();
        assert!(left.is_empty(), "{when}: {left:?}");
        return true;
    }
    let before = new.completed().len();
    while new.completed().len() == before {
        checkpoint(&mut new);
        assert_eq!(new.job_failures(), [], "{when}");
    }
    let last = *new.completed().last().unwrap();
    assert_eq!(found(&new).unwrap(), last, "{when}");
    // What the former has left, because it died or because the new one may have begun with it, is nothing to begin with.
    let late = old.layout.checkpoint(open);
    let highest = |names: &[String]| {
        names
            .iter()
            .filter_map(|it| JobLayout::pointer_of(it))
            .max()
    };
    let mut left = new.home_names();
    let pointer = highest(&left);
    left.retain(|name| {
        let died = dies_after < u64::MAX;
        let overtaken = died && JobLayout::pointer_of(name).is_some_and(|it| Some(it) < pointer);
        *name != late.name() && !overtaken
    });
    assert_eq!(
        left.len(),
        3 - usize::from(last == open),
        "{when}: {left:?}"
    );
    // Whoever comes after finds nothing in the way.
    let mut next = Rig::start(&tolerant(), 1, new.storage.clone());
    assert_eq!(begun_with(&next), Some(last), "{when}");
    assert_eq!(next.home_names().len(), 3, "{when}");
    next.step(Input::Ended(JobEnd::Finished));
    let left = next.home_names();
    assert!(left.is_empty(), "{when}: {left:?}");
    true
}

#[test]
fn a_leader_that_is_overtaken_anywhere_commits_nothing_that_is_not_gone_on_from() {
    for does in ALL {
        for dies_after in (0..12).chain([u64::MAX]) {
            let calls = (0..).find(|call| !overtaken_before(*call, dies_after, does));
            assert!(calls.unwrap() > 15, "{does:?}");
        }
    }
}

/// The former leader goes on while the new one is held up on its way; false if that did not come so far.
fn goes_on_before(call: u64, does: Does) -> bool {
    let when = format!("{does:?} before call {call}");
    let mut old = leads(&tolerant());
    checkpoint(&mut old);
    let storage = old.storage.clone();
    let (layout, (tell, told)) = (old.layout.clone(), sync_channel(1));
    let disk = old.storage.clone().into_disk();
    let other = move || {
        does.with(&mut old);
        tell.send(old).unwrap();
    };
    let mut held = DirectoryStorage::on(Held {
        disk,
        calls: 0,
        before: call,
        other: Some(other),
        dies_before: u64::MAX,
    });
    let takeover = take_over(&mut held, &layout, 1).expect(&when);
    drop(held);
    let Ok(old) = told.recv() else {
        return false;
    };
    let began = takeover.kept.last().map(|kept| kept.checkpoint);
    let committed = old.completed().last().copied();
    let mut names = storage.clone();
    let left = names.list(layout.home()).unwrap();
    match began {
        Some(began) => assert!(
            Some(began) >= committed,
            "{when}: {began} and {committed:?}"
        ),
        None => assert!(does.ends, "{when}: it begins empty, with {left:?}"),
    }
    // It leads, wherever the former was.
    let named = ("job".to_owned(), tolerant());
    let coordinator = CheckpointCoordinator::new(&named.1, (JOB, named.0), layout, takeover, None);
    let mut new = Rig {
        coordinator,
        storage,
        ..old
    };
    new.seen.clear();
    new.attempt = new.coordinator.attempt(0);
    new.run();
    checkpoint(&mut new);
    assert_eq!(new.job_failures(), [], "{when}");
    assert_eq!(found(&new).unwrap(), new.completed()[0], "{when}");
    true
}

#[test]
fn who_takes_over_begins_with_all_that_was_committed_before() {
    for does in ALL {
        let calls = (0..).find(|call| !goes_on_before(*call, does));
        assert!(calls.unwrap() > 15, "{does:?}");
    }
}

/// The former leader is held up while it ends the job; false if it did not come so far.
fn overtaken_at_the_end_before(call: u64, checkpoints: u32) -> bool {
    let when = format!("{checkpoints} checkpoints before call {call}");
    let mut old = leads(&tolerant());
    checkpoint(&mut old);
    let (disk, (tell, told)) = (old.storage.clone(), sync_channel(1));
    let other = move || {
        let mut new = Rig::start(&tolerant(), 1, disk);
        let began = begun_with(&new);
        // One that begins empty where it was to go on is refused.
        if began.is_some() {
            does(checkpoints, false).with(&mut new);
        }
        tell.send((new, began)).unwrap();
    };
    let mut storage = held(&old, call, u64::MAX, other);
    old.step_on(&mut storage, Input::Ended(JobEnd::Finished));
    drop(storage);
    let Ok((mut new, began)) = told.recv() else {
        return false;
    };
    match began {
        None => {
            let nothing = found(&new);
            assert!(
                matches!(nothing, Err(FindError::Nothing(_))),
                "{when}: {nothing:?}"
            );
        }
        Some(_) => {
            checkpoint(&mut new);
            assert_eq!(new.job_failures(), [], "{when}");
            let last = *new.completed().last().unwrap();
            assert_eq!(found(&new).unwrap(), last, "{when}");
            assert_eq!(new.home_names().len(), 3, "{when}");
        }
    }
    true
}

#[test]
fn who_ends_a_job_and_is_overtaken_harms_nobody() {
    for checkpoints in [0, 1, 3] {
        let calls = (0..).find(|call| !overtaken_at_the_end_before(*call, checkpoints));
        assert!(calls.unwrap() > 15);
    }
}

/// The former leader stops by a savepoint and is held up on the way; false if it did not come so far.
fn overtaken_as_it_stops_before(call: u64, dies_after: u64, checkpoints: u32) -> bool {
    let when = format!("{checkpoints} checkpoints before call {call}, dead {dies_after} later");
    let mut old = leads(&tolerant());
    checkpoint(&mut old);
    let (directory, drain) = (Location::parse("/savepoints/last").unwrap(), false);
    let named = directory.clone();
    let wanted = Wanted::Stop {
        directory: named,
        drain,
    };
    let request = RequestId(1);
    old.step(Input::Wanted { request, wanted });
    let (stop, ..) = old.triggered();
    let (disk, (tell, told)) = (old.storage.clone(), sync_channel(1));
    let other = move || {
        let mut new = Rig::start(&tolerant(), 1, disk);
        let began = begun_with(&new);
        does(checkpoints, false).with(&mut new);
        tell.send((new, began)).unwrap();
    };
    let mut storage = held(&old, call, call.saturating_add(dies_after), other);
    let receipt = receipt(&old);
    old.step_on(&mut storage, receipt);
    drop(storage);
    let Ok((mut new, began)) = told.recv() else {
        return false;
    };
    let shown = |output: &Output| matches!(output, Output::Complete { completed, .. } if completed.metadata.checkpoint == stop);
    let shown = old.seen.iter().any(shown);
    assert!(!shown || began == Some(stop), "{when}: {began:?} goes back");
    assert!(began >= Some(CheckpointId(1)), "{when}: {began:?}");
    let answers = old.answers();
    let succeeded = matches!(answers[..], [(_, Ok(_))]);
    assert!(succeeded == shown && answers.len() == 1, "{when}");
    if began == Some(stop) {
        let point = read(&mut new.look_at(), &directory);
        assert!(point.is_ok(), "{when}: what it began with is there");
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
fn a_leader_that_is_overtaken_as_it_stops_shows_nothing_that_is_not_gone_on_from() {
    for checkpoints in [0, 1, 3] {
        for dies_after in (0..12).chain([u64::MAX]) {
            let held = |call: &u64| !overtaken_as_it_stops_before(*call, dies_after, checkpoints);
            assert!((0..).find(held).unwrap() > 15);
        }
    }
}
