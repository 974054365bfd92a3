//! Checkpoint storage in a directory of a file system.
//!
//! Blocking, on the control thread. What makes an answer true after a loss of power is the order of calls:
//!
//! 1. a directory that was made is durable (its parent synced) before anything is written into it; so is one that
//!    is there already, when it is first written into: who made it may have been killed before the sync;
//! 2. a file is written under another name, synced, renamed, and then its directory is synced: so the name
//!    appears only with the content, and the answer is given only when both are durable; the renaming replaces
//!    nothing, so that of all who try at most one creates a file;
//! 3. that other name is of nobody else, so that who comes late, or was taken for dead, does not give a file its
//!    name that another is writing;
//! 4. an error of a sync is never answered by another sync of the same file: the kernel has dropped the pages
//!    it could not write, and a second sync would succeed without them. The file is removed, the caller
//!    starts over with another file or gives up;
//! 5. an error after content was durable, before its name was known to be, is
//!    [`Uncertain`](StorageErrorKind::Uncertain).
//!
//! Invariant: of [`CheckpointStorage`].

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crc32c::crc32c;
use thalweg_core::error::ErrorKind;
use thalweg_state::run::ReadAt;

use super::contract::{CheckpointStorage, Entry, StorageError, StorageErrorKind, check, too_long};
use super::disk::{Disk, HostDisk, read_pieces};
use super::location::Location;
use crate::checkpoint::metadata::model::FileFacts;

/// Storage in directories.
#[derive(Clone, Debug, Default)]
pub struct DirectoryStorage<D = HostDisk> {
    disk: D,
    /// Directories whose names would survive a loss of power.
    durable: BTreeSet<PathBuf>,
}

impl DirectoryStorage<HostDisk> {
    /// Storage in the file system of this host.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<D: Disk> DirectoryStorage<D> {
    /// Storage on a disk.
    pub fn on(disk: D) -> Self {
        Self {
            disk,
            durable: BTreeSet::new(),
        }
    }

    /// The disk.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Gives the disk back.
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// Makes a directory and those it lies in, durably.
    fn ensure_directory(&mut self, path: &Path) -> Result<(), StorageError> {
        match self.make_with_ancestors(path) {
            // Somebody removed what was there when it was looked for.
            Err(error) if error.kind == StorageErrorKind::Missing => self.make_with_ancestors(path),
            made => made,
        }
    }

    fn make_with_ancestors(&mut self, path: &Path) -> Result<(), StorageError> {
        let failed = |at: &Path, error: &io::Error| {
            StorageError::of_io("make directory", &at.display(), error)
        };
        let (mut missing, mut there) = (Vec::new(), None);
        for ancestor in path.ancestors() {
            match self.disk.exists(ancestor) {
                Ok(true) => {
                    there = Some(ancestor);
                    break;
                }
                Ok(false) => missing.push(ancestor),
                Err(error) => return Err(failed(ancestor, &error)),
            }
        }
        // Those above it were durable before it was made, if it was made here.
        let above = there.and_then(Path::parent);
        if let (Some(there), Some(above)) = (there, above)
            && !self.durable.contains(there)
        {
            match self.disk.sync_directory(above) {
                // Who may not look into that one did not make this one, and does not know who did.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced.map_err(|error| failed(there, &error))?,
            }
            self.durable.insert(there.to_owned());
        }
        for directory in missing.into_iter().rev() {
            match self.disk.make_directory(directory) {
                // Somebody else was as quick; it must be durable all the same.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(directory, &error)),
                Ok(()) => {}
            }
            if let Some(parent) = directory.parent() {
                let synced = self.disk.sync_directory(parent);
                synced.map_err(|error| failed(directory, &error))?;
            }
            self.durable.insert(directory.to_owned());
        }
        Ok(())
    }

    /// Makes a directory in one that is there, durably.
    fn ensure_last(&mut self, path: &Path) -> Result<(), StorageError> {
        let failed =
            |error: io::Error| StorageError::of_io("make directory", &path.display(), &error);
        match self.disk.make_directory(path) {
            // Whoever made it may have been killed before that was durable.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if self.durable.contains(path) {
                    return Ok(());
                }
            }
            made => made.map_err(failed)?,
        }
        let synced = self.disk.sync_directory(&directory_of(path));
        synced.map_err(failed)?;
        self.durable.insert(path.to_owned());
        Ok(())
    }

    /// Writes a file under another name, whole and durable, then gives it its name.
    pub(super) fn publish(
        &mut self,
        at: &Location,
        fill: impl FnOnce(&mut D, &mut D::File) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let path = path_of(at)?;
        let failed = |what: &str, error: &io::Error| StorageError::of_io(what, at, error);
        match self.disk.exists(path) {
            Ok(false) => {}
            Ok(true) => return Err(failed("write", &io::ErrorKind::AlreadyExists.into())),
            Err(error) => return Err(failed("write", &error)),
        }
        let directory = directory_of(path);
        let own = self.disk.draw();
        let part = directory.join(format!(".{}.{own:016x}.part", at.name()));
        let written = self.fill_part(&part, at, fill);
        if let Err(error) = written.and_then(|()| self.name(&part, at, path)) {
            // If it cannot be removed either, its name tells everybody to ignore it.
            let _ = self.disk.remove_file(&part);
            return Err(error);
        }
        let durable = self.disk.sync_directory(&directory);
        durable.map_err(|error| failed("make durable", &error).uncertain())
    }

    /// Gives a file its name, if nothing has it.
    fn name(&mut self, part: &Path, at: &Location, path: &Path) -> Result<(), StorageError> {
        let Err(error) = self.disk.rename_new(part, path) else {
            return Ok(());
        };
        let failed = StorageError::of_io("name", at, &error);
        if failed.kind == StorageErrorKind::AlreadyThere {
            return Err(failed);
        }
        match self.disk.exists(path) {
            Ok(false) => Err(failed),
            // Over a network the answer may have been lost, or another was quicker.
            Ok(true) | Err(_) => Err(StorageError {
                kind: StorageErrorKind::Unknown,
                ..failed
            }),
        }
    }

    /// Gives a file, which is never changed, another name instead of copying it, and checks it. False where it has to be
    /// copied.
    fn link(
        &mut self,
        from: &Location,
        to: &Location,
        facts: FileFacts,
    ) -> Result<bool, StorageError> {
        let path = path_of(to)?;
        match self.disk.link_new(path_of(from)?, path) {
            Ok(()) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    return Err(StorageError::of_io("create", to, &error));
                }
                io::ErrorKind::NotFound => return Err(StorageError::of_io("read", from, &error)),
                // Another file system, or one without links.
                _ => return Ok(false),
            },
        }
        let durable = |error: &io::Error| StorageError::of_io("make durable", to, error);
        let found = self.disk.facts(path);
        let checked = found
            .map_err(|error| StorageError::of_io("read", to, &error))
            .and_then(|found| check(from, found, facts))
            .and_then(|()| self.disk.open(path).map_err(|error| durable(&error)))
            .and_then(|mut file| self.disk.sync(&mut file).map_err(|error| durable(&error)));
        if let Err(error) = checked {
            // Its metadata, which would name it, is never written then.
            let _ = self.disk.remove_file(path);
            return Err(error);
        }
        let named = self.disk.sync_directory(&directory_of(path));
        named.map_err(|error| durable(&error).uncertain())?;
        Ok(true)
    }

    fn fill_part(
        &mut self,
        part: &Path,
        at: &Location,
        fill: impl FnOnce(&mut D, &mut D::File) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let created = self.disk.create_new(part);
        let mut file = created.map_err(|error| StorageError::of_io("create", at, &error))?;
        fill(&mut self.disk, &mut file)?;
        let synced = self.disk.sync(&mut file);
        synced.map_err(|error| StorageError::of_io("make durable", at, &error))
    }
}

/// A place as a path.
fn path_of(at: &Location) -> Result<&Path, StorageError> {
    at.path().ok_or_else(|| StorageError {
        kind: StorageErrorKind::Failed(ErrorKind::Invalid),
        message: format!("{at} is no path of a file system: give a path or a `file:` address"),
    })
}

fn directory_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

/// Shows a file's bytes piece by piece.
fn read_through<D: Disk>(
    disk: &mut D,
    from: &Location,
    piece: impl FnMut(&mut D, &[u8]) -> Result<(), StorageError>,
) -> Result<FileFacts, StorageError> {
    let failed = |error: io::Error| StorageError::of_io("read", from, &error);
    read_pieces(disk, path_of(from)?, failed, piece)
}

impl<D: Disk> CheckpointStorage for DirectoryStorage<D> {
    fn write_new(&mut self, at: &Location, bytes: &[u8]) -> Result<(), StorageError> {
        self.ensure_last(&directory_of(path_of(at)?))?;
        self.create_exclusive(at, bytes)
    }

    fn create_exclusive(&mut self, at: &Location, bytes: &[u8]) -> Result<(), StorageError> {
        self.publish(at, |disk, file| {
            let written = disk.write(file, bytes);
            written.map_err(|error| StorageError::of_io("write", at, &error))
        })
    }

    fn copy_new(
        &mut self,
        from: &Location,
        to: &Location,
        facts: FileFacts,
    ) -> Result<(), StorageError> {
        self.ensure_last(&directory_of(path_of(to)?))?;
        if self.link(from, to, facts)? {
            return Ok(());
        }
        self.publish(to, |disk, file| {
            let found = read_through(disk, from, |disk, piece| {
                let written = disk.write(file, piece);
                written.map_err(|error| StorageError::of_io("write", to, &error))
            })?;
            check(from, found, facts)
        })
    }

    fn read(&mut self, at: &Location, most: u64) -> Result<Vec<u8>, StorageError> {
        let mut content = Vec::new();
        let facts = read_through(&mut self.disk, at, |_, piece| {
            if content.len() as u64 + piece.len() as u64 > most {
                return Err(too_long(at, most));
            }
            content.extend_from_slice(piece);
            Ok(())
        })?;
        debug_assert_eq!(facts.checksum, crc32c(&content));
        Ok(content)
    }

    fn open(&mut self, at: &Location) -> Result<Box<dyn ReadAt>, StorageError> {
        let opened = self.disk.open_run(path_of(at)?);
        opened.map_err(|error| StorageError::of_io("open", at, &error))
    }

    fn settle(&mut self, at: &Location) -> Result<(), StorageError> {
        let failed = |error: io::Error| StorageError::of_io("make durable", at, &error);
        let path = path_of(at)?;
        let mut file = self.disk.open(path).map_err(failed)?;
        self.disk.sync(&mut file).map_err(failed)?;
        // The directory it lies in, and that one's name.
        for directory in path.ancestors().skip(1).take(2) {
            self.disk.sync_directory(directory).map_err(failed)?;
        }
        Ok(())
    }

    fn examine(&mut self, at: &Location) -> Result<FileFacts, StorageError> {
        let found = self.disk.facts(path_of(at)?);
        found.map_err(|error| StorageError::of_io("read", at, &error))
    }

    fn list(&mut self, at: &Location) -> Result<Vec<Entry>, StorageError> {
        let mut entries = match self.disk.list(path_of(at)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(StorageError::of_io("list", at, &error)),
            Ok(entries) => entries,
        };
        entries.retain(|entry| !entry.name.starts_with('.'));
        entries.sort_unstable();
        Ok(entries)
    }

    fn make_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        self.ensure_directory(path_of(at)?)
    }

    fn make_new_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        let path = path_of(at)?;
        let parent = directory_of(path);
        self.ensure_directory(&parent)?;
        let made = self.disk.make_directory(path);
        made.map_err(|error| StorageError::of_io("make directory", at, &error))?;
        let durable = self.disk.sync_directory(&parent);
        durable.map_err(|error| StorageError::of_io("make durable", at, &error).uncertain())
    }

    fn delete(&mut self, at: &Location) -> Result<(), StorageError> {
        match self.disk.remove_file(path_of(at)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::of_io("delete", at, &error))
            }
            _ => Ok(()),
        }
    }

    fn delete_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        let failed = |error: &io::Error| StorageError::of_io("delete", at, error);
        let path = path_of(at)?;
        self.durable.remove(path);
        let entries = match self.disk.list(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(&error)),
            Ok(entries) => entries,
        };
        for entry in entries.iter().filter(|entry| !entry.directory) {
            match self.disk.remove_file(&path.join(&entry.name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&error));
                }
                _ => {}
            }
        }
        match self.disk.remove_directory(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    fn delete_if_empty(&mut self, at: &Location) -> Result<(), StorageError> {
        let is_no_failure = [io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty];
        let path = path_of(at)?;
        self.durable.remove(path);
        match self.disk.remove_directory(path) {
            Err(error) if !is_no_failure.contains(&error.kind()) => {
                Err(StorageError::of_io("delete", at, &error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
