//! Runs that belong to a cut as they are: their files copied into the checkpoint.
//!
//! Entered between turns once the rows of the cut are durable. Invariants: a run is copied only when all of
//! it is in its file; it is read through the file that is open, as the owner of one that was taken over may have
//! removed it; one file is copied at a time, so that records have the disk, and once, however many states
//! and ranges of key groups it counts for and however many cuts carry it one after the other; its handle is given out
//! when the copy is durable. Lives on one shard's thread.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use thalweg_core::seam::reactor::{FileId, IoBuffer, Op, OpId, Outcome};
use thalweg_core::shard::step::TurnContext;
use thalweg_state::{CarriedRun, RunHandle};

use super::upload::{Upload, Uploading, taken, unexpected};

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// As what files were copied, by where they lie.
pub(crate) type Copies = BTreeMap<PathBuf, String>;

/// The copying of some runs.
pub(crate) struct Carry {
    /// Oldest last.
    left: VecDeque<CarriedRun>,
    directory: PathBuf,
    /// What the names of files begin with and end with.
    name: (String, String),
    /// False only where a bug is planted.
    synced: bool,
    work: Option<Copying>,
    /// As what each file was copied.
    copies: Copies,
    /// Newest first.
    done: Vec<RunHandle>,
}

/// One file on its way.
struct Copying {
    run: CarriedRun,
    from: FileId,
    file: String,
    upload: Upload,
    source: Source,
}

enum Source {
    Reading {
        op: OpId,
        offset: u64,
    },
    /// The next piece may be read.
    Idle {
        offset: u64,
    },
    Read,
}

impl Carry {
    /// Copies `runs`, given newest first, to files of `directory`, but for those of which there are `copies` that last.
    /// Their names are made of `name`.
    pub(crate) fn new(
        runs: Vec<CarriedRun>,
        copies: Copies,
        directory: &Path,
        (name, synced): ((String, String), bool),
    ) -> Carry {
        Carry {
            left: runs.into(),
            directory: directory.to_owned(),
            name,
            synced,
            work: None,
            copies,
            done: Vec::new(),
        }
    }

    /// Moves on what can be moved on; answers all handles when all is durable. Completions wake the task.
    ///
    /// # Errors
    /// What the system said. What was copied so far is nobody's and goes with the next sweep.
    pub(crate) fn poll(
        &mut self,
        context: &mut TurnContext<'_>,
    ) -> io::Result<Option<Vec<RunHandle>>> {
        loop {
            let Some(work) = &mut self.work else {
                let Some(next) = self.left.front() else {
                    return Ok(Some(std::mem::take(&mut self.done)));
                };
                let open = next.file().opened();
                let Some(open) = open.filter(|_| next.is_written()) else {
                    // Its writes wake the task, and so does its being opened.
                    return Ok(None);
                };
                match self.copies.get(next.file().path()) {
                    Some(file) => {
                        self.done.push(handle_of(next, file.clone()));
                        self.left.pop_front();
                    }
                    None => self.work = self.begin(open),
                }
                continue;
            };
            if !work.advance(context)? {
                return Ok(None);
            }
            if let Some(Copying { run, file, .. }) = self.work.take() {
                self.done.push(handle_of(&run, file.clone()));
                self.copies.insert(run.file().path().to_owned(), file);
            }
        }
    }

    /// As what the files of all runs were copied, in this cut or before it.
    pub(crate) fn into_copies(self) -> Copies {
        self.copies
    }

    fn begin(&mut self, from: FileId) -> Option<Copying> {
        let run = self.left.pop_front()?;
        let (begin, end) = &self.name;
        let file = format!("{begin}.{}-{end}.run", self.copies.len());
        let upload = Upload::new(self.directory.join(&file));
        Some(Copying {
            upload: match self.synced {
                true => upload,
                false => upload.without_sync(),
            },
            run,
            from,
            file,
            source: Source::Idle { offset: 0 },
        })
    }
}

fn handle_of(run: &CarriedRun, file: String) -> RunHandle {
    RunHandle {
        file,
        bytes: run.bytes(),
        checksum: run.checksum(),
        rows: run.rows(),
        groups: run.groups(),
        full: false,
        only: run.only(),
    }
}

impl Copying {
    /// Whether the copy is durable.
    fn advance(&mut self, context: &mut TurnContext<'_>) -> io::Result<bool> {
        while self.read(context)? {}
        Ok(self.upload.poll(context)? == Uploading::Durable)
    }

    /// Moves the reading on; whether it can be moved on once more.
    fn read(&mut self, context: &mut TurnContext<'_>) -> io::Result<bool> {
        match self.source {
            Source::Idle { offset } if offset == self.run.bytes() => {
                self.upload.complete();
                self.source = Source::Read;
            }
            Source::Idle { .. } if self.upload.is_full() => return Ok(false),
            Source::Idle { offset } => {
                let left = self.run.bytes() - offset;
                let buffer = IoBuffer::zeroed(left.min(CHUNK_BYTES as u64) as usize);
                let op = context.submit(Op::Read {
                    file: self.from,
                    buffer,
                    offset,
                });
                self.source = Source::Reading { op, offset };
            }
            Source::Reading { op, offset } => match taken(context, op)? {
                Some(Outcome::Bytes { buffer, count }) => {
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let mut piece = buffer.into_vec();
                    piece.truncate(count);
                    self.upload.push(piece);
                    let offset = offset + count as u64;
                    self.source = Source::Idle { offset };
                }
                Some(other) => return Err(unexpected(&other)),
                None => return Ok(false),
            },
            Source::Read => return Ok(false),
        }
        Ok(true)
    }
}
