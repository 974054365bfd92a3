//! The directories of one process for spill files: claimed, locked, swept, removed.
//!
//! Made once by whoever starts shards, on a thread that may wait. Each directory of `io.tmp.dirs` gets one
//! directory of this process within it, and beside that a lock file which the process holds locked as long
//! as it lives: the system unlocks it whatever way the process ends. Invariant: a directory is swept only
//! after its lock was taken from a process that is gone; the lock is there before the directory and goes
//! after it. Lives on any thread.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::SpillError;
use super::quota::Quota;

/// How the directories of processes are called, before their number.
const PREFIX: &str = "thalweg-spill-";
/// How a lock is called: as its directory, with this behind it.
const LOCK: &str = ".lock";
/// Names that are tried before a place is given up.
const TRIES: u32 = 10_000;

/// Where the spill files of one process lie. Clones share it; with the last one the directories go.
#[derive(Clone, Debug)]
pub struct SpillSpace {
    inner: Arc<Inner>,
    direct_reads: bool,
}

#[derive(Debug)]
struct Inner {
    directories: Vec<PathBuf>,
    quota: Quota,
    /// The locks of the directories that are this process' own.
    claims: Vec<Claim>,
}

impl SpillSpace {
    /// Claims a directory within each of `places`, which are made if need be, and removes what processes
    /// that are gone have left there. May wait for the disk.
    ///
    /// # Errors
    /// When a directory cannot be made.
    ///
    /// # Panics
    /// When there is no place.
    pub fn claim(places: &[PathBuf], quota: Quota) -> Result<SpillSpace, SpillError> {
        assert!(!places.is_empty(), "there is a place to spill to");
        let mut claims = Vec::with_capacity(places.len());
        for place in places {
            let claimed = fs::create_dir_all(place).and_then(|()| {
                sweep(place);
                Claim::within(place)
            });
            claims.push(claimed.map_err(|error| SpillError::of_io(place, "claimed", &error))?);
        }
        let directories = claims.iter().map(|claim| claim.directory.clone()).collect();
        Ok(SpillSpace::of(Inner {
            directories,
            quota,
            claims,
        }))
    }

    /// Directories that somebody else makes and removes, such as those of a simulation.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn lent(directories: Vec<PathBuf>, quota: Quota) -> SpillSpace {
        assert!(!directories.is_empty(), "there is a place to spill to");
        SpillSpace::of(Inner {
            directories,
            quota,
            claims: Vec::new(),
        })
    }

    /// No directory: for who makes no file, and reads those of others.
    #[must_use]
    pub fn for_reading() -> SpillSpace {
        SpillSpace::of(Inner {
            directories: Vec::new(),
            quota: Quota::new(0),
            claims: Vec::new(),
        })
    }

    fn of(inner: Inner) -> SpillSpace {
        SpillSpace {
            inner: Arc::new(inner),
            direct_reads: false,
        }
    }

    /// The same, whose files are read past the page cache, where that can be.
    #[must_use]
    pub fn with_direct_reads(self, direct_reads: bool) -> SpillSpace {
        SpillSpace {
            direct_reads,
            ..self
        }
    }

    /// Whether files are to be read past the page cache.
    #[must_use]
    pub fn direct_reads(&self) -> bool {
        self.direct_reads
    }

    /// The directories, in which nobody else writes.
    #[must_use]
    pub fn directories(&self) -> &[PathBuf] {
        &self.inner.directories
    }

    /// The limit on what is spilled.
    #[must_use]
    pub fn quota(&self) -> &Quota {
        &self.inner.quota
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for claim in &self.claims {
            claim.leave();
        }
    }
}

#[derive(Debug)]
struct Claim {
    directory: PathBuf,
    lock_path: PathBuf,
    /// Locked until it is dropped.
    _lock: File,
}

impl Claim {
    /// A new directory of this process.
    fn within(place: &Path) -> io::Result<Claim> {
        let process = std::process::id();
        for number in 0..TRIES {
            let directory = place.join(format!("{PREFIX}{process}-{number}"));
            let lock_path = lock_of(&directory);
            let Some(mut lock) = lock_new(&lock_path)? else {
                continue;
            };
            match fs::create_dir(&directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            // For whoever wonders whose it is.
            writeln!(lock, "{process}")?;
            return Ok(Claim {
                directory,
                lock_path,
                _lock: lock,
            });
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    fn leave(&self) {
        remove(&self.directory, &self.lock_path);
    }
}

fn lock_of(directory: &Path) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(LOCK);
    PathBuf::from(name)
}

/// Makes a lock file and locks it; none where another has that name or swept it away meanwhile.
fn lock_new(path: &Path) -> io::Result<Option<File>> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    let file = match made {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {}
        // A sweeper has found it in between and removes it.
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let still_there = fs::metadata(path).is_ok_and(|there| {
        let own = file.metadata();
        own.is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()))
    });
    Ok(still_there.then_some(file))
}

/// Removes what processes that are gone have left in a place. What cannot be removed is left for the next.
fn sweep(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some(directory) = name
            .strip_suffix(LOCK)
            .filter(|name| name.starts_with(PREFIX))
        else {
            continue;
        };
        let lock_path = entry.path();
        let Ok(lock) = File::open(&lock_path) else {
            continue;
        };
        if lock.try_lock().is_ok() {
            remove(&place.join(directory), &lock_path);
        }
    }
}

/// The lock goes last: until then whoever sweeps finds the directory again.
fn remove(directory: &Path, lock_path: &Path) {
    let gone = match fs::remove_dir_all(directory) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    // Failing, it is swept again by the next process here.
    if gone {
        let _ = fs::remove_file(lock_path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(place: &Path) -> Vec<String> {
        let entries = fs::read_dir(place).unwrap().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn directories_of_the_dead_are_swept_and_those_of_the_living_are_not() {
        let place = tempfile::tempdir().unwrap();
        let places = [place.path().join("a"), place.path().join("b")];
        let first = SpillSpace::claim(&places, Quota::unlimited()).unwrap();
        assert_eq!(first.directories().len(), 2);
        fs::write(first.directories()[0].join("0"), b"spilled").unwrap();
        // What a killed process leaves: directory and lock file, and nobody holds the lock.
        let dead = places[0].join("thalweg-spill-1-7");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("3"), b"left behind").unwrap();
        fs::write(lock_of(&dead), b"1").unwrap();
        // What belongs to somebody else.
        fs::write(places[0].join("notes.lock"), b"").unwrap();
        let second = SpillSpace::claim(&places, Quota::unlimited()).unwrap();
        assert!(!dead.exists() && !lock_of(&dead).exists());
        assert!(first.directories()[0].join("0").exists(), "its owner lives");
        assert_ne!(first.directories(), second.directories());
        drop(first.clone());
        assert!(first.directories()[0].exists(), "a clone has it still");
        drop((first, second));
        assert_eq!(names(&places[0]), ["notes.lock"]);
        assert!(names(&places[1]).is_empty());
    }

    #[test]
    fn a_place_that_is_no_directory_is_refused_by_name() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, b"").unwrap();
        let refused = SpillSpace::claim(std::slice::from_ref(&file), Quota::unlimited());
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("file") && refused.contains("io.tmp.dirs"),
            "{refused}"
        );
    }
}
