//! What passes between two posts: a sealed buffer one way, credits and empty segments the other.
//!
//! Entered by `output/` and `input/`, carried by `local/`. Invariant: a parcel owns everything in it, so
//! that dropping it anywhere frees its memory and moving it moves no bytes. Travels between the threads
//! of two shards.

use thalweg_core::ShardId;
use thalweg_memory::{Buffer, Segment};

use crate::channel::{ChannelId, Sequence};
use crate::event::Event;

/// One thing in a lane.
#[derive(Debug)]
pub enum Parcel {
    /// A sealed buffer, an event, or both: the buffer's records stand before the event.
    Data {
        /// The channel.
        channel: ChannelId,
        /// Its number within the channel.
        sequence: Sequence,
        /// The records and marks; may be empty if there is an event. One with records or marks spends a credit.
        buffer: Buffer,
        /// Buffers the sender could send beyond its credits.
        backlog: u32,
        /// What sealed the buffer.
        event: Option<Event>,
    },
    /// Credits, and what is left of consumed buffers, on the way home.
    Credit {
        /// The channel.
        channel: ChannelId,
        /// Credits granted.
        amount: u32,
        /// Buffers of the channel that have been consumed.
        consumed: u32,
        /// The segment of the consumed buffer, back to its pool.
        segment: Option<Segment>,
        /// Bytes of consumed oversize buffers, back to the sender's budget.
        oversize_bytes: u64,
    },
}

/// Whether a buffer needs a credit to travel: one with records or marks does, an event alone does not,
/// so that a barrier or the end of input is never held up by an empty ledger.
#[inline]
pub(crate) fn spends_credit(buffer: &Buffer) -> bool {
    buffer.records() > 0 || buffer.marks().next().is_some()
}

/// What a consumed `buffer` gives back to shard `home`, with `amount` credits.
pub(crate) fn give_back(channel: ChannelId, home: ShardId, buffer: Buffer, amount: u32) -> Parcel {
    let consumed = u32::from(spends_credit(&buffer));
    let oversize_bytes = if buffer.is_oversize() {
        buffer.used_bytes() as u64
    } else {
        0
    };
    let segment = buffer.into_segment();
    debug_assert!(
        segment
            .as_ref()
            .is_none_or(|segment| segment.home() == home)
    );
    Parcel::Credit {
        channel,
        amount,
        consumed,
        segment,
        oversize_bytes,
    }
}
