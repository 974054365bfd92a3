//! Where the last whole line of a growing file ends.
//!
//! The file is read backwards from its end, as far as it is new, until a newline is found: mostly its
//! last byte. Driven by the monitor on its shard; every operation wakes its task. Invariants: nothing
//! beyond the length that was listed is looked at; a file that is not the one that was listed has no
//! answer.

use std::io;
use std::path::PathBuf;

use memchr::memrchr;
use thalweg_core::error::ErrorKind;
use thalweg_core::seam::reactor::{
    FileId, IoBuffer, IoFailure, Op, OpId, OpResult, OpenOptions, Outcome,
};
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::source::SourceError;

use super::seen::Grown;

/// Bytes read at once.
const BLOCK_BYTES: u64 = 16 << 10;

/// What a look at a file's end came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// It is under way.
    Waiting,
    /// The last whole line ends right before this byte.
    EndsAt(u64),
    /// What is new has no newline.
    NoLine,
    /// The file has gone, or was replaced or cut off, since it was listed: the next listing will tell.
    Changed,
}

enum State {
    Opening(OpId),
    Checking(FileId, OpId),
    /// Of the bytes from `low` on, so many of `buffer` are there.
    Reading {
        file: FileId,
        op: OpId,
        low: u64,
        have: usize,
    },
    Closing(OpId, Looked),
}

/// A look at one file's end.
pub(super) struct Tail {
    grown: Grown,
    state: State,
}

impl Tail {
    /// Begins.
    pub(super) fn new(grown: Grown, context: &mut TurnContext<'_>) -> Self {
        let op = context.submit(Op::Open {
            path: grown.path.clone(),
            options: OpenOptions::READ,
        });
        Self {
            grown,
            state: State::Opening(op),
        }
    }

    /// The file that is looked at.
    pub(super) fn into_grown(self) -> Grown {
        self.grown
    }

    /// Goes on.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn drive(&mut self, context: &mut TurnContext<'_>) -> Result<Looked, SourceError> {
        loop {
            let op = match self.state {
                State::Opening(op)
                | State::Checking(_, op)
                | State::Reading { op, .. }
                | State::Closing(op, _) => op,
            };
            let Some(result) = context.reactor().take(op) else {
                return Ok(Looked::Waiting);
            };
            if let Some(looked) = self.settle(result, context)? {
                return Ok(looked);
            }
        }
    }

    fn settle(
        &mut self,
        result: OpResult,
        context: &mut TurnContext<'_>,
    ) -> Result<Option<Looked>, SourceError> {
        match (&self.state, result) {
            (State::Opening(_), Ok(Outcome::Opened { file, .. })) => {
                let op = context.submit(Op::About { file });
                self.state = State::Checking(file, op);
            }
            (State::Opening(_), Err(IoFailure { error, .. }))
                if error.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(Some(Looked::Changed));
            }
            (State::Checking(file, _), Ok(Outcome::About(about))) => {
                let file = *file;
                if about.identity == self.grown.identity && about.len >= self.grown.len {
                    let block = IoBuffer::from(Vec::new());
                    self.read(file, self.grown.len, block, context);
                } else {
                    self.close(file, Looked::Changed, context);
                }
            }
            (
                &State::Reading {
                    file, low, have, ..
                },
                Ok(Outcome::Bytes { buffer, count }),
            ) => {
                self.came(file, low, (buffer, have), count, context);
            }
            // What was read was read: that a close failed is of no concern.
            (State::Closing(_, looked), _) => return Ok(Some(*looked)),
            (_, other) => return Err(self.failed(other)),
        }
        Ok(None)
    }

    /// Reads the block that ends at `high`.
    fn read(&mut self, file: FileId, high: u64, block: IoBuffer, context: &mut TurnContext<'_>) {
        let low = high.saturating_sub(BLOCK_BYTES).max(self.grown.from);
        let mut block = block.into_vec();
        block.resize((high - low) as usize, 0);
        let op = context.submit(Op::Read {
            file,
            buffer: IoBuffer::from(block),
            offset: low,
        });
        let have = 0;
        self.state = State::Reading {
            file,
            op,
            low,
            have,
        };
    }

    /// Bytes have come: the rest of the block is asked for, or the block before it, or that is it.
    fn came(
        &mut self,
        file: FileId,
        low: u64,
        (mut buffer, before): (IoBuffer, usize),
        count: usize,
        context: &mut TurnContext<'_>,
    ) {
        if count == 0 {
            return self.close(file, Looked::Changed, context);
        }
        let have = before + count;
        buffer.advance(count);
        if !buffer.as_slice().is_empty() {
            let offset = low + have as u64;
            let op = context.submit(Op::Read {
                file,
                buffer,
                offset,
            });
            self.state = State::Reading {
                file,
                op,
                low,
                have,
            };
            return;
        }
        let block = buffer.into_vec();
        match memrchr(b'\n', &block) {
            Some(at) => self.close(file, Looked::EndsAt(low + at as u64 + 1), context),
            None if low == self.grown.from => self.close(file, Looked::NoLine, context),
            None => self.read(file, low, IoBuffer::from(block), context),
        }
    }

    fn close(&mut self, file: FileId, looked: Looked, context: &mut TurnContext<'_>) {
        self.state = State::Closing(context.submit(Op::Close { file }), looked);
    }

    fn failed(&self, result: OpResult) -> SourceError {
        let error = match result {
            Err(IoFailure { error, .. }) => error,
            Ok(outcome) => io::Error::other(format!("the driver answered {outcome:?}")),
        };
        let path: &PathBuf = &self.grown.path;
        let message = format!(
            "cannot read `{}`: {error}; let the user who runs the job read it, or leave it out with \
             .exclude(..)",
            path.display()
        );
        SourceError::new(ErrorKind::Resource, message)
    }
}
