//! Outputs that are files: those with a name that everybody sees are committed, hidden ones are not.
//!
//! Plain functions, called on the oracle's thread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::oracle::model::Lines;

/// The lines of the visible files of a directory.
pub(super) fn lines_in(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<Lines, String> {
    let mut lines = Lines::new();
    for (path, _) in visible_in(directory)? {
        for line in text(&path)?.lines().filter(|line| wanted(line)) {
            *lines.entry(line.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(lines)
}

/// What is in a file.
pub(super) fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

/// The visible files of a directory, with their lengths.
pub(super) fn visible_in(directory: &Path) -> Result<Vec<(PathBuf, u64)>, String> {
    let mut files = Vec::new();
    for path in entries(directory)? {
        if !is_hidden(&path) {
            let about = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
            files.push((path, about.len()));
        }
    }
    Ok(files)
}

/// How many files of a directory are hidden.
pub(super) fn hidden_in(directory: &Path) -> Result<u64, String> {
    let hidden = entries(directory)?;
    Ok(hidden.iter().filter(|path| is_hidden(path)).count() as u64)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// What lies in a directory; nothing where there is none yet.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| unreadable(directory, &error))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Result<Vec<PathBuf>, io::Error> = paths.collect();
    paths.map_err(|error| unreadable(directory, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
