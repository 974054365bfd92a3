//! The sink of text files: one line per record, invisible until it is committed.
//!
//! A [`TextFile`] is checked on the submitting thread, which also finds a name for this attempt's
//! pending files; a [`TextFileWriter`] on each subtask's shard fills a buffer while the one before is
//! being written, and says it is not ready when both are full. Invariants: `prepared` is answered after
//! everything was written and synced; the final name is touched by the committer only.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions as FileOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{Committer, Epoch, Prepared, Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};
use thalweg_memory::record::Item;

use super::commit::TextCommitter;
use crate::file::part::{BLOCK_BYTES, Part, PartStatus};
use crate::file::pending::{entries, failed, invalid, parent};
use crate::format::{Format, Shown};

/// Where a sink writes, shared by its clones: template, writers, committer.
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    pub(crate) overwrite: bool,
    /// Which of the attempts at this path whose pending files are still there; 0 before it is known.
    attempt: AtomicU32,
    parallelism: AtomicU32,
    made_directory: AtomicBool,
}

impl Target {
    fn new(path: PathBuf, overwrite: bool) -> Arc<Target> {
        Arc::new(Target {
            path,
            overwrite,
            attempt: AtomicU32::new(0),
            parallelism: AtomicU32::new(0),
            made_directory: AtomicBool::new(false),
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

    /// Every pending file this attempt may have.
    pub(crate) fn all_pending(&self) -> impl Iterator<Item = PathBuf> {
        let attempt = self.attempt.load(Ordering::Acquire);
        let parallelism = self.parallelism.load(Ordering::Acquire);
        let subtasks = if attempt == 0 { 0 } else { parallelism };
        (0..subtasks).map(move |subtask| self.pending(subtask, parallelism, attempt))
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
/// they appear under their names when it is committed, and go when it fails.
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
        Ok(TextFileWriter {
            format: self.format.clone(),
            lines: String::with_capacity(BLOCK_BYTES),
            part: Part::new(
                absolute(self.target.pending(index, parallelism, attempt)),
                absolute(self.target.last(index, parallelism)),
            ),
            told: false,
        })
    }

    fn committer(&self) -> Option<Box<dyn Committer>> {
        Some(Box::new(TextCommitter {
            target: Arc::clone(&self.target),
        }))
    }
}

/// Writes one subtask's file.
pub struct TextFileWriter<F> {
    format: F,
    /// What is next to be written, in whole lines.
    lines: String,
    part: Part,
    told: bool,
}

impl<I: Item, F: Format<I>> SinkWriter<I> for TextFileWriter<F> {
    #[inline]
    fn write(&mut self, item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        self.format.format(&item, &mut self.lines);
        self.lines.push('\n');
        Ok(())
    }

    #[inline]
    fn ready(&self) -> bool {
        self.lines.len() < BLOCK_BYTES
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        let ended = input == InputStatus::Ended;
        loop {
            match self.part.drive(self.lines.len(), context)? {
                PartStatus::Waiting => return Ok(SinkStatus::Waiting),
                PartStatus::Durable => return Ok(SinkStatus::Done),
                PartStatus::Free if ended && self.lines.is_empty() => self.part.finish(context),
                PartStatus::Free if ended || self.lines.len() >= BLOCK_BYTES => {
                    let next = self.part.take_spare();
                    debug_assert!(next.is_empty());
                    let next = String::from_utf8(next).unwrap_or_default();
                    let block = std::mem::replace(&mut self.lines, next).into_bytes();
                    self.part.put(block, context);
                }
                PartStatus::Free => return Ok(SinkStatus::Done),
            }
        }
    }

    /// One file holds all lines of the job, so there is nothing to show before its end.
    fn barrier(&mut self, _checkpoint: CheckpointId) -> Result<Epoch, SinkError> {
        Err(SinkError::new(
            ErrorKind::Invalid,
            "a text file is written as a whole and cannot take part in checkpoints: write to a directory \
             of files that roll (FileSink), or run without checkpoints",
        ))
    }

    fn prepared(&mut self) -> Option<Prepared> {
        if !self.part.is_durable() || std::mem::replace(&mut self.told, true) {
            return None;
        }
        Some(Prepared {
            committables: vec![self.part.prepared().encode()],
            ..Prepared::default()
        })
    }
}
