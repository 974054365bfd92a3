//! The source of lines from a TCP server.
//!
//! One subtask connects, receives into a block of its own and lends lines out of it. Invariants: one
//! receive is in flight at most; the peer's end is the end of the stream unless reconnecting was asked
//! for; what was received cannot be received again, so a position is nothing but the address.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thalweg_core::config::options;
use thalweg_core::error::ErrorKind;
use thalweg_core::seam::reactor::{IoBuffer, Op, OpId, Outcome, SocketId};
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::record::{Str, record};

use super::{error_of, look_up, mend};
use crate::text::lines::{HEADROOM, Lines};

/// Bytes received at once, at most.
const BLOCK_BYTES: usize = 64 << 10;

/// Reads lines from a TCP server until it closes the connection. For trying things out: lines that
/// were received when a job fails are lost to its next attempt.
///
/// A server that closes the connection ends the stream, as in Flink: what it sent behind the last newline is
/// emitted as a last line, and the job ends when nothing else feeds it. A connection that breaks, as when the server
/// dies (a reset), fails the job with the server's address, and what came behind the last newline is lost with
/// it. With [`SocketText::reconnect`] neither ends anything: the next connection follows, and begins
/// with a line of its own.
#[derive(Clone, Debug)]
pub struct SocketText {
    peer: String,
    reconnect: Option<Duration>,
    lossy: bool,
}

impl SocketText {
    /// Connects to `host:port`.
    pub fn new(peer: impl Into<String>) -> Self {
        Self {
            peer: peer.into(),
            reconnect: None,
            lossy: false,
        }
    }

    /// Connects again, after so long, when the connection was closed or could not be made, instead of
    /// ending the stream or failing.
    pub fn reconnect(mut self, after: Duration) -> Self {
        self.reconnect = Some(after);
        self
    }

    /// Replaces what is not UTF-8 by U+FFFD instead of failing.
    pub fn lossy(mut self) -> Self {
        self.lossy = true;
        self
    }
}

/// The server a subtask reads from: the addresses its name stood for when the job was submitted.
#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSplit {
    addresses: Vec<String>,
}

impl Source for SocketText {
    type Item = Str;
    type Split = SocketSplit;
    type Reader = SocketReader;

    fn name(&self) -> String {
        format!("socket {}", self.peer)
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn parallelism(&self) -> Option<u32> {
        Some(1)
    }

    fn splits(&self, _parallelism: u32) -> Result<Vec<SocketSplit>, SourceError> {
        let addresses =
            look_up(&self.peer).map_err(|message| SourceError::new(ErrorKind::Invalid, message))?;
        let addresses = addresses.iter().map(SocketAddr::to_string).collect();
        Ok(vec![SocketSplit { addresses }])
    }

    fn open(
        &self,
        splits: Vec<SocketSplit>,
        subtask: &SubtaskInfo,
    ) -> Result<SocketReader, SourceError> {
        let limit = subtask.configuration.get(&options::MAX_LINE_LENGTH).0;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(SocketReader {
            peer: self.peer.clone(),
            reconnect: self.reconnect,
            limit,
            lossy: self.lossy,
            state: match splits.is_empty() {
                true => State::Finished,
                false => State::Closed { tried: 0 },
            },
            addresses: addresses(&splits)?,
            lines: Lines::new(0, true, limit, self.lossy),
            spare: None,
        })
    }
}

#[derive(Clone, Copy)]
enum State {
    /// About to connect; so many addresses of the peer were tried in vain.
    Closed {
        tried: usize,
    },
    Connecting {
        op: OpId,
        tried: usize,
    },
    Receiving {
        socket: SocketId,
        op: OpId,
    },
    /// The peer has ended; the last lines are still to be emitted.
    Ended,
    Closing(OpId),
    /// Until the time has come (monotonic ns) to connect again.
    Pausing {
        until: u64,
    },
    Finished,
}

/// Reads a connection.
pub struct SocketReader {
    peer: String,
    addresses: Vec<SocketAddr>,
    reconnect: Option<Duration>,
    limit: usize,
    lossy: bool,
    state: State,
    lines: Lines,
    spare: Option<Vec<u8>>,
}

impl SourceReader for SocketReader {
    type Item = Str;
    type Split = SocketSplit;

    fn poll<O: SourceOutput<Str>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        loop {
            let emitted = self.lines.emit(out, u64::MAX);
            emitted.map_err(|fault| self.refused(&fault))?;
            if !self.lines.is_exhausted() {
                return Ok(SourceStatus::More);
            }
            if let Some(status) = self.step(context)? {
                return Ok(status);
            }
        }
    }

    fn snapshot(&self) -> Vec<SocketSplit> {
        if matches!(self.state, State::Finished) {
            return Vec::new();
        }
        vec![SocketSplit {
            addresses: self.addresses.iter().map(SocketAddr::to_string).collect(),
        }]
    }
}

/// The addresses in splits.
fn addresses(splits: &[SocketSplit]) -> Result<Vec<SocketAddr>, SourceError> {
    let named = splits.iter().flat_map(|split| &split.addresses);
    named
        .map(|address| {
            address.parse().map_err(|_| {
                let message =
                    format!("a socket's split names the address `{address}`, which is none");
                SourceError::new(ErrorKind::Internal, message)
            })
        })
        .collect()
}

impl SocketReader {
    /// One step of the connection; `None` if lines or another step may follow at once.
    fn step(&mut self, context: &mut TurnContext<'_>) -> Result<Option<SourceStatus>, SourceError> {
        match self.state {
            State::Finished => return Ok(Some(SourceStatus::Finished)),
            State::Closed { tried } => {
                let Some(address) = self.addresses.get(tried).copied() else {
                    self.state = State::Finished;
                    return Ok(None);
                };
                let op = context.submit(Op::Connect { address });
                self.state = State::Connecting { op, tried };
            }
            State::Connecting { op, tried } => match context.reactor().take(op) {
                None => return Ok(Some(SourceStatus::Waiting)),
                Some(Ok(Outcome::Connected { socket })) => self.receive(socket, context),
                Some(_) if tried + 1 < self.addresses.len() => {
                    self.state = State::Closed { tried: tried + 1 };
                }
                Some(other) => return self.fail("connect to", error_of(other), context),
            },
            State::Receiving { socket, op } => match context.reactor().take(op) {
                None => return Ok(Some(SourceStatus::Waiting)),
                Some(Ok(Outcome::Bytes { buffer, count })) => {
                    let block = buffer.into_vec();
                    self.received(socket, block, count, context)?;
                }
                Some(other) => {
                    let closing = context.submit(Op::CloseSocket { socket });
                    context.reactor().cancel(closing);
                    return self.fail("read from", error_of(other), context);
                }
            },
            State::Ended => return Ok(self.pause(context)),
            State::Closing(op) => match context.reactor().take(op) {
                None => return Ok(Some(SourceStatus::Waiting)),
                Some(_) => self.state = State::Ended,
            },
            State::Pausing { until } => {
                if context.reactor().now() < until {
                    return Ok(Some(SourceStatus::Waiting));
                }
                self.state = State::Closed { tried: 0 };
            }
        }
        Ok(None)
    }

    fn receive(&mut self, socket: SocketId, context: &mut TurnContext<'_>) {
        let mut block = self.spare.take().or_else(|| self.lines.take_spent());
        if let Some(spent) = &block
            && spent.capacity() < HEADROOM + BLOCK_BYTES
        {
            block = None;
        }
        let mut block = block.unwrap_or_default();
        block.resize(HEADROOM + BLOCK_BYTES, 0);
        let mut buffer = IoBuffer::from(block);
        buffer.set_window(HEADROOM..HEADROOM + BLOCK_BYTES);
        let op = context.submit(Op::Receive { socket, buffer });
        self.state = State::Receiving { socket, op };
    }

    fn received(
        &mut self,
        socket: SocketId,
        block: Vec<u8>,
        count: usize,
        context: &mut TurnContext<'_>,
    ) -> Result<(), SourceError> {
        let loaded = match count {
            0 => {
                self.spare = Some(block);
                self.state = State::Closing(context.submit(Op::CloseSocket { socket }));
                self.lines.end()
            }
            count => {
                // The next receive is under way while these lines are emitted.
                let loaded = self.lines.feed(block, HEADROOM..HEADROOM + count);
                self.receive(socket, context);
                loaded
            }
        };
        loaded.map_err(|fault| self.refused(&fault))
    }

    /// The connection is gone: the end, or another one after a while.
    fn pause(&mut self, context: &mut TurnContext<'_>) -> Option<SourceStatus> {
        let Some(after) = self.reconnect else {
            self.state = State::Finished;
            return None;
        };
        // Positions count from the beginning of a connection, which begins with a line.
        self.lines = Lines::new(0, true, self.limit, self.lossy);
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let until = context.reactor().now().saturating_add(after);
        context.wake_at(until);
        self.state = State::Pausing { until };
        Some(SourceStatus::Waiting)
    }

    fn fail(
        &mut self,
        what: &str,
        error: io::Error,
        context: &mut TurnContext<'_>,
    ) -> Result<Option<SourceStatus>, SourceError> {
        if self.reconnect.is_some() {
            tracing::warn!(peer = %self.peer, %error, "cannot {what} the socket, trying again");
            return Ok(self.pause(context));
        }
        let message = format!("cannot {what} `{}`: {error}; {}", self.peer, mend(&error));
        Err(SourceError::new(ErrorKind::Retry, message))
    }

    fn refused(&self, fault: &impl std::fmt::Display) -> SourceError {
        SourceError::new(ErrorKind::Data, format!("`{}`: {fault}", self.peer))
    }
}
