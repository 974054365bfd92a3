//! What a barrier overtakes on its way into a task: the buffers before it in the queues of a gate, and those that
//! still come on channels it has not reached.
//!
//! Owned by the gate, from the cut of an unaligned checkpoint until its barrier has come on every channel.
//! Invariants: of each channel it holds exactly what came between the cut and the channel's barrier, or its end,
//! in order. What was queued is bounded by the credits of the channels; what comes until a barrier that is slow is
//! not, so whoever owns the gate gives up what becomes too much. Lives on the shard's thread.

use thalweg_core::CheckpointId;
use thalweg_memory::{Buffer, Cursor, Remainder};

use super::queue::InputQueue;
use crate::channel::ChannelId;
use crate::event::Event;

/// The buffers of one channel that a barrier overtook, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overtaken {
    /// The channel.
    pub channel: ChannelId,
    /// What was in them, or what was left of them.
    pub buffers: Vec<Remainder>,
}

/// The buffer a task works on while it cuts its state.
#[derive(Debug)]
pub struct InWork {
    /// Its channel.
    pub channel: ChannelId,
    /// What is left of it.
    pub rest: Remainder,
    /// What follows it.
    pub event: Option<Event>,
}

/// One checkpoint's data in flight to a gate.
#[derive(Debug)]
pub(super) struct Capture {
    checkpoint: CheckpointId,
    /// By place.
    channels: Vec<Captured>,
    /// Channels whose barrier has not come.
    open: usize,
    /// Bytes of records.
    bytes: u64,
}

#[derive(Debug)]
struct Captured {
    id: ChannelId,
    is_open: bool,
    buffers: Vec<Remainder>,
}

impl Capture {
    /// Nothing yet, for channels that all have brought the barrier.
    pub(super) fn new(
        checkpoint: CheckpointId,
        channels: impl Iterator<Item = ChannelId>,
    ) -> Capture {
        let closed = |id| Captured {
            id,
            is_open: false,
            buffers: Vec::new(),
        };
        Capture {
            checkpoint,
            channels: channels.map(closed).collect(),
            open: 0,
            bytes: 0,
        }
    }

    pub(super) fn checkpoint(&self) -> CheckpointId {
        self.checkpoint
    }

    /// The channel at `place` has not brought the barrier. Takes what is left of the buffer in work, if it is of
    /// this channel, and what is queued.
    pub(super) fn open(&mut self, place: u32, in_work: Option<InWork>, queue: &InputQueue) {
        self.channels[place as usize].is_open = true;
        self.open += 1;
        if let Some(InWork { rest, event, .. }) = in_work {
            self.take(place, || rest, event);
        }
        for arrived in queue.iter() {
            self.arrived(place, &arrived.buffer, arrived.event);
        }
    }

    /// A buffer has come on the channel at `place`, and what follows it.
    pub(super) fn arrived(&mut self, place: u32, buffer: &Buffer, event: Option<Event>) {
        self.take(place, || buffer.remainder(&Cursor::default()), event);
    }

    fn take(&mut self, place: u32, rest: impl FnOnce() -> Remainder, event: Option<Event>) {
        let channel = &mut self.channels[place as usize];
        if !channel.is_open {
            return;
        }
        let rest = rest();
        self.bytes += rest.bytes.len() as u64;
        if !rest.is_empty() {
            channel.buffers.push(rest);
        }
        let closes = match event {
            Some(Event::Barrier(barrier)) => barrier.checkpoint == self.checkpoint,
            Some(Event::EndOfPartition) => true,
            Some(Event::Lap(_)) | None => false,
        };
        if closes {
            channel.is_open = false;
            self.open -= 1;
        }
    }

    /// Bytes of records that were copied so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether every channel has brought the barrier or ended.
    pub(super) fn is_whole(&self) -> bool {
        self.open == 0
    }

    /// What was overtaken, of the channels on which anything was.
    pub(super) fn into_overtaken(self) -> Vec<Overtaken> {
        let any = self.channels.into_iter();
        let any = any.filter(|channel| !channel.buffers.is_empty());
        any.map(|channel| Overtaken {
            channel: channel.id,
            buffers: channel.buffers,
        })
        .collect()
    }
}
