//! All outgoing channels of one edge of a subtask.
//!
//! Entered by the task, once per record ([`ResultPartition::write`]) and once per turn
//! ([`ResultPartition::end_turn`]); left to the outlet with sealed buffers. Invariants: a write never
//! blocks and never drops a record without an error; a task that looks at [`ResultPartition::ready`]
//! before each input record overdraws by at most the output of that one; records of a channel keep
//! their order. Lives on the shard's thread.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use thalweg_core::{KeyHash, ShardId, Timestamp};
use thalweg_memory::{BLOCK, Block, Buffer, BufferWriter, EntryLayout, Mark, TooLarge, Wire};

use super::flush::FlushList;
use super::outflow::Outflow;
use super::outlet::{Outlet, OutletRef};
use super::overtaking::Line;
use super::writer::{ChannelWriter, HeldMarks, picked_for};
use crate::channel::ChannelId;
use crate::credit::GateCredits;
use crate::error::NetworkError;
use crate::event::Event;
use crate::local::Handover;
use crate::parcel::spends_credit;
use crate::wake::WakeSlot;

/// Up to so many channels the records of a block are picked out for each.
const FEW: usize = 4;

/// Where one channel of a partition leads.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct OutputTarget {
    /// The channel.
    pub channel: ChannelId,
    /// The shard of the receiving subtask.
    pub shard: ShardId,
}

/// What all channels of a partition have in common.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PartitionConfig {
    /// What is kept beside each record.
    pub layout: EntryLayout,
    /// Credits of each channel; the receiving gates must be made with the same number.
    pub exclusive: u32,
    /// Bytes of the largest record.
    pub max_record_size: u64,
    /// How long a buffer that is not full waits for more records, in ns; 0 for not at all.
    pub flush_interval_ns: u64,
}

/// What a partition has sealed so far.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Records.
    pub records: u64,
    /// Bytes of records.
    pub bytes: u64,
    /// Buffers with records or marks.
    pub buffers: u64,
}

/// A look at a partition from outside its task: what it has sent, and what waits. Holds nothing of it.
#[derive(Clone, Debug)]
pub struct PartitionProbe {
    sent: Rc<Cell<Sent>>,
    outlet: Weak<RefCell<Outlet>>,
}

impl PartitionProbe {
    /// What has been sealed so far; the open buffers are not in it.
    pub fn sent(&self) -> Sent {
        self.sent.get()
    }

    /// Sealed parcels that wait for credit; 0 when the partition has gone.
    pub fn waiting(&self) -> usize {
        self.outlet
            .upgrade()
            .map_or(0, |outlet| outlet.borrow().waiting())
    }

    /// Buffers that all channels together may still send; 0 when the partition has gone.
    pub fn credits(&self) -> u64 {
        self.outlet
            .upgrade()
            .map_or(0, |outlet| outlet.borrow().credits())
    }
}

/// Segments that a partition of `channels` channels to gates of such credits can have in use at a time,
/// with no overdraft: what the network memory of a shard has to hold for it.
pub fn segments_needed(channels: usize, credits: GateCredits) -> usize {
    channels * (credits.exclusive as usize + 1) + credits.floating as usize
}

/// The outgoing channels of one edge of one subtask.
#[derive(Debug)]
pub struct ResultPartition {
    pub(super) writers: Vec<ChannelWriter>,
    layout: EntryLayout,
    held: Vec<HeldMarks>,
    flush: FlushList,
    pub(super) outlet: OutletRef,
    pub(super) handover: Handover,
    outflow: Outflow,
    max_record_size: u64,
    sent: Rc<Cell<Sent>>,
    ended: bool,
    pub(super) line: Line,
}

impl ResultPartition {
    /// A partition that leads to `targets`, known to the post from now on. `outflow` is shared by the
    /// partitions of a task; `wake` is rung when nothing of them is blocked any more and when a buffer
    /// that could not be flushed may be.
    ///
    /// # Panics
    /// If the config has no exclusive credit.
    pub fn new(
        handover: Handover,
        targets: &[OutputTarget],
        config: PartitionConfig,
        outflow: Outflow,
        wake: WakeSlot,
    ) -> ResultPartition {
        let outlet = Outlet::new(targets, config.exclusive, outflow.clone(), wake);
        let outlet = Rc::new(RefCell::new(outlet));
        handover.register_outlet(&outlet, targets.iter().map(|target| target.channel));
        ResultPartition {
            writers: targets.iter().map(|_| ChannelWriter::default()).collect(),
            layout: config.layout,
            held: vec![HeldMarks::default(); targets.len()],
            flush: FlushList::new(targets.len(), config.flush_interval_ns),
            outlet,
            handover,
            outflow,
            max_record_size: config.max_record_size,
            sent: Rc::default(),
            ended: false,
            line: Line::default(),
        }
    }

    /// What finds no credit waits without stopping the task, in segments and then in the reserve; when
    /// that is used up, [`Self::take_error`] says so. For the edge that leads back in a loop: a task that
    /// stopped for its reader would wait for itself. Nothing may have been written before.
    #[must_use]
    pub fn without_back_pressure(self) -> ResultPartition {
        self.outlet.borrow_mut().without_back_pressure();
        self
    }

    /// The number of channels.
    #[inline]
    pub fn channels(&self) -> usize {
        self.writers.len()
    }

    /// Writes one record to the channel at `place` (its position among the targets).
    ///
    /// Never fails for lack of credit: what is sealed without credit waits, and [`Self::ready`] turns
    /// false. Without a free segment the reserve pays; only beyond that, or if the record is larger than
    /// the largest allowed, the record is refused, and [`Self::take_error`] says why.
    ///
    /// # Panics
    /// If there is no such channel.
    #[inline(always)]
    pub fn write<W: Wire>(&mut self, place: usize, hash: KeyHash, at: Timestamp, item: &W::Of<'_>) {
        if !self.writers[place].put::<W>(self.layout, hash, at, item) {
            self.write_to_fresh::<W>(place, hash, at, item);
        }
    }

    /// Writes the records of a block, each to a channel of its own, as as many calls of [`Self::write`] would;
    /// only between channels the order is another.
    ///
    /// # Panics
    /// If there is no such channel.
    #[inline(always)]
    pub fn write_block<W: Wire>(&mut self, places: &[u64; BLOCK], block: &Block<'_, '_, W>) {
        if self.writers.len() > FEW {
            for (number, place) in places.iter().enumerate() {
                let (hash, at) = (block.hashes[number], block.ats[number]);
                self.write::<W>(*place as usize, hash, at, &block.items[number]);
            }
            return;
        }
        debug_assert!(
            places
                .iter()
                .all(|place| (*place as usize) < self.writers.len()),
            "there is such a channel"
        );
        // What is the same for all records of a channel is looked at once, by picking them out for each in turn.
        for place in 0..self.writers.len() {
            let mut left = picked_for(place as u64, places);
            while left != 0 {
                left = self.writers[place].put_picked::<W>(self.layout, block, left);
                if left != 0 {
                    let number = left.trailing_zeros() as usize;
                    let (hash, at) = (block.hashes[number], block.ats[number]);
                    self.write_to_fresh::<W>(place, hash, at, &block.items[number]);
                    left &= left - 1;
                }
            }
        }
    }

    /// Writes one record to every channel.
    pub fn broadcast<W: Wire>(&mut self, hash: KeyHash, at: Timestamp, item: &W::Of<'_>) {
        for place in 0..self.writers.len() {
            self.write::<W>(place, hash, at, item);
        }
    }

    /// Sets a mark on every channel behind what has been written. Marks ride along with records; on a
    /// channel without an open buffer they are held, and merged, until the next record or flush.
    pub fn mark(&mut self, mark: Mark) {
        for place in 0..self.writers.len() {
            if !self.writers[place].mark(mark) {
                self.held[place].hold(mark);
                self.flush.touch(place);
            }
        }
    }

    /// Seals the open buffer of every channel and sends the event behind it. An event that follows
    /// nothing unsent leaves without credit.
    pub fn event(&mut self, event: Event) {
        debug_assert!(!self.ended, "nothing follows the end");
        self.ended |= event == Event::EndOfPartition;
        for place in 0..self.writers.len() {
            self.close(place, Some(event));
        }
        self.flush.clear();
        if let Event::Barrier(barrier) = event {
            self.line.stands(barrier);
        }
        self.handover.dispatch();
    }

    /// To be called when the task's turn ends, at `now` (monotonic ns); `idle` if it will not go on by
    /// itself: no more input, or blocked. Without a flush interval an idle task's open buffers leave
    /// ([`Self::flush_idle`]), and those of a busy one every 10 ms; with one those whose time has come leave,
    /// on the same condition.
    /// Answers when this is to be called again at the latest.
    #[inline]
    pub fn end_turn(&mut self, now: u64, idle: bool) -> Option<u64> {
        if self.flush.is_empty() {
            return None;
        }
        if self.flush.is_timed() {
            return self.flush_due(now);
        }
        if idle || self.flush.kept_long(now) {
            self.flush.rest();
            self.flush_idle();
        }
        None
    }

    /// Sends the open buffers of channels of which nothing is unconsumed; of the others the task is
    /// woken when that is so. True if anything was sent.
    pub fn flush_idle(&mut self) -> bool {
        self.flush_each(|this, place| this.outlet.borrow_mut().may_flush(place))
    }

    /// Sends every open buffer, credit or not. True if anything was sent.
    pub fn flush_all(&mut self) -> bool {
        self.flush_each(|_, _| true)
    }

    /// As [`Self::flush_idle`], of those whose time has come; answers when that of the next one has.
    fn flush_due(&mut self, now: u64) -> Option<u64> {
        let mut next = None;
        self.flush_each(|this, place| {
            let due = this.flush.due(place, now);
            if due > now {
                next = Some(next.map_or(due, |next: u64| next.min(due)));
                return false;
            }
            this.outlet.borrow_mut().may_flush(place)
        });
        next
    }

    /// Whether no channel of any partition that shares the [`Outflow`] waits for credit: one load.
    #[inline]
    pub fn ready(&self) -> bool {
        self.outflow.is_ready()
    }

    /// What it has in common with the other partitions of its task.
    pub fn outflow(&self) -> Outflow {
        self.outflow.clone()
    }

    /// Whether everything written has left this partition.
    pub fn finished(&self) -> bool {
        self.flush.is_empty() && self.outlet.borrow().waiting() == 0
    }

    /// The first error, once. After one [`Self::ready`] stays false: the task must fail with it.
    pub fn take_error(&mut self) -> Option<NetworkError> {
        self.outlet.borrow_mut().take_error()
    }

    /// What has been sealed so far; the open buffers are not in it.
    pub fn sent(&self) -> Sent {
        self.sent.get()
    }

    /// A look at this partition that does not need it.
    pub fn probe(&self) -> PartitionProbe {
        PartitionProbe {
            sent: Rc::clone(&self.sent),
            outlet: Rc::downgrade(&self.outlet),
        }
    }

    /// Sends the open buffers of the channels that `may` be flushed. True if anything was sent.
    fn flush_each(&mut self, mut may: impl FnMut(&mut Self, usize) -> bool) -> bool {
        if self.flush.is_empty() {
            return false;
        }
        let before = self.sent.get().buffers;
        let mut listed = self.flush.take();
        listed.retain(|&place| {
            let place = place as usize;
            if !may(self, place) {
                return true;
            }
            self.close(place, None);
            self.flush.strike(place);
            false
        });
        self.flush.put_back(listed);
        let any = self.sent.get().buffers > before;
        if any {
            self.handover.dispatch();
        }
        any
    }

    /// Seals the full buffer, opens a fresh one and writes there; or the record is one for a buffer of
    /// its own.
    #[cold]
    #[inline(never)]
    fn write_to_fresh<W: Wire>(
        &mut self,
        place: usize,
        hash: KeyHash,
        at: Timestamp,
        item: &W::Of<'_>,
    ) {
        debug_assert!(!self.ended, "nothing follows the end");
        let Some(mut writer) = self.renew(place) else {
            return;
        };
        if writer.put::<W>(self.layout, hash, at, item).is_ok() {
            self.flush.touch(place);
            return self.writers[place].open(writer);
        }
        self.send_or_drop_empty(place, writer);
        let limit = usize::try_from(self.max_record_size).unwrap_or(usize::MAX);
        let large = Buffer::oversize::<W>(self.layout, hash, at, item, limit);
        self.send_oversize(place, large);
    }

    /// Sends what is open on the channel and answers an empty writer that carries its held marks.
    fn renew(&mut self, place: usize) -> Option<BufferWriter> {
        if let Some(full) = self.writers[place].take() {
            self.offer(place, full.seal(), None);
            self.handover.dispatch();
        }
        match self.handover.lease() {
            Ok(segment) => {
                let mut writer = BufferWriter::new(segment);
                self.held[place].take().for_each(|mark| writer.mark(mark));
                Some(writer)
            }
            Err(refused) => {
                let segments = self.handover.pool().limit();
                let mut outlet = self.outlet.borrow_mut();
                let channel = outlet.id(place);
                outlet.fail(NetworkError::over_budget(channel, segments, &refused));
                None
            }
        }
    }

    /// Handles a writer that turned out to be too small for its first record: its marks leave first.
    fn send_or_drop_empty(&mut self, place: usize, writer: BufferWriter) {
        let buffer = writer.seal();
        if spends_credit(&buffer) {
            self.offer(place, buffer, None);
        } else {
            self.handover.take_home(buffer);
        }
    }

    fn send_oversize(&mut self, place: usize, large: Result<Buffer, TooLarge>) {
        let channel = self.outlet.borrow().id(place);
        let error = match large {
            Ok(buffer) => match self.handover.reserve().reserve(buffer.used_bytes() as u64) {
                Ok(()) => {
                    self.offer(place, buffer, None);
                    return self.handover.dispatch();
                }
                Err(refused) => {
                    let segments = self.handover.pool().limit();
                    NetworkError::over_budget(channel, segments, &refused)
                }
            },
            Err(TooLarge { size, limit }) => NetworkError::RecordTooLarge {
                channel,
                size: size as u64,
                limit: limit as u64,
            },
        };
        self.outlet.borrow_mut().fail(error);
    }

    /// Sends what is open on a channel, or the marks held there, and the event behind it.
    fn close(&mut self, place: usize, event: Option<Event>) {
        if let Some(open) = self.writers[place].take() {
            return self.offer(place, open.seal(), event);
        }
        let mut last = Buffer::empty();
        for mark in self.held[place].take() {
            let before = std::mem::replace(&mut last, Buffer::of_mark(mark));
            if spends_credit(&before) {
                self.offer(place, before, None);
            }
        }
        if spends_credit(&last) || event.is_some() {
            self.offer(place, last, event);
        }
    }

    /// Hands a sealed buffer to the outlet and what may leave to the post.
    fn offer(&mut self, place: usize, buffer: Buffer, event: Option<Event>) {
        if spends_credit(&buffer) {
            let mut sent = self.sent.get();
            sent.buffers += 1;
            sent.records += buffer.records() as u64;
            sent.bytes += buffer.used_bytes() as u64;
            self.sent.set(sent);
            self.outflow.sealed(buffer.used_bytes() as u64);
        }
        let leaving = self.outlet.borrow_mut().offer(place, buffer, event);
        if let Some((to, parcel)) = leaving {
            self.handover.send(to, parcel);
        }
    }
}

impl Drop for ResultPartition {
    /// Takes home what was not sent. What is on its way comes home by itself.
    fn drop(&mut self) {
        for writer in &mut self.writers {
            if let Some(open) = writer.take() {
                self.handover.take_home(open.seal());
            }
        }
        for buffer in self.outlet.borrow_mut().abandon() {
            self.handover.take_home(buffer);
        }
    }
}
