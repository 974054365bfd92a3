//! What can go wrong between two subtasks, and what to do about it.
//!
//! Entered by gates and partitions, which keep the first error until their task asks for it; left as
//! the failure of that task. Invariant: nothing that was written is dropped without one of these.

use thalweg_core::ErrorKind;
use thalweg_memory::BudgetExceeded;
use thiserror::Error;

use crate::channel::{ChannelId, Sequence};
use crate::credit::LedgerError;

/// A fault of an exchange.
#[derive(Clone, Debug, Error)]
pub enum NetworkError {
    /// A parcel was lost, doubled or overtaken.
    #[error(
        "channel {channel}: parcel {got} came where {expected} was expected; data may be lost, so the \
         job must be restored from its last checkpoint"
    )]
    SequenceGap {
        /// The channel.
        channel: ChannelId,
        /// The number that had to come.
        expected: Sequence,
        /// The number that came.
        got: Sequence,
    },
    /// A parcel followed the end of its channel.
    #[error("channel {channel}: parcel {got} came after the end of the channel")]
    AfterEnd {
        /// The channel.
        channel: ChannelId,
        /// The number of the parcel.
        got: Sequence,
    },
    /// The other end broke the credit ledger.
    #[error("channel {channel}: {source}")]
    Ledger {
        /// The channel.
        channel: ChannelId,
        /// What was broken.
        source: LedgerError,
    },
    /// A record is larger than any buffer may be.
    #[error(
        "channel {channel}: a record of {size} bytes is larger than {limit} bytes; raise {key} or \
         split the record",
        key = crate::MAX_RECORD_SIZE_KEY
    )]
    RecordTooLarge {
        /// The channel the record was written to.
        channel: ChannelId,
        /// Bytes the record needs (at least).
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Neither a segment nor budget for one more was left.
    #[error(
        "channel {channel}: no memory for the next record: all {segments} network segments of the \
         shard are in use and the reserve is spent ({reserve}); raise {network} or {managed}, or \
         lower the parallelism",
        network = crate::NETWORK_MEMORY_KEY,
        managed = crate::MANAGED_MEMORY_KEY
    )]
    OutOfMemory {
        /// The channel the record was written to.
        channel: ChannelId,
        /// Segments the shard may lease before it overdraws.
        segments: usize,
        /// Why the reserve did not help.
        reserve: String,
    },
}

impl NetworkError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            NetworkError::SequenceGap { .. }
            | NetworkError::AfterEnd { .. }
            | NetworkError::Ledger { .. } => ErrorKind::Internal,
            NetworkError::RecordTooLarge { .. } => ErrorKind::Data,
            NetworkError::OutOfMemory { .. } => ErrorKind::Resource,
        }
    }

    /// No memory for a record of `channel`, because `budget` refused.
    pub(crate) fn over_budget(
        channel: ChannelId,
        segments: usize,
        budget: &BudgetExceeded,
    ) -> NetworkError {
        NetworkError::OutOfMemory {
            channel,
            segments,
            reserve: budget.to_string(),
        }
    }
}
