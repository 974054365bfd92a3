//! Barriers met: a consumer goes on only when every channel has brought the barrier, or ended.
//!
//! Exactly once: a channel whose barrier has come is not read until the others' have. At least once: it is
//! read on, and the barrier only counted. Invariant: no channel is blocked for a checkpoint that nobody waits
//! for any more: a newer barrier or an abort lets all of them go. Lives on one shard's thread.

use thalweg_core::ids::CheckpointId;
use thalweg_network::{Barrier, ChannelId};

/// Where a consumer stands between two checkpoints.
pub(crate) struct Alignment {
    exactly_once: bool,
    /// Channels that have not ended.
    alive: Vec<ChannelId>,
    open: Option<Open>,
    /// Barriers of this checkpoint and older ones are no longer waited for.
    passed: Option<CheckpointId>,
}

struct Open {
    barrier: Barrier,
    since_ns: u64,
    arrived: Vec<ChannelId>,
}

/// What has to be done because of a barrier, an end or an abort.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Do not read from this channel from now on.
    pub(crate) block: Option<ChannelId>,
    /// Read from these again.
    pub(crate) unblock: Vec<ChannelId>,
    /// The barrier is whole: pass it on, it took so many ns. Before anything of `unblock` is read.
    pub(crate) whole: Option<(Barrier, u64)>,
}

impl Alignment {
    pub(crate) fn new(channels: Vec<ChannelId>, exactly_once: bool) -> Self {
        Self {
            exactly_once,
            alive: channels,
            open: None,
            passed: None,
        }
    }

    /// A barrier has come on a channel.
    pub(crate) fn barrier(&mut self, channel: ChannelId, barrier: Barrier, now: u64) -> Passage {
        let mut passage = Passage::default();
        let checkpoint = barrier.checkpoint;
        if self.has_passed(checkpoint) {
            return passage;
        }
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.barrier.checkpoint < checkpoint)
        {
            // Some channel will never bring the older one: its sender gave it up.
            passage.unblock = self.give_up();
        }
        let open = self.open.get_or_insert_with(|| Open {
            barrier,
            since_ns: now,
            arrived: Vec::new(),
        });
        open.arrived.push(channel);
        if self.exactly_once {
            passage.block = Some(channel);
        }
        self.close_if_whole(now, &mut passage);
        passage
    }

    /// A channel has ended: its records are all before the barrier.
    pub(crate) fn ended(&mut self, channel: ChannelId, now: u64) -> Passage {
        self.alive.retain(|alive| *alive != channel);
        let mut passage = Passage::default();
        self.close_if_whole(now, &mut passage);
        passage
    }

    /// The checkpoint is given up.
    pub(crate) fn abort(&mut self, checkpoint: CheckpointId) -> Passage {
        let mut passage = Passage::default();
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.barrier.checkpoint == checkpoint)
        {
            passage.unblock = self.give_up();
        }
        self.passed = self.passed.max(Some(checkpoint));
        passage
    }

    /// The barrier that is waited for, if any is.
    pub(crate) fn waits_for(&self) -> Option<Barrier> {
        self.open.as_ref().map(|open| open.barrier)
    }

    /// The channels that have brought the barrier of this checkpoint.
    pub(crate) fn brought(&self, checkpoint: CheckpointId) -> &[ChannelId] {
        match &self.open {
            Some(open) if open.barrier.checkpoint == checkpoint => &open.arrived,
            _ => &[],
        }
    }

    /// Whether those of `channels` that have not ended have brought the barrier of this checkpoint.
    pub(crate) fn have_brought(&self, checkpoint: CheckpointId, channels: &[ChannelId]) -> bool {
        let brought = self.brought(checkpoint);
        let mut channels = channels.iter();
        channels.all(|channel| brought.contains(channel) || !self.alive.contains(channel))
    }

    /// The barrier overtakes what is before it on the channels that have not brought it: it is whole.
    pub(crate) fn overtake(&mut self, barrier: Barrier, now: u64) -> Passage {
        let open = self.open.as_ref();
        let open = open.filter(|open| open.barrier.checkpoint == barrier.checkpoint);
        let since = open.map_or(now, |open| open.since_ns);
        let unblock = self.give_up();
        self.passed = self.passed.max(Some(barrier.checkpoint));
        Passage {
            block: None,
            unblock,
            whole: Some((barrier, now.saturating_sub(since))),
        }
    }

    /// Whether a barrier that came by another way than the channels is new; it counts as passed from now on.
    pub(crate) fn passes(&mut self, checkpoint: CheckpointId) -> bool {
        let new = !self.has_passed(checkpoint);
        self.passed = self.passed.max(Some(checkpoint));
        new
    }

    /// Whether barriers of this checkpoint are no longer waited for.
    pub(crate) fn has_passed(&self, checkpoint: CheckpointId) -> bool {
        self.passed.is_some_and(|passed| checkpoint <= passed)
    }

    fn give_up(&mut self) -> Vec<ChannelId> {
        let Some(open) = self.open.take() else {
            return Vec::new();
        };
        self.passed = self.passed.max(Some(open.barrier.checkpoint));
        if self.exactly_once {
            open.arrived
        } else {
            Vec::new()
        }
    }

    fn close_if_whole(&mut self, now: u64, passage: &mut Passage) {
        let whole = |open: &Open| self.alive.iter().all(|alive| open.arrived.contains(alive));
        if !self.open.as_ref().is_some_and(whole) {
            return;
        }
        let Some(open) = self.open.take() else { return };
        self.passed = Some(open.barrier.checkpoint);
        passage.whole = Some((open.barrier, now.saturating_sub(open.since_ns)));
        if self.exactly_once {
            passage.block = None;
            passage.unblock.extend(open.arrived);
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::Epoch;
    use thalweg_network::BarrierKind;

    use super::*;

    const A: ChannelId = ChannelId(1);
    const B: ChannelId = ChannelId(2);
    const C: ChannelId = ChannelId(3);

    fn barrier(number: u64) -> Barrier {
        Barrier {
            checkpoint: CheckpointId(number),
            epoch: Epoch(1),
            kind: BarrierKind::Changes,
            overtakes_at: None,
        }
    }

    fn alignment() -> Alignment {
        Alignment::new(vec![A, B, C], true)
    }

    #[test]
    fn channels_wait_for_the_last_of_them() {
        let mut alignment = alignment();
        assert_eq!(alignment.barrier(B, barrier(1), 10).block, Some(B));
        assert_eq!(alignment.barrier(A, barrier(1), 20).block, Some(A));
        let passage = alignment.barrier(C, barrier(1), 35);
        assert_eq!(passage.whole, Some((barrier(1), 25)));
        assert_eq!((passage.block, passage.unblock), (None, vec![B, A, C]));
    }

    #[test]
    fn a_channel_that_ends_is_not_waited_for() {
        let mut alignment = alignment();
        alignment.barrier(B, barrier(1), 0);
        assert_eq!(alignment.ended(A, 1), Passage::default());
        assert_eq!(alignment.ended(C, 2).whole, Some((barrier(1), 2)));
        assert!(alignment.barrier(B, barrier(2), 3).whole.is_some());
        // An end without a barrier under way changes nothing.
        assert_eq!(alignment.ended(B, 4), Passage::default());
    }

    #[test]
    fn a_newer_barrier_or_an_abort_lets_the_channels_go() {
        let mut alignment = alignment();
        alignment.barrier(A, barrier(1), 0);
        let passage = alignment.barrier(B, barrier(2), 0);
        assert_eq!((passage.block, passage.unblock), (Some(B), vec![A]));
        assert_eq!(alignment.barrier(C, barrier(1), 0), Passage::default());
        assert_eq!(alignment.abort(CheckpointId(2)).unblock, vec![B]);
        assert_eq!(alignment.barrier(A, barrier(2), 0), Passage::default());
        alignment.barrier(A, barrier(3), 0);
        alignment.barrier(B, barrier(3), 0);
        assert!(alignment.barrier(C, barrier(3), 0).whole.is_some());
    }

    #[test]
    fn a_barrier_that_overtakes_is_whole_at_once() {
        let mut alignment = alignment();
        let passage = alignment.overtake(barrier(1), 10);
        assert_eq!(passage.whole, Some((barrier(1), 0)));
        assert_eq!((passage.block, passage.unblock), (None, vec![]));
        // What comes in line after it says nothing new.
        assert_eq!(alignment.barrier(A, barrier(1), 11), Passage::default());
        alignment.barrier(A, barrier(2), 20);
        assert!(!alignment.have_brought(CheckpointId(2), &[A, B]));
        alignment.ended(B, 21);
        assert!(alignment.have_brought(CheckpointId(2), &[A, B]));
        assert_eq!(alignment.brought(CheckpointId(2)), [A]);
        assert_eq!(alignment.waits_for(), Some(barrier(2)));
        let passage = alignment.overtake(barrier(2), 30);
        assert_eq!(passage.whole, Some((barrier(2), 10)));
        assert_eq!(passage.unblock, [A]);
        // An older one that is still waited for goes with it.
        alignment.barrier(A, barrier(3), 40);
        assert_eq!(alignment.overtake(barrier(4), 41).unblock, [A]);
        assert!(alignment.has_passed(CheckpointId(3)));
    }

    #[test]
    fn at_least_once_blocks_nobody() {
        let mut alignment = Alignment::new(vec![A, B], false);
        assert_eq!(alignment.barrier(A, barrier(1), 0), Passage::default());
        let passage = alignment.barrier(B, barrier(1), 5);
        assert_eq!(passage.whole, Some((barrier(1), 5)));
        assert_eq!((passage.block, passage.unblock), (None, vec![]));
    }
}
