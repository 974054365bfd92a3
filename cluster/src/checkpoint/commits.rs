//! What sinks prepared and nobody has been told to be committed.
//!
//! Owned by the coordinator. What a sink prepared at the barrier of a checkpoint is told once, in the answer
//! to it; if that checkpoint fails, the next one that completes commits it. Plain data. Invariant: an entry
//! is in the metadata of every checkpoint that completes from its own on, until it is known to be committed.

use thalweg_core::ids::CheckpointId;
use thalweg_state::snapshot::TaskSnapshot;

use super::metadata::PendingCommittable;

/// The entries, oldest first.
#[derive(Clone, Debug, Default)]
pub struct CommitLedger {
    entries: Vec<PendingCommittable>,
}

impl CommitLedger {
    /// A ledger with what a restored checkpoint had not yet seen committed.
    #[must_use]
    pub fn with(entries: Vec<PendingCommittable>) -> CommitLedger {
        let mut ledger = CommitLedger { entries };
        ledger.sort();
        ledger
    }

    fn sort(&mut self) {
        // Stable: entries of one checkpoint stay in the order in which they came.
        self.entries.sort_by_key(|entry| entry.checkpoint);
    }

    /// Takes in what a task prepared, as part of `checkpoint`.
    pub fn add(&mut self, snapshot: &TaskSnapshot, checkpoint: CheckpointId) {
        for operator in &snapshot.operators {
            let entries = operator
                .committables
                .iter()
                .map(|bytes| PendingCommittable {
                    checkpoint,
                    operator: operator.operator,
                    subtask: snapshot.subtask,
                    bytes: bytes.clone(),
                });
            self.entries.extend(entries);
        }
        self.sort();
    }

    /// What a checkpoint that completes now lists.
    #[must_use]
    pub fn up_to(&self, checkpoint: CheckpointId) -> Vec<PendingCommittable> {
        let entries = self.entries.iter();
        entries
            .filter(|entry| entry.checkpoint <= checkpoint)
            .cloned()
            .collect()
    }

    /// All that this checkpoint listed is committed.
    pub fn committed(&mut self, checkpoint: CheckpointId) {
        self.entries.retain(|entry| entry.checkpoint > checkpoint);
    }

    /// Takes out what no checkpoint up to this one lists, of those that `which` says.
    pub fn discard_where(
        &mut self,
        checkpoint: CheckpointId,
        which: impl Fn(&PendingCommittable) -> bool,
    ) -> Vec<PendingCommittable> {
        let gone = |entry: &mut PendingCommittable| entry.checkpoint > checkpoint && which(entry);
        self.entries.extract_if(.., gone).collect()
    }

    /// Takes out what no checkpoint up to this one lists: it will never be committed.
    pub fn discard_after(&mut self, checkpoint: CheckpointId) -> Vec<PendingCommittable> {
        let first = self
            .entries
            .partition_point(|entry| entry.checkpoint <= checkpoint);
        self.entries.split_off(first)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::ids::{OperatorId, VertexId};
    use thalweg_state::snapshot::{OperatorSnapshot, SnapshotEffort};

    use super::*;

    fn prepared(subtask: u32, bytes: &[u8]) -> TaskSnapshot {
        let mut operator = OperatorSnapshot::empty(OperatorId(7), "sink");
        operator.committables.push(bytes.to_vec());
        TaskSnapshot {
            vertex: VertexId(0),
            subtask,
            checkpoint: CheckpointId(0),
            operators: vec![operator],
            in_flight: Vec::new(),
            effort: SnapshotEffort::default(),
        }
    }

    #[test]
    fn what_was_prepared_for_one_that_failed_is_listed_by_the_next_until_committed() {
        let mut ledger = CommitLedger::default();
        ledger.add(&prepared(0, b"a"), CheckpointId(1));
        ledger.add(&prepared(1, b"c"), CheckpointId(3));
        ledger.add(&prepared(1, b"b"), CheckpointId(2));
        let listed = |ledger: &CommitLedger, checkpoint| -> Vec<Vec<u8>> {
            let entries = ledger.up_to(CheckpointId(checkpoint));
            entries.into_iter().map(|entry| entry.bytes).collect()
        };
        assert_eq!(listed(&ledger, 2), [b"a", b"b"]);
        ledger.committed(CheckpointId(1));
        assert_eq!(listed(&ledger, 3), [b"b", b"c"]);
        let discarded = ledger.discard_after(CheckpointId(2));
        assert_eq!(discarded.len(), 1);
        assert_eq!(discarded[0].bytes, b"c");
        assert_eq!(listed(&ledger, 9), [b"b"]);
    }
}
