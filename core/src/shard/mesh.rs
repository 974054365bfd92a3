//! All lanes of a process: one from every shard to every other.
//!
//! [`Mesh::build`] makes them before the shards start; each shard then takes its [`MeshEnd`] along to its
//! thread and is the only one to touch it. Entered by whatever a shard uses to send and drain (its post),
//! left towards the consumers' doorbells.
//!
//! Invariants:
//! - end `a`'s sender for `b` and end `b`'s receiver for `a` are the two ends of one lane;
//! - a lane may hold unpublished items only while it is marked dirty, and [`MeshEnd::publish_all`]
//!   publishes each dirty lane and rings its consumer's doorbell *after* the publication, never before;
//! - there is a lane from a shard to itself too, so that callers need no special case; whoever can skip
//!   it should.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::ids::ShardId;
use crate::shard::doorbell::Doorbell;
use crate::shard::lane::{LaneReceiver, LaneSender, lane};

/// The maker of meshes for messages of type `M`.
pub struct Mesh<M>(PhantomData<M>);

impl<M: Send> Mesh<M> {
    /// Makes the lanes between `shards` shards, each with room for `capacity` messages (rounded up to a
    /// power of two), and returns the shards' ends in the order of their ids.
    ///
    /// ```
    /// use thalweg_core::ShardId;
    /// use thalweg_core::shard::mesh::Mesh;
    /// let mut ends = Mesh::<u32>::build(2, 64);
    /// assert!(ends[0].sender(ShardId(1)).push(7).is_ok());
    /// ends[0].publish_all();
    /// let (from, lane) = ends[1].receivers().next().unwrap();
    /// assert_eq!((from, lane.pop()), (ShardId(0), Some(7)));
    /// ```
    ///
    /// # Panics
    /// When `shards` is 0 or above 65,536, or `capacity` is one [`lane`] refuses.
    #[must_use]
    pub fn build(shards: usize, capacity: usize) -> Vec<MeshEnd<M>> {
        assert!(shards > 0, "a mesh needs at least one shard");
        assert!(shards <= 1 << 16, "{shards} shards do not fit a shard id");
        let mut ends: Vec<MeshEnd<M>> = (0..shards)
            .map(|shard| MeshEnd::new(ShardId(shard as u16), shards))
            .collect();
        for from in 0..shards {
            for to in 0..shards {
                let (sender, receiver) = lane(capacity);
                // Both loops ascend, so every end's lanes come to lie at the index of their peer.
                debug_assert!(ends[from].outbound.len() == to && ends[to].inbound.len() == from);
                ends[from].outbound.push(Outbound {
                    sender,
                    dirty: false,
                });
                ends[to].inbound.push(receiver);
            }
        }
        ends
    }
}

struct Outbound<M> {
    sender: LaneSender<M>,
    /// Listed in `MeshEnd::dirty`, because it was handed out since the last `publish_all`.
    dirty: bool,
}

/// One shard's end of all its lanes. Made on the starting thread, moved to its shard once.
pub struct MeshEnd<M> {
    shard: ShardId,
    /// By target shard.
    outbound: Vec<Outbound<M>>,
    /// By source shard.
    inbound: Vec<LaneReceiver<M>>,
    /// The lanes to publish; never reallocates after the first round.
    dirty: Vec<u16>,
    /// By target shard; empty until set.
    doorbells: Vec<Arc<Doorbell>>,
}

impl<M: Send> MeshEnd<M> {
    fn new(shard: ShardId, shards: usize) -> Self {
        MeshEnd {
            shard,
            outbound: Vec::with_capacity(shards),
            inbound: Vec::with_capacity(shards),
            dirty: Vec::with_capacity(shards),
            doorbells: Vec::new(),
        }
    }

    /// Gives this end the doorbells of all shards, in the order of their ids.
    ///
    /// # Panics
    /// When there is not one for each shard.
    pub fn set_doorbells(&mut self, doorbells: Vec<Arc<Doorbell>>) {
        assert_eq!(
            doorbells.len(),
            self.outbound.len(),
            "one doorbell for each shard"
        );
        self.doorbells = doorbells;
    }

    /// The shard this end belongs to.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// How many shards the mesh joins.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.outbound.len()
    }

    /// The lane to shard `to`, to push into; the next [`MeshEnd::publish_all`] publishes it.
    ///
    /// # Panics
    /// When there is no such shard.
    #[inline]
    pub fn sender(&mut self, to: ShardId) -> &mut LaneSender<M> {
        let out = &mut self.outbound[to.index()];
        if !out.dirty {
            out.dirty = true;
            self.dirty.push(to.0);
        }
        &mut out.sender
    }

    /// The lanes from all shards, in the order of their ids, each with its source.
    #[inline]
    pub fn receivers(&mut self) -> impl ExactSizeIterator<Item = (ShardId, &mut LaneReceiver<M>)> {
        self.inbound
            .iter_mut()
            .enumerate()
            .map(|(from, receiver)| (ShardId(from as u16), receiver))
    }

    /// The lane from shard `from`.
    ///
    /// # Panics
    /// When there is no such shard.
    #[inline]
    pub fn receiver(&mut self, from: ShardId) -> &mut LaneReceiver<M> {
        &mut self.inbound[from.index()]
    }

    /// Whether nothing is waiting in any lane to this shard: the re-check after announcing a park.
    pub fn is_empty(&mut self) -> bool {
        self.inbound.iter_mut().all(LaneReceiver::is_empty)
    }

    /// Whether all peers' sending ends are gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inbound.iter().all(LaneReceiver::is_closed)
    }

    /// Publishes what was pushed since the last call and rings the doorbell of each shard whose lane was
    /// handed out. Costs the lanes handed out, not all lanes; no system call for shards that are awake.
    #[inline]
    pub fn publish_all(&mut self) {
        for to in self.dirty.drain(..) {
            let out = &mut self.outbound[usize::from(to)];
            debug_assert!(out.dirty, "a listed lane is marked");
            out.dirty = false;
            out.sender.publish();
            // Also when nothing was left to publish: the caller may have used `send`.
            if let Some(doorbell) = self.doorbells.get(usize::from(to)) {
                doorbell.ring();
            }
        }
    }
}

impl<M> fmt::Debug for MeshEnd<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshEnd")
            .field("shard", &self.shard)
            .field("shards", &self.outbound.len())
            .finish_non_exhaustive()
    }
}

impl<M> Drop for MeshEnd<M> {
    fn drop(&mut self) {
        // The senders close as they drop; a parked peer must wake to see it.
        self.outbound.clear();
        for doorbell in &self.doorbells {
            doorbell.ring();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_shards_has_its_own_lane_each_way() {
        let mut ends = Mesh::<(u16, u16)>::build(4, 8);
        for end in &mut ends {
            let from = end.shard().0;
            for to in 0..4 {
                end.sender(ShardId(to)).push((from, to)).unwrap();
            }
            end.publish_all();
        }
        for to in 0..4_u16 {
            let end = &mut ends[usize::from(to)];
            assert_eq!((end.shard(), end.shards()), (ShardId(to), 4));
            assert!(!end.is_empty());
            for (from, lane) in end.receivers() {
                assert_eq!(lane.pop(), Some((from.0, to)));
                assert_eq!(lane.pop(), None);
            }
            assert!(end.is_empty());
        }
    }

    #[test]
    fn nothing_is_visible_before_publish_all() {
        let mut ends = Mesh::build(2, 8);
        ends[0].sender(ShardId(1)).push('a').unwrap();
        ends[0].sender(ShardId(1)).push('b').unwrap();
        assert!(ends[1].is_empty());
        ends[0].publish_all();
        assert_eq!(ends[1].receiver(ShardId(0)).pop(), Some('a'));
        assert_eq!(ends[1].receiver(ShardId(0)).pop(), Some('b'));
        assert!(ends[0].dirty.is_empty() && ends[0].outbound.iter().all(|out| !out.dirty));
    }

    #[test]
    fn a_mesh_is_closed_when_all_peers_are_gone() {
        let mut ends = Mesh::<u8>::build(2, 2);
        let second = ends.pop().unwrap();
        let mut first = ends.pop().unwrap();
        drop(second);
        assert!(first.sender(ShardId(1)).is_closed());
        assert!(!first.is_closed(), "its own lane is still open");
        assert!(first.receiver(ShardId(1)).is_closed());
    }

    #[test]
    #[should_panic(expected = "one doorbell for each shard")]
    fn doorbells_must_be_complete() {
        Mesh::<u8>::build(2, 2)[0].set_doorbells(Vec::new());
    }
}
