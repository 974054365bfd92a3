//! The minimum over inputs: a watermark holds only when every channel has promised it.
//!
//! Idle channels promise nothing and hold nothing back; when all are idle the task is.
//! A channel that has ended holds nothing back, and promises nothing for the others: while those that have
//! not are idle the task is, and only when all have ended is everything promised.

use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_memory::Mark;
use thalweg_network::ChannelId;

use crate::task::{TaskCounters, WatermarkCell};

#[derive(Clone, Copy)]
struct ChannelTime {
    channel: ChannelId,
    input: u32,
    watermark: Timestamp,
    idle: bool,
}

impl ChannelTime {
    /// Whether it has promised that nothing more will come.
    fn has_ended(&self) -> bool {
        self.watermark == Timestamp::MAX
    }
}

/// What some channels promise together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// No promise: those that have not ended are idle.
    None,
    /// The least of those that are neither idle nor have ended; everything, if all have ended.
    Upto(Timestamp),
}

/// What channels promise together.
fn promise<'a>(channels: impl Iterator<Item = &'a ChannelTime>) -> Promise {
    let mut open = channels.filter(|time| !time.has_ended()).peekable();
    if open.peek().is_none() {
        return Promise::Upto(Timestamp::MAX);
    }
    let active = open.filter(|time| !time.idle);
    match active.map(|time| time.watermark).min() {
        Some(lowest) => Promise::Upto(lowest),
        None => Promise::None,
    }
}

/// Combines the marks of the channels of one gate.
pub(crate) struct WatermarkCombiner {
    channels: Vec<ChannelTime>,
    emitted: Timestamp,
    idle: bool,
    /// What is shown of all inputs together and of each.
    all: WatermarkCell,
    each: Vec<WatermarkCell>,
}

impl WatermarkCombiner {
    /// For channels, each with the input it belongs to.
    pub(crate) fn new(channels: Vec<(ChannelId, u32)>, shown: &TaskCounters) -> Self {
        let mut channels: Vec<_> = channels
            .into_iter()
            .map(|(channel, input)| ChannelTime {
                channel,
                input,
                watermark: Timestamp::MIN,
                idle: false,
            })
            .collect();
        channels.sort_by_key(|time| time.channel);
        Self {
            channels,
            emitted: Timestamp::MIN,
            idle: false,
            all: shown.input_watermark.clone(),
            each: shown.input_watermarks.borrow().clone(),
        }
    }

    /// Takes a channel's mark; answers what holds for the whole task now, if that is new.
    pub(crate) fn update(&mut self, channel: ChannelId, mark: Mark) -> Option<Mark> {
        let Ok(at) = self.channels.binary_search_by_key(&channel, |t| t.channel) else {
            unreachable!("the gate delivers only its own channels");
        };
        let time = &mut self.channels[at];
        match mark {
            Mark::Watermark(Watermark(promised)) => {
                time.idle = false;
                time.watermark = time.watermark.max(promised);
            }
            Mark::Idle => time.idle = true,
            Mark::Active => time.idle = false,
        }
        let input = time.input;
        self.show(input);
        self.combined()
    }

    /// The channel has ended: it holds nothing back any more.
    pub(crate) fn end(&mut self, channel: ChannelId) -> Option<Mark> {
        self.update(channel, Mark::Watermark(Watermark(Timestamp::MAX)))
    }

    /// Shows what an input has promised, if it promises something.
    fn show(&self, input: u32) {
        let Some(shown) = self.each.get(input as usize) else {
            return;
        };
        let of_input = self.channels.iter().filter(|time| time.input == input);
        if let Promise::Upto(lowest) = promise(of_input) {
            shown.set(lowest);
        }
    }

    fn combined(&mut self) -> Option<Mark> {
        let Promise::Upto(lowest) = promise(self.channels.iter()) else {
            let new = !std::mem::replace(&mut self.idle, true);
            return new.then_some(Mark::Idle);
        };
        if lowest > self.emitted {
            self.emitted = lowest;
            self.all.set(lowest);
            self.idle = false;
            return Some(Mark::Watermark(Watermark(lowest)));
        }
        std::mem::replace(&mut self.idle, false).then_some(Mark::Active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watermark(t: i64) -> Mark {
        Mark::Watermark(Watermark(Timestamp(t)))
    }

    #[test]
    fn the_slowest_channel_decides_and_idle_ones_do_not() {
        let channels = vec![(ChannelId(4), 0), (ChannelId(2), 0)];
        let mut combiner = WatermarkCombiner::new(channels, &TaskCounters::default());
        assert_eq!(combiner.update(ChannelId(4), watermark(10)), None);
        assert_eq!(
            combiner.update(ChannelId(2), watermark(5)),
            Some(watermark(5))
        );
        assert_eq!(
            combiner.update(ChannelId(2), watermark(3)),
            None,
            "never back"
        );
        assert_eq!(
            combiner.update(ChannelId(2), Mark::Idle),
            Some(watermark(10))
        );
        assert_eq!(combiner.update(ChannelId(4), Mark::Idle), Some(Mark::Idle));
        assert_eq!(
            combiner.update(ChannelId(2), Mark::Active),
            Some(Mark::Active)
        );
        assert_eq!(combiner.end(ChannelId(2)), Some(Mark::Idle));
        assert_eq!(
            combiner.update(ChannelId(4), watermark(12)),
            Some(watermark(12))
        );
        assert_eq!(combiner.end(ChannelId(4)), Some(watermark(i64::MAX)));
    }
}
