//! One spill file, and names for many.
//!
//! Invariant: a file of its own is made when it is first written to, and removed when its last handle goes; names come
//! from a counter, so that no directory is ever read to find one. Lives on one shard's thread.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use thalweg_core::seam::reactor::{FileId, OpId};
use thalweg_core::shard::step::{TaskWaker, TurnContext};

use super::io_manager::IoManager;

/// A file that somebody spills to. Clones are the same file; it goes with the last of them.
#[derive(Clone)]
pub struct SpillFile(pub(super) Rc<FileCell>);

pub(super) struct FileCell {
    pub(super) path: PathBuf,
    pub(super) state: Cell<FileState>,
    /// Tasks that wait until it is open, besides the one that asked for that.
    pub(super) waiting: RefCell<Vec<TaskWaker>>,
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
    /// The queue of this number has asked for it: its task is woken.
    Opening {
        op: OpId,
        queue: u64,
    },
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
            FileState::Fresh | FileState::Opening { .. } | FileState::Broken => None,
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

impl FileCell {
    /// It is in another state now: who waits for that goes on.
    pub(super) fn become_known(&self, state: FileState) {
        self.state.set(state);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// The task in work waits until it is open.
    pub(super) fn wait_for(&self, context: &TurnContext<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        let waker = context.waker();
        if !waiting.iter().any(|other| other.task() == waker.task()) {
            waiting.push(waker);
        }
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
