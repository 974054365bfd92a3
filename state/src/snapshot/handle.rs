//! What a task answers to a checkpoint: receipts for what it wrote, and the small states themselves.
//!
//! Made on a shard when everything of a subtask is durable, carried to the coordinator, kept in the metadata
//! of the checkpoint and handed back when a job is restored. Invariant: a handle names a file that was
//! synced before the handle was made. Plain data, lives on any thread.

use std::ops::Range;

use thalweg_core::ids::{CheckpointId, OperatorId, VertexId};

use super::in_flight::InFlightFile;
use crate::run::StateNumber;

/// The receipt for one run: a file of rows that one operator of one subtask wrote at one cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHandle {
    /// The name of the file within the directory of shared files; never a path.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// CRC-32C over all its bytes.
    pub checksum: u32,
    /// How many rows it holds, tombstones included, of the states that count.
    pub rows: u64,
    /// The key groups whose rows count: those of the subtask that wrote it, or a part of them after a rescale.
    pub groups: Range<u16>,
    /// Whether it holds all states of its operator in full, so that no older run is needed below it.
    pub full: bool,
    /// The only state whose rows count, by its number in the file; none where those of all count. So a file that
    /// several states took over from a copy stands in the chain once for each, at the place it has for that state.
    pub only: Option<StateNumber>,
}

/// How the items of a part find their subtasks when a job is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Redistribution {
    /// The items of all subtasks are dealt out, each to one.
    Split,
    /// Every subtask gets the items of all.
    Union,
    /// Every subtask has the same items: new subtask i takes those of old subtask i modulo their number.
    Broadcast,
}

/// State of an operator that belongs to no key: positions of a source, pending files of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorPart {
    /// Its name, unique within the operator.
    pub name: String,
    /// How its items are dealt out.
    pub redistribution: Redistribution,
    /// The items, opaque to everybody but the operator.
    pub items: Vec<Vec<u8>>,
}

/// All that one operator of one subtask remembers at one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorSnapshot {
    /// Which operator: the identity that outlives changes of the program.
    pub operator: OperatorId,
    /// How its user calls it, for messages.
    pub name: String,
    /// The runs that together are its keyed state, newest first.
    pub runs: Vec<RunHandle>,
    /// Its other states.
    pub parts: Vec<OperatorPart>,
    /// What its sink prepared and the completion of the checkpoint commits.
    pub committables: Vec<Vec<u8>>,
}

impl TaskSnapshot {
    /// The names of all files it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let runs = self.operators.iter().flat_map(|operator| &operator.runs);
        let in_flight = self.in_flight.iter().map(|file| file.file.as_str());
        runs.map(|run| run.file.as_str()).chain(in_flight)
    }
}

impl OperatorSnapshot {
    /// A snapshot of an operator that remembers nothing.
    #[must_use]
    pub fn empty(operator: OperatorId, name: impl Into<String>) -> OperatorSnapshot {
        OperatorSnapshot {
            operator,
            name: name.into(),
            runs: Vec::new(),
            parts: Vec::new(),
            committables: Vec::new(),
        }
    }

    /// Whether it remembers nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.parts.is_empty() && self.committables.is_empty()
    }
}

/// A task's answer to one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSnapshot {
    /// The vertex of the task.
    pub vertex: VertexId,
    /// Which of its subtasks.
    pub subtask: u32,
    /// The checkpoint it answers.
    pub checkpoint: CheckpointId,
    /// Its operators that remember something, in chain order.
    pub operators: Vec<OperatorSnapshot>,
    /// What its barrier overtook, before it and behind it.
    pub in_flight: Vec<InFlightFile>,
    /// How the answer came about.
    pub effort: SnapshotEffort,
}

/// What a snapshot cost, for users who look at checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotEffort {
    /// Bytes written for this checkpoint.
    pub bytes_written: u64,
    /// Of these, bytes of records in flight.
    pub bytes_in_flight: u64,
    /// From the first barrier of an input to the last, in ns.
    pub alignment_ns: u64,
    /// From the cut until everything was durable, in ns.
    pub write_ns: u64,
}
