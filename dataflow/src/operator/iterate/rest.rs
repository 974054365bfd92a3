//! Whether a loop is at rest: nothing is on its way in it and nothing will come.
//!
//! Entered by the head of a loop in one subtask, with what arrives; left with what it is to send next.
//! No clock, no channel, no record: a plain state machine.
//!
//! **The rule.** When nothing more comes from outside, every head sends a *lap* into the body, behind
//! all it has sent. Whoever has several inputs passes a lap on when it has come on all of them that have
//! not ended, so a lap that is back on every way has pushed everything before it out of the body. A head
//! whose lap is back tells all heads whether a record came back during it, and sends what came back into
//! the body again. When nothing came back to any head during one lap, the loop is at rest: what a head
//! sent before its lap has come back before that, so it came back, if not during the lap, before this
//! head's own lap was sent; and so on along the way of a record, which ends, because every head has sent
//! its lap. Otherwise the next lap is sent.
//!
//! A loop comes to rest twice: then the last watermark goes through it, which may let windows and timers
//! of the body speak, and when it is at rest again it ends.

use std::collections::VecDeque;

use thalweg_network::{ChannelId, Lap};

/// What a head does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Sends this lap into the body.
    Lap(u32),
    /// Tells all heads that a lap is back, and whether nothing came back during it.
    Vote(u32, bool),
    /// Sends the last watermark into the body.
    LastWatermark,
    /// Ends the body's input.
    End,
}

/// How near the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// More may come from outside.
    Open,
    /// Nothing comes from outside.
    Settling,
    /// The last watermark has been sent.
    Closing,
    /// The body's input has ended.
    Over,
}

/// Another head, or this one, as it is heard.
struct Peer {
    channel: ChannelId,
    /// What it told and was not counted yet. It may be a lap ahead.
    votes: VecDeque<(u32, bool)>,
    ended: bool,
}

/// A head's knowledge of its loop.
pub(super) struct Rest {
    phase: Phase,
    /// The lap on its way, from 1.
    lap: u32,
    /// That lap is to be sent.
    to_send: bool,
    /// This head has told that the lap is back.
    voted: bool,
    /// A record came back since the lap was sent.
    stirred: bool,
    /// The ways back that have not ended, with the last lap that came on each.
    ways: Vec<(ChannelId, u32)>,
    peers: Vec<Peer>,
}

impl Rest {
    /// A loop whose input is open.
    pub(super) fn new(ways: Vec<ChannelId>, peers: Vec<ChannelId>) -> Self {
        Self {
            phase: Phase::Open,
            lap: 1,
            to_send: false,
            voted: false,
            stirred: false,
            ways: ways.into_iter().map(|way| (way, 0)).collect(),
            peers: (peers.into_iter())
                .map(|channel| Peer {
                    channel,
                    votes: VecDeque::new(),
                    ended: false,
                })
                .collect(),
        }
    }

    /// Nothing more comes from outside.
    pub(super) fn outside_ended(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Settling;
            self.to_send = true;
        }
    }

    /// Whether nothing more comes from outside and the loop has not ended.
    pub(super) fn is_settling(&self) -> bool {
        matches!(self.phase, Phase::Settling | Phase::Closing)
    }

    /// Whether the body's input has ended.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Records came back.
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    /// A lap is back on one way.
    pub(super) fn back(&mut self, channel: ChannelId, lap: Lap) {
        if let Some(way) = self.ways.iter_mut().find(|way| way.0 == channel) {
            way.1 = lap.number;
        }
    }

    /// Nothing comes back on a way any more.
    pub(super) fn way_ended(&mut self, channel: ChannelId) {
        self.ways.retain(|way| way.0 != channel);
    }

    /// A head tells that a lap is back.
    pub(super) fn vote(&mut self, channel: ChannelId, lap: Lap) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.channel == channel) {
            peer.votes.push_back((lap.number, lap.quiet));
        }
    }

    /// A head has ended.
    pub(super) fn peer_ended(&mut self, channel: ChannelId) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.channel == channel) {
            peer.ended = true;
        }
    }

    /// What is to be done now, one step after the other.
    pub(super) fn next(&mut self) -> Option<Step> {
        if !self.is_settling() {
            return None;
        }
        if std::mem::take(&mut self.to_send) {
            return Some(Step::Lap(self.lap));
        }
        if !self.voted {
            let is_back = self.ways.iter().all(|way| way.1 >= self.lap);
            self.voted = is_back;
            return is_back.then_some(Step::Vote(self.lap, !self.stirred));
        }
        let at_rest = self.count_votes()?;
        self.lap += 1;
        (self.voted, self.stirred) = (false, false);
        Some(match (at_rest, self.phase) {
            (false, _) => Step::Lap(self.lap),
            (true, Phase::Settling) => {
                self.phase = Phase::Closing;
                self.to_send = true;
                Step::LastWatermark
            }
            (true, _) => {
                self.phase = Phase::Over;
                Step::End
            }
        })
    }

    /// Ends the loop whatever may be in it: what is to be sent for that.
    pub(super) fn give_up(&mut self) -> &'static [Step] {
        let before = std::mem::replace(&mut self.phase, Phase::Over);
        match before {
            Phase::Settling => &[Step::LastWatermark, Step::End],
            Phase::Closing => &[Step::End],
            Phase::Open | Phase::Over => {
                self.phase = before;
                &[]
            }
        }
    }

    /// Whether nothing came back to anybody during the lap; none while somebody has not told.
    fn count_votes(&mut self) -> Option<bool> {
        let lap = self.lap;
        let told = |peer: &Peer| peer.votes.front().map(|vote| vote.0) == Some(lap);
        if !(self.peers.iter()).all(|peer| told(peer) || (peer.ended && peer.votes.is_empty())) {
            return None;
        }
        let mut quiet = true;
        for peer in &mut self.peers {
            quiet &= peer.votes.pop_front().is_none_or(|(_, quiet)| quiet);
        }
        Some(quiet)
    }
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
