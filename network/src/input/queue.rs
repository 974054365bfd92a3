//! The arrivals of one channel, checked for order.
//!
//! Entered by the gate when a parcel is delivered, left when the gate chooses this channel. Invariant:
//! what leaves is what the sender sent, in its order, without gap or double; nothing is accepted after
//! the end. Its length is bounded by the credits of the channel (and one event per checkpoint), not by
//! the queue. Lives on the shard's thread.

use std::collections::VecDeque;

use thalweg_memory::Buffer;

use crate::channel::{ChannelId, Sequence};
use crate::error::NetworkError;
use crate::event::Event;

/// One parcel that has arrived: a buffer, and the event that seals it.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) buffer: Buffer,
    pub(crate) event: Option<Event>,
}

/// The queue of one channel.
#[derive(Debug, Default)]
pub(crate) struct InputQueue {
    arrived: VecDeque<Arrived>,
    expected: Sequence,
    /// The end has been queued.
    ended: bool,
}

impl InputQueue {
    /// Whether the parcel `sequence` of `channel` is the one that has to come now.
    pub(crate) fn admit(&self, channel: ChannelId, sequence: Sequence) -> Result<(), NetworkError> {
        if sequence != self.expected {
            let expected = self.expected;
            return Err(NetworkError::SequenceGap {
                channel,
                expected,
                got: sequence,
            });
        }
        if self.ended {
            return Err(NetworkError::AfterEnd {
                channel,
                got: sequence,
            });
        }
        Ok(())
    }

    /// Takes a parcel that was admitted.
    pub(crate) fn push(&mut self, arrived: Arrived) {
        debug_assert!(!self.ended, "only what was admitted is pushed");
        let _ = self.expected.take();
        self.ended = arrived.event == Some(Event::EndOfPartition);
        self.arrived.push_back(arrived);
    }

    /// Those that were not taken, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arrived> {
        self.arrived.iter()
    }

    /// The oldest parcel.
    pub(crate) fn pop(&mut self) -> Option<Arrived> {
        self.arrived.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    /// The end has been queued and everything has been taken.
    pub(crate) fn is_finished(&self) -> bool {
        self.ended && self.arrived.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: ChannelId = ChannelId(3);

    fn push(queue: &mut InputQueue, sequence: u64, event: Option<Event>) -> Option<NetworkError> {
        let refused = queue.admit(CHANNEL, Sequence(sequence)).err();
        if refused.is_none() {
            queue.push(Arrived {
                buffer: Buffer::empty(),
                event,
            });
        }
        refused
    }

    fn queue_of(count: u64) -> InputQueue {
        let mut queue = InputQueue::default();
        for number in 0..count {
            assert!(push(&mut queue, number, None).is_none());
        }
        queue
    }

    #[test]
    fn gap_double_and_overtaking_are_errors() {
        for wrong in [0, 1, 3, 4] {
            let mut queue = queue_of(2);
            let refused = push(&mut queue, wrong, None);
            let Some(NetworkError::SequenceGap {
                channel,
                expected,
                got,
            }) = refused
            else {
                panic!("parcel {wrong} was accepted");
            };
            assert_eq!(
                (channel, expected, got),
                (CHANNEL, Sequence(2), Sequence(wrong))
            );
            assert_eq!(queue.arrived.len(), 2);
            assert!(push(&mut queue, 2, None).is_none());
        }
    }

    #[test]
    fn nothing_follows_the_end() {
        let mut queue = queue_of(1);
        assert!(push(&mut queue, 1, Some(Event::EndOfPartition)).is_none());
        let refused = push(&mut queue, 2, None);
        assert!(matches!(refused, Some(NetworkError::AfterEnd { .. })));
        assert!(!queue.is_finished());
        assert!(queue.pop().is_some_and(|arrived| arrived.event.is_none()));
        assert!(queue.pop().is_some());
        assert!(queue.is_finished() && queue.is_empty() && queue.pop().is_none());
    }
}
