//! Where a file sink writes: its directory, the names in it, what is made and what is cleaned up.
//!
//! Shared by the template, the writers and the committer of one sink. Runs on control threads, but for
//! [`Target::part`], which only makes names. Invariant: a name belongs to one part of one attempt, for
//! good: the attempt's mark, drawn when the job starts, is in it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use thalweg_core::seam::clock::entropy;
use thalweg_dataflow::sink::SinkError;

use super::pending::{
    Pending, entries, failed, invalid, parent, remove, remove_if_empty, sync_all,
};

/// What a pending file's name ends with.
const IN_PROGRESS: &str = ".inprogress";

/// Which part a file is: the parts of a writer are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartNumber {
    /// The mark of the attempt.
    pub(crate) mark: u64,
    pub(crate) subtask: u32,
    pub(crate) number: u64,
}

/// Where one file sink of one job writes.
pub(crate) struct Target {
    pub(crate) directory: PathBuf,
    /// Whether readers may move or remove files as soon as they are visible.
    pub(crate) files_may_be_moved: bool,
    prefix: String,
    suffix: String,
    /// Tells this attempt's files from all others; 0 before it is drawn.
    mark: AtomicU64,
    made_directory: AtomicBool,
    /// Pending files that were told to a job with checkpoints, one of which may list them: they are removed
    /// only when they are listed. Locked once for each checkpoint of a writer.
    told: Mutex<BTreeSet<PathBuf>>,
}

impl Target {
    pub(crate) fn new(directory: PathBuf, prefix: String, suffix: String) -> Self {
        Self {
            directory,
            files_may_be_moved: false,
            prefix,
            suffix,
            mark: AtomicU64::new(0),
            made_directory: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    fn told(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These pending files are told to a job with checkpoints.
    pub(crate) fn tell(&self, parts: &[Pending]) {
        let parts = parts.iter().map(|part| part.pending.clone());
        self.told().extend(parts);
    }

    /// The same place under other names.
    pub(crate) fn named(&self, prefix: &str, suffix: &str) -> Self {
        Self {
            files_may_be_moved: self.files_may_be_moved,
            ..Self::new(self.directory.clone(), prefix.into(), suffix.into())
        }
    }

    /// The same place, whose files readers may move or remove as soon as they are visible.
    pub(crate) fn whose_files_may_be_moved(&self) -> Self {
        Self {
            files_may_be_moved: true,
            ..self.named(&self.prefix, &self.suffix)
        }
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
            // Who made it may have died before it would have survived a loss of power.
            Ok(about) if about.is_dir() => sync_above(path)?,
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

    /// The pending and the final name of a part, and the directories whose entries make it be found.
    pub(crate) fn part(&self, bucket: &str, part: PartNumber) -> (PathBuf, PathBuf, Vec<PathBuf>) {
        let PartNumber {
            mark,
            subtask,
            number,
        } = part;
        let name = format!(
            "{}-{mark:010x}-{subtask}-{number}{}",
            self.prefix, self.suffix
        );
        // Whoever commits it may have been started elsewhere.
        let own = std::path::absolute(&self.directory).unwrap_or_else(|_| self.directory.clone());
        let directory = match bucket {
            "" => own.clone(),
            bucket => own.join(bucket),
        };
        let pending = directory.join(format!(".{name}{IN_PROGRESS}"));
        let last = directory.join(name);
        let within = directory
            .ancestors()
            .take_while(|path| path.starts_with(&own));
        let within = within.map(Path::to_owned).collect();
        (pending, last, within)
    }

    /// Which part a pending file is, if it is one of this sink.
    pub(crate) fn pending_part(&self, name: &OsStr) -> Option<PartNumber> {
        let name = name.to_str()?.strip_suffix(IN_PROGRESS)?;
        let name = name.strip_suffix(self.suffix.as_str())?;
        let name = name.strip_prefix('.')?.strip_prefix(self.prefix.as_str())?;
        let mut fields = name.strip_prefix('-')?.split('-');
        let part = PartNumber {
            mark: u64::from_str_radix(fields.next()?, 16).ok()?,
            subtask: fields.next()?.parse().ok()?,
            number: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(part)
    }

    /// Removes every pending file of this attempt that no checkpoint can list, and what was made for the
    /// attempt alone.
    pub(crate) fn clean_up(&self) -> Result<(), SinkError> {
        if let Some(mark) = self.mark()
            && self.directory.exists()
        {
            let own = &self.directory;
            let own = std::path::absolute(own).map_err(|error| failed("find", own, &error))?;
            self.clean_directory(&own, mark)?;
            // What lies in it now, if anything, is not ours.
            if self.made_directory.load(Ordering::Acquire) {
                remove_if_empty(&own)?;
            }
        }
        Ok(())
    }

    /// Answers whether a file of the directory itself was removed.
    fn clean_directory(&self, directory: &Path, mark: u64) -> Result<bool, SinkError> {
        let mut removed = false;
        for path in entries(directory)? {
            let name = path.file_name().unwrap_or_default();
            let own = self
                .pending_part(name)
                .is_some_and(|part| part.mark == mark);
            if own && !self.told().contains(&path) {
                remove(&path)?;
                removed = true;
            } else if path.is_dir() && !path.is_symlink() && self.clean_directory(&path, mark)? {
                remove_if_empty(&path)?;
            }
        }
        Ok(removed)
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

/// Makes the entries durable by which a directory that is there is found, up to where its file system is mounted and as
/// far as they can be read: above that no job could have made any.
fn sync_above(path: &Path) -> Result<(), SinkError> {
    let path = std::path::absolute(path).map_err(|error| failed("find", path, &error))?;
    let device = |path: &Path| fs::metadata(path).map(|about| about.dev()).ok();
    let own = device(&path);
    for above in path.ancestors().skip(1) {
        if device(above) != own {
            break;
        }
        match File::open(above).and_then(|above| above.sync_all()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            Err(error) => return Err(failed("make durable", above, &error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_name_says_which_part_it_is() {
        let part = PartNumber {
            mark: 0xAB,
            subtask: 3,
            number: 12,
        };
        for (prefix, suffix) in [("part", ""), ("a-b-1", ".csv"), ("x", "-7-8")] {
            let target = Target::new("out".into(), prefix.into(), suffix.into());
            let (pending, last, within) = target.part("a/b", part);
            assert_eq!(
                target.pending_part(pending.file_name().unwrap()),
                Some(part)
            );
            assert_eq!(target.pending_part(last.file_name().unwrap()), None);
            let own = std::path::absolute("out").unwrap();
            assert_eq!(within, [own.join("a/b"), own.join("a"), own]);
        }
        let target = Target::new("out".into(), "part".into(), String::new());
        for other in [
            ".part-ab-3.inprogress",
            ".part-ab-3-1-2.inprogress",
            ".part-xy-3-1.inprogress",
            ".parts-ab-3-1.inprogress",
            "part-ab-3-1.inprogress",
        ] {
            assert_eq!(target.pending_part(OsStr::new(other)), None, "{other}");
        }
    }
}
