//! One look at all directories: which files there are.
//!
//! Driven by the monitor on its shard: one listing is in flight at a time, each answer wakes the task.
//! Invariant: a directory is looked into once a round, whatever links lead to it; one that goes away
//! while the round lasts is as if it had never been there, but not one that the program has named.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use thalweg_core::error::ErrorKind;
use thalweg_core::seam::reactor::{
    DirectoryEntry, FileAbout, FileIdentity, FileKind, IoFailure, Op, OpId, Outcome,
};
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::source::SourceError;

use super::filter::is_hidden;
use crate::text::{Search, unreadable};

/// A directory to be looked into.
struct Directory {
    /// The one the program has named.
    root: PathBuf,
    path: PathBuf,
}

/// A round in work.
pub(super) struct Round {
    left: Vec<Directory>,
    listing: Option<(Directory, OpId)>,
    within: BTreeSet<FileIdentity>,
    found: Vec<(PathBuf, FileAbout)>,
}

impl Round {
    /// Looks into these directories, in this order.
    pub(super) fn new(roots: &[PathBuf]) -> Self {
        let left = roots.iter().rev().map(|root| Directory {
            root: root.clone(),
            path: root.clone(),
        });
        Self {
            left: left.collect(),
            listing: None,
            within: BTreeSet::new(),
            found: Vec::new(),
        }
    }

    /// Goes on; answers all files once every directory was looked into, none while that is waited for.
    ///
    /// # Errors
    /// A directory that cannot be looked into.
    pub(super) fn drive(
        &mut self,
        search: &Search,
        context: &mut TurnContext<'_>,
    ) -> Result<Option<Vec<(PathBuf, FileAbout)>>, SourceError> {
        loop {
            let Some((directory, op)) = self.listing.take() else {
                let Some(directory) = self.left.pop() else {
                    return Ok(Some(std::mem::take(&mut self.found)));
                };
                let path = directory.path.clone();
                let op = context.submit(Op::List { path });
                self.listing = Some((directory, op));
                continue;
            };
            match context.reactor().take(op) {
                None => {
                    self.listing = Some((directory, op));
                    return Ok(None);
                }
                Some(Ok(Outcome::Listed(entries))) => self.take_in(&directory, entries, search),
                Some(Ok(outcome)) => {
                    let message = format!("the driver answered {outcome:?} to a listing");
                    return Err(SourceError::new(ErrorKind::Internal, message));
                }
                Some(Err(IoFailure { error, .. })) => {
                    let named = directory.path == directory.root;
                    if named || error.kind() != io::ErrorKind::NotFound {
                        return Err(unreadable(&directory.path, &error));
                    }
                }
            }
        }
    }

    /// Whether a directory was not looked into in this round.
    fn is_new(&mut self, directory: FileIdentity) -> bool {
        // Where directories have no numbers, there are no links either.
        directory.inode == 0 || self.within.insert(directory)
    }

    fn take_in(&mut self, directory: &Directory, entries: Vec<DirectoryEntry>, search: &Search) {
        let mut within = Vec::new();
        for DirectoryEntry { name, about } in entries {
            let path = directory.path.join(name);
            if is_hidden(&path) {
                continue;
            }
            let below = path.strip_prefix(&directory.root).unwrap_or(&path);
            match about.kind {
                FileKind::File if search.filter.admits(below) => self.found.push((path, about)),
                FileKind::Directory if search.recursive && self.is_new(about.identity) => {
                    within.push(path);
                }
                _ => {}
            }
        }
        self.left
            .extend(within.into_iter().rev().map(|path| Directory {
                root: directory.root.clone(),
                path,
            }));
    }
}

/// Refuses what is not a directory, on the submitting thread.
pub(super) fn check(root: &Path) -> Result<(), SourceError> {
    let about = std::fs::metadata(root).map_err(|error| unreadable(root, &error))?;
    if about.is_dir() {
        return Ok(());
    }
    let message = format!(
        "`{}` is not a directory: monitor the one it lies in, with .include(..)",
        root.display()
    );
    Err(SourceError::new(ErrorKind::Invalid, message))
}
