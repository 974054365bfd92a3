//! Moments at which a kill is most dangerous, found from outside by what appears in the file system.
//!
//! Lives on the oracle's thread. What is seen is some hundred microseconds old: the kill falls into what comes next.

use std::fs;
use std::path::{Path, PathBuf};

/// Something that happens again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// A checkpoint has become the newest: what it lists is about to be committed.
    Completed,
    /// A file of this output has been committed, and others are about to be.
    Committing(&'static str),
}

/// Waits for a moment.
pub(super) struct Ambush {
    watched: Vec<PathBuf>,
    prefix: &'static str,
    before: Vec<PathBuf>,
}

impl Ambush {
    /// Waits for the next such moment of a job whose outputs and state are below these directories.
    pub(super) fn lay(moment: Moment, outputs: &Path, state: &Path) -> Ambush {
        let (watched, prefix) = match moment {
            Moment::Completed => (names_in(state, ""), "newest-"),
            Moment::Committing(output) => (vec![outputs.join(output)], "part-"),
        };
        let mut ambush = Ambush {
            watched,
            prefix,
            before: Vec::new(),
        };
        ambush.before = ambush.names();
        ambush
    }

    /// Whether it has come.
    pub(super) fn sprung(&self) -> bool {
        self.names() != self.before
    }

    fn names(&self) -> Vec<PathBuf> {
        let places = self.watched.iter();
        let mut names: Vec<PathBuf> = places
            .flat_map(|place| names_in(place, self.prefix))
            .collect();
        names.sort_unstable();
        names
    }
}

/// What is in a directory under names that begin so; nothing where it is not there.
fn names_in(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let begins = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(prefix))
    };
    names.filter(begins).collect()
}
