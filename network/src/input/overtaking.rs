//! Barriers that may go ahead of what is queued in a gate: heard of when they arrive, and what they overtook.
//!
//! A part of the gate. Entered by deliveries, and by the task when it cuts its state before the barrier has come
//! to the front of every queue. Invariant: a task is woken when such a barrier arrives, whatever it waits for.
//! Lives on the shard's thread.

use thalweg_core::CheckpointId;
use thalweg_memory::Buffer;

use super::gate::InputGate;
use super::in_flight::{Capture, InWork, Overtaken};
use crate::channel::ChannelId;
use crate::event::{Barrier, Event};

/// The barriers of a gate that may overtake.
#[derive(Debug, Default)]
pub(super) struct Overtaking {
    /// The newest that has arrived.
    announced: Option<Barrier>,
    capture: Option<Capture>,
}

impl Overtaking {
    /// A buffer has come on the channel at `place`, and what follows it; whether the task has to hear of it.
    #[inline]
    pub(super) fn arrived(
        &mut self,
        place: u32,
        overtakable: bool,
        buffer: &Buffer,
        event: Option<Event>,
    ) -> bool {
        let mut tell = false;
        if let Some(capture) = &mut self.capture {
            capture.arrived(place, buffer, event);
            tell = capture.is_whole();
        }
        if let Some(Event::Barrier(barrier)) = event
            && overtakable
            && barrier.overtakes_at.is_some()
        {
            tell = true;
            let newest = self.announced.filter(|known| {
                known.checkpoint > barrier.checkpoint
                    || (known.checkpoint == barrier.checkpoint
                        && known.overtakes_at <= barrier.overtakes_at)
            });
            self.announced = newest.or(Some(barrier));
        }
        tell
    }
}

impl InputGate {
    /// Lets barriers overtake what is queued on these channels. On the others they wait in line.
    ///
    /// # Panics
    /// If the gate has no such channel.
    pub fn let_overtake(&mut self, channels: impl IntoIterator<Item = ChannelId>) {
        for channel in channels {
            let place = self.place(channel);
            self.channels[place as usize].overtakable = true;
        }
    }

    /// The channels on which barriers wait in line.
    pub fn in_line_only(&self) -> impl Iterator<Item = ChannelId> + '_ {
        let waits = self.channels.iter().filter(|channel| !channel.overtakable);
        waits.map(|channel| channel.id)
    }

    /// The newest barrier that has arrived and may overtake. It stays in its queue all the same.
    #[inline]
    pub fn announced(&self) -> Option<Barrier> {
        self.overtaking.announced
    }

    /// The task cuts its state for this checkpoint: whatever has come and will come before its barrier on
    /// channels that may be overtaken is copied, until [`InputGate::overtaken`] gives it out. `brought` are the
    /// channels whose barrier was read. A capture that was not whole is given up; its checkpoint is answered.
    pub fn capture(
        &mut self,
        checkpoint: CheckpointId,
        brought: &[ChannelId],
        mut in_work: Option<InWork>,
    ) -> Option<CheckpointId> {
        let before = self.overtaking.capture.take();
        let mut capture = Capture::new(checkpoint, self.channels());
        for (place, channel) in (0u32..).zip(&self.channels) {
            let works = |work: &mut InWork| work.channel == channel.id;
            let in_work = in_work.take_if(works);
            let has_ended = channel.queue.is_finished() && in_work.is_none();
            if channel.overtakable && !has_ended && !brought.contains(&channel.id) {
                capture.open(place, in_work, &channel.queue);
            }
        }
        self.overtaking.capture = Some(capture);
        before.map(|before| before.checkpoint())
    }

    /// The checkpoint for which more than so many bytes were copied, and some barriers have still to come.
    #[inline]
    pub fn captures_more_than(&self, bytes: u64) -> Option<CheckpointId> {
        let capture = self.overtaking.capture.as_ref();
        let large = capture.filter(|capture| capture.bytes() > bytes && !capture.is_whole());
        large.map(Capture::checkpoint)
    }

    /// What a barrier overtook, once it has come on every channel that has not ended.
    pub fn overtaken(&mut self) -> Option<(CheckpointId, Vec<Overtaken>)> {
        let whole = self.overtaking.capture.take_if(|it| it.is_whole())?;
        Some((whole.checkpoint(), whole.into_overtaken()))
    }

    /// Gives up what is being copied for this checkpoint or an older one; answers which.
    pub fn give_up_capture(&mut self, checkpoint: CheckpointId) -> Option<CheckpointId> {
        let capture = &mut self.overtaking.capture;
        let given_up = capture.take_if(|capture| capture.checkpoint() <= checkpoint)?;
        Some(given_up.checkpoint())
    }
}
