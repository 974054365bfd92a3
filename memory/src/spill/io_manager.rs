//! A shard's side of the spill directories: which file lies where, and which are to be removed.
//!
//! Entered by the tasks of one shard, each of which has a queue. Invariants: files are dealt to the
//! directories in turn, so that bytes split evenly over the disks; a file that is another's is open once, for all who
//! read it here. Lives on one shard's thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::{Rc, Weak};

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
    /// Files that are another's, by their paths, as long as somebody has a handle of them.
    foreign: RefCell<BTreeMap<PathBuf, Weak<FileCell>>>,
    /// Queues made so far.
    queues: Cell<u64>,
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
            foreign: RefCell::default(),
            queues: Cell::new(0),
        }))
    }

    /// A new file. Nothing is done on the disk before something is written to it.
    ///
    /// # Panics
    /// In a space for reading, which has no directory.
    #[must_use]
    pub fn file(&self) -> SpillFile {
        let number = self.0.named.replace(self.0.named.get() + 1);
        let directories = self.0.space.directories();
        assert!(!directories.is_empty(), "there is a place to spill to");
        let directory = &directories[number as usize % directories.len()];
        let path = directory.join(format!("{}-{number}", self.0.shard.0));
        SpillFile(Rc::new(FileCell {
            path,
            state: Cell::new(FileState::Fresh),
            waiting: RefCell::default(),
            end: Cell::new(0),
            manager: self.clone(),
            own: true,
        }))
    }

    /// A file that is there already, of `length` bytes, to be read only: it is another's and is left where
    /// it is. Once opened it can be read even if its owner removes it. All who ask for the same file of this shard
    /// have one between them, which is opened once and closed when the last of them has let it go.
    #[must_use]
    pub fn foreign(&self, path: PathBuf, length: u64) -> SpillFile {
        let mut foreign = self.0.foreign.borrow_mut();
        let there = foreign.get(&path).and_then(Weak::upgrade);
        // One that could not be opened is tried again, by who asks again.
        let is_same =
            |it: &Rc<FileCell>| it.end.get() == length && it.state.get() != FileState::Broken;
        if let Some(there) = there.filter(is_same) {
            return SpillFile(there);
        }
        let cell = Rc::new(FileCell {
            path: path.clone(),
            state: Cell::new(FileState::Fresh),
            waiting: RefCell::default(),
            end: Cell::new(length),
            manager: self.clone(),
            own: false,
        });
        foreign.insert(path, Rc::downgrade(&cell));
        SpillFile(cell)
    }

    /// Names files one after the other.
    #[must_use]
    pub fn files(&self) -> FileEnumerator {
        FileEnumerator::new(self.clone())
    }

    /// A queue for one task, with at most `depth` operations at the disk at once.
    #[must_use]
    pub fn queue(&self, depth: usize) -> IoQueue {
        let number = self.0.queues.replace(self.0.queues.get() + 1);
        IoQueue::new(self.clone(), depth, number)
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
        } else {
            let mut foreign = self.0.foreign.borrow_mut();
            // Another may have come in its place.
            if foreign
                .get(&file.path)
                .is_some_and(|it| it.strong_count() == 0)
            {
                foreign.remove(&file.path);
            }
        }
        let open = match file.state.get() {
            FileState::Fresh => return,
            FileState::Open(open) => Some(open),
            // If it is opened after all, it is closed with its shard.
            FileState::Opening { .. } | FileState::Broken => None,
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
