//! The contract of a stream's beginning: a source, its splits and their readers.
//!
//! A [`Source`] is the template a program holds. Its splits are enumerated once per job on
//! a control thread and dealt out over the subtasks in order (split *i* to subtask
//! *i* mod *p*). Each subtask opens a [`SourceReader`] over its splits on its shard; the
//! reader emits while it is asked to and never blocks: I/O is submitted to the shard's
//! reactor, whose completion wakes the task.
//!
//! A position is part of a split: [`SourceReader::snapshot`] gives the splits still to be
//! read, each with how far it was read, and a reader opened over them goes on from there.

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;
use thalweg_memory::Mark;
use thalweg_memory::record::{Item, Record};

use crate::task::SubtaskInfo;

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What went wrong, where, and how to mend it.
    pub message: String,
    /// What the user should do about it.
    pub kind: ErrorKind,
}

impl SourceError {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind,
        }
    }
}

/// Whether a source ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundedness {
    /// It ends: the job can run as a batch.
    Bounded,
    /// It goes on until it is stopped.
    Unbounded,
}

/// What a reader says after a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStatus {
    /// There is more: poll again as soon as there is room.
    More,
    /// Nothing to read; a completion or timer of the shard will wake the task.
    Waiting,
    /// The last record of the last split was emitted.
    Finished,
}

/// Where a reader puts its records.
pub trait SourceOutput<I: Item> {
    /// Whether one more record is asked for. A reader stops emitting when it says no and
    /// goes on from the same place at its next poll.
    fn wanted(&self) -> bool;

    /// How many records may be emitted before [`SourceOutput::wanted`] is asked again: none when
    /// it says no. Lets a reader emit in a plain counted loop; the room behind it may end within, so up
    /// to 63 records are overdrawn.
    fn room(&self) -> u32 {
        u32::from(self.wanted())
    }

    /// Emits one record; `at` is its event time or [`Timestamp::NONE`].
    fn emit(&mut self, item: I::Of<'_>, at: Timestamp);

    /// Emits `count` records, in order: record *i* is what `make` answers for *i*.
    ///
    /// Like as many calls of [`SourceOutput::emit`], but what is done for a record may be done for
    /// several at once, with the vector instructions of the CPU: the form for sources that make or
    /// decode many records in a row. `make` may be called for some records before the first of them
    /// has been taken. Not more than [`SourceOutput::room`].
    #[inline(always)]
    fn emit_each<'a>(&mut self, count: u32, mut make: impl FnMut(u32) -> (I::Of<'a>, Timestamp))
    where
        Self: Sized,
    {
        for number in 0..count {
            let (item, at) = make(number);
            self.emit(item, at);
        }
    }

    /// Emits a watermark or idle mark, in order with the records. Where the source has a watermark
    /// strategy, an idle mark is that of the split in work, and a watermark is dropped.
    fn mark(&mut self, mark: Mark);

    /// The records that follow are of this split, whatever number the reader knows it by.
    ///
    /// A reader with several splits says so whenever it turns to one, so that a watermark strategy can
    /// keep their times apart. A split once named holds the watermark until it is ended or idle: name
    /// all that are read side by side before the first record, those read one after the other as they
    /// come. [`SourceOutput::wanted`] may then say no to one split and yes to another, because the first
    /// is ahead of its alignment group: turn to the next one.
    fn begin_split(&mut self, split: u64) {
        let _ = split;
    }

    /// No record of this split follows: it holds nothing back any more.
    fn end_split(&mut self, split: u64) {
        let _ = split;
    }
}

/// The template of a source.
pub trait Source: Clone + Send + 'static {
    /// What it emits.
    type Item: Item;
    /// A piece of the input with the position reached in it. A record, because it is part of checkpoints.
    type Split: Record + Clone;
    /// The reader of one subtask.
    type Reader: SourceReader<Item = Self::Item, Split = Self::Split>;

    /// How plans and messages call it.
    fn name(&self) -> String;

    /// Whether it ends by itself.
    fn boundedness(&self) -> Boundedness;

    /// The parallelism it must have, if it cannot be read by several subtasks at once.
    fn parallelism(&self) -> Option<u32> {
        None
    }

    /// Whether it emits records with event times.
    fn timestamps(&self) -> bool {
        false
    }

    /// Cuts the input into splits. Runs once per job on the submitting thread; may block.
    ///
    /// # Errors
    /// Input that is not there or cannot be read; the message says what and how to mend it.
    fn splits(&self, parallelism: u32) -> Result<Vec<Self::Split>, SourceError>;

    /// Opens the reader of one subtask, on its shard. Must not block.
    ///
    /// # Errors
    /// What makes the subtask impossible.
    fn open(
        &self,
        splits: Vec<Self::Split>,
        subtask: &SubtaskInfo,
    ) -> Result<Self::Reader, SourceError>;
}

/// One subtask's end of a source. Lives on its shard.
pub trait SourceReader: 'static {
    /// What it emits.
    type Item: Item;
    /// A piece of the input with the position reached in it.
    type Split: Record;

    /// Emits while `out.wanted()`, without blocking; I/O goes through `context.reactor()`.
    ///
    /// # Errors
    /// What fails the task: bad input, with its place and the mend.
    fn poll<O: SourceOutput<Self::Item>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError>;

    /// The splits still to be read, with their positions: exactly the records emitted so
    /// far are before them.
    fn snapshot(&self) -> Vec<Self::Split>;
}
