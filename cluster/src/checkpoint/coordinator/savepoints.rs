//! Savepoints that are whole, and wait until what they list is the job's for good.
//!
//! A savepoint lists what sinks had prepared and not committed. If the job failed now it would begin again with an
//! older checkpoint and its sinks would remove just that, after which the savepoint could not be restored any more. So
//! a checkpoint follows on its heels, and whoever asked is told when that one is true: from then on whatever becomes of
//! the job, what the savepoint lists is committed.
//!
//! A part of the coordinator. Invariant: a savepoint that was told of can be restored; of one that cannot nothing is
//! left.

use thalweg_core::ids::CheckpointId;

use super::{CheckpointCoordinator, Phase};
use crate::checkpoint::pending::PendingCheckpoint;
use crate::checkpoint::protocol::{Completed, Output};
use crate::checkpoint::storage::StorageCommand;
use crate::checkpoint::trigger::RequestId;

/// A savepoint of which nobody was told yet.
#[derive(Clone, Debug)]
pub(super) struct Unsettled {
    request: RequestId,
    completed: Completed,
}

impl Unsettled {
    fn checkpoint(&self) -> CheckpointId {
        self.completed.metadata.checkpoint
    }
}

impl CheckpointCoordinator {
    /// A savepoint after which the job goes on is whole.
    pub(super) fn savepoint_is_whole(
        &mut self,
        request: RequestId,
        completed: Completed,
        out: &mut Vec<Output>,
    ) {
        if completed.metadata.committables.is_empty() {
            let answer = Ok(completed);
            return out.push(Output::Answer { request, answer });
        }
        let unsettled = Unsettled { request, completed };
        self.unsettled.push(unsettled);
        if self.phase == Phase::Over {
            self.drop_unsettled("the job has ended", out);
        }
    }

    /// Whether a savepoint waits for a checkpoint after it, and none is on its way.
    pub(super) fn is_to_be_settled(&self) -> bool {
        let newest = self.unsettled.iter().map(Unsettled::checkpoint).max();
        newest.is_some_and(|savepoint| {
            let under_way = self.pending.values().chain(self.ready.values());
            let completing = self.completing.iter().map(|it| &it.pending);
            let follows =
                |it: &PendingCheckpoint| it.purpose.lists_for_good() && it.checkpoint > savepoint;
            !under_way.chain(completing).any(follows)
        })
    }

    /// The checkpoint that was to come after them is given up.
    pub(super) fn unsettled_by(
        &mut self,
        given_up: CheckpointId,
        reason: &str,
        out: &mut Vec<Output>,
    ) {
        let waited = (self.unsettled.iter()).any(|it| it.checkpoint() < given_up);
        if waited && self.is_to_be_settled() {
            let reason = format!("{given_up}, which was to follow it, failed: {reason}");
            self.drop_unsettled(&reason, out);
        }
    }

    /// A checkpoint that lists what all before it had prepared is true, and the job never goes back behind it.
    pub(super) fn settle_savepoints(&mut self, checkpoint: CheckpointId, out: &mut Vec<Output>) {
        let settled = (self.unsettled).extract_if(.., |it| it.checkpoint() < checkpoint);
        out.extend(settled.map(|Unsettled { request, completed }| {
            let answer = Ok(completed);
            Output::Answer { request, answer }
        }));
    }

    /// The job goes back behind them, or is another's: what they list is removed, and so are they.
    pub(super) fn drop_unsettled(&mut self, reason: &str, out: &mut Vec<Output>) {
        for Unsettled { request, completed } in std::mem::take(&mut self.unsettled) {
            let checkpoint = completed.metadata.checkpoint;
            let answer = Err(format!(
                "{checkpoint} failed: the output that it lists was not committed ({reason})"
            ));
            out.push(Output::Answer { request, answer });
            let directory = StorageCommand::DeleteDirectory(completed.directory);
            self.dispose(directory, true, out);
        }
    }
}
