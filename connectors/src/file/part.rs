//! A file that is written block after block and stays hidden until somebody commits it.
//!
//! Entered by the writers of file sinks, on the shard of their subtask; every operation wakes their task.
//! Invariants: one write is in flight at most; [`PartStatus::Durable`] is answered after every byte was
//! written and synced and the file was closed; the final name is never touched here.

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
    Open(FileId),
    Writing(FileId, OpId),
    Syncing(FileId, OpId),
    Closing(OpId),
    Durable,
}

/// One file being written.
pub(crate) struct Part {
    pending: PathBuf,
    last: PathBuf,
    state: State,
    /// Bytes that are in the file.
    written: u64,
    spare: Option<Vec<u8>>,
}

impl Part {
    /// A part in a directory that is there.
    pub(crate) fn new(pending: PathBuf, last: PathBuf) -> Self {
        Self {
            pending,
            last,
            state: State::New,
            written: 0,
            spare: None,
        }
    }

    /// The same, in a directory that may have to be made.
    pub(crate) fn in_new_directory(pending: PathBuf, last: PathBuf) -> Self {
        Self {
            state: State::Homeless,
            ..Self::new(pending, last)
        }
    }

    /// Whether every byte is on the disk.
    pub(crate) fn is_durable(&self) -> bool {
        matches!(self.state, State::Durable)
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
                        options: OpenOptions::WRITE_NEW,
                    });
                    self.state = State::Opening(op);
                    continue;
                }
                State::Open(_) => return Ok(PartStatus::Free),
                State::Durable => return Ok(PartStatus::Durable),
                State::MakingHome(op)
                | State::Opening(op)
                | State::Writing(_, op)
                | State::Syncing(_, op)
                | State::Closing(op) => op,
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
        let (what, result) = match (self.state, result) {
            (State::MakingHome(_), Ok(Outcome::Done)) => {
                self.state = State::New;
                return Ok(());
            }
            (State::MakingHome(_), other) => ("make the directory of", other),
            (State::Opening(_), Ok(Outcome::Opened { file, .. })) => {
                self.state = State::Open(file);
                return Ok(());
            }
            (State::Opening(_), other) => ("open", other),
            (State::Writing(file, _), Ok(Outcome::Bytes { buffer, count })) if count > 0 => {
                self.advance(file, buffer, count, context);
                return Ok(());
            }
            (State::Writing(..), Ok(Outcome::Bytes { .. })) => {
                let error = io::Error::from(io::ErrorKind::WriteZero);
                ("write", Err(IoFailure::from(error)))
            }
            (State::Syncing(file, _), Ok(Outcome::Done)) => {
                self.state = State::Closing(context.submit(Op::Close { file }));
                return Ok(());
            }
            (State::Syncing(..), other) => ("make durable", other),
            (State::Closing(_), Ok(Outcome::Done)) => {
                self.state = State::Durable;
                return Ok(());
            }
            (State::Closing(_), other) => ("close", other),
            (_, other) => ("write", other),
        };
        Err(self.failed(what, result, left))
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

    fn failed(&self, what: &str, result: OpResult, left: usize) -> SinkError {
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
