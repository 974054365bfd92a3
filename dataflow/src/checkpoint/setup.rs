//! What a deployer gives a task so that it can take part in checkpoints.
//!
//! Made on the task's shard, from what the coordinator decided. Invariant: without one a task never meets a
//! barrier. Lives on one shard's thread; answers are plain data.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use thalweg_core::ids::{CheckpointId, OperatorId, VertexId};
use thalweg_memory::EntryLayout;
use thalweg_network::ChannelId;
use thalweg_state::{ChannelPath, TaskSnapshot};

use super::command::TaskInbox;
use super::planted::{CrashListener, Defect};
use super::restored::RestoredState;

/// The part of a checkpoint that holds the splits a source still has to read, with their positions.
pub const SPLITS: &str = "splits";

/// A channel on which barriers may overtake records, at either of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelPart {
    /// What it is called in checkpoints.
    pub path: ChannelPath,
    /// What stands beside each of its records.
    pub layout: EntryLayout,
}

/// A task's part in checkpoints.
#[derive(Clone)]
pub struct CheckpointSetup {
    /// The operators of the task's vertex, in chain order.
    pub operators: Vec<OperatorId>,
    /// The directory for runs; it exists.
    pub directory: PathBuf,
    /// Told apart from every other attempt of the job, so that no two write the same file.
    pub attempt: u32,
    /// Whether barriers are waited for on all channels (exactly once) or only counted (at least once).
    pub exactly_once: bool,
    /// The channels of the task, at both ends, on which barriers may overtake.
    pub channels: BTreeMap<ChannelId, ChannelPart>,
    /// Where commands to this task come from.
    pub inbox: TaskInbox,
    /// What the job was restored from, if it was.
    pub restored: Option<Rc<RestoredState>>,
    /// What is done wrong on purpose.
    pub defect: Option<Defect>,
    /// Who is told of points at which to crash.
    pub crash_points: CrashListener,
    /// Takes the task's answers.
    pub answer: Rc<dyn Fn(CheckpointAnswer)>,
}

/// What a task says to a checkpoint: it is done, perhaps after it was declined, so that what a sink prepared is
/// known all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointAnswer {
    /// Everything is durable.
    Done(TaskSnapshot),
    /// What was in flight to the task when the job was cut has been read again.
    Replayed {
        /// The vertex of the task.
        vertex: VertexId,
        /// Which of its subtasks.
        subtask: u32,
    },
    /// Something could not be written. The task goes on.
    Declined {
        /// The vertex of the task.
        vertex: VertexId,
        /// Which of its subtasks.
        subtask: u32,
        /// The checkpoint that cannot be completed.
        checkpoint: CheckpointId,
        /// What went wrong, where, and how to mend it.
        reason: String,
    },
}
