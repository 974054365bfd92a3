//! What the next process goes on from: a savepoint that is whole and after which no checkpoint has completed, else
//! the newest checkpoint.
//!
//! Lives on the oracle's thread, and looks while no process of the job runs. Invariant: what it removes is gone for
//! good, and what it names is there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use thalweg_cluster::checkpoint::home::verify::{files, verify};
use thalweg_cluster::checkpoint::home::{EndedJob, FindError, Found, find};
use thalweg_cluster::checkpoint::storage::{AnyStorage, Location};

/// The checkpoints and savepoints of a job.
pub(super) struct Origin {
    /// Where its checkpoints are, in a directory for each process.
    pub(super) state: PathBuf,
    /// Where its savepoints are.
    pub(super) savepoints: PathBuf,
    /// The savepoint it was stopped by last.
    stopped_by: Option<PathBuf>,
    /// Whether the job has an identity: its checkpoints are always in the same place then, and who goes on from a
    /// savepoint begins anew there.
    has_identity: bool,
}

/// What a process begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    Nothing,
    Checkpoint,
    Savepoint(PathBuf),
    /// It is to be told that the job has finished.
    Mark,
}

impl Beginning {
    /// As the setting of the job says it.
    pub(super) fn setting(&self) -> String {
        match self {
            Beginning::Nothing | Beginning::Checkpoint | Beginning::Mark => "latest".to_owned(),
            Beginning::Savepoint(savepoint) => savepoint.display().to_string(),
        }
    }
}

impl Origin {
    /// Of a job that keeps what it has below this directory.
    pub(super) fn below(directory: &Path, has_identity: bool) -> Origin {
        Origin {
            state: directory.join("state"),
            savepoints: directory.join("savepoints"),
            stopped_by: None,
            has_identity,
        }
    }

    /// What the next process begins with.
    pub(super) fn beginning(&self) -> Result<Beginning, String> {
        fs::create_dir_all(&self.state).map_err(|error| at(&self.state, &error))?;
        for home in directories_in(&self.state)? {
            match inside(&home)? {
                Inside::Checkpoint(_) => return Ok(Beginning::Checkpoint),
                Inside::Mark(job) if job.savepoint.is_none() => return Ok(Beginning::Mark),
                Inside::Mark(_) | Inside::Nothing => {}
            }
        }
        Ok(match &self.stopped_by {
            Some(savepoint) => Beginning::Savepoint(savepoint.clone()),
            None => Beginning::Nothing,
        })
    }

    /// The job has ended by a savepoint; what it had before is not needed any more.
    pub(super) fn stopped_by(&mut self, savepoint: PathBuf) -> Result<(), String> {
        if !self.has_identity {
            remove(&self.state)?;
        }
        match self.stopped_by.replace(savepoint) {
            Some(former) => remove(&former),
            None => Ok(()),
        }
    }

    /// A process was killed. If it was stopping, and its checkpoints say that it was stopped by a savepoint, whoever
    /// goes on with them goes on from that; if they are gone, it had come to its end by the savepoint, and only could not
    /// say so any more: a mark says so for it, if it was started with `latest` or has an identity. Of any other savepoint
    /// nobody was told.
    pub(super) fn killed(&mut self) -> Result<(), String> {
        let mut named = BTreeSet::from_iter(self.stopped_by.clone());
        let (mut goes_on, mut marked) = (false, None);
        for home in directories_in(&self.state)? {
            match inside(&home)? {
                Inside::Checkpoint(found) => {
                    goes_on = true;
                    named.extend(found.directory.path().map(Path::to_owned));
                }
                Inside::Mark(job) => {
                    let savepoint = job.savepoint.as_ref().and_then(|it| it.path());
                    marked = Some(savepoint.map(Path::to_owned));
                }
                Inside::Nothing => {}
            }
        }
        if let Some(Some(savepoint)) = &marked
            && self.stopped_by.as_ref() != Some(savepoint)
        {
            self.stopped_by(savepoint.clone())?;
            named = BTreeSet::from([savepoint.clone()]);
        }
        // Where a mark says how it has ended, or would, nothing is to be guessed.
        let guesses = !goes_on && marked.is_none() && !self.has_identity;
        for savepoint in directories_in(&self.savepoints)? {
            match named.contains(&savepoint) {
                true => {}
                false if guesses && found(&savepoint)?.is_some() => self.stopped_by(savepoint)?,
                false => remove(&savepoint)?,
            }
        }
        Ok(())
    }

    /// A job that has ended well has left no checkpoint to go on from.
    pub(super) fn is_cleared(&self) -> Result<(), String> {
        for home in directories_in(&self.state)? {
            if found(&home)?.is_some() {
                let home = home.display();
                return Err(format!(
                    "the job has ended, and left a checkpoint in {home}"
                ));
            }
        }
        Ok(())
    }

    /// The highest number of a checkpoint or savepoint that is there. Every byte of it is read and checked.
    pub(super) fn newest(&self) -> Result<u64, String> {
        let mut newest: Option<Found> = None;
        for directory in [&self.state, &self.savepoints] {
            for home in directories_in(directory)? {
                let number = |found: &Found| found.metadata.checkpoint.0;
                let found = found(&home)?;
                let newer = found.filter(|found| newest.as_ref().map(number) < Some(number(found)));
                newest = newer.or(newest);
            }
        }
        let Some(newest) = newest else {
            return Ok(0);
        };
        for (file, expected) in files(&newest) {
            let checked = verify(&mut AnyStorage::new(), &file, expected);
            checked.map_err(|problem| format!("{}: {problem}", newest.metadata.checkpoint))?;
        }
        Ok(newest.metadata.checkpoint.0)
    }
}

/// What a directory holds.
enum Inside {
    /// The newest checkpoint of a job, or a savepoint.
    Checkpoint(Box<Found>),
    /// The mark of the end of a job.
    Mark(Box<EndedJob>),
    Nothing,
}

fn inside(directory: &Path) -> Result<Inside, String> {
    let place = Location::parse(&directory.display().to_string());
    let place = place.map_err(|error| error.to_string())?;
    match find(&mut AnyStorage::new(), &place) {
        Ok(found) => Ok(Inside::Checkpoint(Box::new(found))),
        Err(FindError::Ended(job)) => Ok(Inside::Mark(job)),
        Err(FindError::Nothing(_)) => Ok(Inside::Nothing),
        Err(error) => Err(error.to_string()),
    }
}

/// The checkpoint or savepoint in a directory.
fn found(directory: &Path) -> Result<Option<Found>, String> {
    Ok(match inside(directory)? {
        Inside::Checkpoint(found) => Some(*found),
        Inside::Mark(_) | Inside::Nothing => None,
    })
}

/// Removes a directory for good: not even a loss of power brings it back.
fn remove(directory: &Path) -> Result<(), String> {
    fs::remove_dir_all(directory).map_err(|error| at(directory, &error))?;
    let Some(above) = directory.parent() else {
        return Ok(());
    };
    let synced = File::open(above).and_then(|above| above.sync_all());
    synced.map_err(|error| at(above, &error))
}

/// The directories in a directory; none where it is not there yet.
fn directories_in(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| at(directory, &error))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| at(directory, &error))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

/// An error with the place where it happened.
pub(super) fn at(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
