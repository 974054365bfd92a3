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

/// What is new for the whole task, in this order.
pub(crate) type Said = [Option<Mark>; 2];

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

    /// Takes a channel's mark; answers what holds for the whole task now, as far as that is new.
    pub(crate) fn update(&mut self, channel: ChannelId, mark: Mark) -> Said {
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
    pub(crate) fn end(&mut self, channel: ChannelId) -> Said {
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

    /// What is new. That the task counts again is said ahead of what it promises: whoever knows of a
    /// promise as high, as an operator that was restored does, needs to hear of it all the same.
    fn combined(&mut self) -> Said {
        let Promise::Upto(lowest) = promise(self.channels.iter()) else {
            let new = !std::mem::replace(&mut self.idle, true);
            return [new.then_some(Mark::Idle), None];
        };
        let active = std::mem::replace(&mut self.idle, false).then_some(Mark::Active);
        if lowest <= self.emitted {
            return [active, None];
        }
        self.emitted = lowest;
        self.all.set(lowest);
        [active, Some(Mark::Watermark(Watermark(lowest)))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watermark(t: i64) -> Mark {
        Mark::Watermark(Watermark(Timestamp(t)))
    }

    const NOTHING: Said = [None, None];

    fn said(mark: Mark) -> Said {
        match mark {
            Mark::Watermark(_) => [None, Some(mark)],
            Mark::Idle | Mark::Active => [Some(mark), None],
        }
    }

    fn combiner() -> WatermarkCombiner {
        let channels = vec![(ChannelId(4), 0), (ChannelId(2), 0)];
        WatermarkCombiner::new(channels, &TaskCounters::default())
    }

    #[test]
    fn the_slowest_channel_decides_and_idle_ones_do_not() {
        let mut combiner = combiner();
        let mut update = |channel, mark| combiner.update(ChannelId(channel), mark);
        assert_eq!(update(4, watermark(10)), NOTHING);
        assert_eq!(update(2, watermark(5)), said(watermark(5)));
        assert_eq!(update(2, watermark(3)), NOTHING, "never back");
        assert_eq!(update(2, Mark::Idle), said(watermark(10)));
        assert_eq!(update(4, Mark::Idle), said(Mark::Idle));
        assert_eq!(update(2, Mark::Active), said(Mark::Active));
    }

    #[test]
    fn that_a_task_counts_again_is_said_ahead_of_what_it_promises() {
        let mut combiner = combiner();
        let mut update = |channel, mark| combiner.update(ChannelId(channel), mark);
        assert_eq!(update(4, watermark(10)), NOTHING);
        assert_eq!(update(2, watermark(5)), said(watermark(5)));
        assert_eq!(update(4, Mark::Idle), NOTHING);
        assert_eq!(update(2, Mark::Idle), said(Mark::Idle));
        let both = [Some(Mark::Active), Some(watermark(10))];
        assert_eq!(update(4, Mark::Active), both);
    }

    #[test]
    fn channels_that_have_ended_promise_nothing_for_those_that_are_idle() {
        let mut combiner = combiner();
        combiner.update(ChannelId(4), Mark::Idle);
        assert_eq!(combiner.end(ChannelId(2)), said(Mark::Idle));
        let both = [Some(Mark::Active), Some(watermark(12))];
        assert_eq!(combiner.update(ChannelId(4), watermark(12)), both);
        assert_eq!(combiner.end(ChannelId(4)), said(watermark(i64::MAX)));
    }
}
