//! The sink of text files: one line per record, invisible until it is committed.
//!
//! A [`TextFile`] is checked on the submitting thread, which also finds a name for this attempt's
//! pending files, and opened on each subtask's shard. Invariant: the final name is touched by the
//! committer only.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions as FileOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use thalweg_core::config::options;
use thalweg_core::error::ErrorKind;
use thalweg_dataflow::sink::{Committable, Committer, Sink, SinkError};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::record::Item;

use super::commit::TextCommitter;
use super::writer::TextFileWriter;
use crate::file::part::Part;
use crate::file::pending::{Pending, decode_all, entries, failed, invalid, parent};
use crate::format::{Format, Shown};

/// Where a sink writes, shared by its clones: template, writers, committer.
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    pub(crate) overwrite: bool,
    /// Which of the attempts at this path whose pending files are still there; 0 before it is known.
    attempt: AtomicU32,
    parallelism: AtomicU32,
    made_directory: AtomicBool,
    /// The pending files are part of a checkpoint, which may be complete: an abort leaves them.
    in_checkpoint: AtomicBool,
}

impl Target {
    fn new(path: PathBuf, overwrite: bool) -> Arc<Target> {
        Arc::new(Target {
            path,
            overwrite,
            attempt: AtomicU32::new(0),
            parallelism: AtomicU32::new(0),
            made_directory: AtomicBool::new(false),
            in_checkpoint: AtomicBool::new(false),
        })
    }

    /// The final name of a subtask's file.
    fn last(&self, subtask: u32, parallelism: u32) -> PathBuf {
        match parallelism {
            1 => self.path.clone(),
            _ => self.path.join(format!("part-{subtask}")),
        }
    }

    /// Its name until it is committed.
    fn pending(&self, subtask: u32, parallelism: u32, attempt: u32) -> PathBuf {
        let last = self.last(subtask, parallelism);
        let name = last.file_name().unwrap_or_default().to_string_lossy();
        last.with_file_name(format!(".{name}.{attempt}.pending"))
    }

    /// The pending name that was reserved for this attempt, with the final name.
    pub(crate) fn reserved(&self) -> Option<(PathBuf, PathBuf)> {
        let attempt = self.attempt.load(Ordering::Acquire);
        let parallelism = self.parallelism.load(Ordering::Acquire);
        let names = || {
            let pending = self.pending(0, parallelism, attempt);
            (absolute(pending), absolute(self.last(0, parallelism)))
        };
        (attempt != 0).then(names)
    }

    /// Every pending file this attempt may have.
    pub(crate) fn all_pending(&self) -> impl Iterator<Item = PathBuf> {
        let attempt = self.attempt.load(Ordering::Acquire);
        let parallelism = self.parallelism.load(Ordering::Acquire);
        let subtasks = if attempt == 0 { 0 } else { parallelism };
        (0..subtasks).map(move |subtask| self.pending(subtask, parallelism, attempt))
    }

    pub(crate) fn enter_checkpoint(&self) {
        self.in_checkpoint.store(true, Ordering::Release);
    }

    pub(crate) fn in_checkpoint(&self) -> bool {
        self.in_checkpoint.load(Ordering::Acquire)
    }

    pub(crate) fn made_directory(&self) -> bool {
        self.made_directory.load(Ordering::Acquire)
    }

    fn is_directory(&self) -> bool {
        self.parallelism.load(Ordering::Acquire) > 1
    }

    /// The directories whose entries a commit changes.
    pub(crate) fn directories(&self) -> BTreeSet<PathBuf> {
        let above = parent(&self.path).to_owned();
        let own = self.is_directory().then(|| self.path.clone());
        own.into_iter().chain([above]).collect()
    }

    /// The parts that lie in the directory.
    pub(crate) fn parts(&self) -> Result<Vec<PathBuf>, SinkError> {
        if !self.is_directory() {
            return Ok(Vec::new());
        }
        let entries = entries(&self.path)?;
        let is_part = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let number = name.strip_prefix("part-").unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        };
        Ok(entries.into_iter().filter(is_part).collect())
    }

    /// Checks the path and makes what must be there before the first pending file.
    fn check(&self) -> Result<(), SinkError> {
        let path = &self.path;
        if path.file_name().is_none() {
            return Err(invalid(
                path,
                "does not name a file: give the path a last part",
            ));
        }
        let about = match fs::metadata(path) {
            Ok(about) => Some(about),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("look at", path, &error)),
        };
        let above = parent(path);
        fs::create_dir_all(above).map_err(|error| failed("make the directory", above, &error))?;
        match (about, self.is_directory()) {
            (None, false) => Ok(()),
            (None, true) => {
                fs::create_dir(path).map_err(|error| failed("make the directory", path, &error))?;
                self.made_directory.store(true, Ordering::Release);
                Ok(())
            }
            (Some(about), false) if about.is_dir() => Err(invalid(
                path,
                "is a directory, but one subtask writes one file: give a file's path, or write with more subtasks",
            )),
            (Some(about), true) if !about.is_dir() => Err(invalid(
                path,
                "is a file, but several subtasks write a directory: remove it, or write with .parallelism(1)",
            )),
            (Some(_), false) if !self.overwrite => Err(invalid(
                path,
                "exists already: remove it, or use .overwrite()",
            )),
            (Some(_), true) if !self.overwrite => self.check_empty(),
            _ => Ok(()),
        }
    }

    fn check_empty(&self) -> Result<(), SinkError> {
        let hidden = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            name.as_encoded_bytes().starts_with(b".")
        };
        match entries(&self.path)?.iter().all(hidden) {
            true => Ok(()),
            false => Err(invalid(
                &self.path,
                "is a directory that is not empty: remove what is in it, or use .overwrite()",
            )),
        }
    }

    /// Finds a number no other attempt's pending files have, by making the first of them. So a
    /// directory that cannot be written to is found out before the job starts, too.
    fn reserve(&self) -> Result<(), SinkError> {
        let parallelism = self.parallelism.load(Ordering::Acquire);
        let mut attempt = 1;
        loop {
            let pending = self.pending(0, parallelism, attempt);
            match FileOptions::new()
                .write(true)
                .create_new(true)
                .open(&pending)
            {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
                Err(error) => return Err(failed("write", &pending, &error)),
            }
        }
        self.attempt.store(attempt, Ordering::Release);
        Ok(())
    }
}

/// Whoever commits a file may have been started in another directory.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Writes every record on a line of its own.
///
/// One subtask writes a file at exactly the path; several write a directory at the path with a file
/// `part-<subtask>` each. Until the job has ended well the files are hidden (`.<name>.<attempt>.pending`);
/// they appear under their names when it is committed, and go when it fails. A job that is restored from a
/// checkpoint goes on with the hidden files of that checkpoint: what was written after it is cut off.
#[derive(Clone)]
pub struct TextFile<F = Shown> {
    target: Arc<Target>,
    format: F,
}

impl TextFile {
    /// Writes to this path, which must not exist yet. Directories above it are made.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            target: Target::new(path.into(), false),
            format: Shown,
        }
    }
}

impl<F: Clone> TextFile<F> {
    fn writer(&self, own: Part, others: Vec<Part>, subtask: &SubtaskInfo) -> TextFileWriter<F> {
        let interval = subtask.configuration.get(&options::CHECKPOINT_INTERVAL);
        TextFileWriter::new(
            Arc::clone(&self.target),
            self.format.clone(),
            (own, others),
            interval.is_some(),
        )
    }
}

impl<F> TextFile<F> {
    /// The same with another format.
    pub fn format<G>(self, format: G) -> TextFile<G> {
        TextFile {
            target: self.target,
            format,
        }
    }

    /// Replaces what is at the path when the job is committed: the file, or all parts of the directory.
    pub fn overwrite(self) -> Self {
        Self {
            target: Target::new(self.target.path.clone(), true),
            format: self.format,
        }
    }
}

impl<I: Item, F: Format<I>> Sink<I> for TextFile<F> {
    type Writer = TextFileWriter<F>;

    fn name(&self) -> String {
        format!("text {}", self.target.path.display())
    }

    fn prepare(&self, parallelism: u32) -> Result<(), SinkError> {
        self.target
            .parallelism
            .store(parallelism.max(1), Ordering::Release);
        self.target.check()?;
        self.target.reserve()
    }

    fn open(&self, subtask: &SubtaskInfo) -> Result<TextFileWriter<F>, SinkError> {
        let attempt = self.target.attempt.load(Ordering::Acquire);
        if attempt == 0 {
            let message = "a text file's target was not prepared: a defect of the engine";
            return Err(SinkError::new(ErrorKind::Internal, message));
        }
        let (index, parallelism) = (subtask.index, subtask.parallelism);
        let part = Part::new(
            absolute(self.target.pending(index, parallelism, attempt)),
            absolute(self.target.last(index, parallelism)),
        );
        Ok(self.writer(part, Vec::new(), subtask))
    }

    fn restore(
        &self,
        subtask: &SubtaskInfo,
        state: Vec<Vec<u8>>,
    ) -> Result<TextFileWriter<F>, SinkError> {
        let files: Vec<_> = state.into_iter().map(Committable).collect();
        let files = decode_all(&files)?;
        let own = absolute(self.target.path.clone());
        let fits = |file: &&Pending| match subtask.parallelism {
            1 => file.last == own,
            _ => file.last.parent() == Some(own.as_path()),
        };
        if let Some(file) = files.iter().find(|file| !fits(file)) {
            let what = "was begun at another path, or by one subtask as a file and not by several as a directory: \
                        restore it with the path and the parallelism it had, or use a FileSink";
            return Err(invalid(&file.last, what));
        }
        let mut files = files.into_iter().map(Part::resume);
        match files.next() {
            Some(own) => Ok(self.writer(own, files.collect(), subtask)),
            None => Sink::<I>::open(self, subtask),
        }
    }

    fn committer(&self) -> Option<Box<dyn Committer>> {
        Some(Box::new(TextCommitter {
            target: Arc::clone(&self.target),
        }))
    }
}
