//! The writer of one subtask of a file sink: parts of many buckets, begun, filled, rolled and ended.
//!
//! Records go into the open part of their bucket; what was rolled is written out, synced and closed
//! beside it. All I/O is driven when a turn ends. Invariants: a record is in exactly one part, whole; a
//! part belongs to one epoch; while what is buffered is full the writer is not ready. Lives on the shard
//! of its subtask.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{Epoch, Prepared, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::InputStatus;
use thalweg_memory::record::Item;

use super::bucket::{self, Buckets};
use super::encode::Encoder;
use super::epochs::{EpochId, Epochs};
use super::leftovers::{Leftovers, WriterState};
use super::part::{BLOCK_BYTES, Part, PartStatus};
use super::pending::{Pending, invalid};
use super::rolling::RollingPolicy;
use super::target::{PartNumber, Target};

/// A writer that holds so many bytes of all its parts waits for the disk.
const BUFFERED_MOST: usize = 4 * BLOCK_BYTES;
/// So many rolled parts may be on their way to the disk.
const MOST_ENDING: usize = 32;

/// A part that takes records.
struct Open {
    part: Part,
    /// What is next to be written.
    block: Vec<u8>,
    /// Bytes of all its records.
    len: u64,
    epoch: EpochId,
    /// Monotonic ns, of the end of the turn in which it happened; none before that.
    begun: Option<u64>,
    written: u64,
    /// A record has come in this turn.
    fresh: bool,
    /// Counts up with every record of the writer.
    touched: u64,
}

impl Open {
    /// When it is to be ended, by the clock.
    fn due(&self, policy: &RollingPolicy) -> u64 {
        match self.begun {
            Some(begun) => policy.due(begun, self.written),
            None => u64::MAX,
        }
    }
}

/// A part that takes none any more.
struct Ending {
    part: Part,
    rest: Vec<u8>,
    epoch: EpochId,
}

/// What seals an epoch.
struct Seal {
    /// None at the end of the input.
    checkpoint: Option<CheckpointId>,
    /// The number of the next part.
    next: u64,
}

/// Writes one subtask's files.
pub struct FileSinkWriter<I, E, B> {
    target: Arc<Target>,
    /// Of this attempt.
    mark: u64,
    subtask: u32,
    encoder: E,
    buckets: B,
    policy: RollingPolicy,
    /// By bucket.
    open: BTreeMap<String, Open>,
    ending: Vec<Ending>,
    epochs: Epochs<Seal>,
    leftovers: Leftovers,
    /// The number of the next part.
    next: u64,
    /// The bucket of the record in work.
    bucket: String,
    records: u64,
    /// Bytes in blocks that no write was begun for.
    buffered: usize,
    /// When the task is woken for the next part that is due.
    alarm: Option<u64>,
    sealed: bool,
    /// The job takes checkpoints: what is prepared is theirs to commit, or to have removed.
    checkpoints: bool,
    item: PhantomData<fn(I)>,
}

impl<I, E, B> FileSinkWriter<I, E, B> {
    pub(super) fn new(
        target: Arc<Target>,
        mark: u64,
        subtask: u32,
        (encoder, buckets, policy): (E, B, RollingPolicy),
        checkpoints: bool,
        restored: Vec<WriterState>,
    ) -> Self {
        Self {
            checkpoints: checkpoints || !restored.is_empty(),
            leftovers: Leftovers::new(Arc::clone(&target), restored),
            target,
            mark,
            subtask,
            encoder,
            buckets,
            policy,
            open: BTreeMap::new(),
            ending: Vec::new(),
            epochs: Epochs::new(),
            next: 0,
            bucket: String::new(),
            records: 0,
            buffered: 0,
            alarm: None,
            sealed: false,
            item: PhantomData,
        }
    }
}

impl<I: Item, E: Encoder<I>, B: Buckets<I>> SinkWriter<I> for FileSinkWriter<I, E, B> {
    #[inline]
    fn write(&mut self, item: I::Of<'_>, at: Timestamp) -> Result<(), SinkError> {
        self.bucket.clear();
        self.buckets.bucket(&item, at, &mut self.bucket);
        if !self.open.contains_key(&self.bucket) {
            self.begin()?;
        }
        let Some(open) = self.open.get_mut(&self.bucket) else {
            unreachable!("just begun")
        };
        let before = open.block.len();
        self.encoder.encode(&item, &mut open.block);
        let added = open.block.len() - before;
        self.buffered += added;
        self.records += 1;
        open.len += added as u64;
        open.fresh = true;
        open.touched = self.records;
        if open.len >= self.policy.bytes {
            let bucket = std::mem::take(&mut self.bucket);
            self.roll(&bucket);
            self.bucket = bucket;
        }
        Ok(())
    }

    #[inline]
    fn ready(&self) -> bool {
        self.buffered < BUFFERED_MOST && self.ending.len() < MOST_ENDING
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        let now = context.now();
        self.roll_what_is_due(now);
        if input == InputStatus::Ended && !std::mem::replace(&mut self.sealed, true) {
            self.seal(None);
        }
        let mut waiting = self.drive_open(context)?;
        waiting |= self.drive_ending(context)?;
        waiting |= self.leftovers.drive(context);
        self.set_alarm(now, context);
        match waiting {
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
        let (Seal { checkpoint, next }, parts) = self.epochs.next_complete()?;
        let state = WriterState {
            mark: self.mark,
            subtask: self.subtask,
            next,
        };
        if self.checkpoints {
            self.target.tell(&parts, checkpoint);
        }
        let state = checkpoint.map(|_| state.encode());
        Some(Prepared {
            checkpoint,
            committables: parts.iter().map(Pending::encode).collect(),
            state: state.into_iter().collect(),
        })
    }
}

impl<I: Item, E: Encoder<I>, B> FileSinkWriter<I, E, B> {
    /// Begins the part of a bucket that has none.
    #[inline(never)]
    fn begin(&mut self) -> Result<(), SinkError> {
        if !bucket::check(&self.bucket) {
            let what = format!(
                "cannot hold the bucket `{}`: name a path below it, of names that do not begin with `.` or `_`",
                self.bucket.escape_debug()
            );
            return Err(invalid(&self.target.directory, &what));
        }
        if self.open.len() >= self.policy.most_open
            && let Some((bucket, _)) = self.open.iter().min_by_key(|(_, open)| open.touched)
        {
            let bucket = bucket.clone();
            self.roll(&bucket);
        }
        let number = PartNumber {
            mark: self.mark,
            subtask: self.subtask,
            number: self.next,
        };
        let (pending, last, within) = self.target.part(&self.bucket, number);
        self.next += 1;
        let part = Part::within(pending, last, within);
        let mut block = Vec::new();
        self.encoder.begin(&mut block);
        self.buffered += block.len();
        let open = Open {
            part,
            len: block.len() as u64,
            block,
            epoch: self.epochs.begin_part(),
            begun: None,
            written: 0,
            fresh: true,
            touched: self.records,
        };
        self.open.insert(self.bucket.clone(), open);
        Ok(())
    }
}

impl<I, E, B> FileSinkWriter<I, E, B> {
    /// Ends the open part of a bucket.
    fn roll(&mut self, bucket: &str) {
        if let Some(open) = self.open.remove(bucket) {
            self.ending.push(Ending {
                part: open.part,
                rest: open.block,
                epoch: open.epoch,
            });
        }
    }

    fn roll_what_is_due(&mut self, now: u64) {
        for open in self.open.values_mut() {
            open.begun.get_or_insert(now);
            if std::mem::take(&mut open.fresh) {
                open.written = now;
            }
        }
        if self.alarm.is_none_or(|alarm| alarm > now) {
            return;
        }
        let policy = self.policy;
        let due = self
            .open
            .iter()
            .filter(|(_, open)| open.due(&policy) <= now);
        let due: Vec<String> = due.map(|(bucket, _)| bucket.clone()).collect();
        for bucket in due {
            self.roll(&bucket);
        }
    }

    /// The epoch ends: so do all parts.
    fn seal(&mut self, checkpoint: Option<CheckpointId>) {
        for (_, open) in std::mem::take(&mut self.open) {
            self.ending.push(Ending {
                part: open.part,
                rest: open.block,
                epoch: open.epoch,
            });
        }
        let next = self.next;
        self.epochs.seal(Seal { checkpoint, next });
    }

    /// Writes out full blocks; smaller ones too while too much is buffered. Answers whether an operation
    /// is under way.
    fn drive_open(&mut self, context: &mut TurnContext<'_>) -> Result<bool, SinkError> {
        let mut waiting = false;
        let much = self.buffered >= BUFFERED_MOST / 2;
        for open in self.open.values_mut() {
            let mut status = open.part.drive(open.block.len(), context)?;
            let due = open.block.len() >= BLOCK_BYTES || (much && !open.block.is_empty());
            if status == PartStatus::Free && due {
                let next = open.part.take_spare();
                let block = std::mem::replace(&mut open.block, next);
                self.buffered -= block.len();
                open.part.put(block, context);
                status = PartStatus::Waiting;
            }
            waiting |= status == PartStatus::Waiting;
        }
        Ok(waiting)
    }

    fn drive_ending(&mut self, context: &mut TurnContext<'_>) -> Result<bool, SinkError> {
        let mut at = 0;
        while at < self.ending.len() {
            let Ending { part, rest, epoch } = &mut self.ending[at];
            loop {
                match part.drive(rest.len(), context)? {
                    PartStatus::Waiting => {
                        at += 1;
                        break;
                    }
                    PartStatus::Free if rest.is_empty() => part.finish(context),
                    PartStatus::Free => {
                        let rest = std::mem::take(rest);
                        self.buffered -= rest.len();
                        part.put(rest, context);
                    }
                    PartStatus::Durable => {
                        let durable: Pending = part.prepared();
                        self.epochs.end_part(*epoch, durable);
                        self.ending.swap_remove(at);
                        break;
                    }
                }
            }
        }
        Ok(!self.ending.is_empty())
    }

    /// Has the task woken when the next open part is due.
    fn set_alarm(&mut self, now: u64, context: &mut TurnContext<'_>) {
        let next = self.open.values().map(|open| open.due(&self.policy)).min();
        let Some(next) = next.filter(|next| *next < u64::MAX) else {
            self.alarm = None;
            return;
        };
        if self.alarm.is_none_or(|alarm| alarm <= now || next < alarm) {
            context.wake_at(next);
            self.alarm = Some(next);
        }
    }
}

/// A sink that was opened before it was prepared.
pub(super) fn unprepared() -> SinkError {
    let message = "a file sink's target was not prepared: a defect of the engine";
    SinkError::new(ErrorKind::Internal, message)
}
