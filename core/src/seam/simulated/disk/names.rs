//! The names on a simulated disk: now, and after the power has been lost.
//!
//! Invariant: what a directory was told is durable once that directory was synced, and before that only as a
//! beginning of the order in which it was told; what lies in a directory that is lost is lost with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::Survival;
use crate::seam::clock::Random;

pub(super) type InodeId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(InodeId),
    Directory,
}

/// A name that came to be, moved or went away.
#[derive(Clone, Debug)]
struct Change {
    path: PathBuf,
    node: Option<Node>,
    /// For a name that moved: where from, in the same breath.
    from: Option<PathBuf>,
}

impl Change {
    /// The directories it touches.
    fn directories(&self) -> impl Iterator<Item = &Path> {
        let here = self.path.parent();
        let there = self.from.as_deref().and_then(Path::parent);
        here.into_iter()
            .chain(there.filter(|other| Some(*other) != here))
    }

    fn is_between_directories(&self) -> bool {
        self.directories().count() > 1
    }
}

/// Changes that are not durable yet, by when they were told.
///
/// A directory that is never synced, of files nobody needs after a loss of power, has as many as there ever were:
/// what is synced beside it does not look at them.
#[derive(Clone, Debug, Default)]
struct Journal {
    changes: BTreeMap<u64, Change>,
    told: u64,
    /// Which of them touch a directory.
    of: BTreeMap<PathBuf, BTreeSet<u64>>,
}

impl Journal {
    fn tell(&mut self, change: Change) {
        self.told += 1;
        for directory in change.directories() {
            match self.of.get_mut(directory) {
                Some(of) => _ = of.insert(self.told),
                None => _ = (self.of).insert(directory.to_owned(), BTreeSet::from([self.told])),
            }
        }
        self.changes.insert(self.told, change);
    }

    /// Takes out what a directory was told, in order. A move between directories is written as one: with it goes
    /// everything that was told before it.
    fn take(&mut self, directory: &Path) -> Vec<Change> {
        let of = self.of.get(directory).into_iter().flatten();
        let between = |at: &&u64| {
            self.changes
                .get(at)
                .is_some_and(Change::is_between_directories)
        };
        let moved = of.clone().rev().find(between).copied();
        let all_up_to = self.changes.range(..=moved.unwrap_or(0)).map(|(at, _)| at);
        let taken: BTreeSet<u64> = all_up_to.chain(of).copied().collect();
        taken.into_iter().filter_map(|at| self.forget(at)).collect()
    }

    fn forget(&mut self, at: u64) -> Option<Change> {
        let change = self.changes.remove(&at)?;
        for directory in change.directories() {
            let of = self.of.get_mut(directory)?;
            of.remove(&at);
            if of.is_empty() {
                self.of.remove(directory);
            }
        }
        Some(change)
    }
}

type Tree = BTreeMap<PathBuf, Node>;

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    now: Tree,
    durable: Tree,
    journal: Journal,
}

impl Names {
    pub(super) fn get(&self, path: &Path) -> Option<Node> {
        match path.parent() {
            None => Some(Node::Directory),
            Some(_) => self.now.get(path).copied(),
        }
    }

    pub(super) fn is_directory(&self, path: &Path) -> bool {
        self.get(path) == Some(Node::Directory)
    }

    /// What has a name in a directory.
    pub(super) fn inside(&self, directory: &Path) -> impl Iterator<Item = (&OsStr, Node)> {
        // Paths are in the order of their parts: all that is below a directory follows it.
        let after = (Bound::Excluded(directory), Bound::Unbounded);
        let below = self.now.range::<Path, _>(after);
        let below = below.take_while(move |(path, _)| path.starts_with(directory));
        let inside = below.filter(move |(path, _)| path.parent() == Some(directory));
        inside.filter_map(|(path, node)| Some((path.file_name()?, *node)))
    }

    /// Every file that can be reached now.
    pub(super) fn files(&self) -> impl Iterator<Item = InodeId> {
        of_files(&self.now)
    }

    /// Every file that can be reached now or after a loss of power.
    pub(super) fn all_files(&self) -> impl Iterator<Item = InodeId> {
        let waiting = (self.journal.changes.values()).filter_map(|change| match change.node {
            Some(Node::File(inode)) => Some(inode),
            _ => None,
        });
        of_files(&self.now)
            .chain(of_files(&self.durable))
            .chain(waiting)
    }

    pub(super) fn put(&mut self, path: &Path, node: Node) {
        self.change(path, Some(node), None);
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.change(path, None, None);
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, node: Node) {
        self.change(to, Some(node), Some(from.to_owned()));
    }

    fn change(&mut self, path: &Path, node: Option<Node>, from: Option<PathBuf>) {
        let path = path.to_owned();
        let change = Change { path, node, from };
        apply(&mut self.now, change.clone());
        self.journal.tell(change);
    }

    /// What this directory was told is durable from now on.
    pub(super) fn sync(&mut self, directory: &Path) {
        for change in self.journal.take(directory) {
            apply(&mut self.durable, change);
        }
    }

    pub(super) fn crash(&mut self, survival: Survival, random: &mut Random) {
        let journal = std::mem::take(&mut self.journal.changes);
        self.journal.of.clear();
        let mut left: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for directory in journal.values().flat_map(Change::directories) {
            *left.entry(directory.to_owned()).or_default() += 1;
        }
        for changes in left.values_mut() {
            *changes = match survival {
                Survival::Nothing | Survival::Content => 0,
                Survival::Everything | Survival::Names => *changes,
                Survival::Drawn(_) => random.below(*changes + 1),
            };
        }
        for change in journal.into_values() {
            let survives = (change.directories()).all(|directory| left.get(directory) > Some(&0));
            for directory in change.directories() {
                // What a directory was told after something that is lost is lost too.
                let left = left.entry(directory.to_owned()).or_default();
                *left = if survives { *left - 1 } else { 0 };
            }
            if survives {
                apply(&mut self.durable, change);
            }
        }
        let there = self.durable.clone();
        self.durable.retain(|path, _| {
            let above = path.ancestors().skip(1);
            above
                .into_iter()
                .all(|above| above.parent().is_none() || there.get(above) == Some(&Node::Directory))
        });
        self.now.clone_from(&self.durable);
    }
}

fn of_files(tree: &Tree) -> impl Iterator<Item = InodeId> {
    tree.values().filter_map(|node| match node {
        Node::File(inode) => Some(*inode),
        Node::Directory => None,
    })
}

fn apply(names: &mut Tree, change: Change) {
    if let Some(from) = change.from {
        names.remove(&from);
    }
    match change.node {
        Some(node) => names.insert(change.path, node),
        None => names.remove(&change.path),
    };
}
