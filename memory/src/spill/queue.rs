//! The requests of one task: they wait for the end of its turn, go to the disk together, are answered in
//! any order.
//!
//! Entered twice per turn at most: requests are added by whatever the task does, and [`IoQueue::poll`] takes
//! in what is done and hands on what waits. Invariants: a request is answered once; at most `depth`
//! operations are at the disk; what the disk does only in part is asked for again from there; a write
//! counts in the quota before it begins. Lives on one shard's thread.

use std::collections::VecDeque;

use thalweg_core::seam::reactor::{FileId, IoBuffer, IoFailure, Op, OpId, OpenOptions, Outcome};
use thalweg_core::shard::step::TurnContext;

use super::error::SpillError;
use super::file::{FileState, SpillFile};
use super::io_manager::IoManager;

/// A request of one queue. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum IoDone {
    /// These bytes were read: as many as were asked for.
    Read(Vec<u8>),
    /// All bytes were written.
    Written,
}

/// A request on its way.
struct Request {
    id: RequestId,
    file: SpillFile,
    buffer: IoBuffer,
    offset: u64,
    write: bool,
}

struct Flight {
    op: OpId,
    id: RequestId,
    file: SpillFile,
    offset: u64,
    write: bool,
}

/// The requests of one task.
pub struct IoQueue {
    manager: IoManager,
    /// Among those of its shard.
    number: u64,
    depth: usize,
    next: u64,
    waiting: VecDeque<Request>,
    flying: Vec<Flight>,
    done: VecDeque<(RequestId, Result<IoDone, SpillError>)>,
}

impl IoQueue {
    pub(super) fn new(manager: IoManager, depth: usize, number: u64) -> IoQueue {
        IoQueue {
            manager,
            number,
            depth: depth.max(1),
            next: 0,
            waiting: VecDeque::new(),
            flying: Vec::new(),
            done: VecDeque::new(),
        }
    }

    /// The files of its shard.
    #[must_use]
    pub fn files(&self) -> &IoManager {
        &self.manager
    }

    /// Asks for `length` bytes from `offset` on, which were written before.
    pub fn read(&mut self, file: &SpillFile, offset: u64, length: usize) -> RequestId {
        self.ask(file, offset, IoBuffer::zeroed(length), false)
    }

    /// Hands over bytes to be written at `offset`.
    ///
    /// # Errors
    /// When the quota is used up: nothing was begun.
    pub fn write(
        &mut self,
        file: &SpillFile,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<RequestId, SpillError> {
        debug_assert!(file.0.own, "another's file is only read");
        let end = offset + bytes.len() as u64;
        let grown = end.saturating_sub(file.len());
        self.manager.space().quota().take(grown)?;
        file.0.end.set(file.len() + grown);
        Ok(self.ask(file, offset, IoBuffer::from(bytes), true))
    }

    fn ask(&mut self, file: &SpillFile, offset: u64, buffer: IoBuffer, write: bool) -> RequestId {
        self.next += 1;
        let id = RequestId(self.next);
        let file = file.clone();
        self.waiting.push_back(Request {
            id,
            file,
            buffer,
            offset,
            write,
        });
        id
    }

    /// Requests that are not answered yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.flying.len()
    }

    /// Takes the next answer.
    pub fn next_done(&mut self) -> Option<(RequestId, Result<IoDone, SpillError>)> {
        self.done.pop_front()
    }

    /// Takes in what the disk has done and hands on what waits. What completes wakes the task.
    pub fn poll(&mut self, context: &mut TurnContext<'_>) {
        self.manager.remove_gone(context);
        self.reap(context);
        self.hand_on(context);
    }

    fn reap(&mut self, context: &mut TurnContext<'_>) {
        let mut at = 0;
        while at < self.flying.len() {
            let Some(result) = context.reactor().take(self.flying[at].op) else {
                at += 1;
                continue;
            };
            let flight = self.flying.swap_remove(at);
            match result {
                Ok(Outcome::Bytes { buffer, count }) => self.moved(flight, buffer, count, context),
                Ok(other) => {
                    let error = std::io::Error::other(format!("the driver answered {other:?}"));
                    self.failed(&flight, &error);
                }
                Err(IoFailure { error, .. }) => self.failed(&flight, &error),
            }
        }
    }

    /// So many bytes of a request were moved, perhaps not all.
    fn moved(
        &mut self,
        flight: Flight,
        mut buffer: IoBuffer,
        count: usize,
        context: &mut TurnContext<'_>,
    ) {
        buffer.advance(count);
        if buffer.window().is_empty() {
            let done = match flight.write {
                true => IoDone::Written,
                false => IoDone::Read(buffer.into_vec()),
            };
            self.done.push_back((flight.id, Ok(done)));
            return;
        }
        if count == 0 {
            let path = flight.file.path().display().to_string();
            let end = flight.offset + buffer.window().len() as u64;
            let error = match flight.write {
                true => full(&flight.file, buffer.window().len() as u64),
                false => SpillError::EndsEarly { path, end },
            };
            self.done.push_back((flight.id, Err(error)));
            return;
        }
        let FileState::Open(file) = flight.file.0.state.get() else {
            unreachable!("an operation of the file has just ended");
        };
        let rest = Request {
            id: flight.id,
            offset: flight.offset + count as u64,
            file: flight.file,
            write: flight.write,
            buffer,
        };
        self.submit(rest, file, context);
    }

    fn failed(&mut self, flight: &Flight, error: &std::io::Error) {
        let error = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => full(
                &flight.file,
                flight.file.len().saturating_sub(flight.offset),
            ),
            _ => {
                let what = if flight.write { "written" } else { "read" };
                SpillError::of_io(flight.file.path(), what, error)
            }
        };
        self.done.push_back((flight.id, Err(error)));
    }

    /// Hands what waits to the disk, as far as its files are open and the depth goes.
    fn hand_on(&mut self, context: &mut TurnContext<'_>) {
        let mut kept = VecDeque::new();
        while self.flying.len() < self.depth
            && let Some(request) = self.waiting.pop_front()
        {
            match open(&request.file, self.number, context) {
                Ok(Some(file)) => self.submit(request, file, context),
                Ok(None) => kept.push_back(request),
                Err(error) => self.done.push_back((request.id, Err(error))),
            }
        }
        kept.append(&mut self.waiting);
        self.waiting = kept;
    }

    fn submit(&mut self, request: Request, file: FileId, context: &mut TurnContext<'_>) {
        let Request {
            id,
            file: spilled,
            buffer,
            offset,
            write,
        } = request;
        let op = match write {
            true => Op::Write {
                file,
                buffer,
                offset,
            },
            false => Op::Read {
                file,
                buffer,
                offset,
            },
        };
        let op = context.submit(op);
        self.flying.push(Flight {
            op,
            id,
            file: spilled,
            offset,
            write,
        });
    }
}

/// Who waits for a file that this queue was to open has to open it: what comes of that is told to nobody now.
impl Drop for IoQueue {
    fn drop(&mut self) {
        for Request { file, .. } in &self.waiting {
            if let FileState::Opening { queue, .. } = file.0.state.get()
                && queue == self.number
                && !file.0.own
            {
                file.0.become_known(FileState::Fresh);
            }
        }
    }
}

/// The file's number at the reactor, once it is open; `queue` asks.
fn open(
    file: &SpillFile,
    queue: u64,
    context: &mut TurnContext<'_>,
) -> Result<Option<FileId>, SpillError> {
    match file.0.state.get() {
        FileState::Open(open) => Ok(Some(open)),
        FileState::Fresh => {
            let kind = match file.0.own {
                true => OpenOptions::WRITE_NEW,
                false => OpenOptions::READ,
            };
            let options = OpenOptions {
                exclusive: file.0.own,
                direct: file.0.manager.space().direct_reads(),
                ..kind
            };
            let path = file.path().to_owned();
            let op = context.submit(Op::Open { path, options });
            file.0.state.set(FileState::Opening { op, queue });
            Ok(None)
        }
        FileState::Opening { op, queue: asked } => match context.reactor().take(op) {
            None => {
                if asked != queue {
                    file.0.wait_for(context);
                }
                Ok(None)
            }
            Some(Ok(Outcome::Opened { file: open, .. })) => {
                file.0.become_known(FileState::Open(open));
                Ok(Some(open))
            }
            Some(Ok(other)) => {
                file.0.become_known(FileState::Broken);
                let error = std::io::Error::other(format!("the driver answered {other:?}"));
                Err(SpillError::of_io(file.path(), "opened", &error))
            }
            Some(Err(IoFailure { error, .. })) => {
                file.0.become_known(FileState::Broken);
                Err(SpillError::of_io(file.path(), "opened", &error))
            }
        },
        FileState::Broken => {
            let error = std::io::Error::other("it could not be opened before");
            Err(SpillError::of_io(file.path(), "opened", &error))
        }
    }
}

fn full(file: &SpillFile, asked: u64) -> SpillError {
    let directory = file.path().parent().unwrap_or(file.path());
    SpillError::Full {
        directory: directory.display().to_string(),
        asked,
        used: file.0.manager.space().quota().used(),
    }
}
