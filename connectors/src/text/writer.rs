//! The writer of one subtask of a text sink: one hidden file, from the first line to the last.
//!
//! A buffer is filled while the one before is being written; when both are full the writer is not ready.
//! A checkpoint makes durable what was written so far and remembers its length: the file goes on. Invariant:
//! what is prepared for a checkpoint ends with the last record before its barrier. Lives on the shard of
//! its subtask.

use std::collections::VecDeque;
use std::sync::Arc;

use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{Epoch, Prepared, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::InputStatus;
use thalweg_memory::record::Item;

use super::sink::Target;
use crate::file::part::{BLOCK_BYTES, Part, PartStatus};
use crate::format::Format;

/// Writes one subtask's file.
pub struct TextFileWriter<F> {
    target: Arc<Target>,
    format: F,
    /// What is next to be written, in whole lines.
    lines: String,
    part: Part,
    /// Bytes of all lines that were given to the part.
    put: u64,
    /// Files of former subtasks: nothing is added to them.
    others: Vec<Part>,
    /// Barriers that were not answered, each with the length of the file before it.
    barriers: VecDeque<(CheckpointId, u64)>,
    ended: bool,
    /// The job takes checkpoints: what is prepared is theirs to commit, or to have removed.
    checkpoints: bool,
}

impl<F> TextFileWriter<F> {
    pub(super) fn new(
        target: Arc<Target>,
        format: F,
        (part, others): (Part, Vec<Part>),
        checkpoints: bool,
    ) -> Self {
        Self {
            target,
            checkpoints,
            format,
            lines: String::with_capacity(BLOCK_BYTES),
            put: part.saved(),
            part,
            others,
            barriers: VecDeque::new(),
            ended: false,
        }
    }

    fn put(&mut self, context: &mut TurnContext<'_>) {
        let next = self.part.take_spare();
        debug_assert!(next.is_empty());
        let next = String::from_utf8(next).unwrap_or_default();
        let block = std::mem::replace(&mut self.lines, next).into_bytes();
        self.put += block.len() as u64;
        self.part.put(block, context);
    }

    fn drive_own(
        &mut self,
        context: &mut TurnContext<'_>,
        ended: bool,
    ) -> Result<SinkStatus, SinkError> {
        loop {
            match self.part.drive(self.lines.len(), context)? {
                PartStatus::Waiting => return Ok(SinkStatus::Waiting),
                PartStatus::Durable => return Ok(SinkStatus::Done),
                PartStatus::Free => {}
            }
            let asked = self.barriers.back().map_or(0, |(_, len)| *len);
            let due = ended || asked > self.put || self.lines.len() >= BLOCK_BYTES;
            if due && !self.lines.is_empty() {
                self.put(context);
            } else if asked > self.part.saved() {
                self.part.save(context);
            } else if ended {
                self.part.finish(context);
            } else {
                return Ok(SinkStatus::Done);
            }
        }
    }
}

impl<I: Item, F: Format<I>> SinkWriter<I> for TextFileWriter<F> {
    #[inline]
    fn write(&mut self, item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        self.format.format(&item, &mut self.lines);
        self.lines.push('\n');
        Ok(())
    }

    #[inline]
    fn ready(&self) -> bool {
        self.lines.len() < BLOCK_BYTES
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        let mut status = self.drive_own(context, input == InputStatus::Ended)?;
        for other in &mut self.others {
            while other.drive(0, context)? == PartStatus::Free {
                other.finish(context);
            }
            if other.drive(0, context)? == PartStatus::Waiting {
                status = SinkStatus::Waiting;
            }
        }
        self.ended |= input == InputStatus::Ended && status == SinkStatus::Done;
        Ok(status)
    }

    fn barrier(&mut self, checkpoint: CheckpointId) -> Result<Epoch, SinkError> {
        let len = self.put + self.lines.len() as u64;
        self.barriers.push_back((checkpoint, len));
        self.checkpoints = true;
        Ok(Epoch::Preparing)
    }

    fn prepared(&mut self) -> Option<Prepared> {
        if let Some((checkpoint, len)) = self.barriers.front().copied() {
            if self.part.saved() < len {
                return None;
            }
            self.barriers.pop_front();
            self.target.enter_checkpoint();
            let others = self.others.iter().map(|other| other.at(other.saved()));
            let files = [self.part.at(len)].into_iter().chain(others);
            return Some(Prepared {
                checkpoint: Some(checkpoint),
                committables: Vec::new(),
                state: files.map(|file| file.encode().0).collect(),
            });
        }
        if !std::mem::take(&mut self.ended) {
            return None;
        }
        if self.checkpoints {
            self.target.enter_checkpoint();
        }
        let files = [&self.part].into_iter().chain(&self.others);
        Some(Prepared {
            checkpoint: None,
            committables: files.map(|file| file.prepared().encode()).collect(),
            state: Vec::new(),
        })
    }
}
