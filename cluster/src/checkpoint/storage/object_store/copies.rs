//! Copies on this host of files that went into an object store.
//!
//! Kept for one directory of a store where a job asks for it, and lent to it when it begins again in this process, which
//! then need not fetch them. Entered by the control thread, and by the threads of object storage when a file has arrived.
//! Invariants: a copy goes with its object; one that is not what it should be is not lent; without a copy nothing is lost
//! but time.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thalweg_memory::SpillSpace;

use super::local_place;
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::storage::{CheckpointStorage as _, DirectoryStorage, Location};

/// Copies of the objects of one directory.
pub(crate) struct LocalCopies {
    of: Location,
    directory: PathBuf,
    /// Goes with this, and the directory with it.
    _space: SpillSpace,
}

impl fmt::Debug for LocalCopies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "copies of {} in {}", self.of, self.directory.display())
    }
}

impl LocalCopies {
    /// Copies of what is in the directory `of` of a store; they are put where this process has claimed a directory.
    pub(crate) fn new(of: Location, (space, directory): (SpillSpace, PathBuf)) -> Self {
        Self {
            of,
            directory,
            _space: space,
        }
    }

    /// Where the copy of an object is, if it is of the directory.
    fn place_of(&self, object: &Location) -> Option<PathBuf> {
        (self.of.child(object.name()) == *object).then(|| self.directory.join(object.name()))
    }

    /// Moves a file here that has arrived at `object`, or removes it if no copies are kept of that.
    pub(super) fn take(&self, file: &Path, object: &Location) {
        let Some(copy) = self.place_of(object) else {
            // One that stays goes with its directory.
            let _ = fs::remove_file(file);
            return;
        };
        if let Err(error) = fs::rename(file, copy) {
            tracing::warn!(%error, %object, "no copy is kept on this host: it will be fetched if it is needed");
        }
    }

    /// Puts a copy of an object at `to`; false if there is none that is what it should be.
    pub(super) fn lend(&self, object: &Location, facts: FileFacts, to: &Path) -> bool {
        let Some(copy) = self.place_of(object) else {
            return false;
        };
        match self.link(&copy, facts, to) {
            Ok(lent) => lent,
            Err(error) => {
                tracing::warn!(%error, %object, "the copy on this host cannot be used: it is fetched");
                false
            }
        }
    }

    fn link(&self, copy: &Path, facts: FileFacts, to: &Path) -> Result<bool, String> {
        if !copy.try_exists().map_err(|error| error.to_string())? {
            return Ok(false);
        }
        let place = local_place(copy).map_err(|error| error.message)?;
        let mut here: DirectoryStorage = DirectoryStorage::default();
        let found = here.examine(&place);
        if found.map_err(|error| error.message)? != facts {
            return Err(format!("{place} is damaged"));
        }
        let linked = fs::hard_link(copy, to);
        linked.map_err(|error| format!("{place}: {error}"))?;
        Ok(true)
    }

    /// An object was deleted.
    pub(super) fn forget(&self, object: &Location) {
        let Some(copy) = self.place_of(object) else {
            return;
        };
        match fs::remove_file(&copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, copy = %copy.display(), "a copy that is not needed stays until the job ends");
            }
            _ => {}
        }
    }
}
