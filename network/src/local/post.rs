//! What a shard's post owns: lanes and what does not fit into them, the segments, the memory beyond
//! them, and who is at the ends of the channels here.
//!
//! Entered by the handover only. Invariants: parcels for one shard leave in the order in which they were
//! sent, whether or not the lane had room; nothing waits for room; a segment leased here is given back
//! here, and what was charged for it to the reserve that was charged. Lives on the shard's thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Weak;

use thalweg_core::ShardId;
use thalweg_core::shard::mesh::MeshEnd;
use thalweg_memory::{Budget, BudgetExceeded, Buffer, Segment, SegmentPool};

use crate::channel::ChannelId;
use crate::input::gate::InputGate;
use crate::output::outlet::Outlet;
use crate::parcel::Parcel;

/// The receiving end of a channel on this shard.
pub(super) enum InputRoute {
    /// Never heard of: its task is still being deployed.
    Unknown,
    /// The gate and the channel's place in it.
    Open(Weak<RefCell<InputGate>>, u32),
    /// The gate has gone.
    Closed,
}

/// The sending end of a channel on this shard: the outlet and the channel's place in it. Dangling when
/// there is none or it has gone.
pub(super) type OutputRoute = (Weak<RefCell<Outlet>>, u32);

/// The sending end of a channel and the reserve that pays for what it overdraws, which outlives it.
struct Output {
    route: OutputRoute,
    reserve: Option<Budget>,
}

/// Everything a post owns.
pub(super) struct Post {
    pub(super) shard: ShardId,
    mesh: MeshEnd<Parcel>,
    pool: SegmentPool,
    /// By target shard: what the lane had no room for.
    outboxes: Vec<VecDeque<Parcel>>,
    /// Parcels in all outboxes.
    held_up: usize,
    /// Parcels from this shard to itself, not yet delivered.
    pub(super) own: VecDeque<Parcel>,
    inputs: Vec<InputRoute>,
    outputs: Vec<Output>,
    /// Parcels that came before their gate was registered; bounded by their senders' credits.
    early: BTreeMap<ChannelId, Vec<(ShardId, Parcel)>>,
    /// What follows from the delivery under way; empty between deliveries, kept for its memory.
    pub(super) replies: Vec<(ShardId, Parcel)>,
}

impl Post {
    pub(super) fn new(mesh: MeshEnd<Parcel>, pool: SegmentPool) -> Post {
        Post {
            shard: pool.shard(),
            mesh,
            pool,
            outboxes: Vec::new(),
            held_up: 0,
            own: VecDeque::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            early: BTreeMap::new(),
            replies: Vec::new(),
        }
    }

    /// A segment to fill: from the pool, and when that is empty from the allocator, charged to the
    /// reserve.
    pub(super) fn lease(&mut self, reserve: &Budget) -> Result<Segment, BudgetExceeded> {
        if let Some(segment) = self.pool.lease() {
            return Ok(segment);
        }
        let size = self.pool.segment_size();
        reserve.reserve(size as u64)?;
        Ok(Segment::overdraft(self.shard, size))
    }

    /// What a channel of this shard sent has come home.
    pub(super) fn come_home(
        &mut self,
        channel: ChannelId,
        segment: Option<Segment>,
        oversize_bytes: u64,
    ) {
        let charged = oversize_bytes + overdrawn(segment.as_ref());
        if charged > 0 {
            self.reserve_of(channel).release(charged);
        }
        if let Some(segment) = segment {
            self.pool.give_back(segment);
        }
    }

    /// Gives back what an own buffer holds that was charged to `reserve`, without sending it.
    pub(super) fn take_home(&mut self, buffer: Buffer, reserve: &Budget) {
        let oversize_bytes = oversize(&buffer);
        let segment = buffer.into_segment();
        reserve.release(oversize_bytes + overdrawn(segment.as_ref()));
        if let Some(segment) = segment {
            self.pool.give_back(segment);
        }
    }

    fn reserve_of(&self, channel: ChannelId) -> &Budget {
        let output = self.outputs.get(channel.index());
        match output.and_then(|output| output.reserve.as_ref()) {
            Some(reserve) => reserve,
            None => unreachable!("{channel} has sent from here, so its output was registered"),
        }
    }

    pub(super) fn pool(&self) -> &SegmentPool {
        &self.pool
    }

    /// Sends to a shard, which may be this one. Never waits; visible to another shard after
    /// [`Post::publish`].
    pub(super) fn send(&mut self, to: ShardId, parcel: Parcel) {
        if to == self.shard {
            self.own.push_back(parcel);
            return;
        }
        let place = to.index();
        let outbox_is_empty = self.outboxes.get(place).is_none_or(VecDeque::is_empty);
        let parcel = if outbox_is_empty {
            match self.mesh.sender(to).push(parcel) {
                Ok(()) => return,
                Err(parcel) => parcel,
            }
        } else {
            parcel
        };
        if self.outboxes.len() <= place {
            self.outboxes.resize_with(place + 1, VecDeque::new);
        }
        self.outboxes[place].push_back(parcel);
        self.held_up += 1;
    }

    /// Puts into the lanes what they have room for now; true if anything moved.
    pub(super) fn flush_outboxes(&mut self) -> bool {
        if self.held_up == 0 {
            return false;
        }
        let before = self.held_up;
        for place in 0..self.outboxes.len() {
            let Ok(to) = u16::try_from(place).map(ShardId) else {
                unreachable!("there are fewer than 65,536 shards")
            };
            while let Some(parcel) = self.outboxes[place].pop_front() {
                self.held_up -= 1;
                let lane = self.mesh.sender(to);
                if lane.is_closed() {
                    self.reclaim(parcel);
                } else if let Err(parcel) = lane.push(parcel) {
                    self.outboxes[place].push_front(parcel);
                    self.held_up += 1;
                    break;
                }
            }
        }
        self.held_up < before
    }

    /// Moves up to `max` parcels of every inbound lane into `arrivals`.
    pub(super) fn drain_lanes(&mut self, max: usize, arrivals: &mut Vec<(ShardId, Parcel)>) {
        for (from, lane) in self.mesh.receivers() {
            lane.drain(max, |parcel| arrivals.push((from, parcel)));
        }
    }

    /// Makes what was sent visible, and wakes the shards that sleep.
    pub(super) fn publish(&mut self) {
        self.mesh.publish_all();
    }

    /// Whether nothing is there to be moved in either direction.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.own.is_empty()
            && self.held_up == 0
            && self.mesh.receivers().all(|(_, lane)| lane.is_empty())
    }

    /// Parcels that the lanes had no room for.
    pub(super) fn held_up(&self) -> usize {
        self.held_up
    }

    pub(super) fn input(&self, channel: ChannelId) -> &InputRoute {
        self.inputs
            .get(channel.index())
            .unwrap_or(&InputRoute::Unknown)
    }

    pub(super) fn set_input(&mut self, channel: ChannelId, route: InputRoute) {
        let place = channel.index();
        if self.inputs.len() <= place {
            self.inputs.resize_with(place + 1, || InputRoute::Unknown);
        }
        self.inputs[place] = route;
    }

    pub(super) fn output(&self, channel: ChannelId) -> Option<&OutputRoute> {
        let output = self.outputs.get(channel.index())?;
        Some(&output.route)
    }

    pub(super) fn set_output(&mut self, channel: ChannelId, route: OutputRoute, reserve: Budget) {
        let place = channel.index();
        if self.outputs.len() <= place {
            let vacant = || Output {
                route: (Weak::new(), 0),
                reserve: None,
            };
            self.outputs.resize_with(place + 1, vacant);
        }
        let output = &mut self.outputs[place];
        debug_assert_eq!(output.route.0.strong_count(), 0, "{channel} has one sender");
        output.route = route;
        output.reserve = Some(reserve);
    }

    /// Keeps a parcel whose gate is not registered yet.
    pub(super) fn keep_early(&mut self, channel: ChannelId, from: ShardId, parcel: Parcel) {
        self.early.entry(channel).or_default().push((from, parcel));
    }

    /// Parcels whose gate is not registered yet.
    pub(super) fn early(&self) -> usize {
        self.early.values().map(Vec::len).sum()
    }

    pub(super) fn take_early(&mut self, channel: ChannelId) -> Vec<(ShardId, Parcel)> {
        self.early.remove(&channel).unwrap_or_default()
    }

    /// Takes what is ours out of a parcel that nobody will ever receive.
    fn reclaim(&mut self, parcel: Parcel) {
        if let Parcel::Data {
            channel, buffer, ..
        } = parcel
        {
            let oversize_bytes = oversize(&buffer);
            self.come_home(channel, buffer.into_segment(), oversize_bytes);
        }
    }
}

/// Bytes that a buffer of its own took for a record longer than a segment.
fn oversize(buffer: &Buffer) -> u64 {
    match buffer.is_oversize() {
        true => buffer.used_bytes() as u64,
        false => 0,
    }
}

/// Bytes that a segment beyond the pool took.
fn overdrawn(segment: Option<&Segment>) -> u64 {
    let overdraft = segment.filter(|segment| segment.is_overdraft());
    overdraft.map_or(0, |segment| segment.len() as u64)
}
