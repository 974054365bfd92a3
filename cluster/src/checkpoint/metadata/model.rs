//! The content of a checkpoint's metadata.
//!
//! Made when all receipts are in, kept by the store, read back to restore. Plain data, lives on any thread.
//! Invariant, held when it is read: vertices, operators and subtasks are told apart by their ids and stand
//! in order; key groups and subtasks are within the parallelism their vertex had.

use std::collections::BTreeMap;
use std::fmt;

use thalweg_core::ids::{CheckpointId, JobId, OperatorId, VertexId};
use thalweg_state::snapshot::{InFlightFile, OperatorPart, RunHandle};

/// Whose copy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckpointKind {
    /// The engine's: its runs lie with those of other checkpoints, and the engine deletes it.
    Checkpoint,
    /// The user's: all its files lie beside its metadata, and nobody but the user deletes it.
    Savepoint,
}

impl fmt::Display for CheckpointKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CheckpointKind::Checkpoint => "checkpoint",
            CheckpointKind::Savepoint => "savepoint",
        })
    }
}

/// A completed checkpoint or savepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointMetadata {
    /// The job it was taken of.
    pub job: JobId,
    /// How its user calls the job.
    pub job_name: String,
    /// Its number.
    pub checkpoint: CheckpointId,
    /// Whose copy it is.
    pub kind: CheckpointKind,
    /// When it was started: ms since 1970 by the wall clock, for people.
    pub started_ms: i64,
    /// The vertices of the job, by id.
    pub vertices: Vec<VertexState>,
    /// What sinks prepared up to this checkpoint and nobody has been told to be committed, oldest first.
    pub committables: Vec<PendingCommittable>,
    /// What barriers overtook: records that have left one task and are in the state of no other.
    pub in_flight: Vec<InFlightFile>,
}

/// One vertex at the time of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexState {
    /// Its place in the graph it was part of; another program may number otherwise.
    pub vertex: VertexId,
    /// Its name.
    pub name: String,
    /// How many subtasks it had.
    pub parallelism: u32,
    /// How many key groups its keys fall into.
    pub max_parallelism: u32,
    /// The subtasks that had reached the end of their input, ascending.
    pub finished: Vec<u32>,
    /// Its operators in chain order, with state or without.
    pub operators: Vec<OperatorState>,
}

impl VertexState {
    /// Whether all its subtasks had reached the end of their input.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished.len() == self.parallelism as usize
    }
}

/// One operator at the time of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorState {
    /// The identity that outlives changes of the program.
    pub operator: OperatorId,
    /// How its user calls it.
    pub name: String,
    /// Those of its subtasks that remember something, ascending.
    pub subtasks: Vec<SubtaskState>,
}

/// What one operator of one subtask remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubtaskState {
    /// Which subtask.
    pub subtask: u32,
    /// Its keyed state, newest run first.
    pub runs: Vec<RunHandle>,
    /// Its other states.
    pub parts: Vec<OperatorPart>,
}

/// Something a sink prepared: opaque to everybody but the sink's committer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingCommittable {
    /// The checkpoint at whose barrier it was prepared.
    pub checkpoint: CheckpointId,
    /// The sink.
    pub operator: OperatorId,
    /// The subtask that prepared it.
    pub subtask: u32,
    /// What the committer reads.
    pub bytes: Vec<u8>,
}

impl CheckpointMetadata {
    /// All operators with the vertex they are part of.
    pub fn operators(&self) -> impl Iterator<Item = (&VertexState, &OperatorState)> {
        let vertices = self.vertices.iter();
        vertices.flat_map(|vertex| {
            vertex
                .operators
                .iter()
                .map(move |operator| (vertex, operator))
        })
    }

    /// All runs; a file that several subtasks read is there several times.
    pub fn runs(&self) -> impl Iterator<Item = &RunHandle> {
        let operators = self
            .operators()
            .flat_map(|(_, operator)| &operator.subtasks);
        operators.flat_map(|subtask| &subtask.runs)
    }

    /// Every file once, by name, with its length in bytes and its checksum.
    #[must_use]
    pub fn files(&self) -> BTreeMap<&str, FileFacts> {
        let facts = |run: &RunHandle| FileFacts {
            bytes: run.bytes,
            checksum: run.checksum,
        };
        let in_flight = self.in_flight.iter().map(|file| {
            let (bytes, checksum) = (file.bytes, file.checksum);
            (file.file.as_str(), FileFacts { bytes, checksum })
        });
        self.runs()
            .map(|run| (run.file.as_str(), facts(run)))
            .chain(in_flight)
            .collect()
    }

    /// Bytes of all its files together.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.files().values().map(|file| file.bytes).sum()
    }
}

/// What a file must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileFacts {
    /// Its length in bytes.
    pub bytes: u64,
    /// CRC-32C over all its bytes.
    pub checksum: u32,
}
