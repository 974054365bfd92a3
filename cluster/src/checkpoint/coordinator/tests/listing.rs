//! A directory that is listed while the job that owns it goes on: what was overtaken and deleted meanwhile is not in
//! the list, nor what was made too late for it.

use thalweg_state::run::ReadAt;

use super::*;
use crate::checkpoint::home::find::{FindError, find};
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::storage::Entry;

/// A storage whose first listings miss every pointer.
struct Late {
    storage: Storage,
    misses: u32,
}

impl CheckpointStorage for Late {
    fn list(&mut self, at: &Location) -> Result<Vec<Entry>, StorageError> {
        let mut entries = self.storage.list(at)?;
        let has_pointers = |entry: &Entry| JobLayout::pointer_of(&entry.name).is_some();
        if self.misses > 0 && entries.iter().any(has_pointers) {
            self.misses -= 1;
            entries.retain(|entry| !has_pointers(entry));
        }
        Ok(entries)
    }

    fn write_new(&mut self, at: &Location, bytes: &[u8]) -> Result<(), StorageError> {
        self.storage.write_new(at, bytes)
    }

    fn create_exclusive(&mut self, at: &Location, bytes: &[u8]) -> Result<(), StorageError> {
        self.storage.create_exclusive(at, bytes)
    }

    fn copy_new(
        &mut self,
        from: &Location,
        to: &Location,
        facts: FileFacts,
    ) -> Result<(), StorageError> {
        self.storage.copy_new(from, to, facts)
    }

    fn read(&mut self, at: &Location, most: u64) -> Result<Vec<u8>, StorageError> {
        self.storage.read(at, most)
    }

    fn open(&mut self, at: &Location) -> Result<Box<dyn ReadAt>, StorageError> {
        self.storage.open(at)
    }

    fn settle(&mut self, at: &Location) -> Result<(), StorageError> {
        self.storage.settle(at)
    }

    fn examine(&mut self, at: &Location) -> Result<FileFacts, StorageError> {
        self.storage.examine(at)
    }

    fn make_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        self.storage.make_directory(at)
    }

    fn make_new_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        self.storage.make_new_directory(at)
    }

    fn delete(&mut self, at: &Location) -> Result<(), StorageError> {
        self.storage.delete(at)
    }

    fn delete_directory(&mut self, at: &Location) -> Result<(), StorageError> {
        self.storage.delete_directory(at)
    }

    fn delete_if_empty(&mut self, at: &Location) -> Result<(), StorageError> {
        self.storage.delete_if_empty(at)
    }
}

#[test]
fn a_pointer_that_a_listing_missed_is_looked_for_again() {
    let disk = DirectoryStorage::on(SimulatedDisk::new());
    let mut rig = Rig::start(&settings(|_| {}), 2, disk);
    rig.checkpoint();
    let home = rig.layout.home().clone();
    let mut late = Late {
        storage: rig.storage,
        misses: 3,
    };
    // Listed once by who looks whether the directory is a checkpoint itself.
    let found = find(&mut late, &home).unwrap();
    assert_eq!(found.metadata.checkpoint, CheckpointId(1));
    assert_eq!(late.misses, 0);
    late.misses = u32::MAX;
    let error = find(&mut late, &home).unwrap_err();
    assert!(matches!(error, FindError::Damaged(_)), "{error:?}");
    assert!(u32::MAX - late.misses < 20, "it ends");
}
