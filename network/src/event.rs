//! What travels between records and seals the buffer before it.
//!
//! Entered by tasks through [`ResultPartition::event`](crate::ResultPartition::event), left at
//! [`InputGate::next`](crate::InputGate::next). Invariant: an event stands after every record that was
//! written before it to the same channel and before every record written after it, but for a barrier that
//! overtakes: what it went ahead of is copied, for the checkpoint to keep. Watermarks and idle
//! marks are not here: they do not seal, and lie inside the buffer (`thalweg_memory::Mark`). Plain
//! values; live on any thread.

use thalweg_core::{CheckpointId, Epoch};

/// The line between the records of one checkpoint and the next.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Barrier {
    /// The checkpoint that this barrier belongs to.
    pub checkpoint: CheckpointId,
    /// The epoch of the coordinator that asked for it: a late barrier of a fenced one is refused.
    pub epoch: Epoch,
    /// How much is written.
    pub kind: BarrierKind,
    /// From when on it goes ahead of buffers that wait, monotonic ns: 0 for at once. None where it never does.
    pub overtakes_at: Option<u64>,
}

impl Barrier {
    /// Whether it goes ahead of buffers that wait, now.
    #[inline]
    pub fn overtakes(&self, now: u64) -> bool {
        self.overtakes_at.is_some_and(|at| at <= now)
    }
}

/// What is cut at a barrier.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum BarrierKind {
    /// What changed since the last one; an operator may write everything where that is better.
    Changes,
    /// Everything, so that nothing older is needed.
    Everything,
    /// Everything, beside the row of checkpoints: later ones build on what they would have built on
    /// without it.
    Copy,
}

/// A mark that runs through the body of a loop, from its head back to its head: when it has come back on
/// every way, everything that was sent before it has, too. The heads of a loop tell each other by it
/// whether there was anything.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Lap {
    /// Which loop of the job.
    pub iteration: u32,
    /// Counts the laps of the loop, from 1.
    pub number: u32,
    /// Between heads: whether nothing came back during this lap.
    pub quiet: bool,
}

/// An event that seals the open buffer of a channel and follows it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A checkpoint is to be cut here.
    Barrier(Barrier),
    /// Is everything in a loop still?
    Lap(Lap),
    /// Nothing follows on this channel, ever.
    EndOfPartition,
}
