//! All incoming channels of a subtask, and the fair choice among them.
//!
//! Entered by the handover, which delivers, and by the task, which takes buffers and gives them back
//! consumed. Invariants: the order within a channel is kept; no channel with data is passed over more
//! than once per round; every buffer that is given back returns exactly one credit (to its sender, to
//! another channel, or to the gate's floating ones) and its segment. Lives on the shard's thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use thalweg_core::ShardId;
use thalweg_memory::Buffer;

use super::overtaking::Overtaking;
use super::queue::{Arrived, InputQueue};
use crate::channel::{ChannelId, Sequence};
use crate::credit::{GateCredits, Grant, LedgerError, ReceiverCredit};
use crate::error::NetworkError;
use crate::event::Event;
use crate::local::Handover;
use crate::parcel::{Parcel, give_back, spends_credit};
use crate::wake::WakeSlot;

/// A gate as its task and the handover share it.
pub type GateRef = Rc<RefCell<InputGate>>;

/// One buffer that a task may read. Must be given back by [`InputGate::consumed`].
#[derive(Debug)]
pub struct Arrival {
    /// Which input of the task it belongs to (0, or 1 for the second of a two-input head ...).
    pub input: u32,
    /// The channel it came on.
    pub channel: ChannelId,
    /// The records and marks; may be empty if there is an event.
    pub buffer: Buffer,
    /// What follows the buffer's last record.
    pub event: Option<Event>,
}

impl Arrival {
    /// Whether the buffer brought records or marks, and not the event alone.
    #[inline]
    pub fn is_buffer(&self) -> bool {
        spends_credit(&self.buffer)
    }
}

#[derive(Debug)]
pub(super) struct GateChannel {
    pub(super) id: ChannelId,
    input: u32,
    pub(super) queue: InputQueue,
    /// The shard of the sender, known from its first parcel on.
    peer: Option<ShardId>,
    /// Not to be read from now (its barrier is ahead of the others').
    blocked: bool,
    /// Stands in the line of channels with data.
    in_line: bool,
    /// Barriers may overtake buffers here.
    pub(super) overtakable: bool,
}

/// All incoming channels of a subtask.
pub struct InputGate {
    pub(super) channels: Vec<GateChannel>,
    /// (id, place in `channels`), sorted by id.
    places: Vec<(ChannelId, u32)>,
    /// Where the last buffer came from: the next to be given back, most often.
    last: Option<(ChannelId, u32)>,
    line: VecDeque<u32>,
    ledger: ReceiverCredit,
    queued: usize,
    finished: usize,
    error: Option<NetworkError>,
    wake: WakeSlot,
    home: Option<Handover>,
    pub(super) overtaking: Overtaking,
}

impl InputGate {
    /// A gate with the channels of every input. `wake` is rung when something arrives.
    ///
    /// # Panics
    /// If no credit is exclusive or a channel appears twice.
    pub fn new(inputs: Vec<Vec<ChannelId>>, credits: GateCredits, wake: WakeSlot) -> InputGate {
        let mut channels = Vec::new();
        for (input, ids) in (0u32..).zip(inputs) {
            channels.extend(ids.into_iter().map(|id| GateChannel {
                id,
                input,
                queue: InputQueue::default(),
                peer: None,
                blocked: false,
                in_line: false,
                overtakable: false,
            }));
        }
        let mut places: Vec<(ChannelId, u32)> = channels
            .iter()
            .map(|channel| channel.id)
            .zip(0u32..)
            .collect();
        places.sort_unstable();
        assert!(
            places.windows(2).all(|pair| pair[0].0 != pair[1].0),
            "a channel appears twice"
        );
        InputGate {
            ledger: ReceiverCredit::new(channels.len(), credits),
            channels,
            places,
            last: None,
            line: VecDeque::new(),
            queued: 0,
            finished: 0,
            error: None,
            wake,
            home: None,
            overtaking: Overtaking::default(),
        }
    }

    /// The channels of the gate, by place.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> + '_ {
        self.channels.iter().map(|channel| channel.id)
    }

    /// The channels of one input.
    pub fn channels_of(&self, input: u32) -> impl Iterator<Item = ChannelId> + '_ {
        let of_input = self
            .channels
            .iter()
            .filter(move |channel| channel.input == input);
        of_input.map(|channel| channel.id)
    }

    /// As [`InputGate::next`], of the channels of one input only.
    pub fn next_of(&mut self, input: u32) -> Option<Arrival> {
        // Whoever is passed over keeps the place in line.
        let of_input = |place: &u32| {
            let channel = &self.channels[*place as usize];
            channel.input == input && !channel.blocked
        };
        let first = self.line.iter().position(of_input)?;
        let place = self.line.remove(first)?;
        self.line.push_front(place);
        self.next()
    }

    /// The input of every channel, by place.
    pub fn inputs(&self) -> impl Iterator<Item = u32> + '_ {
        self.channels.iter().map(|channel| channel.input)
    }

    /// The next buffer: channels with data take turns. `None` if nothing has arrived on a channel that
    /// is not blocked.
    #[inline]
    #[allow(
        clippy::should_implement_trait,
        reason = "not an iterator: what it gives out has to be given back before it goes on for long"
    )]
    pub fn next(&mut self) -> Option<Arrival> {
        loop {
            let place = self.line.pop_front()?;
            let channel = &mut self.channels[place as usize];
            debug_assert!(channel.in_line);
            channel.in_line = false;
            if channel.blocked {
                continue;
            }
            let Some(Arrived { buffer, event }) = channel.queue.pop() else {
                unreachable!("a channel in line has data")
            };
            if !channel.queue.is_empty() {
                channel.in_line = true;
                self.line.push_back(place);
            }
            self.finished += usize::from(channel.queue.is_finished());
            self.queued -= 1;
            self.last = Some((channel.id, place));
            return Some(Arrival {
                input: channel.input,
                channel: channel.id,
                buffer,
                event,
            });
        }
    }

    /// Gives a buffer back that has been read: its segment and its credit go home. A buffer that came
    /// with an event only may be given back or dropped.
    ///
    /// # Panics
    /// If the gate has no such channel.
    pub fn consumed(&mut self, channel: ChannelId, buffer: Buffer) {
        if !spends_credit(&buffer) {
            return;
        }
        let place = self.place(channel);
        let returned = match self.ledger.returned(place) {
            Ok(returned) => returned,
            Err(source) => return self.fail(NetworkError::Ledger { channel, source }),
        };
        let Some(home) = self.home.clone() else {
            return;
        };
        let Some(peer) = self.channels[place as usize].peer else {
            unreachable!("a buffer of channel {channel} came from nowhere")
        };
        let parcel = give_back(channel, peer, buffer, returned.granted);
        let passed_on = returned.passed_on.map(|grant| self.credit_for(grant));
        home.send_credits(std::iter::once((peer, parcel)).chain(passed_on));
    }

    /// Reads no more from a channel until it is unblocked: its arrivals wait.
    ///
    /// # Panics
    /// If the gate has no such channel.
    pub fn block(&mut self, channel: ChannelId) {
        let place = self.place(channel);
        self.channels[place as usize].blocked = true;
    }

    /// Reads from a channel again.
    ///
    /// # Panics
    /// If the gate has no such channel.
    pub fn unblock(&mut self, channel: ChannelId) {
        let place = self.place(channel);
        self.channels[place as usize].blocked = false;
        self.line_up(place);
    }

    /// Whether every channel has ended and every arrival has been taken.
    pub fn ended(&self) -> bool {
        self.finished == self.channels.len()
    }

    /// Parcels that have arrived and were not taken yet, of blocked channels too.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// The first fault of this gate, once.
    pub fn take_error(&mut self) -> Option<NetworkError> {
        self.error.take()
    }

    /// Takes one parcel of the channel at `place` from shard `from`. What has to be sent back because of
    /// it is added to `replies`.
    pub(crate) fn deliver(
        &mut self,
        place: u32,
        from: ShardId,
        delivery: Delivery,
        replies: &mut Vec<(ShardId, Parcel)>,
    ) {
        let Delivery {
            sequence,
            buffer,
            backlog,
            event,
        } = delivery;
        let channel = &mut self.channels[place as usize];
        let id = channel.id;
        debug_assert!(
            channel.peer.is_none_or(|peer| peer == from),
            "a channel has one sender"
        );
        channel.peer = Some(from);
        let credited = spends_credit(&buffer);
        if let Err(error) = channel.queue.admit(id, sequence) {
            replies.push((from, give_back(id, from, buffer, 0)));
            return self.fail(error);
        }
        if self
            .overtaking
            .arrived(place, channel.overtakable, &buffer, event)
        {
            self.wake.wake();
        }
        channel.queue.push(Arrived { buffer, event });
        self.queued += 1;
        self.line_up(place);
        if credited {
            match self.ledger.arrived(place, backlog) {
                Ok(0) => {}
                Ok(amount) => replies.push(self.credit_for(Grant {
                    slot: place,
                    amount,
                })),
                Err(source) => self.fail_ledger(id, source),
            }
        }
        if event == Some(Event::EndOfPartition) {
            for grant in self.ledger.ended(place) {
                replies.push(self.credit_for(grant));
            }
        }
    }

    /// Tells the gate through which post its credits go home.
    pub(crate) fn attach(&mut self, home: Handover) {
        debug_assert!(self.home.is_none(), "a gate is registered once");
        self.home = Some(home);
    }

    /// Wakes the task and puts the channel in line, if it has data and may be read.
    fn line_up(&mut self, place: u32) {
        let channel = &mut self.channels[place as usize];
        if channel.blocked || channel.queue.is_empty() {
            return;
        }
        if !channel.in_line {
            channel.in_line = true;
            self.line.push_back(place);
        }
        self.wake.wake();
    }

    fn credit_for(&self, grant: Grant) -> (ShardId, Parcel) {
        let channel = &self.channels[grant.slot as usize];
        let Some(peer) = channel.peer else {
            unreachable!("channel {} asked for credit without a parcel", channel.id)
        };
        let parcel = Parcel::Credit {
            channel: channel.id,
            amount: grant.amount,
            consumed: 0,
            segment: None,
            oversize_bytes: 0,
        };
        (peer, parcel)
    }

    fn fail_ledger(&mut self, channel: ChannelId, source: LedgerError) {
        self.fail(NetworkError::Ledger { channel, source });
    }

    fn fail(&mut self, error: NetworkError) {
        tracing::error!(%error, "input gate failed");
        self.error.get_or_insert(error);
        self.wake.wake();
    }

    /// The place of a channel; the one read last is found at once.
    #[inline]
    pub(super) fn place(&self, channel: ChannelId) -> u32 {
        if let Some((last, place)) = self.last
            && last == channel
        {
            return place;
        }
        let Ok(found) = self.places.binary_search_by_key(&channel, |&(id, _)| id) else {
            unreachable!("channel {channel} is not of this gate")
        };
        self.places[found].1
    }
}

/// The part of a data parcel that the gate needs.
pub(crate) struct Delivery {
    pub(crate) sequence: Sequence,
    pub(crate) buffer: Buffer,
    pub(crate) backlog: u32,
    pub(crate) event: Option<Event>,
}

impl Drop for InputGate {
    /// Closes every channel and sends home what was not read, so that senders are never stuck on a
    /// receiver that has gone.
    fn drop(&mut self) {
        let Some(home) = self.home.take() else { return };
        let mut leftover = Vec::new();
        for channel in &mut self.channels {
            let Some(peer) = channel.peer else { continue };
            while let Some(arrived) = channel.queue.pop() {
                leftover.push((peer, give_back(channel.id, peer, arrived.buffer, 1)));
            }
        }
        home.close_inputs(self.channels.iter().map(|channel| channel.id));
        home.send_credits(leftover.into_iter());
    }
}
