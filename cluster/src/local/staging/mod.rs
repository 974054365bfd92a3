//! Runs that tasks write beside a place they cannot write to themselves, on their way there.
//!
//! [`Staging`] is what the coordination sees, `uploads` the way into an object store and back. Entered by the control
//! thread for a job whose checkpoints are in an object store. Tasks write their runs to a directory of this host and
//! answer as ever; an answer counts when all the runs it names are where checkpoints look for them. Invariants: the
//! answers of one task come out in the order in which they went in; one whose runs did not arrive comes out as a
//! refusal, and what it wrote is tried again with the next answer that names it.

#[cfg(feature = "object-store")]
mod uploads;

use std::path::Path;

use thalweg_core::ids::SubtaskId;
use thalweg_dataflow::checkpoint::CheckpointAnswer;

#[cfg(feature = "object-store")]
pub(super) use self::uploads::{FetchedRuns, Uploads};

/// The way of runs from a directory of this host to where checkpoints are.
pub(crate) trait Staging {
    /// Where tasks write; it is there.
    fn directory(&self) -> &Path;

    /// A task has answered.
    fn take(&mut self, answer: CheckpointAnswer);

    /// The answers that count now.
    fn arrived(&mut self) -> Vec<CheckpointAnswer>;

    /// Whether an answer of the task is on its way.
    fn holds(&self, task: SubtaskId) -> bool;

    /// Whether no answer is on its way.
    fn is_idle(&self) -> bool;

    /// Blocks until something has arrived or failed, if anything is on its way.
    fn wait(&mut self);

    /// No task writes any more: what is on its way is given up, what was not sent is removed.
    fn stop(&mut self);
}

/// The task that answered.
#[cfg(feature = "object-store")]
fn task_of(answer: &CheckpointAnswer) -> SubtaskId {
    match answer {
        CheckpointAnswer::Done(snapshot) => SubtaskId::new(snapshot.vertex, snapshot.subtask),
        CheckpointAnswer::Replayed { vertex, subtask }
        | CheckpointAnswer::Declined {
            vertex, subtask, ..
        } => SubtaskId::new(*vertex, *subtask),
    }
}
