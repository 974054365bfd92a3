//! The sink that sends lines to a TCP server.
//!
//! Each subtask has a connection of its own, on its shard. Invariants: one send is in flight at most,
//! and while it is and the next buffer is full the writer is not ready; whole lines, in order, and the
//! connection is shut down only after the last one was sent. Sending is publishing: there is nothing to
//! commit, a checkpoint waits until what came before it was sent, and a job that runs again sends again.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::seam::reactor::{IoBuffer, Op, OpId, Outcome, SocketId};
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{Epoch, Prepared, Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};
use thalweg_memory::record::Item;

use super::{error_of, look_up, mend};
use crate::format::{Format, Shown};

/// A writer that holds so many bytes waits for the connection.
const BUFFER_BYTES: usize = 64 << 10;

/// Sends every record as a line to a TCP server.
///
/// At the end of the stream, when all was sent, it ends the connection, which the server sees as the end of its
/// input. A server that closes the connection before fails the job at one of the next writes, with the server's
/// address: lines that were sent since the server stopped reading are lost, and nobody can say which.
#[derive(Clone)]
pub struct SocketSink<F = Shown> {
    peer: Arc<str>,
    /// Set when the job starts, shared by the clones.
    addresses: Arc<OnceLock<Vec<SocketAddr>>>,
    format: F,
}

impl SocketSink {
    /// Connects to `host:port`, once per subtask.
    pub fn new(peer: impl Into<Arc<str>>) -> Self {
        Self {
            peer: peer.into(),
            addresses: Arc::default(),
            format: Shown,
        }
    }
}

impl<F> SocketSink<F> {
    /// The same with another format.
    pub fn format<G>(self, format: G) -> SocketSink<G> {
        SocketSink {
            peer: self.peer,
            addresses: self.addresses,
            format,
        }
    }
}

impl<I: Item, F: Format<I>> Sink<I> for SocketSink<F> {
    type Writer = SocketSinkWriter<F>;

    fn name(&self) -> String {
        format!("socket {}", self.peer)
    }

    fn prepare(&self, _parallelism: u32) -> Result<(), SinkError> {
        let addresses =
            look_up(&self.peer).map_err(|message| SinkError::new(ErrorKind::Invalid, message))?;
        self.addresses.get_or_init(|| addresses);
        Ok(())
    }

    fn open(&self, _subtask: &SubtaskInfo) -> Result<SocketSinkWriter<F>, SinkError> {
        let Some(addresses) = self.addresses.get() else {
            let message = "a socket's address was not looked up: a defect of the engine";
            return Err(SinkError::new(ErrorKind::Internal, message));
        };
        Ok(SocketSinkWriter {
            peer: Arc::clone(&self.peer),
            addresses: addresses.clone(),
            format: self.format.clone(),
            lines: String::new(),
            spare: Vec::new(),
            taken: 0,
            sent: 0,
            barriers: VecDeque::new(),
            state: State::Closed { tried: 0 },
        })
    }
}

#[derive(Clone, Copy)]
enum State {
    Closed { tried: usize },
    Connecting { op: OpId, tried: usize },
    Connected(SocketId),
    Sending { socket: SocketId, op: OpId },
    ShuttingDown { socket: SocketId, op: OpId },
    Closing(OpId),
    Done,
}

/// Sends one subtask's lines.
pub struct SocketSinkWriter<F> {
    peer: Arc<str>,
    addresses: Vec<SocketAddr>,
    format: F,
    lines: String,
    spare: Vec<u8>,
    /// Bytes that were handed to the connection, and those that it has taken.
    taken: u64,
    sent: u64,
    /// Barriers that were not answered, each with the bytes before it.
    barriers: VecDeque<(CheckpointId, u64)>,
    state: State,
}

impl<I: Item, F: Format<I>> SinkWriter<I> for SocketSinkWriter<F> {
    fn write(&mut self, item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        self.format.format(&item, &mut self.lines);
        self.lines.push('\n');
        Ok(())
    }

    fn ready(&self) -> bool {
        self.lines.len() < BUFFER_BYTES
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        loop {
            if let Some(status) = self.step(context, input)? {
                return Ok(status);
            }
        }
    }

    fn barrier(&mut self, checkpoint: CheckpointId) -> Result<Epoch, SinkError> {
        let before = self.taken + self.lines.len() as u64;
        self.barriers.push_back((checkpoint, before));
        Ok(Epoch::Preparing)
    }

    fn prepared(&mut self) -> Option<Prepared> {
        let (checkpoint, before) = *self.barriers.front()?;
        if self.sent < before {
            return None;
        }
        self.barriers.pop_front();
        Some(Prepared {
            checkpoint: Some(checkpoint),
            ..Prepared::default()
        })
    }
}

impl<F> SocketSinkWriter<F> {
    /// One step of the connection; `None` if another may follow at once.
    fn step(
        &mut self,
        context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<Option<SinkStatus>, SinkError> {
        let waiting = Ok(Some(SinkStatus::Waiting));
        match self.state {
            State::Closed { tried } => {
                let Some(address) = self.addresses.get(tried).copied() else {
                    let error = io::Error::from(io::ErrorKind::AddrNotAvailable);
                    return Err(self.failed("connect to", &error));
                };
                let op = context.submit(Op::Connect { address });
                self.state = State::Connecting { op, tried };
            }
            State::Connecting { op, tried } => match context.reactor().take(op) {
                None => return waiting,
                Some(Ok(Outcome::Connected { socket })) => self.state = State::Connected(socket),
                Some(_) if tried + 1 < self.addresses.len() => {
                    self.state = State::Closed { tried: tried + 1 };
                }
                Some(other) => return Err(self.failed("connect to", &error_of(other))),
            },
            State::Connected(socket) => return Ok(self.step_connected(socket, context, input)),
            State::Sending { socket, op } => match context.reactor().take(op) {
                None => return waiting,
                Some(Ok(Outcome::Bytes { buffer, count })) if count > 0 => {
                    self.sent(socket, buffer, count, context);
                }
                Some(other) => return Err(self.failed("write to", &error_of(other))),
            },
            State::ShuttingDown { socket, op } => match context.reactor().take(op) {
                None => return waiting,
                Some(_) => self.state = State::Closing(context.submit(Op::CloseSocket { socket })),
            },
            State::Closing(op) => match context.reactor().take(op) {
                None => return waiting,
                Some(_) => self.state = State::Done,
            },
            State::Done => return Ok(Some(SinkStatus::Done)),
        }
        Ok(None)
    }

    fn step_connected(
        &mut self,
        socket: SocketId,
        context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Option<SinkStatus> {
        let asked = input != InputStatus::Available || !self.barriers.is_empty();
        let due = asked || self.lines.len() >= BUFFER_BYTES;
        if due && !self.lines.is_empty() {
            let mut spare = std::mem::take(&mut self.spare);
            spare.clear();
            let next = String::from_utf8(spare).unwrap_or_default();
            let block = std::mem::replace(&mut self.lines, next).into_bytes();
            self.taken += block.len() as u64;
            let buffer = IoBuffer::from(block);
            let op = context.submit(Op::Send { socket, buffer });
            self.state = State::Sending { socket, op };
            return None;
        }
        if input == InputStatus::Ended {
            let op = context.submit(Op::Shutdown { socket });
            self.state = State::ShuttingDown { socket, op };
            return None;
        }
        Some(SinkStatus::Done)
    }

    /// A send has ended, perhaps before the end of its buffer.
    fn sent(
        &mut self,
        socket: SocketId,
        mut buffer: IoBuffer,
        count: usize,
        context: &mut TurnContext<'_>,
    ) {
        self.sent += count as u64;
        buffer.advance(count);
        if buffer.as_slice().is_empty() {
            self.spare = buffer.into_vec();
            self.state = State::Connected(socket);
        } else {
            let op = context.submit(Op::Send { socket, buffer });
            self.state = State::Sending { socket, op };
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> SinkError {
        let message = format!("cannot {what} `{}`: {error}; {}", self.peer, mend(error));
        SinkError::new(ErrorKind::Retry, message)
    }
}
