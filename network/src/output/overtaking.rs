//! Barriers of a partition that may go ahead of what waits there for credit.
//!
//! A part of the partition. A barrier stands in line behind what was written before it, until it leaves or its
//! time comes to overtake; then a copy of what it overtakes is given out, which is part of its checkpoint.
//! Invariant: of every barrier that may overtake it is told once what it overtook, be it nothing. Lives on the
//! shard's thread.

use thalweg_core::CheckpointId;

use super::partition::ResultPartition;
use crate::event::Barrier;
use crate::input::in_flight::Overtaken;

/// The barriers that may overtake and of which nobody was told what they overtook.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Whether barriers may overtake here at all.
    open: bool,
    barriers: Vec<Barrier>,
}

impl Line {
    /// A barrier was written.
    pub(super) fn stands(&mut self, barrier: Barrier) {
        if self.open && barrier.overtakes_at.is_some() {
            self.barriers.push(barrier);
        }
    }
}

impl ResultPartition {
    /// Lets barriers overtake what waits for credit here. Nothing may have been written before.
    #[must_use]
    pub fn overtakable(mut self) -> ResultPartition {
        self.line.open = true;
        self
    }

    /// How many barriers nobody was told about by [`ResultPartition::overtake`].
    pub fn barriers_in_line(&self) -> usize {
        self.line.barriers.len()
    }

    /// When the next barrier in line overtakes, monotonic ns.
    pub fn overtakes_at(&self) -> Option<u64> {
        let times = self.line.barriers.iter();
        times.filter_map(|barrier| barrier.overtakes_at).min()
    }

    /// Lets those barriers overtake whose time has come at `now`, monotonic ns. Answers what they overtook, and
    /// that those that have left in line overtook nothing.
    pub fn overtake(&mut self, now: u64) -> Vec<(CheckpointId, Vec<Overtaken>)> {
        let mut told = Vec::new();
        let line = std::mem::take(&mut self.line.barriers);
        for barrier in line {
            let waits = self.outlet.borrow().holds(barrier.checkpoint);
            match waits {
                true if barrier.overtakes(now) => {
                    told.push((barrier.checkpoint, self.go_ahead(barrier.checkpoint)));
                }
                true => self.line.barriers.push(barrier),
                false => told.push((barrier.checkpoint, Vec::new())),
            }
        }
        told
    }

    fn go_ahead(&mut self, checkpoint: CheckpointId) -> Vec<Overtaken> {
        let mut overtaken = Vec::new();
        let mut outlet = self.outlet.borrow_mut();
        for place in 0..self.writers.len() {
            let Some((buffers, (to, parcel))) = outlet.overtake(place, checkpoint) else {
                continue;
            };
            self.handover.send(to, parcel);
            if !buffers.is_empty() {
                let channel = outlet.id(place);
                overtaken.push(Overtaken { channel, buffers });
            }
        }
        drop(outlet);
        self.handover.dispatch();
        overtaken
    }
}
