//! A shard's side of the spill directories: which file lies where, and which are to be removed.
//!
//! Entered by the tasks of one shard, each of which has a queue. Invariant: files are dealt to the
//! directories in turn, so that bytes split evenly over the disks. Lives on one shard's thread.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use thalweg_core::ShardId;
use thalweg_core::seam::reactor::{FileId, Op};
use thalweg_core::shard::step::{TaskWaker, TurnContext};

use super::file::{FileCell, FileEnumerator, FileState, SpillFile};
use super::queue::IoQueue;
use super::space::SpillSpace;

/// The spill files of one shard. Clones are the same.
#[derive(Clone)]
pub struct IoManager(Rc<Inner>);

struct Inner {
    space: SpillSpace,
    shard: ShardId,
    /// Files named so far.
    named: Cell<u64>,
    /// Files nobody has a handle of any more.
    gone: RefCell<Vec<(Option<PathBuf>, Option<FileId>)>>,
}

impl IoManager {
    /// The files of one shard of the process that has claimed `space`.
    #[must_use]
    pub fn new(space: SpillSpace, shard: ShardId) -> IoManager {
        IoManager(Rc::new(Inner {
            space,
            shard,
            named: Cell::new(0),
            gone: RefCell::default(),
        }))
    }

    /// A new file. Nothing is done on the disk before something is written to it.
    #[must_use]
    pub fn file(&self) -> SpillFile {
        let number = self.0.named.replace(self.0.named.get() + 1);
        let directories = self.0.space.directories();
        let directory = &directories[number as usize % directories.len()];
        let path = directory.join(format!("{}-{number}", self.0.shard.0));
        SpillFile(Rc::new(FileCell {
            path,
            state: Cell::new(FileState::Fresh),
            end: Cell::new(0),
            manager: self.clone(),
            own: true,
        }))
    }

    /// A file that is there already, of `length` bytes, to be read only: it is another's and is left where
    /// it is. Once opened it can be read even if its owner removes it.
    #[must_use]
    pub fn foreign(&self, path: PathBuf, length: u64) -> SpillFile {
        SpillFile(Rc::new(FileCell {
            path,
            state: Cell::new(FileState::Fresh),
            end: Cell::new(length),
            manager: self.clone(),
            own: false,
        }))
    }

    /// Names files one after the other.
    #[must_use]
    pub fn files(&self) -> FileEnumerator {
        FileEnumerator::new(self.clone())
    }

    /// A queue for one task, with at most `depth` operations at the disk at once.
    #[must_use]
    pub fn queue(&self, depth: usize) -> IoQueue {
        IoQueue::new(self.clone(), depth)
    }

    /// The directories and their limit.
    #[must_use]
    pub fn space(&self) -> &SpillSpace {
        &self.0.space
    }

    /// A file has lost its last handle.
    pub(super) fn forget(&self, file: &FileCell) {
        if file.own {
            self.0.space.quota().give_back(file.end.get());
        }
        let open = match file.state.get() {
            FileState::Fresh => return,
            FileState::Open(open) => Some(open),
            // If it is opened after all, it is closed with its shard.
            FileState::Opening(_) | FileState::Broken => None,
        };
        let path = file.own.then(|| file.path.clone());
        self.0.gone.borrow_mut().push((path, open));
    }

    /// Removes the files nobody has a handle of. What fails is removed with the directory.
    pub(super) fn remove_gone(&self, context: &mut TurnContext<'_>) {
        if self.0.gone.borrow().is_empty() {
            return;
        }
        for (path, open) in self.0.gone.take() {
            let reactor = context.reactor();
            if let Some(file) = open {
                reactor.submit(Op::Close { file }, TaskWaker::noop());
            }
            if let Some(path) = path {
                reactor.submit(Op::Remove { path }, TaskWaker::noop());
            }
        }
    }
}
