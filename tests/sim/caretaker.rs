//! What somebody knows who looks after the job: where its checkpoints and savepoints are, and what it goes on from.
//!
//! A job that is stopped goes on from the savepoint, with its checkpoints elsewhere from then on, until there is one
//! that builds on it. A process that dies while it is being stopped may have committed what the savepoint lists; its
//! checkpoints say so, and whoever goes on with them need not know. Where they are gone it had ended by the savepoint.
//! Invariant: of what is complete the newest is gone on from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use thalweg_cluster::checkpoint::home::EndedJob;
use thalweg_cluster::checkpoint::home::find::{FindError, Found, find};
use thalweg_cluster::checkpoint::metadata::CheckpointKind;
use thalweg_cluster::checkpoint::storage::{DirectoryStorage, Location};
use thalweg_core::seam::simulated::SimDisk;

/// Where savepoints go.
pub(super) const SAVEPOINTS: &str = "/savepoints";
/// Looks at a disk that errs.
const LOOKS: u32 = 20;

/// Looks after the job of one host.
pub(super) struct Caretaker {
    disk: SimDisk,
    /// How often the job went on from a savepoint.
    stops: u32,
    /// The savepoint it goes on from, until there is a checkpoint that builds on it.
    savepoint: Option<String>,
    /// Savepoints of former processes, or that were told of.
    known: BTreeSet<PathBuf>,
}

impl Caretaker {
    pub(super) fn of(disk: SimDisk) -> Caretaker {
        Caretaker {
            disk,
            stops: 0,
            savepoint: None,
            known: BTreeSet::new(),
        }
    }

    pub(super) fn stops(&self) -> u32 {
        self.stops
    }

    /// Where checkpoints go: after each stop elsewhere.
    pub(super) fn checkpoints(&self) -> String {
        format!("/checkpoints-{}", self.stops)
    }

    /// What the next process begins with: the savepoint, while there is no checkpoint that builds on it.
    pub(super) fn begins_with(&self) -> Result<String, String> {
        match &self.savepoint {
            Some(savepoint) if self.newest_of_jobs()?.is_empty() => Ok(savepoint.clone()),
            _ => Ok("latest".to_owned()),
        }
    }

    /// The job was stopped by this savepoint.
    pub(super) fn stopped_by(&mut self, savepoint: String) {
        self.savepoint = Some(savepoint);
        self.stops += 1;
        self.known.extend(self.inside(Path::new(SAVEPOINTS)));
    }

    /// A process died or gave up. Answers whether it had stopped by a savepoint: its checkpoints say so, and whoever goes
    /// on with them goes on from it; or they are gone, and it had come to its end by it, without saying so any more. A mark
    /// says so for it, if it was started with `latest`.
    pub(super) fn ended_otherwise(&mut self) -> Result<bool, String> {
        let newest = self.newest_of_jobs()?;
        let marked = self.marks()?.into_iter().find_map(|job| job.savepoint);
        if let Some(savepoint) = marked {
            self.stopped_by(savepoint.to_string());
            return Ok(true);
        }
        let stopped = |found: &Found| found.metadata.kind == CheckpointKind::Savepoint;
        let all = self.inside(Path::new(SAVEPOINTS));
        let new = all.into_iter().filter(|path| !self.known.contains(path));
        let mut whole = None;
        for path in new.collect::<Vec<_>>() {
            whole = whole.or(self.look(&path)?);
            self.known.insert(path);
        }
        match whole {
            Some(savepoint) if newest.is_empty() => {
                self.stopped_by(savepoint.directory.to_string());
                Ok(true)
            }
            _ => Ok(newest.iter().any(stopped)),
        }
    }

    /// The newest checkpoint of each job that wrote where checkpoints go now.
    fn newest_of_jobs(&self) -> Result<Vec<Found>, String> {
        let mut newest = Vec::new();
        for home in self.inside(Path::new(&self.checkpoints())) {
            newest.extend(self.look(&home)?);
        }
        Ok(newest)
    }

    /// Whether somebody was told, or would be, that the job has finished.
    pub(super) fn has_finished(&self) -> Result<bool, String> {
        Ok(self.marks()?.iter().any(|job| job.savepoint.is_none()))
    }

    /// The marks of ends where checkpoints go now.
    fn marks(&self) -> Result<Vec<EndedJob>, String> {
        let homes = self.inside(Path::new(&self.checkpoints()));
        let marks = homes.into_iter().map(|home| match self.find(&home)? {
            Err(FindError::Ended(job)) => Ok(Some(*job)),
            _ => Ok(None),
        });
        let marks: Result<Vec<Option<EndedJob>>, String> = marks.collect();
        Ok(marks?.into_iter().flatten().collect())
    }

    fn inside(&self, directory: &Path) -> Vec<PathBuf> {
        let names = self.disk.names_in(directory).into_iter();
        names.map(|name| directory.join(name)).collect()
    }

    fn look(&self, at: &Path) -> Result<Option<Found>, String> {
        match self.find(at)? {
            Ok(found) => Ok(Some(found)),
            Err(FindError::Nothing(_) | FindError::Ended(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn find(&self, at: &Path) -> Result<Result<Found, FindError>, String> {
        let mut storage = DirectoryStorage::on(self.disk.clone());
        let at = Location::parse(&at.to_string_lossy()).map_err(|error| error.to_string())?;
        let mut looks = 0;
        loop {
            looks += 1;
            match find(&mut storage, &at) {
                // The disk has its moods.
                Err(FindError::Storage(_)) if looks < LOOKS => {}
                answer => return Ok(answer),
            }
        }
    }
}
