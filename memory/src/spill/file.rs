//! One spill file, and names for many.
//!
//! Invariant: a file of its own is made when it is first written to, and removed when its last handle goes; names come
//! from a counter, so that no directory is ever read to find one. Lives on one shard's thread.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use thalweg_core::seam::reactor::{FileId, OpId};

use super::io_manager::IoManager;

/// A file that somebody spills to. Clones are the same file; it goes with the last of them.
#[derive(Clone)]
pub struct SpillFile(pub(super) Rc<FileCell>);

pub(super) struct FileCell {
    pub(super) path: PathBuf,
    pub(super) state: Cell<FileState>,
    /// The byte behind the last one written or being written.
    pub(super) end: Cell<u64>,
    pub(super) manager: IoManager,
    /// Made here, and removed with its last handle; else another's, and only read.
    pub(super) own: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FileState {
    /// Nobody has asked for it yet.
    Fresh,
    Opening(OpId),
    Open(FileId),
    Broken,
}

impl SpillFile {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Its number at the reactor of its shard, once it is open: whoever has it can read the file though its owner
    /// has removed it since. It is closed when the last handle goes.
    #[must_use]
    pub fn opened(&self) -> Option<FileId> {
        match self.0.state.get() {
            FileState::Open(file) => Some(file),
            FileState::Fresh | FileState::Opening(_) | FileState::Broken => None,
        }
    }

    /// Bytes written, those on their way included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.end.get()
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for FileCell {
    fn drop(&mut self) {
        self.manager.forget(self);
    }
}

/// Names files one after the other: those of one purpose, such as the runs of a sort.
pub struct FileEnumerator {
    manager: IoManager,
    given: u64,
}

impl FileEnumerator {
    pub(super) fn new(manager: IoManager) -> FileEnumerator {
        FileEnumerator { manager, given: 0 }
    }

    /// How many files it has given.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given
    }
}

impl Iterator for FileEnumerator {
    type Item = SpillFile;

    fn next(&mut self) -> Option<SpillFile> {
        self.given += 1;
        Some(self.manager.file())
    }
}
