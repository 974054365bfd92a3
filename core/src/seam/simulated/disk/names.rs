//! The names on a simulated disk: now, and after the power has been lost.
//!
//! Invariant: what a directory was told is durable once that directory was synced, and before that only as a
//! beginning of the order in which it was told; what lies in a directory that is lost is lost with it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
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
    fn touches(&self, directory: &Path) -> bool {
        let paths = [Some(&self.path), self.from.as_ref()];
        let mut paths = paths.into_iter().flatten();
        paths.any(|path| path.parent() == Some(directory))
    }

    /// The directories it touches.
    fn directories(&self) -> impl Iterator<Item = &Path> {
        let here = self.path.parent();
        let there = self.from.as_deref().and_then(Path::parent);
        here.into_iter()
            .chain(there.filter(|other| Some(*other) != here))
    }
}

type Tree = BTreeMap<PathBuf, Node>;

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    now: Tree,
    durable: Tree,
    /// Changes that are not durable yet, in order.
    journal: Vec<Change>,
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
        let inside = (self.now.iter()).filter(move |(path, _)| path.parent() == Some(directory));
        inside.filter_map(|(path, node)| Some((path.file_name()?, *node)))
    }

    /// Every file that can be reached now.
    pub(super) fn files(&self) -> impl Iterator<Item = InodeId> {
        of_files(&self.now)
    }

    /// Every file that can be reached now or after a loss of power.
    pub(super) fn all_files(&self) -> impl Iterator<Item = InodeId> {
        let waiting = self.journal.iter().filter_map(|change| match change.node {
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
        self.journal.push(change);
    }

    /// What this directory was told is durable from now on. A move between directories is written as one: with
    /// it goes everything that was told before it.
    pub(super) fn sync(&mut self, directory: &Path) {
        let between =
            |change: &Change| change.touches(directory) && change.directories().count() > 1;
        let moved = self.journal.iter().rposition(between);
        let all_up_to = moved.map_or(0, |at| at + 1);
        for (at, change) in std::mem::take(&mut self.journal).into_iter().enumerate() {
            if at < all_up_to || change.touches(directory) {
                apply(&mut self.durable, change);
            } else {
                self.journal.push(change);
            }
        }
    }

    pub(super) fn crash(&mut self, survival: Survival, random: &mut Random) {
        let journal = std::mem::take(&mut self.journal);
        let mut left: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for directory in journal.iter().flat_map(Change::directories) {
            *left.entry(directory.to_owned()).or_default() += 1;
        }
        for changes in left.values_mut() {
            *changes = match survival {
                Survival::Nothing | Survival::Content => 0,
                Survival::Everything | Survival::Names => *changes,
                Survival::Drawn(_) => random.below(*changes + 1),
            };
        }
        for change in journal {
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
