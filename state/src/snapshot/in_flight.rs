//! What a task answers about records in flight: a file of what the barrier of an unaligned checkpoint overtook.
//!
//! Made on a shard when the file is durable, kept in the metadata of the checkpoint, dealt out to the tasks that
//! read those records when a job is restored. Plain data, lives on any thread.

use thalweg_core::ids::OperatorId;

/// One channel of a job, told by what outlives changes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelPath {
    /// The first operator of the tasks that read it.
    pub receiver: OperatorId,
    /// Which of their inputs.
    pub input: u32,
    /// Which of them.
    pub to: u32,
    /// The last operator of the tasks that write it.
    pub sender: OperatorId,
    /// Which of the edges from there to this input.
    pub port: u32,
    /// Which of the writing tasks.
    pub from: u32,
    /// Whether records go by the hashes beside them.
    pub keyed: bool,
}

/// The records in flight on one channel, as a part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlightSection {
    /// The channel.
    pub path: ChannelPath,
    /// Whether they had not left the task that writes the channel: they come after those that had.
    pub at_sender: bool,
    /// Where in the file it begins.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// CRC-32C over these.
    pub checksum: u32,
}

/// The receipt for one file of records in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlightFile {
    /// The name of the file within the directory of shared files; never a path.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// CRC-32C over all its bytes.
    pub checksum: u32,
    /// What it holds.
    pub sections: Vec<InFlightSection>,
}
