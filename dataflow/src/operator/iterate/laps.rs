//! Laps where ways meet: one goes on when it has come on every channel that has not ended.
//!
//! Entered by the head of every chain behind an exchange. Nothing waits here but the lap itself: records
//! behind it on one channel may be taken before it comes on another, and then what they yield is before
//! it, which makes a loop look busier than it is, never quieter. Channels from outside the loop carry no
//! laps: until they end the loop cannot be at rest. Lives on one shard.

use thalweg_network::{ChannelId, Lap};

/// The laps of one loop that have reached a gate.
struct Reached {
    iteration: u32,
    /// The last lap of each channel that has not ended, sorted by channel.
    laps: Vec<(ChannelId, u32)>,
    /// The last lap that went on.
    passed: u32,
    /// How many channels are further.
    further: usize,
}

impl Reached {
    /// The lap that goes on now, if there is a new one.
    fn take(&mut self) -> Option<Lap> {
        if self.laps.is_empty() || self.further < self.laps.len() {
            return None;
        }
        let number = self.laps.iter().map(|lap| lap.1).min()?;
        self.passed = number;
        self.further = self.laps.iter().filter(|lap| lap.1 > number).count();
        Some(Lap {
            iteration: self.iteration,
            number,
            quiet: false,
        })
    }
}

/// The laps of all loops that have reached a gate.
pub(crate) struct LapCombiner {
    /// The channels that have not ended, sorted.
    open: Vec<ChannelId>,
    loops: Vec<Reached>,
}

impl LapCombiner {
    /// No lap has come on any of these channels.
    pub(crate) fn new(mut channels: Vec<ChannelId>) -> Self {
        channels.sort_unstable();
        Self {
            open: channels,
            loops: Vec::new(),
        }
    }

    /// A lap has come on a channel; answers what goes on.
    pub(crate) fn update(&mut self, channel: ChannelId, lap: Lap) -> Option<Lap> {
        let known = self
            .loops
            .iter()
            .position(|of| of.iteration == lap.iteration);
        let known = known.unwrap_or_else(|| {
            self.loops.push(Reached {
                iteration: lap.iteration,
                laps: self.open.iter().map(|channel| (*channel, 0)).collect(),
                passed: 0,
                further: 0,
            });
            self.loops.len() - 1
        });
        let reached = &mut self.loops[known];
        let at = reached.laps.binary_search_by_key(&channel, |lap| lap.0);
        let last = &mut reached.laps[at.ok()?].1;
        reached.further += usize::from(*last <= reached.passed && lap.number > reached.passed);
        *last = lap.number;
        reached.take()
    }

    /// A channel has ended: nobody waits for it any more. Answers what goes on.
    pub(crate) fn end(&mut self, channel: ChannelId) -> Vec<Lap> {
        if let Ok(at) = self.open.binary_search(&channel) {
            self.open.remove(at);
        }
        let mut passed = Vec::new();
        for reached in &mut self.loops {
            if let Ok(at) = reached.laps.binary_search_by_key(&channel, |lap| lap.0) {
                let (_, last) = reached.laps.remove(at);
                reached.further -= usize::from(last > reached.passed);
                passed.extend(reached.take());
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lap(iteration: u32, number: u32) -> Lap {
        Lap {
            iteration,
            number,
            quiet: false,
        }
    }

    #[test]
    fn a_lap_goes_on_when_it_has_come_on_every_channel() {
        let mut laps = LapCombiner::new([3, 1, 2].map(ChannelId).to_vec());
        assert_eq!(laps.update(ChannelId(3), lap(0, 1)), None);
        assert_eq!(laps.update(ChannelId(1), lap(0, 1)), None);
        assert_eq!(laps.update(ChannelId(1), lap(0, 2)), None, "one is ahead");
        assert_eq!(laps.update(ChannelId(2), lap(0, 1)), Some(lap(0, 1)));
        assert_eq!(laps.update(ChannelId(3), lap(0, 2)), None);
        assert_eq!(laps.update(ChannelId(2), lap(0, 2)), Some(lap(0, 2)));
    }

    #[test]
    fn nobody_waits_for_what_has_ended() {
        let mut laps = LapCombiner::new([1, 2, 3].map(ChannelId).to_vec());
        assert!(laps.end(ChannelId(3)).is_empty());
        assert_eq!(laps.update(ChannelId(1), lap(0, 1)), None);
        assert_eq!(laps.end(ChannelId(2)), [lap(0, 1)]);
        assert_eq!(laps.update(ChannelId(1), lap(0, 2)), Some(lap(0, 2)));
        assert!(laps.end(ChannelId(1)).is_empty(), "nobody is left");
    }

    #[test]
    fn loops_are_kept_apart() {
        let mut laps = LapCombiner::new([1, 2].map(ChannelId).to_vec());
        assert_eq!(laps.update(ChannelId(1), lap(7, 1)), None);
        assert_eq!(laps.update(ChannelId(2), lap(8, 1)), None);
        assert_eq!(laps.update(ChannelId(2), lap(7, 1)), Some(lap(7, 1)));
        assert_eq!(laps.update(ChannelId(1), lap(8, 1)), Some(lap(8, 1)));
    }
}
