//! A source that emits numbers at their times on the shard's clock and ends when the test has seen enough.

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::task::SubtaskInfo;

/// How long it waits for that, ns; then it ends all the same, and the test finds what is missing.
const PATIENCE: u64 = 100_000_000_000;
/// How long it waits between two looks, ns.
const LOOK: u64 = 1_000_000;

/// Emits the number of each pause, after it; one subtask.
#[derive(Clone)]
pub(crate) struct Paced {
    pauses: Arc<[Duration]>,
    /// Whether the test has seen enough.
    enough: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Paced {
    pub(crate) fn new(
        pauses: impl IntoIterator<Item = Duration>,
        enough: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            pauses: pauses.into_iter().collect(),
            enough: Arc::new(enough),
        }
    }
}

impl Source for Paced {
    type Item = u64;
    type Split = u64;
    type Reader = PacedReader;

    fn name(&self) -> String {
        "paced".to_owned()
    }
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }
    fn parallelism(&self) -> Option<u32> {
        Some(1)
    }
    fn splits(&self, _parallelism: u32) -> Result<Vec<u64>, SourceError> {
        Ok(vec![0])
    }
    fn open(&self, splits: Vec<u64>, _: &SubtaskInfo) -> Result<PacedReader, SourceError> {
        Ok(PacedReader {
            paced: self.clone(),
            next: splits.into_iter().sum(),
            due: None,
            patience: None,
        })
    }
}

/// Reads it.
pub(crate) struct PacedReader {
    paced: Paced,
    next: u64,
    /// When the next number is due, monotonic ns.
    due: Option<u64>,
    /// When it waits no more, from the last number on.
    patience: Option<u64>,
}

impl SourceReader for PacedReader {
    type Item = u64;
    type Split = u64;

    fn poll<O: SourceOutput<u64>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        while out.wanted() {
            let now = context.reactor().now();
            let Some(pause) = self.paced.pauses.get(self.next as usize) else {
                let patience = *self.patience.get_or_insert(now + PATIENCE);
                if (self.paced.enough)() || now >= patience {
                    return Ok(SourceStatus::Finished);
                }
                context.wake_at(now + LOOK);
                return Ok(SourceStatus::Waiting);
            };
            let due = *self.due.get_or_insert(now + pause.as_nanos() as u64);
            if now < due {
                context.wake_at(due);
                return Ok(SourceStatus::Waiting);
            }
            self.due = None;
            out.emit(self.next, Timestamp::NONE);
            self.next += 1;
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<u64> {
        vec![self.next]
    }
}
