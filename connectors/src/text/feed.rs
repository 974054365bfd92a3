//! The bytes of a file, block after block, through the shard's reactor.
//!
//! Entered by a text reader; every operation wakes its task. One block is read ahead: while the lines of
//! a block are emitted, the next one is on its way. Invariant: at most one read is in flight, blocks
//! come in the order of the file, and a block is what the file held when it was read.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use thalweg_core::seam::reactor::{
    FileId, IoBuffer, IoFailure, Op, OpId, OpResult, OpenOptions, Outcome,
};
use thalweg_core::shard::step::TurnContext;

use super::lines::HEADROOM;

/// Bytes read at once.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;
/// Bytes read at once to find the end of a line that straddles the range's end.
const BEYOND_BYTES: u64 = 64 << 10;
/// How far the last read of a range goes beyond it: lines are mostly shorter.
const OVERLAP_BYTES: u64 = 4 << 10;

/// What a feed has.
pub(crate) enum Fed {
    /// The next bytes: `block[data]`.
    Block(Vec<u8>, Range<usize>),
    /// The file has no more.
    End,
    /// Nothing yet; the task will be woken.
    Waiting,
}

enum State {
    Closed,
    Opening(OpId),
    Open { file: FileId, len: u64 },
}

/// Reads one file from a place on.
pub(crate) struct FileFeed {
    path: Arc<Path>,
    state: State,
    /// The next byte to ask for.
    offset: u64,
    /// Bytes from here on are asked for only when the ones before did not do.
    end: u64,
    reading: Option<OpId>,
    ended: bool,
    spare: Vec<Vec<u8>>,
}

/// A file that could not be opened or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{path}`: {error}")]
pub(crate) struct FeedFault {
    what: &'static str,
    path: String,
    error: io::Error,
}

impl FileFeed {
    /// Reads from `offset` on; reading ahead stops at `end`.
    pub(crate) fn new(path: Arc<Path>, offset: u64, end: u64) -> Self {
        Self {
            path,
            state: State::Closed,
            offset,
            end,
            reading: None,
            ended: false,
            spare: Vec::new(),
        }
    }

    /// The same file again, from another place on. Only when nothing is in flight.
    pub(crate) fn restart(&mut self, offset: u64, end: u64) {
        debug_assert!(
            self.reading.is_none(),
            "an earlier range's read is in flight"
        );
        (self.offset, self.end, self.ended) = (offset, end, false);
    }

    /// The file it reads.
    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// The next byte it has not asked for.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives a block back for a later read.
    pub(crate) fn recycle(&mut self, block: Vec<u8>) {
        let fits = HEADROOM + BLOCK_BYTES..=2 * (HEADROOM + BLOCK_BYTES);
        if self.spare.len() < 2 && fits.contains(&block.capacity()) {
            self.spare.push(block);
        }
    }

    /// The next block, if it is there; else it is on its way when this returns.
    pub(crate) fn poll(&mut self, context: &mut TurnContext<'_>) -> Result<Fed, FeedFault> {
        loop {
            match self.state {
                State::Closed => {
                    let op = context.submit(Op::Open {
                        path: self.path.to_path_buf(),
                        options: OpenOptions::READ,
                    });
                    context.reactor().poll();
                    self.state = State::Opening(op);
                }
                State::Opening(op) => match context.reactor().take(op) {
                    None => return Ok(Fed::Waiting),
                    Some(Ok(Outcome::Opened { file, len })) => {
                        self.state = State::Open { file, len };
                    }
                    Some(other) => return Err(self.failed("open", other)),
                },
                State::Open { file, len } => return self.poll_open(file, len, context),
            }
        }
    }

    fn poll_open(
        &mut self,
        file: FileId,
        len: u64,
        context: &mut TurnContext<'_>,
    ) -> Result<Fed, FeedFault> {
        if self.reading.is_none() {
            self.read(file, len, context);
        }
        let Some(op) = self.reading else {
            return Ok(Fed::End);
        };
        match context.reactor().take(op) {
            None => Ok(Fed::Waiting),
            Some(Ok(Outcome::Bytes { buffer, count })) => {
                self.reading = None;
                self.ended = count == 0;
                if self.ended {
                    self.recycle(buffer.into_vec());
                    return Ok(Fed::End);
                }
                self.offset += count as u64;
                if self.offset < self.end {
                    self.read(file, len, context);
                }
                Ok(Fed::Block(buffer.into_vec(), HEADROOM..HEADROOM + count))
            }
            Some(other) => Err(self.failed("read", other)),
        }
    }

    /// Sends the next read on its way, unless the file is known to have no more.
    fn read(&mut self, file: FileId, len: u64, context: &mut TurnContext<'_>) {
        debug_assert!(self.reading.is_none());
        if self.ended || self.offset >= len {
            return;
        }
        let wanted = match self.end.checked_sub(self.offset) {
            None | Some(0) => BEYOND_BYTES,
            Some(rest) => rest.saturating_add(OVERLAP_BYTES),
        };
        let count = usize::try_from(wanted.min(len - self.offset)).unwrap_or(usize::MAX);
        let window = HEADROOM..HEADROOM + count.min(BLOCK_BYTES);
        let mut block = self.spare.pop().unwrap_or_default();
        if block.capacity() == 0 {
            block = vec![0; HEADROOM + BLOCK_BYTES];
        }
        block.resize(HEADROOM + BLOCK_BYTES, 0);
        let mut buffer = IoBuffer::from(block);
        buffer.set_window(window);
        let offset = self.offset;
        let op = context.submit(Op::Read {
            file,
            buffer,
            offset,
        });
        // Cached bytes are there at once; others are at least asked for now and not at the turn's end.
        context.reactor().poll();
        self.reading = Some(op);
    }

    /// Gives up the read in flight and closes the file; the answer is to be taken once it is there.
    pub(crate) fn close(self, context: &mut TurnContext<'_>) -> Option<OpId> {
        if let Some(op) = self.reading {
            context.reactor().cancel(op);
        }
        match self.state {
            State::Closed => None,
            State::Opening(op) => {
                context.reactor().cancel(op);
                None
            }
            State::Open { file, .. } => Some(context.submit(Op::Close { file })),
        }
    }

    /// Whether the file is open and nothing is in flight, so that [`FileFeed::restart`] may be called.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.state, State::Open { .. }) && self.reading.is_none()
    }

    fn failed(&self, what: &'static str, result: OpResult) -> FeedFault {
        let error = match result {
            Err(IoFailure { error, .. }) => error,
            Ok(outcome) => io::Error::other(format!("the driver answered {outcome:?}")),
        };
        FeedFault {
            what,
            path: self.path.display().to_string(),
            error,
        }
    }
}
