//! The bytes of a file, block after block, through the shard's reactor.
//!
//! Entered by a text reader; every operation wakes its task. One block is read ahead: while the lines of
//! a block are emitted, the next one is on its way. Invariant: at most one read is in flight, blocks
//! come in the order of the file, and a block is what the file held when it was read. A file that must be
//! a certain one is found under another name of the same directory, too.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_core::seam::reactor::{
    DirectoryEntry, FileId, FileIdentity, IoBuffer, IoFailure, Op, OpId, OpResult, OpenOptions,
    Outcome,
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

/// How often a file that is not where it was is looked for: it may be renamed again meanwhile.
const MOST_SEARCHES: u32 = 4;

enum State {
    Closed,
    Opening(OpId),
    /// Is it the file that is wanted?
    Checking {
        file: FileId,
        len: u64,
        op: OpId,
    },
    /// Is the file that is wanted under another name in the same directory?
    Searching(OpId),
    Open {
        file: FileId,
        len: u64,
    },
}

/// What a feed may and must know about its file.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// Which file it must be; any if none.
    pub(crate) identity: Option<FileIdentity>,
    /// Bytes from here on are never read.
    pub(crate) limit: Option<u64>,
}

/// Reads one file from a place on.
pub(crate) struct FileFeed {
    path: Arc<Path>,
    wanted: Wanted,
    searches: u32,
    state: State,
    /// Files that turned out to be others, being closed.
    others: Vec<OpId>,
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
    /// The file that was wanted is no longer there.
    pub(crate) gone: bool,
}

impl FileFeed {
    /// Reads from `offset` on; reading ahead stops at `end`.
    pub(crate) fn new(path: Arc<Path>, offset: u64, end: u64, wanted: Wanted) -> Self {
        Self {
            path,
            wanted,
            searches: 0,
            state: State::Closed,
            others: Vec::new(),
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
                    Some(Ok(Outcome::Opened { file, len })) => self.opened(file, len, context),
                    Some(Err(failure)) if self.may_search(&failure.error) => self.search(context),
                    Some(other) => return Err(self.failed("open", other)),
                },
                State::Checking { file, len, op } => match context.reactor().take(op) {
                    None => return Ok(Fed::Waiting),
                    Some(Ok(Outcome::About(about))) => {
                        if self.wanted.identity == Some(about.identity) {
                            self.state = State::Open { file, len };
                        } else {
                            self.others.push(context.submit(Op::Close { file }));
                            self.search(context);
                        }
                    }
                    Some(other) => return Err(self.failed("look at", other)),
                },
                State::Searching(op) => match context.reactor().take(op) {
                    None => return Ok(Fed::Waiting),
                    Some(Ok(Outcome::Listed(entries))) => self.found(&entries)?,
                    Some(other) => return Err(self.failed("look for", other)),
                },
                State::Open { file, len } => return self.poll_open(file, len, context),
            }
        }
    }

    fn opened(&mut self, file: FileId, len: u64, context: &mut TurnContext<'_>) {
        let len = len.min(self.wanted.limit.unwrap_or(u64::MAX));
        self.state = match self.wanted.identity {
            None => State::Open { file, len },
            Some(_) => {
                let op = context.submit(Op::About { file });
                context.reactor().poll();
                State::Checking { file, len, op }
            }
        };
    }

    fn may_search(&self, error: &io::Error) -> bool {
        self.wanted.identity.is_some() && error.kind() == io::ErrorKind::NotFound
    }

    /// Looks for the file where it was, under another name.
    fn search(&mut self, context: &mut TurnContext<'_>) {
        let path = match self.path.parent() {
            Some(above) if above != Path::new("") => above.to_owned(),
            _ => PathBuf::from("."),
        };
        self.searches += 1;
        self.state = State::Searching(context.submit(Op::List { path }));
    }

    fn found(&mut self, entries: &[DirectoryEntry]) -> Result<(), FeedFault> {
        let wanted = |entry: &&DirectoryEntry| Some(entry.about.identity) == self.wanted.identity;
        match entries.iter().find(wanted) {
            Some(entry) if self.searches < MOST_SEARCHES => {
                self.path = Arc::from(self.path.with_file_name(&entry.name));
                self.state = State::Closed;
                Ok(())
            }
            _ => {
                let error = io::Error::from(io::ErrorKind::NotFound);
                let mut fault = self.failed("find", Err(error.into()));
                fault.gone = true;
                Err(fault)
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

    /// Gives up the read in flight and closes the file; the answers are to be taken once they are there.
    pub(crate) fn close(mut self, context: &mut TurnContext<'_>) -> Vec<OpId> {
        if let Some(op) = self.reading {
            context.reactor().cancel(op);
        }
        match self.state {
            State::Closed => {}
            State::Opening(op) | State::Searching(op) => context.reactor().cancel(op),
            State::Checking { file, op, .. } => {
                context.reactor().cancel(op);
                self.others.push(context.submit(Op::Close { file }));
            }
            State::Open { file, .. } => self.others.push(context.submit(Op::Close { file })),
        }
        self.others
    }

    /// Whether the file is open and nothing is in flight, so that [`FileFeed::restart`] may be called.
    pub(crate) fn is_quiet(&self) -> bool {
        // A file that is followed may have grown since it was opened: it is opened again.
        let open = matches!(self.state, State::Open { .. });
        open && self.reading.is_none() && self.wanted.identity.is_none()
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
            gone: false,
        }
    }
}
