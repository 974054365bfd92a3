//! The contract of a stream's end: a sink, its writers and their two-phase commit.
//!
//! A [`Sink`] is the template a program holds. Each subtask opens a [`SinkWriter`] on its
//! shard, which takes records without blocking and drives its I/O at the end of turns.
//! What a writer has written becomes visible in two phases: the writer *prepares* (data
//! durable, not visible) and answers with [`Committable`]s; once the whole job, or later a
//! checkpoint, is known to be true, the [`Committer`] publishes exactly those.

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::record::Item;

use crate::task::{InputStatus, SubtaskInfo};

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

/// Publishes or withdraws what writers prepared. Runs on a control thread, may block.
pub trait Committer: Send {
    /// Makes exactly these visible. Must be idempotent: after a failure it is called again
    /// with the same list.
    ///
    /// # Errors
    /// When something could not be made visible; nothing of it may then be called whole.
    fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError>;

    /// Removes what will never be committed.
    ///
    /// # Errors
    /// When something was left behind; the message names it.
    fn abort(&mut self, prepared: &[Committable]) -> Result<(), SinkError>;
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

    /// What was prepared since the last call; asked for once after the end of input, and
    /// after every barrier when checkpoints are taken.
    fn prepared(&mut self) -> Vec<Committable> {
        Vec::new()
    }
}
