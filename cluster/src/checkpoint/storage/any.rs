//! Storage wherever a location says: paths in directories, addresses in object stores.
//!
//! What the process, its jobs and the command use; blocking, on the control thread. Invariant: each place is reached
//! by the storage of its kind; what is copied from one kind to the other is checked on the way like any copy.

use thalweg_dataflow::checkpoint::CrashListener;
use thalweg_state::run::ReadAt;

use super::contract::{CheckpointStorage, Entry, StorageError};
use super::directory::DirectoryStorage;
use super::disk::HostDisk;
use super::location::Location;
#[cfg(feature = "object-store")]
use super::{disk::Disk as _, object_store::ObjectStorage};
use crate::checkpoint::metadata::model::FileFacts;

/// Storage of every kind this program was built with. Clones share what they are connected to.
#[derive(Clone, Debug, Default)]
pub struct AnyStorage {
    directories: DirectoryStorage,
    #[cfg(feature = "object-store")]
    objects: ObjectStorage,
}

impl AnyStorage {
    /// Storage of this host, and in what it can reach.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, which tells of the points between the calls by which a file becomes durable.
    pub(crate) fn telling(crash_points: CrashListener) -> Self {
        Self {
            directories: DirectoryStorage::on(HostDisk { crash_points }),
            ..Self::default()
        }
    }

    /// The part that keeps objects.
    #[cfg(feature = "object-store")]
    pub(crate) fn objects(&self) -> &ObjectStorage {
        &self.objects
    }

    /// The storage of a place.
    fn of(&mut self, at: &Location) -> &mut dyn CheckpointStorage {
        match at.in_store() {
            #[cfg(feature = "object-store")]
            Some(_) => &mut self.objects,
            _ => &mut self.directories,
        }
    }
}

impl CheckpointStorage for AnyStorage {
    fn write_new(&mut self, at: &Location, bytes: &[u8]) -> Result<(), StorageError> {
        self.of(at).write_new(at, bytes)
    }

    fn create_exclusive(&mut self, at: &Location, bytes: &[u8]) -> Result<(), StorageError> {
        self.of(at).create_exclusive(at, bytes)
    }

    fn copy_new(
        &mut self,
        from: &Location,
        to: &Location,
        facts: FileFacts,
    ) -> Result<(), StorageError> {
        match (from.path(), to.path()) {
            #[cfg(feature = "object-store")]
            (Some(_), None) => self.objects.take_in((from, to), facts),
            #[cfg(feature = "object-store")]
            (None, Some(_)) => {
                let objects = &self.objects;
                self.directories.publish(to, |disk, file| {
                    let found = objects.read_through(from, |piece| {
                        let written = disk.write(file, piece);
                        written.map_err(|error| StorageError::of_io("write", to, &error))
                    })?;
                    super::contract::check(from, found, facts)
                })
            }
            _ => self.of(to).copy_new(from, to, facts),
        }
    }

    fn read(&mut self, at: &Location, most: u64) -> Result<Vec<u8>, StorageError> {
        self.of(at).read(at, most)
    }

    fn open(&mut self, at: &Location) -> Result<Box<dyn ReadAt>, StorageError> {
        self.of(at).open(at)
    }

    fn settle(&mut self, at: &Location) -> Result<(), StorageError> {
        self.of(at).settle(at)
    }

    fn examine(&mut self, at: &Location) -> Result<FileFacts, StorageError> {
        self.of(at).examine(at)
    }

    fn list(&mut self, at: &Location) -> Result<Vec<Entry>, StorageError> {
        self.of(at).list(at)
    }

    fn make_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        self.of(at).make_directory(at)
    }

    fn make_new_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        self.of(at).make_new_directory(at)
    }

    fn delete(&mut self, at: &Location) -> Result<(), StorageError> {
        self.of(at).delete(at)
    }

    fn delete_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        self.of(at).delete_directory(at)
    }

    fn delete_if_empty(&mut self, at: &Location) -> Result<(), StorageError> {
        self.of(at).delete_if_empty(at)
    }
}
