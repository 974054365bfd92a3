//! One subtask's end of the sink: records become blocks of rows, which its session copies.
//!
//! Blocks and barriers go to the session through a bounded queue, what it has prepared comes back through
//! another; it rings when it has made room or told something. Invariants: while a block is full and the
//! queue too the writer is not ready; epochs are told in their order. Lives on the shard of its subtask.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{Epoch, Prepared, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::{AsyncRuntime, InputStatus, RemoteWaker};
use thalweg_memory::record::Item;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::names::{PreparedTransaction, encode_line};
use super::row::Row;
use super::session::Session;
use super::target::{Attempt, Target};

/// A block of rows is sent when it has so many bytes.
const BLOCK_BYTES: usize = 64 << 10;
/// So many blocks and barriers wait for the session.
const QUEUED: usize = 2;

/// What a session is to do, in order.
pub(super) enum Command {
    /// Copy these rows.
    Rows {
        /// Of a binary COPY, without header and trailer.
        block: Bytes,
        count: u64,
    },
    /// The epoch ends: prepare what was copied.
    Seal(Option<CheckpointId>),
}

/// An epoch whose rows are durable.
pub(super) struct Sealed {
    pub(super) checkpoint: Option<CheckpointId>,
    pub(super) line: u64,
    /// None if it has no rows.
    pub(super) prepared: Option<PreparedTransaction>,
}

/// Wakes the task of a writer, once for all it has not seen yet.
pub(super) struct Bell {
    waker: RemoteWaker,
    rung: AtomicBool,
}

impl Bell {
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            (self.waker)();
        }
    }
}

/// A session as its writer sees it; dropped, it ends.
struct Running {
    commands: Sender<Command>,
    told: Receiver<Result<Sealed, SinkError>>,
    bell: Arc<Bell>,
    _work: Box<dyn Any>,
}

/// Writes one subtask's rows.
pub struct PostgresSinkWriter<I, F> {
    target: Arc<Target>,
    attempt: Arc<Attempt>,
    subtask: u32,
    fill: F,
    block: BytesMut,
    /// Rows in the block.
    count: u64,
    /// What the session's queue had no room for.
    line: VecDeque<Command>,
    runtime: Option<Rc<dyn AsyncRuntime>>,
    session: Option<Running>,
    /// Epochs that were sealed and not told yet.
    unsettled: usize,
    prepared: VecDeque<Prepared>,
    /// The input has ended, and so has the last epoch.
    ended: bool,
    /// The job takes checkpoints: what is prepared is theirs to commit, or to have rolled back.
    checkpoints: bool,
    item: PhantomData<fn(I)>,
}

impl<I, F> PostgresSinkWriter<I, F> {
    pub(super) fn new(
        target: Arc<Target>,
        attempt: Arc<Attempt>,
        subtask: u32,
        fill: F,
        checkpoints: bool,
    ) -> Self {
        Self {
            target,
            attempt,
            subtask,
            fill,
            block: BytesMut::new(),
            count: 0,
            line: VecDeque::new(),
            runtime: None,
            session: None,
            unsettled: 0,
            prepared: VecDeque::new(),
            ended: false,
            checkpoints,
            item: PhantomData,
        }
    }

    /// Starts the session, if it has not been.
    fn start(&mut self, context: &TurnContext<'_>) -> Result<(), SinkError> {
        if self.session.is_some() {
            return Ok(());
        }
        let Some(runtime) = &self.runtime else {
            return Err(defect("has no runtime for its session"));
        };
        let (commands, asked) = channel(QUEUED);
        let (tell, told) = channel(QUEUED);
        let bell = Arc::new(Bell {
            waker: runtime.waker_of(context.waker().task()),
            rung: AtomicBool::new(false),
        });
        let session = Session {
            target: Arc::clone(&self.target),
            attempt: Arc::clone(&self.attempt),
            subtask: self.subtask,
            commands: asked,
            told: tell,
            bell: Arc::clone(&bell),
        };
        let work = runtime.spawn(Box::pin(session.run()));
        let work = work.map_err(|error: io::Error| {
            let message = format!(
                "the connector runtime cannot start: {error}; lower thalweg.connector.threads or raise the \
                 limit of threads"
            );
            SinkError::new(ErrorKind::Resource, message)
        })?;
        self.session = Some(Running {
            commands,
            told,
            bell,
            _work: work,
        });
        Ok(())
    }

    /// Ends the block.
    fn cut(&mut self) {
        if self.count > 0 {
            let block = self.block.split().freeze();
            let count = std::mem::take(&mut self.count);
            self.line.push_back(Command::Rows { block, count });
        }
    }

    fn seal(&mut self, checkpoint: Option<CheckpointId>) {
        self.cut();
        self.line.push_back(Command::Seal(checkpoint));
        self.unsettled += 1;
    }

    /// Takes in what the session told.
    fn hear(&mut self) -> Result<(), SinkError> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        session.bell.rung.store(false, Ordering::Release);
        loop {
            match session.told.try_recv() {
                Ok(sealed) => {
                    let sealed = sealed?;
                    self.unsettled -= 1;
                    let gid = sealed.prepared.as_ref().map(|prepared| prepared.id.gid());
                    if let Some(gid) = gid.filter(|_| self.checkpoints) {
                        self.attempt.tell(gid);
                    }
                    self.prepared.push_back(Prepared {
                        checkpoint: sealed.checkpoint,
                        committables: sealed.prepared.iter().map(|it| it.encode()).collect(),
                        state: vec![encode_line(sealed.line)],
                    });
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(defect("has lost its session")),
            }
        }
    }

    /// Hands over what the session's queue has room for.
    fn hand_over(&mut self) {
        let Some(session) = &self.session else {
            return;
        };
        while let Some(command) = self.line.pop_front() {
            match session.commands.try_send(command) {
                Ok(()) => {}
                // One that has ended has told why.
                Err(TrySendError::Full(command) | TrySendError::Closed(command)) => {
                    return self.line.push_front(command);
                }
            }
        }
    }
}

fn defect(what: &str) -> SinkError {
    let message = format!("the writer of a PostgreSQL sink {what}: a defect of the engine");
    SinkError::new(ErrorKind::Internal, message)
}

impl<I, F> SinkWriter<I> for PostgresSinkWriter<I, F>
where
    I: Item,
    F: for<'a, 'b, 'c, 'd> FnMut(&'b I::Of<'a>, &'c mut Row<'d>) + 'static,
{
    fn attach(&mut self, runtime: Rc<dyn AsyncRuntime>) {
        self.runtime = Some(runtime);
    }

    #[inline]
    fn write(&mut self, item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        let mut row = Row::begin(&mut self.block, &self.attempt.columns);
        (self.fill)(&item, &mut row);
        row.end(&self.target.settings.table)?;
        self.count += 1;
        Ok(())
    }

    #[inline]
    fn ready(&self) -> bool {
        self.block.len() < BLOCK_BYTES
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        self.start(context)?;
        if let Some(runtime) = &self.runtime {
            runtime.drive();
        }
        self.hear()?;
        if input == InputStatus::Ended && !std::mem::replace(&mut self.ended, true) {
            self.seal(None);
        }
        self.hand_over();
        // A block that is full stays, and holds the records back, while the one before waits.
        if self.block.len() >= BLOCK_BYTES && self.line.is_empty() {
            self.cut();
            self.hand_over();
        }
        match self.unsettled > 0 || !self.line.is_empty() || !self.ready() {
            true => Ok(SinkStatus::Waiting),
            false => Ok(SinkStatus::Done),
        }
    }

    fn barrier(&mut self, checkpoint: CheckpointId) -> Result<Epoch, SinkError> {
        self.checkpoints = true;
        self.seal(Some(checkpoint));
        Ok(Epoch::Preparing)
    }

    fn prepared(&mut self) -> Option<Prepared> {
        self.prepared.pop_front()
    }
}
