//! A file written through the shard's reactor while turns go on: chunks in, durable bytes out.
//!
//! A large file is synced piece by piece while more of it is made: otherwise the disk would wait for the last byte, and
//! whoever waits for the file for the disk.
//!
//! Invariants: [`Uploading::Durable`] is answered only after the data was synced, and then the directory; after
//! an error, of a write or of any sync, nothing more is tried on the file, which is removed. At most a few chunks are in
//! flight, and the caller is told when to hold back. Lives on one shard's thread.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use thalweg_core::seam::reactor::{FileId, IoBuffer, IoFailure, Op, OpId, OpenOptions, Outcome};
use thalweg_core::shard::step::TurnContext;

use super::planted::{CrashListener, CrashPoint};

/// Writes in flight at once.
const IN_FLIGHT: usize = 4;
/// Chunks that may wait before the caller is asked to hold back.
const WAITING: usize = 8;
/// So many bytes after the last sync of a file that is being written another one begins: large enough that a disk takes
/// them in one go, and that their share of what each sync costs is small.
const SYNC_EVERY: u64 = 32 << 20;

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uploading {
    /// More chunks may come, or operations are in flight.
    Open,
    /// All that came is on the disk and will be found there.
    Durable,
}

/// One file on its way to the disk.
pub(crate) struct Upload {
    path: PathBuf,
    chunks: VecDeque<Vec<u8>>,
    offset: u64,
    stage: Stage,
    /// No more chunks come.
    complete: bool,
    /// Whether it counts as durable only when it was synced.
    synced: bool,
    /// After how many bytes a sync begins while more is to come.
    sync_every: u64,
    /// Of the file's bytes, those before the last sync that was asked for.
    asked_to_sync: u64,
    /// A sync beside the writes.
    syncing: Option<OpId>,
    /// Whether the file is of this upload: one that could not be created may be another's.
    created: bool,
    crash_points: CrashListener,
}

enum Stage {
    /// No operation was submitted yet.
    Fresh,
    Opening(OpId),
    Writing {
        file: FileId,
        writes: Vec<Write>,
    },
    Syncing {
        file: FileId,
        op: OpId,
    },
    SyncingDirectory(OpId),
    Durable,
    Failed,
}

struct Write {
    op: OpId,
    offset: u64,
}

impl Upload {
    /// A file that is to be at `path`; it must not be there yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            chunks: VecDeque::new(),
            offset: 0,
            stage: Stage::Fresh,
            complete: false,
            synced: true,
            sync_every: SYNC_EVERY,
            asked_to_sync: 0,
            syncing: None,
            created: false,
            crash_points: CrashListener::default(),
        }
    }

    /// The same, which tells of the point before its sync.
    pub(crate) fn telling(self, crash_points: CrashListener) -> Self {
        Self {
            crash_points,
            ..self
        }
    }

    /// The same for a file whose loss is to be noticed by somebody: it is not synced.
    pub(crate) fn without_sync(self) -> Self {
        Self {
            synced: false,
            ..self
        }
    }

    /// Adds the next bytes of the file.
    pub(crate) fn push(&mut self, bytes: Vec<u8>) {
        debug_assert!(!self.complete, "the last chunk was given");
        if !bytes.is_empty() {
            self.chunks.push_back(bytes);
        }
    }

    /// No more bytes come.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// Whether so much waits to be written that no more should be made.
    pub(crate) fn is_full(&self) -> bool {
        self.chunks.len() >= WAITING
    }

    /// Moves on what can be moved on; completions wake the task.
    ///
    /// # Errors
    /// What the system said; the file is being removed if it was created here, and the upload must be dropped.
    pub(crate) fn poll(&mut self, context: &mut TurnContext<'_>) -> io::Result<Uploading> {
        match self.advance(context) {
            Ok(uploading) => Ok(uploading),
            Err(error) => {
                self.stage = Stage::Failed;
                if self.created {
                    self.remove(context);
                }
                Err(error)
            }
        }
    }

    /// Withdraws the file: nobody will ask for it.
    pub(crate) fn remove(&mut self, context: &mut TurnContext<'_>) {
        let path = self.path.clone();
        let op = context.submit(Op::Remove { path });
        // Whether it could be removed is for whoever sweeps the directory at the next start to see.
        context.reactor().cancel(op);
    }

    fn advance(&mut self, context: &mut TurnContext<'_>) -> io::Result<Uploading> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Failed) {
                Stage::Fresh => {
                    let op = context.submit(Op::Open {
                        path: self.path.clone(),
                        options: OpenOptions {
                            exclusive: true,
                            ..OpenOptions::WRITE_NEW
                        },
                    });
                    self.stage = Stage::Opening(op);
                }
                Stage::Opening(op) => match taken(context, op)? {
                    Some(Outcome::Opened { file, .. }) => {
                        self.created = true;
                        let writes = Vec::with_capacity(IN_FLIGHT);
                        self.stage = Stage::Writing { file, writes };
                    }
                    Some(other) => return Err(unexpected(&other)),
                    None => return Ok(self.stay(Stage::Opening(op))),
                },
                Stage::Writing { file, mut writes } => {
                    self.reap(file, &mut writes, context)?;
                    self.submit(file, &mut writes, context);
                    self.sync_beside(file, context)?;
                    if !writes.is_empty() || !self.complete || self.syncing.is_some() {
                        return Ok(self.stay(Stage::Writing { file, writes }));
                    }
                    if !self.synced {
                        self.stage = Stage::Durable;
                        continue;
                    }
                    self.crash_points.passes(CrashPoint::BeforeStateSync);
                    let op = context.submit(Op::Sync { file });
                    self.stage = Stage::Syncing { file, op };
                }
                Stage::Syncing { file, op } => {
                    if taken(context, op)?.is_none() {
                        return Ok(self.stay(Stage::Syncing { file, op }));
                    }
                    let close = context.submit(Op::Close { file });
                    // The data is safe; closing only frees the descriptor.
                    context.reactor().cancel(close);
                    let op = context.submit(Op::SyncDirectory {
                        path: self.directory().to_owned(),
                    });
                    self.stage = Stage::SyncingDirectory(op);
                }
                Stage::SyncingDirectory(op) => {
                    if taken(context, op)?.is_none() {
                        return Ok(self.stay(Stage::SyncingDirectory(op)));
                    }
                    self.stage = Stage::Durable;
                }
                Stage::Durable => {
                    self.stage = Stage::Durable;
                    return Ok(Uploading::Durable);
                }
                Stage::Failed => {
                    return Err(io::Error::other("the file could not be written before"));
                }
            }
        }
    }

    fn stay(&mut self, stage: Stage) -> Uploading {
        self.stage = stage;
        Uploading::Open
    }

    /// Takes finished writes; what a short one left is written again from there.
    fn reap(
        &self,
        file: FileId,
        writes: &mut Vec<Write>,
        context: &mut TurnContext<'_>,
    ) -> io::Result<()> {
        let mut at = 0;
        while at < writes.len() {
            let Some(outcome) = taken(context, writes[at].op)? else {
                at += 1;
                continue;
            };
            let Outcome::Bytes { mut buffer, count } = outcome else {
                return Err(unexpected(&outcome));
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            buffer.advance(count);
            if buffer.window().is_empty() {
                writes.swap_remove(at);
                continue;
            }
            let offset = writes[at].offset + count as u64;
            let op = context.submit(Op::Write {
                file,
                buffer,
                offset,
            });
            writes[at] = Write { op, offset };
            at += 1;
        }
        Ok(())
    }

    fn submit(&mut self, file: FileId, writes: &mut Vec<Write>, context: &mut TurnContext<'_>) {
        while writes.len() < IN_FLIGHT {
            let Some(chunk) = self.chunks.pop_front() else {
                return;
            };
            let offset = self.offset;
            self.offset += chunk.len() as u64;
            let buffer = IoBuffer::from(chunk);
            let op = context.submit(Op::Write {
                file,
                buffer,
                offset,
            });
            writes.push(Write { op, offset });
        }
    }

    /// Has the disk take what was written so far, if that is much. What such a sync says of an error no later one says.
    fn sync_beside(&mut self, file: FileId, context: &mut TurnContext<'_>) -> io::Result<()> {
        if let Some(op) = self.syncing {
            if taken(context, op)?.is_none() {
                return Ok(());
            }
            self.syncing = None;
        }
        let unsynced = self.offset - self.asked_to_sync;
        if self.synced && !self.complete && unsynced >= self.sync_every {
            self.asked_to_sync = self.offset;
            self.syncing = Some(context.submit(Op::Sync { file }));
        }
        Ok(())
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        }
    }
}

/// The outcome of an operation, if it is there.
pub(super) fn taken(context: &mut TurnContext<'_>, op: OpId) -> io::Result<Option<Outcome>> {
    match context.reactor().take(op) {
        None => Ok(None),
        Some(Ok(outcome)) => Ok(Some(outcome)),
        Some(Err(IoFailure { error, .. })) => Err(error),
    }
}

pub(super) fn unexpected(outcome: &Outcome) -> io::Error {
    io::Error::other(format!(
        "the driver answered {outcome:?} to another operation"
    ))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use thalweg_core::seam::simulated::{
        Fault, SimDisk, SimOptions, SimOutcome, Simulation, Survival,
    };
    use thalweg_core::shard::step::{Progress, Step, StepError};

    use super::*;

    /// A task that writes one file, one chunk after the other; what became of it.
    struct Writes {
        upload: Upload,
        chunks: VecDeque<Vec<u8>>,
        ended: Rc<RefCell<Option<io::Result<()>>>>,
    }

    impl Step for Writes {
        fn name(&self) -> &str {
            "writes"
        }

        fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
            if self.upload.chunks.is_empty() {
                match self.chunks.pop_front() {
                    Some(chunk) => self.upload.push(chunk),
                    None => self.upload.complete(),
                }
            }
            let ended = match self.upload.poll(context) {
                Ok(Uploading::Open) if self.upload.complete => return Ok(Progress::NONE),
                Ok(Uploading::Open) => return Ok(Progress::MADE),
                Ok(Uploading::Durable) => Ok(()),
                Err(error) => Err(error),
            };
            self.ended.replace(Some(ended));
            Ok(Progress::DONE)
        }
    }

    /// Writes a file of these chunks, synced as often as is said.
    fn written(disk: &SimDisk, chunks: &[&[u8]], sync_every: u64) -> io::Result<()> {
        let mut upload = Upload::new(PathBuf::from("/runs/a.run"));
        upload.sync_every = sync_every;
        let ended = Rc::new(RefCell::new(None));
        let task = Writes {
            upload,
            chunks: chunks.iter().map(|chunk| chunk.to_vec()).collect(),
            ended: Rc::clone(&ended),
        };
        let mut simulation = Simulation::on(disk.clone(), 1, SimOptions::default());
        simulation.add_shard(|shard| shard.add_step(Box::new(task)));
        assert_eq!(simulation.run(10_000), SimOutcome::Quiescent);
        ended.take().expect("it has ended")
    }

    fn disk() -> SimDisk {
        let disk = SimDisk::new();
        disk.make_directories(Path::new("/runs")).unwrap();
        disk.sync_directory(Path::new("/")).unwrap();
        disk
    }

    #[test]
    fn a_file_that_was_there_before_stays() {
        let disk = disk();
        let at = Path::new("/runs/a.run");
        written(&disk, &[b"of another"], SYNC_EVERY).unwrap();
        let refused = written(&disk, &[b"own"], SYNC_EVERY).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk.content(at).unwrap(), b"of another");
    }

    #[test]
    fn a_large_file_is_synced_while_it_is_written_and_fails_by_any_operation_that_does() {
        let chunks = [&[1; 100][..], &[2; 50], &[3; 200], &[4; 10], &[5; 90]];
        let at = Path::new("/runs/a.run");
        let operations = |sync_every: u64| {
            let disk = disk();
            let before = disk.operations();
            written(&disk, &chunks, sync_every).unwrap();
            // Nothing that was not synced stays.
            disk.crash(Survival::Nothing);
            assert_eq!(disk.content(at).unwrap(), chunks.concat());
            before..disk.operations()
        };
        let (at_the_end, often) = (operations(SYNC_EVERY), operations(120));
        assert!(often.end > at_the_end.end, "{often:?}, {at_the_end:?}");
        for operation in often {
            let disk = disk();
            disk.fail(operation, Fault::Io);
            let failed = written(&disk, &chunks, 120);
            assert!(failed.is_err(), "operation {operation} failed unheard");
        }
    }
}
