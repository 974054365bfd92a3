//! The sealed half of a partition: what each channel has sent and what waits there for credit.
//!
//! Entered by the partition with sealed buffers and by the post with credits; left to the post with
//! parcels. Invariants: parcels of a channel leave in the order in which they were sealed, numbered
//! without a gap; a buffer leaves only on a credit; what finds none waits here and counts the channel as
//! blocked, so that the task stops, unless the edge leads back in a loop. Shared between the task and the post of its shard; lives on the
//! shard's thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use thalweg_core::{CheckpointId, ShardId};
use thalweg_memory::{Buffer, Cursor, Remainder};

use super::outflow::Outflow;
use super::partition::OutputTarget;
use crate::channel::{ChannelId, Sequence};
use crate::credit::SenderCredit;
use crate::error::NetworkError;
use crate::event::{Barrier, Event};
use crate::parcel::{Parcel, spends_credit};
use crate::wake::WakeSlot;

pub(crate) type OutletRef = Rc<RefCell<Outlet>>;

#[derive(Debug)]
struct Waiting {
    buffer: Buffer,
    event: Option<Event>,
}

impl Waiting {
    /// Whether the barrier of this checkpoint follows it.
    fn brings(&self, checkpoint: CheckpointId) -> bool {
        matches!(self.event, Some(Event::Barrier(barrier)) if barrier.checkpoint == checkpoint)
    }
}

#[derive(Debug)]
struct OutletChannel {
    id: ChannelId,
    shard: ShardId,
    next: Sequence,
    credit: SenderCredit,
    waiting: VecDeque<Waiting>,
    /// How many of `waiting` need a credit.
    waiting_buffers: u32,
    /// The task has an open buffer here and wants to be woken when nothing is unconsumed.
    flush_when_consumed: bool,
}

impl OutletChannel {
    fn parcel(&mut self, waiting: Waiting, backlog: u32) -> Parcel {
        let Waiting { buffer, event } = waiting;
        Parcel::Data {
            channel: self.id,
            sequence: self.next.take(),
            buffer,
            backlog,
            event,
        }
    }
}

/// The channels of one partition.
#[derive(Debug)]
pub(crate) struct Outlet {
    channels: Vec<OutletChannel>,
    waiting: usize,
    outflow: Outflow,
    wake: WakeSlot,
    error: Option<NetworkError>,
    failed: bool,
    /// Whether the task stops for a channel that waits.
    pushes_back: bool,
}

impl Outlet {
    pub(crate) fn new(
        targets: &[OutputTarget],
        exclusive: u32,
        outflow: Outflow,
        wake: WakeSlot,
    ) -> Outlet {
        let channels = targets
            .iter()
            .map(|target| OutletChannel {
                id: target.channel,
                shard: target.shard,
                next: Sequence::default(),
                credit: SenderCredit::new(exclusive),
                waiting: VecDeque::new(),
                waiting_buffers: 0,
                flush_when_consumed: false,
            })
            .collect();
        Outlet {
            channels,
            waiting: 0,
            outflow,
            wake,
            error: None,
            failed: false,
            pushes_back: true,
        }
    }

    /// Nobody stops for a channel that waits. To be said before anything waits.
    pub(crate) fn without_back_pressure(&mut self) {
        debug_assert_eq!(self.waiting, 0);
        self.pushes_back = false;
    }

    pub(crate) fn id(&self, place: usize) -> ChannelId {
        self.channels[place].id
    }

    /// Takes a sealed buffer: answers the parcel to send now, or keeps it until credit comes.
    pub(crate) fn offer(
        &mut self,
        place: usize,
        buffer: Buffer,
        event: Option<Event>,
    ) -> Option<(ShardId, Parcel)> {
        let channel = &mut self.channels[place];
        channel.flush_when_consumed = false;
        let credited = spends_credit(&buffer);
        let offered = Waiting { buffer, event };
        if channel.waiting.is_empty() {
            let backlog = if credited {
                channel.credit.spend(0)
            } else {
                Some(0)
            };
            if let Some(backlog) = backlog {
                return Some((channel.shard, channel.parcel(offered, backlog)));
            }
            if self.pushes_back {
                self.outflow.block();
            }
        }
        debug_assert!(
            credited || channel.waiting_buffers > 0,
            "an event waits behind buffers only"
        );
        channel.waiting_buffers += u32::from(credited);
        channel.waiting.push_back(offered);
        self.waiting += 1;
        None
    }

    /// Credits came for the channel at `place`, and `consumed` buffers are reported read.
    pub(crate) fn settle(&mut self, place: usize, amount: u32, consumed: u32) {
        let channel = &mut self.channels[place];
        let id = channel.id;
        if let Err(source) = channel.credit.settle(amount, consumed) {
            return self.fail(NetworkError::Ledger {
                channel: id,
                source,
            });
        }
        if channel.flush_when_consumed && channel.credit.in_flight() == 0 {
            channel.flush_when_consumed = false;
            self.wake.wake();
        }
    }

    /// The next parcel that waits on the channel at `place` and may leave now.
    pub(crate) fn release(&mut self, place: usize) -> Option<(ShardId, Parcel)> {
        let channel = &mut self.channels[place];
        let credited = spends_credit(&channel.waiting.front()?.buffer);
        let behind = channel.waiting_buffers - u32::from(credited);
        let backlog = if credited {
            channel.credit.spend(behind)?
        } else {
            behind
        };
        let waiting = channel.waiting.pop_front()?;
        channel.waiting_buffers = behind;
        self.waiting -= 1;
        if let Some(Event::Barrier(Barrier {
            overtakes_at: Some(_),
            ..
        })) = waiting.event
        {
            // Its checkpoint waits to hear that it overtook nothing.
            self.wake.wake();
        }
        // Without back-pressure the task may wait for the last of it all the same, at its end.
        if channel.waiting.is_empty() && (!self.pushes_back || self.outflow.unblock()) {
            self.wake.wake();
        }
        Some((channel.shard, channel.parcel(waiting, backlog)))
    }

    /// Whether the barrier of this checkpoint waits on any channel.
    pub(crate) fn holds(&self, checkpoint: CheckpointId) -> bool {
        let mut waiting = self.channels.iter().flat_map(|channel| &channel.waiting);
        self.waiting > 0 && waiting.any(|waiting| waiting.brings(checkpoint))
    }

    /// Sends the barrier ahead of what waits on the channel at `place`, if it is there, and copies what it
    /// overtakes.
    pub(crate) fn overtake(
        &mut self,
        place: usize,
        checkpoint: CheckpointId,
    ) -> Option<(Vec<Remainder>, (ShardId, Parcel))> {
        let channel = &mut self.channels[place];
        let at = channel
            .waiting
            .iter()
            .position(|it| it.brings(checkpoint))?;
        let Some(Event::Barrier(barrier)) = channel.waiting[at].event.take() else {
            unreachable!("a barrier was found there");
        };
        let overtaken = channel.waiting.range(..=at);
        let overtaken = overtaken.map(|waiting| waiting.buffer.remainder(&Cursor::default()));
        let overtaken = overtaken.filter(|rest| !rest.is_empty()).collect();
        if !spends_credit(&channel.waiting[at].buffer) {
            channel.waiting.remove(at);
            self.waiting -= 1;
        }
        let ahead = Waiting {
            buffer: Buffer::empty(),
            event: Some(Event::Barrier(Barrier {
                overtakes_at: Some(0),
                ..barrier
            })),
        };
        let backlog = channel.waiting_buffers;
        Some((overtaken, (channel.shard, channel.parcel(ahead, backlog))))
    }

    /// Whether a half-full buffer of the channel may leave: nothing sent there is unconsumed. If not,
    /// the task is woken when that is so.
    pub(crate) fn may_flush(&mut self, place: usize) -> bool {
        let channel = &mut self.channels[place];
        let quiet = channel.credit.in_flight() == 0 && channel.waiting.is_empty();
        channel.flush_when_consumed = !quiet;
        quiet
    }

    /// Parcels that wait for credit.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Buffers that all channels together may still send.
    pub(crate) fn credits(&self) -> u64 {
        let available = |channel: &OutletChannel| u64::from(channel.credit.available());
        self.channels.iter().map(available).sum()
    }

    /// Keeps the first error and stops the task, so that it looks for it.
    pub(crate) fn fail(&mut self, error: NetworkError) {
        if !self.failed {
            tracing::error!(%error, "result partition failed");
            self.failed = true;
            self.outflow.block();
            self.error = Some(error);
        }
        self.wake.wake();
    }

    pub(crate) fn take_error(&mut self) -> Option<NetworkError> {
        self.error.take()
    }

    /// Takes every buffer that still waits, for a partition that goes away.
    pub(crate) fn abandon(&mut self) -> Vec<Buffer> {
        let mut buffers = Vec::with_capacity(self.waiting);
        for channel in &mut self.channels {
            if !channel.waiting.is_empty() && self.pushes_back {
                self.outflow.unblock();
            }
            channel.waiting_buffers = 0;
            buffers.extend(channel.waiting.drain(..).map(|waiting| waiting.buffer));
        }
        self.waiting = 0;
        buffers
    }
}
