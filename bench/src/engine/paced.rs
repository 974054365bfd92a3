//! A source whose records fall due by the clock: it looks again and again, and never skips one.
//!
//! Between two looks the other tasks of its shard get their turns, and what it emitted leaves at once. A
//! record that waited, for room or because a turn took long, is emitted late and keeps the time at which
//! it was due. Lives on the shard of its subtask.

use std::sync::Arc;

use thalweg::prelude::record;
use thalweg::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus, SubtaskInfo,
    Timestamp, TurnContext,
};
use thalweg_core::seam::clock::monotonic_ns;

use crate::workload::pace::{MS, Pace, Start, latency_key};

/// The records of a pace, each with the time at which it was due: (key, monotonic ns).
#[derive(Clone)]
pub(super) struct Paced {
    pub(super) pace: Pace,
    /// Shared by all subtasks, and by the sink that measures.
    pub(super) start: Arc<Start>,
    /// Whether the time at which a record is due, in ms, is its event time.
    pub(super) timed: bool,
}

/// The numbers from `next` on that are `next` modulo `step`.
#[record]
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    next: u64,
    step: u64,
}

impl Source for Paced {
    type Item = (u64, u64);
    type Split = Numbers;
    type Reader = PacedReader;

    fn name(&self) -> String {
        "paced".to_owned()
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    fn timestamps(&self) -> bool {
        self.timed
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<Numbers>, SourceError> {
        let step = u64::from(parallelism);
        Ok((0..step).map(|next| Numbers { next, step }).collect())
    }

    fn open(
        &self,
        splits: Vec<Numbers>,
        _subtask: &SubtaskInfo,
    ) -> Result<PacedReader, SourceError> {
        let readable = splits.into_iter();
        let splits = readable.map(|numbers| (numbers, self.pace.due(numbers.next)));
        Ok(PacedReader {
            source: self.clone(),
            splits: splits.collect(),
            records: self.pace.records(),
        })
    }
}

/// The records of one subtask.
pub(super) struct PacedReader {
    source: Paced,
    /// Each with the time from the start at which its next record is due, ns.
    splits: Vec<(Numbers, u64)>,
    records: u64,
}

impl SourceReader for PacedReader {
    type Item = (u64, u64);
    type Split = Numbers;

    fn poll<O: SourceOutput<(u64, u64)>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        let start = self.source.start.get();
        let elapsed = monotonic_ns().saturating_sub(start);
        for (numbers, due) in &mut self.splits {
            while *due <= elapsed && numbers.next < self.records {
                if !out.wanted() {
                    return Ok(SourceStatus::More);
                }
                let at = start + *due;
                let time = match self.source.timed {
                    true => Timestamp((at / MS).cast_signed()),
                    false => Timestamp::NONE,
                };
                out.emit((latency_key(numbers.next), at), time);
                numbers.next += numbers.step;
                *due = self.source.pace.due(numbers.next);
            }
        }
        let records = self.records;
        self.splits.retain(|(numbers, _)| numbers.next < records);
        if self.splits.is_empty() {
            return Ok(SourceStatus::Finished);
        }
        // The turn ends, so that what was emitted leaves and others get theirs; the next one comes at once.
        context.waker().wake();
        Ok(SourceStatus::Waiting)
    }

    fn snapshot(&self) -> Vec<Numbers> {
        self.splits.iter().map(|(numbers, _)| *numbers).collect()
    }
}
