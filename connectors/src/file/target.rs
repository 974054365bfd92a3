//! Where a file sink writes: its directory, the names in it, what is made and what is cleaned up.
//!
//! Shared by the template, the writers and the committer of one sink. Runs on control threads, but for
//! [`Target::part`], which only makes names. Invariant: a name belongs to one part of one attempt, for
//! good: the attempt's mark, drawn when the job starts, is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use thalweg_core::ids::CheckpointId;
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
    /// The marks that subtasks of this attempt had before some began again. Locked when some do.
    former: Mutex<BTreeSet<u64>>,
    made_directory: AtomicBool,
    /// Pending files that were told to a job with checkpoints, one of which may list them: they are removed
    /// only when they are listed. With the checkpoint; none at the end of the input. Locked once for each
    /// checkpoint of a writer.
    told: Mutex<BTreeMap<PathBuf, Option<CheckpointId>>>,
}

impl Target {
    pub(crate) fn new(directory: PathBuf, prefix: String, suffix: String) -> Self {
        Self {
            directory,
            files_may_be_moved: false,
            prefix,
            suffix,
            mark: AtomicU64::new(0),
            former: Mutex::default(),
            made_directory: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Option<CheckpointId>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These pending files are told to a job with checkpoints, for this one.
    pub(crate) fn tell(&self, parts: &[Pending], checkpoint: Option<CheckpointId>) {
        let parts = parts.iter().map(|part| (part.pending.clone(), checkpoint));
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
        self.former().clear();
        let mark = self.draw_mark();
        // A directory that cannot be written to is found out before the job starts.
        let probe = path.join(format!(".{mark:010x}{IN_PROGRESS}"));
        File::create_new(&probe).map_err(|error| failed("write", &probe, &error))?;
        remove(&probe)
    }

    fn draw_mark(&self) -> u64 {
        // Never 0, and short enough for a name.
        let mark = entropy() >> 24 | 1;
        self.mark.store(mark, Ordering::Release);
        mark
    }

    fn former(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every mark of this attempt.
    fn marks(&self) -> BTreeSet<u64> {
        let former = self.former().clone();
        former.into_iter().chain(self.mark()).collect()
    }

    /// These subtasks, whose writers have gone, begin again while others go on: removes what they were writing, and what
    /// they told for checkpoints after this one or at the end, and draws another mark for them, because the numbers of
    /// their parts begin again too.
    pub(crate) fn begin_again(
        &self,
        subtasks: &BTreeSet<u32>,
        after: CheckpointId,
    ) -> Result<(), SinkError> {
        let marks = self.marks();
        if self.directory.exists() {
            let own = &self.directory;
            let own = std::path::absolute(own).map_err(|error| failed("find", own, &error))?;
            let of_them =
                |part: PartNumber| marks.contains(&part.mark) && subtasks.contains(&part.subtask);
            self.told().retain(|path, checkpoint| {
                let stays = checkpoint.is_some_and(|checkpoint| checkpoint <= after);
                let part = path.file_name().and_then(|name| self.pending_part(name));
                stays || !part.is_some_and(of_them)
            });
            // A directory that is empty now may be about to get a part of others.
            self.clean_directory(&own, &of_them, false)?;
        }
        self.former().extend(self.mark());
        self.draw_mark();
        Ok(())
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
        let marks = self.marks();
        if !marks.is_empty() && self.directory.exists() {
            let own = &self.directory;
            let own = std::path::absolute(own).map_err(|error| failed("find", own, &error))?;
            self.clean_directory(&own, &|part| marks.contains(&part.mark), true)?;
            // What lies in it now, if anything, is not ours.
            if self.made_directory.load(Ordering::Acquire) {
                remove_if_empty(&own)?;
            }
        }
        Ok(())
    }

    /// Removes what is ours and was not told, and if `prune` what directories are empty then. Answers whether a file
    /// of the directory itself was removed.
    fn clean_directory(
        &self,
        directory: &Path,
        ours: &dyn Fn(PartNumber) -> bool,
        prune: bool,
    ) -> Result<bool, SinkError> {
        let mut removed = false;
        for path in entries(directory)? {
            let name = path.file_name().unwrap_or_default();
            let own = self.pending_part(name).is_some_and(ours);
            if own && !self.told().contains_key(&path) {
                remove(&path)?;
                removed = true;
            } else if path.is_dir() && !path.is_symlink() {
                let emptier = self.clean_directory(&path, ours, prune)?;
                if emptier && prune {
                    remove_if_empty(&path)?;
                }
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
    use std::slice;

    use super::*;

    #[test]
    fn who_begins_again_leaves_what_others_write_and_what_may_be_listed() {
        let directory = tempfile::tempdir().unwrap();
        let target = Target::new(directory.path().into(), "part".into(), String::new());
        target.prepare().unwrap();
        let mark = target.mark().unwrap();
        let write = |mark, subtask, number| {
            let part = PartNumber {
                mark,
                subtask,
                number,
            };
            let (pending, last, _) = target.part("", part);
            File::create_new(&pending).unwrap();
            Pending {
                pending,
                last,
                len: 0,
            }
        };
        let (listed, unheard, begun) = (write(mark, 1, 0), write(mark, 1, 1), write(mark, 1, 2));
        let (others, beside) = (write(mark, 0, 0), write(mark, 0, 1));
        let tell = |part: &Pending, checkpoint| target.tell(slice::from_ref(part), checkpoint);
        tell(&listed, Some(CheckpointId(3)));
        tell(&unheard, Some(CheckpointId(4)));
        tell(&beside, Some(CheckpointId(4)));
        target
            .begin_again(&BTreeSet::from([1]), CheckpointId(3))
            .unwrap();
        let there = |part: &Pending| part.pending.exists();
        assert!(there(&listed) && there(&others) && there(&beside));
        assert!(!there(&unheard) && !there(&begun));
        // The numbers of its parts begin again under another mark, and all of them are the attempt's to remove.
        let again = target.mark().unwrap();
        assert_ne!(again, mark);
        let anew = write(again, 1, 0);
        target.clean_up().unwrap();
        assert!(!there(&anew) && !there(&others));
        assert!(
            there(&listed) && there(&beside),
            "a checkpoint may list them"
        );
    }

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
