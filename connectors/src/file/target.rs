//! Where a file sink writes: its directory, the names in it, what is made and what is cleaned up.
//!
//! Shared by the template, the writers and the committer of one sink. Runs on control threads, but for
//! [`Target::part`], which only makes names. Invariant: a name belongs to one part of one attempt, for
//! good: the attempt's mark, drawn when the job starts, is in it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use thalweg_core::seam::clock::entropy;
use thalweg_dataflow::sink::SinkError;

use super::pending::{entries, failed, invalid, parent, remove, remove_if_empty, sync_all};

/// What a pending file's name ends with.
const IN_PROGRESS: &str = ".inprogress";

/// Where one file sink of one job writes.
pub(crate) struct Target {
    pub(crate) directory: PathBuf,
    prefix: String,
    suffix: String,
    /// Tells this attempt's files from all others; 0 before it is drawn.
    mark: AtomicU64,
    made_directory: AtomicBool,
}

impl Target {
    pub(crate) fn new(directory: PathBuf, prefix: String, suffix: String) -> Self {
        Self {
            directory,
            prefix,
            suffix,
            mark: AtomicU64::new(0),
            made_directory: AtomicBool::new(false),
        }
    }

    /// The same place under other names.
    pub(crate) fn named(&self, prefix: &str, suffix: &str) -> Self {
        Self::new(self.directory.clone(), prefix.into(), suffix.into())
    }

    /// Checks the directory, makes it if need be, and draws the mark of this attempt.
    pub(crate) fn prepare(&self) -> Result<(), SinkError> {
        let path = &self.directory;
        for part in [&self.prefix, &self.suffix] {
            if part.contains(['/', '\0']) {
                let what = "cannot hold files whose names have a `/` in prefix or suffix: name buckets instead";
                return Err(invalid(path, what));
            }
        }
        if self.prefix.is_empty() || self.prefix.starts_with(['.', '_']) {
            let what = "cannot hold files without a prefix, or with one that hides them: begin it with a letter";
            return Err(invalid(path, what));
        }
        match fs::metadata(path) {
            Ok(about) if about.is_dir() => {}
            Ok(_) => return Err(invalid(path, "is a file: give the path of a directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_durably(path)?;
                self.made_directory.store(true, Ordering::Release);
            }
            Err(error) => return Err(failed("look at", path, &error)),
        }
        // Never 0, and short enough for a name.
        let mark = entropy() >> 24 | 1;
        self.mark.store(mark, Ordering::Release);
        // A directory that cannot be written to is found out before the job starts.
        let probe = path.join(format!(".{mark:010x}{IN_PROGRESS}"));
        File::create_new(&probe).map_err(|error| failed("write", &probe, &error))?;
        remove(&probe)
    }

    /// The mark of this attempt; none before [`Target::prepare`].
    pub(crate) fn mark(&self) -> Option<u64> {
        Some(self.mark.load(Ordering::Acquire)).filter(|mark| *mark != 0)
    }

    /// The pending and the final name of a subtask's part with this number.
    pub(crate) fn part(
        &self,
        bucket: &str,
        mark: u64,
        subtask: u32,
        number: u64,
    ) -> (PathBuf, PathBuf) {
        let name = format!(
            "{}-{mark:010x}-{subtask}-{number}{}",
            self.prefix, self.suffix
        );
        let directory = match bucket {
            "" => self.directory.clone(),
            bucket => self.directory.join(bucket),
        };
        // Whoever commits it may have been started elsewhere.
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        let pending = directory.join(format!(".{name}{IN_PROGRESS}"));
        (pending, directory.join(name))
    }

    /// Removes every pending file of this attempt, and what was made for it alone.
    pub(crate) fn clean_up(&self) -> Result<(), SinkError> {
        if let Some(mark) = self.mark()
            && self.directory.exists()
        {
            let of_attempt = format!("-{mark:010x}-");
            self.clean_directory(&self.directory, &of_attempt)?;
        }
        match self.made_directory.load(Ordering::Acquire) {
            true => remove_if_empty(&self.directory),
            false => Ok(()),
        }
    }

    fn clean_directory(&self, directory: &Path, of_attempt: &str) -> Result<(), SinkError> {
        let mut removed = false;
        for path in entries(directory)? {
            let name = path.file_name().unwrap_or_default();
            if self.is_pending(name, of_attempt) {
                remove(&path)?;
                removed = true;
            } else if path.is_dir() && !path.is_symlink() {
                self.clean_directory(&path, of_attempt)?;
            }
        }
        match removed && directory != self.directory {
            true => remove_if_empty(directory),
            false => Ok(()),
        }
    }

    fn is_pending(&self, name: &OsStr, of_attempt: &str) -> bool {
        let name = name.as_encoded_bytes();
        let own = format!(".{}{of_attempt}", self.prefix);
        name.starts_with(own.as_bytes()) && name.ends_with(IN_PROGRESS.as_bytes())
    }
}

/// Makes a directory and those above it that are missing, for good.
fn make_durably(path: &Path) -> Result<(), SinkError> {
    let path = std::path::absolute(path).map_err(|error| failed("find", path, &error))?;
    let missing = path.ancestors().take_while(|above| !above.exists());
    let changed: BTreeSet<PathBuf> = missing.map(|made| parent(made).to_owned()).collect();
    fs::create_dir_all(&path).map_err(|error| failed("make the directory", &path, &error))?;
    sync_all(&changed)
}
