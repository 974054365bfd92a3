//! A shard's post: everything that goes from a task of this shard to another task, on this shard or
//! another, passes here.
//!
//! Entered by partitions with sealed buffers, by gates with consumed ones, and by the shard's loop as a
//! [`Pump`]. To another shard the buffer itself passes through the lane; to this one it passes through a
//! queue and is delivered at once if the receiving task is not just using its gate. A full lane holds
//! nobody up: the parcel waits in an outbox. The lanes are transport; flow control is the credit alone,
//! so queues here are bounded by the credits of their channels.
//!
//! Invariants: order per channel is kept on every path; whoever waits (for data, for credit, for its
//! half-full buffer to be allowed out) is woken; every segment goes home, also when a task goes away in
//! the middle. Lives on the shard's thread; the handle is `Rc`-like and cannot leave it.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use thalweg_core::ShardId;
use thalweg_core::shard::executor::Pump;
use thalweg_core::shard::mesh::MeshEnd;
use thalweg_memory::{Budget, BudgetExceeded, Buffer, Segment, SegmentPool};

use super::post::{InputRoute, Post};
use crate::channel::ChannelId;
use crate::input::gate::GateRef;
use crate::output::outlet::OutletRef;
use crate::parcel::Parcel;

/// Parcels taken from one lane per pump: a busy sender does not keep the shard from its tasks.
const DRAIN_AT_ONCE: usize = 256;

/// The post of one shard. Clones are handles to the same post.
#[derive(Clone)]
pub struct Handover {
    post: Rc<RefCell<Post>>,
    /// What partitions made with this handle overdraw is charged here.
    reserve: Budget,
    arrivals: Rc<RefCell<Vec<(ShardId, Parcel)>>>,
}

/// A handle to a shard's post.
pub type HandoverRef = Handover;

impl Handover {
    /// The post of the shard that `pool` belongs to. `mesh` is that shard's end of all lanes; `reserve`
    /// pays for segments beyond the pool and for records larger than a segment.
    pub fn new(mesh: MeshEnd<Parcel>, pool: SegmentPool, reserve: Budget) -> Handover {
        let post = Rc::new(RefCell::new(Post::new(mesh, pool)));
        Handover {
            post,
            reserve,
            arrivals: Rc::default(),
        }
    }

    /// A handle to the same post whose partitions overdraw at the cost of another reserve.
    #[must_use]
    pub fn charging(&self, reserve: Budget) -> Handover {
        Handover {
            reserve,
            ..self.clone()
        }
    }

    /// The shard of this post.
    pub fn shard(&self) -> ShardId {
        self.post.borrow().shard
    }

    /// The segments of the shard, for metrics.
    pub fn pool(&self) -> Ref<'_, SegmentPool> {
        Ref::map(self.post.borrow(), Post::pool)
    }

    /// Answers how many segments of the shard are in use, as long as the post is there; holds nothing of it.
    pub fn segments_used(&self) -> impl Fn() -> Option<usize> + 'static {
        let post = Rc::downgrade(&self.post);
        move || Some(post.upgrade()?.borrow().pool().leased())
    }

    /// What pays for segments beyond the pool and for records larger than a segment.
    pub fn reserve(&self) -> &Budget {
        &self.reserve
    }

    /// Parcels that wait because a lane is full, for metrics.
    pub fn held_up(&self) -> usize {
        self.post.borrow().held_up()
    }

    /// Parcels that came before their gate was registered.
    pub fn early(&self) -> usize {
        self.post.borrow().early()
    }

    /// Makes a gate known: from now on its channels' parcels reach it, those that came before first.
    ///
    /// # Panics
    /// If the gate, or a gate with one of its channels, is registered already, or `gate` is borrowed.
    pub fn register_gate(&self, gate: &GateRef) {
        gate.borrow_mut().attach(self.clone());
        let channels: Vec<ChannelId> = gate.borrow().channels().collect();
        let mut post = self.post.borrow_mut();
        for (place, &channel) in (0u32..).zip(&channels) {
            let open =
                matches!(post.input(channel), InputRoute::Open(gate, _) if gate.strong_count() > 0);
            assert!(!open, "channel {channel} has a gate already");
            post.set_input(channel, InputRoute::Open(Rc::downgrade(gate), place));
        }
        for channel in channels {
            for (from, parcel) in post.take_early(channel) {
                let held = post.deliver(from, parcel).is_some();
                assert!(
                    !held,
                    "the gate of channel {channel} is held while it is registered"
                );
            }
        }
        post.deliver_own();
        post.publish();
    }

    /// Makes the channels of a partition known, so that credits find it.
    pub(crate) fn register_outlet(
        &self,
        outlet: &OutletRef,
        channels: impl Iterator<Item = ChannelId>,
    ) {
        let mut post = self.post.borrow_mut();
        for (place, channel) in (0u32..).zip(channels) {
            let route = (Rc::downgrade(outlet), place);
            post.set_output(channel, route, self.reserve.clone());
        }
    }

    /// The gate of these channels goes away.
    pub(crate) fn close_inputs(&self, channels: impl Iterator<Item = ChannelId>) {
        let mut post = self.post.borrow_mut();
        for channel in channels {
            post.set_input(channel, InputRoute::Closed);
        }
    }

    /// A segment to fill.
    pub(crate) fn lease(&self) -> Result<Segment, BudgetExceeded> {
        self.post.borrow_mut().lease(&self.reserve)
    }

    /// Gives back what an own buffer holds, without sending it.
    pub(crate) fn take_home(&self, buffer: Buffer) {
        self.post.borrow_mut().take_home(buffer, &self.reserve);
    }

    /// Puts a parcel on its way; [`Handover::dispatch`] must follow.
    #[inline]
    pub(crate) fn send(&self, to: ShardId, parcel: Parcel) {
        self.post.borrow_mut().send(to, parcel);
    }

    /// Delivers what this shard has sent to itself and publishes what it has sent to others.
    pub(crate) fn dispatch(&self) {
        let mut post = self.post.borrow_mut();
        post.deliver_own();
        post.publish();
    }

    /// Sends credits and consumed segments home.
    pub(crate) fn send_credits(&self, parcels: impl Iterator<Item = (ShardId, Parcel)>) {
        let mut post = self.post.borrow_mut();
        for (to, parcel) in parcels {
            post.send(to, parcel);
        }
        post.deliver_own();
        post.publish();
    }
}

impl Pump for Handover {
    fn pump(&mut self) -> bool {
        let mut post = self.post.borrow_mut();
        let mut arrivals = self.arrivals.borrow_mut();
        let mut moved = post.flush_outboxes();
        // Own parcels that an earlier delivery had to leave are older than anything that follows.
        moved |= post.deliver_own();
        post.drain_lanes(DRAIN_AT_ONCE, &mut arrivals);
        moved |= !arrivals.is_empty();
        for (from, parcel) in arrivals.drain(..) {
            let held = post.deliver(from, parcel).is_some();
            assert!(!held, "no task runs, so nobody holds a gate");
        }
        moved |= post.deliver_own();
        post.publish();
        moved
    }

    fn ready_to_park(&mut self) -> bool {
        self.post.borrow_mut().is_quiet()
    }
}

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handover({})", self.shard())
    }
}
