//! A file that is written block after block and stays hidden until somebody commits it.
//!
//! Entered by the writers of file sinks, on the shard of their subtask; every operation wakes their task.
//! Invariants: one write is in flight at most; [`PartStatus::Durable`] is answered after every byte was
//! written and synced, and the file's name too; the final name is never touched here.

use std::io;
use std::path::{Path, PathBuf};

use thalweg_core::error::ErrorKind;
use thalweg_core::seam::reactor::{
    FileId, IoBuffer, IoFailure, Op, OpId, OpResult, OpenOptions, Outcome,
};
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::SinkError;

use super::pending::{Pending, failed, parent};

/// Bytes written at once.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;
/// A buffer that overdrafts have grown beyond this is not kept.
const LARGEST_KEPT: usize = 4 * BLOCK_BYTES;

/// How a part that was left is opened.
const RESUME: OpenOptions = OpenOptions {
    write: true,
    ..OpenOptions::READ
};

/// How far a part has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartStatus {
    /// It takes the next block, or may be finished.
    Free,
    /// An operation is under way; its completion wakes the task.
    Waiting,
    /// All of it is on the disk, under its pending name.
    Durable,
}

#[derive(Clone, Copy)]
enum State {
    /// Before its directory is there.
    Homeless,
    MakingHome(OpId),
    New,
    Opening(OpId),
    /// What was written after the place to go on from is cut off.
    Cutting(FileId, OpId),
    Open(FileId),
    Writing(FileId, OpId),
    /// What was written so far is made durable; the file goes on.
    Saving(FileId, OpId),
    SavingName(FileId, OpId),
    Syncing(FileId, OpId),
    Closing(OpId),
    SyncingDirectory(OpId),
    Durable,
}

/// One file being written.
pub(crate) struct Part {
    pending: PathBuf,
    last: PathBuf,
    /// Directories whose entries are to be made durable when the file is: the last one is next.
    directories: Vec<PathBuf>,
    state: State,
    /// Bytes that are in the file.
    written: u64,
    /// Of which so many are durable, under the pending name.
    saved: u64,
    /// The file is there already, with at least so many bytes.
    resumed: bool,
    spare: Option<Vec<u8>>,
}

impl Part {
    /// A part in a directory that is there.
    pub(crate) fn new(pending: PathBuf, last: PathBuf) -> Self {
        Self {
            directories: vec![parent(&pending).to_owned()],
            pending,
            last,
            state: State::New,
            written: 0,
            saved: 0,
            resumed: false,
            spare: None,
        }
    }

    /// Goes on with a part that was left at its length in a checkpoint.
    pub(crate) fn resume(from: Pending) -> Self {
        Self {
            written: from.len,
            saved: from.len,
            resumed: true,
            ..Self::new(from.pending, from.last)
        }
    }

    /// The same, in a directory that may have to be made: the first of `within`, which lies in the second,
    /// and so on.
    pub(crate) fn within(pending: PathBuf, last: PathBuf, within: Vec<PathBuf>) -> Self {
        let state = match within.len() {
            0 | 1 => State::New,
            _ => State::Homeless,
        };
        Self {
            directories: within,
            state,
            ..Self::new(pending, last)
        }
    }

    /// What is to be committed. Only of a durable part.
    pub(crate) fn prepared(&self) -> Pending {
        debug_assert!(matches!(self.state, State::Durable));
        Pending {
            pending: self.pending.clone(),
            last: self.last.clone(),
            len: self.written,
        }
    }

    /// An empty buffer for the next block, one that was used before if there is one.
    pub(crate) fn take_spare(&mut self) -> Vec<u8> {
        let spare = self.spare.take();
        spare.unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES))
    }

    /// Writes the next block. Only while it is [`PartStatus::Free`].
    pub(crate) fn put(&mut self, block: Vec<u8>, context: &mut TurnContext<'_>) {
        let State::Open(file) = self.state else {
            unreachable!("a block is put when the part is free")
        };
        if !block.is_empty() {
            self.submit(file, IoBuffer::from(block), context);
        }
    }

    /// Bytes that are durable, under the pending name.
    pub(crate) fn saved(&self) -> u64 {
        self.saved
    }

    /// The part as it is to be gone on with, once its first `len` bytes are durable.
    pub(crate) fn at(&self, len: u64) -> Pending {
        debug_assert!(len <= self.saved);
        Pending {
            pending: self.pending.clone(),
            last: self.last.clone(),
            len,
        }
    }

    /// Makes what was written durable; more may follow. Only while it is [`PartStatus::Free`].
    pub(crate) fn save(&mut self, context: &mut TurnContext<'_>) {
        let State::Open(file) = self.state else {
            unreachable!("a part is saved when it is free")
        };
        self.state = State::Saving(file, context.submit(Op::Sync { file }));
    }

    /// No block follows. Only while it is [`PartStatus::Free`].
    pub(crate) fn finish(&mut self, context: &mut TurnContext<'_>) {
        let State::Open(file) = self.state else {
            unreachable!("a part is finished when it is free")
        };
        self.state = State::Syncing(file, context.submit(Op::Sync { file }));
    }

    /// Goes on as far as it can without waiting.
    ///
    /// # Errors
    /// What fails the task, with path and mend; `left` bytes are still to be written then.
    pub(crate) fn drive(
        &mut self,
        left: usize,
        context: &mut TurnContext<'_>,
    ) -> Result<PartStatus, SinkError> {
        loop {
            let op = match self.state {
                State::Homeless => {
                    let path = parent(&self.pending).to_owned();
                    self.state = State::MakingHome(context.submit(Op::CreateDirectory { path }));
                    continue;
                }
                State::New => {
                    let op = context.submit(Op::Open {
                        path: self.pending.clone(),
                        options: match self.resumed {
                            true => RESUME,
                            false => OpenOptions::WRITE_NEW,
                        },
                    });
                    self.state = State::Opening(op);
                    continue;
                }
                State::Open(_) => return Ok(PartStatus::Free),
                State::Durable => return Ok(PartStatus::Durable),
                State::MakingHome(op)
                | State::Opening(op)
                | State::Cutting(_, op)
                | State::Writing(_, op)
                | State::Saving(_, op)
                | State::SavingName(_, op)
                | State::Syncing(_, op)
                | State::Closing(op)
                | State::SyncingDirectory(op) => op,
            };
            match context.reactor().take(op) {
                None => return Ok(PartStatus::Waiting),
                Some(result) => self.settle(result, left, context)?,
            }
        }
    }

    /// The operation under way has ended.
    fn settle(
        &mut self,
        result: OpResult,
        left: usize,
        context: &mut TurnContext<'_>,
    ) -> Result<(), SinkError> {
        match (self.state, result) {
            (State::Opening(_), Ok(Outcome::Opened { file, len })) => {
                return self.opened(file, len, context);
            }
            (State::Writing(file, _), Ok(Outcome::Bytes { buffer, count })) if count > 0 => {
                self.advance(file, buffer, count, context);
            }
            (State::Writing(..), Ok(Outcome::Bytes { .. })) => {
                let error = io::Error::from(io::ErrorKind::WriteZero);
                return Err(self.failed(Err(error.into()), left));
            }
            (State::Opening(_) | State::Writing(..), other) => {
                return Err(self.failed(other, left));
            }
            (_, Ok(Outcome::Done)) => self.done(context),
            (_, other) => return Err(self.failed(other, left)),
        }
        Ok(())
    }

    /// The step under way is done: the next one.
    fn done(&mut self, context: &mut TurnContext<'_>) {
        self.state = match self.state {
            State::MakingHome(_) => State::New,
            State::Cutting(file, _) => State::Open(file),
            State::Saving(file, _) => {
                let path = parent(&self.pending).to_owned();
                State::SavingName(file, context.submit(Op::SyncDirectory { path }))
            }
            State::SavingName(file, _) => {
                self.saved = self.written;
                State::Open(file)
            }
            State::Syncing(file, _) => State::Closing(context.submit(Op::Close { file })),
            State::Closing(_) | State::SyncingDirectory(_) => match self.directories.pop() {
                Some(path) => State::SyncingDirectory(context.submit(Op::SyncDirectory { path })),
                None => State::Durable,
            },
            other => other,
        };
    }

    fn opened(
        &mut self,
        file: FileId,
        len: u64,
        context: &mut TurnContext<'_>,
    ) -> Result<(), SinkError> {
        if len < self.written {
            return Err(self.shrunk(len));
        }
        self.state = match self.resumed {
            false => State::Open(file),
            true => {
                let len = self.written;
                State::Cutting(file, context.submit(Op::SetLength { file, len }))
            }
        };
        Ok(())
    }

    fn shrunk(&self, len: u64) -> SinkError {
        let message = format!(
            "`{}` has {len} bytes but {} were written before the checkpoint: something else changed it; \
             restore from another checkpoint",
            self.pending.display(),
            self.written
        );
        SinkError::new(ErrorKind::Data, message)
    }

    fn submit(&mut self, file: FileId, buffer: IoBuffer, context: &mut TurnContext<'_>) {
        let op = context.submit(Op::Write {
            file,
            buffer,
            offset: self.written,
        });
        self.state = State::Writing(file, op);
    }

    /// A write has ended, perhaps before the end of its buffer.
    fn advance(
        &mut self,
        file: FileId,
        mut buffer: IoBuffer,
        count: usize,
        context: &mut TurnContext<'_>,
    ) {
        self.written += count as u64;
        buffer.advance(count);
        if buffer.as_slice().is_empty() {
            let mut block = buffer.into_vec();
            block.clear();
            self.spare = (block.capacity() <= LARGEST_KEPT).then_some(block);
            self.state = State::Open(file);
        } else {
            self.submit(file, buffer, context);
        }
    }

    fn failed(&self, result: OpResult, left: usize) -> SinkError {
        let what = match self.state {
            State::Homeless | State::MakingHome(_) => "make the directory of",
            State::New | State::Opening(_) => "open",
            State::Cutting(..) => "cut off the end of",
            State::Open(_) | State::Writing(..) => "write",
            State::Closing(_) => "close",
            State::Saving(..)
            | State::SavingName(..)
            | State::Syncing(..)
            | State::SyncingDirectory(_)
            | State::Durable => "make durable",
        };
        let error = match result {
            Err(IoFailure { error, .. }) => error,
            Ok(outcome) => io::Error::other(format!("the driver answered {outcome:?}")),
        };
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        if !full.contains(&error.kind()) {
            return failed(what, &self.pending, &error);
        }
        let message = format!(
            "cannot {what} `{}` for `{}`: {error}, after {} bytes and with {left} more to write; {}free \
             space there or write to another disk. The unfinished file is removed",
            self.pending.display(),
            self.last.display(),
            self.written,
            free_space(&self.pending),
        );
        SinkError::new(ErrorKind::Resource, message)
    }
}

/// `N bytes are free; ` of the file system the path lies on, if it says so.
fn free_space(path: &Path) -> String {
    match rustix::fs::statvfs(parent(path)) {
        Ok(about) => {
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            format!("{free} bytes are free there; ")
        }
        Err(_) => String::new(),
    }
}
