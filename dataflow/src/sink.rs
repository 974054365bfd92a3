//! The contract of a stream's end: a sink, its writers and their two-phase commit.
//!
//! A [`Sink`] is the template a program holds. Each subtask opens a [`SinkWriter`] on its
//! shard, which takes records without blocking and drives its I/O at the end of turns.
//! What a writer has written becomes visible in two phases: the writer *prepares* (data
//! durable, not visible) and answers with [`Committable`]s; once a checkpoint, or without
//! checkpoints the whole job, is known to be true, the [`Committer`] publishes exactly those.
//!
//! With checkpoints the records between two barriers are an *epoch*. [`SinkWriter::barrier`]
//! ends one; the writer goes on with the next at once, and answers [`SinkWriter::prepared`]
//! when the data of the ended one is durable, epoch after epoch. The shard never waits.

use std::collections::BTreeSet;
use std::rc::Rc;

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::Item;

use crate::task::{AsyncRuntime, InputStatus, SubtaskInfo};

/// Why a sink cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    /// What went wrong, where, and how to mend it.
    pub message: String,
    /// What the user should do about it.
    pub kind: ErrorKind,
}

impl SinkError {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind,
        }
    }
}

/// Something prepared that waits to be made visible: opaque bytes only its own committer
/// reads, so that they can be part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committable(pub Vec<u8>);

/// What a writer has made durable: the records up to one barrier, or up to the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// The checkpoint whose barrier ended the epoch; `None` after the end of input.
    pub checkpoint: Option<CheckpointId>,
    /// What is to be committed when the checkpoint, or the job, is complete.
    pub committables: Vec<Committable>,
    /// What the writer must remember to go on from here, as items that are dealt out over the
    /// subtasks when the parallelism changes.
    pub state: Vec<Vec<u8>>,
}

/// What a writer answers to a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epoch {
    /// Nothing is held back and there is nothing to remember or commit: writing was publishing.
    Published,
    /// [`SinkWriter::prepared`] will tell when its data is durable.
    Preparing,
}

/// Publishes or withdraws what writers prepared. Runs on a control thread, may block.
pub trait Committer: Send {
    /// Makes exactly these visible. Must be idempotent, across processes too: after a failure, or
    /// after a restart from the checkpoint that lists them, it is called again with the same
    /// list, of which any part may be visible already.
    ///
    /// # Errors
    /// When something could not be made visible; nothing of it may then be called whole. What is
    /// neither there to be published nor visible already is lost, and an error.
    fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError>;

    /// Removes what will never be committed.
    ///
    /// # Errors
    /// When something was left behind; the message names it.
    fn abort(&mut self, prepared: &[Committable]) -> Result<(), SinkError>;

    /// Whether what some subtasks wrote can be taken back while the others go on: whether
    /// [`Committer::roll_back`] may be called. Where it cannot, a failure begins the whole job again.
    fn rolls_back(&self) -> bool {
        false
    }

    /// These subtasks have gone and will be opened or restored anew, by the same [`Sink`], without
    /// [`Sink::prepare`]; all others go on. Removes what the ones that have gone prepared and will never
    /// be committed, which is listed; what they prepared for checkpoints after `after`, of which the engine
    /// may not have heard; and what else they had begun to write. What the new ones write must not get into
    /// the way of what the old ones have told and may still be committed.
    ///
    /// # Errors
    /// When something could not be taken back: the whole job begins again.
    fn roll_back(
        &mut self,
        prepared: &[Committable],
        subtasks: &BTreeSet<u32>,
        after: CheckpointId,
    ) -> Result<(), SinkError> {
        let (count, subtasks) = (prepared.len(), subtasks.len());
        Err(SinkError::new(
            ErrorKind::Internal,
            format!(
                "{count} committables of {subtasks} subtasks after {after} cannot be taken back alone: a defect of the engine"
            ),
        ))
    }
}

/// The template of a sink.
pub trait Sink<I: Item>: Clone + Send + 'static {
    /// The writer of one subtask.
    type Writer: SinkWriter<I>;

    /// How plans and messages call it.
    fn name(&self) -> String;

    /// Called once per job on the submitting thread, before any task runs: check the target.
    ///
    /// # Errors
    /// A target that cannot be written; the message says what and how to mend it.
    fn prepare(&self, parallelism: u32) -> Result<(), SinkError> {
        let _ = parallelism;
        Ok(())
    }

    /// Opens the writer of one subtask, on its shard. Must not block: start I/O in
    /// [`SinkWriter::end_turn`].
    ///
    /// # Errors
    /// What makes the subtask impossible.
    fn open(&self, subtask: &SubtaskInfo) -> Result<Self::Writer, SinkError>;

    /// Opens the writer of one subtask with what writers remembered at the checkpoint the job is
    /// restored from. May remove what was prepared for checkpoints that never became true, but
    /// must not block.
    ///
    /// # Errors
    /// What makes the subtask impossible. A sink whose writers remember nothing refuses state.
    fn restore(
        &self,
        subtask: &SubtaskInfo,
        state: Vec<Vec<u8>>,
    ) -> Result<Self::Writer, SinkError> {
        if state.is_empty() {
            return self.open(subtask);
        }
        Err(SinkError::new(
            ErrorKind::Invalid,
            format!(
                "the checkpoint holds state of a sink that remembers something, and {} does not: \
                 give the new sink another uid",
                self.name()
            ),
        ))
    }

    /// Who publishes what the writers prepare; `None` when writing is publishing.
    fn committer(&self) -> Option<Box<dyn Committer>> {
        None
    }
}

/// Whether a writer holds something back when a turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkStatus {
    /// Nothing is held back; after the end of input: all is written and prepared.
    Done,
    /// I/O is under way; its completion wakes the task.
    Waiting,
}

/// One subtask's end of a sink. Lives on its shard.
pub trait SinkWriter<I: Item>: 'static {
    /// Called once, before anything else, with what runs futures for the task: a writer over a client
    /// that is asynchronous keeps it, and spawns in [`SinkWriter::end_turn`]. Others need not care.
    fn attach(&mut self, runtime: Rc<dyn AsyncRuntime>) {
        let _ = runtime;
    }

    /// Takes one record; buffers, never blocks.
    ///
    /// # Errors
    /// A record that cannot be written.
    fn write(&mut self, item: I::Of<'_>, at: Timestamp) -> Result<(), SinkError>;

    /// Whether one more record may come. While it says no, back-pressure holds the chain.
    fn ready(&self) -> bool {
        true
    }

    /// The turn ends: drive I/O. With [`InputStatus::Ended`] everything must go out and be
    /// prepared before [`SinkStatus::Done`] is answered.
    ///
    /// # Errors
    /// What fails the task, with target and mend.
    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError>;

    /// A barrier: the records written so far are the epoch of this checkpoint, those to come are
    /// of the next. Must not block: the data is made durable by I/O in [`SinkWriter::end_turn`].
    ///
    /// # Errors
    /// What fails the task.
    fn barrier(&mut self, checkpoint: CheckpointId) -> Result<Epoch, SinkError> {
        let _ = checkpoint;
        Ok(Epoch::Published)
    }

    /// Asked after each turn until it answers `None`: the oldest epoch that has become durable,
    /// once. After the end of input, when [`SinkStatus::Done`] was answered, the last one, whose
    /// `checkpoint` is `None`.
    fn prepared(&mut self) -> Option<Prepared> {
        None
    }
}
