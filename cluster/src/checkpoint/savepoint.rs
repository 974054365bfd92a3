//! How a savepoint comes to hold all it needs.
//!
//! Tasks write its runs where they write all runs, but in full and beside the row of checkpoints: none builds on
//! them. When all have answered, the runs are copied beside the savepoint's metadata (on one file system each gets a second
//! name there instead), so that its directory can be moved, copied and kept without the job; the next completed checkpoint has the originals deleted. Its directory is made for it: one that is there
//! already is refused, so that what fails can be removed again. Plain functions. Invariant: a savepoint names
//! nothing outside its directory.

use std::collections::VecDeque;

use super::metadata::CheckpointMetadata;
use super::storage::{Location, StorageCommand};

/// The copies that make the savepoint whole, each file once.
pub(super) fn copies(
    metadata: &CheckpointMetadata,
    shared: &Location,
    savepoint: &Location,
) -> VecDeque<StorageCommand> {
    let files = metadata.files().into_iter();
    let copy = |(file, facts): (&str, _)| StorageCommand::CopyNew {
        from: shared.child(file),
        to: savepoint.child(file),
        facts,
    };
    files.map(copy).collect()
}
