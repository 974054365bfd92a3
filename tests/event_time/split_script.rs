//! A source that reads several splits side by side, with pauses, and knows what may be promised.
//!
//! Beside each record stands what the watermark must have reached and must not have passed when the
//! record comes: worked out by the reader from the records so far and the clock alone. Lives on a shard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::task::SubtaskInfo;

/// What a subtask does, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A record of a split with its time.
    Record(u64, i64),
    /// Nothing is there for so many microseconds.
    Pause(u64),
    /// A split ends.
    End(u64),
}

/// Time, least and most of the watermark.
pub(crate) type Bounded = (i64, i64, i64);

/// How a strategy is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How far a watermark is behind the highest time of a split, ms.
    pub(crate) behind: i64,
    /// When a silent split holds nothing back, if ever.
    pub(crate) idle_after: Option<Duration>,
    /// A pause that is long enough for everything so far to be promised.
    pub(crate) settled: Duration,
}

/// One subtask's splits.
#[derive(Clone)]
pub(crate) struct SplitScript {
    pub(crate) steps: Arc<[Step]>,
    /// The splits that are named before the first record.
    pub(crate) splits: u64,
    pub(crate) rules: Rules,
}

impl Source for SplitScript {
    type Item = Bounded;
    type Split = ();
    type Reader = SplitReader;

    fn name(&self) -> String {
        "splits".to_owned()
    }
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }
    fn parallelism(&self) -> Option<u32> {
        Some(1)
    }
    fn splits(&self, _parallelism: u32) -> Result<Vec<()>, SourceError> {
        Ok(vec![()])
    }
    fn open(&self, _splits: Vec<()>, _: &SubtaskInfo) -> Result<SplitReader, SourceError> {
        Ok(SplitReader {
            script: self.clone(),
            next: 0,
            named: false,
            splits: BTreeMap::new(),
            wait_until: None,
            least: Timestamp::MIN.0,
            most: Timestamp::MIN.0,
        })
    }
}

struct Split {
    highest: Option<i64>,
    last: u64,
}

/// Reads the splits of a script.
pub(crate) struct SplitReader {
    script: SplitScript,
    next: usize,
    named: bool,
    splits: BTreeMap<u64, Split>,
    wait_until: Option<u64>,
    /// What the last long pause was long enough to promise.
    least: i64,
    /// The most that may have been promised so far.
    most: i64,
}

impl SplitReader {
    /// What the splits that count promise together, if those silent for `silent` do not count.
    fn promise(&self, now: u64, silent: Option<Duration>) -> Option<i64> {
        let counts = |split: &&Split| {
            silent.is_none_or(|silent| u128::from(now - split.last) < silent.as_nanos())
        };
        let behind = self.script.rules.behind;
        let counting = self.splits.values().filter(counts);
        let promised =
            counting.map(|split| split.highest.map_or(Timestamp::MIN.0, |at| at - behind));
        promised.min()
    }

    /// The most that may have been promised by now: without those splits that may have been idle for
    /// some time, the longest silent first.
    fn reach(&mut self, now: u64) {
        let behind = self.script.rules.behind;
        let promised = |split: &Split| split.highest.map_or(Timestamp::MIN.0, |at| at - behind);
        let mut splits: Vec<(u64, i64)> = (self.splits.values())
            .map(|split| (now - split.last, promised(split)))
            .collect();
        splits.sort_unstable();
        let mut lowest = i64::MAX;
        for (place, (_, promised)) in splits.iter().enumerate() {
            lowest = lowest.min(*promised);
            let next = splits.get(place + 1).map(|(silent, _)| u128::from(*silent));
            let timeout = self
                .script
                .rules
                .idle_after
                .map(|timeout| timeout.as_nanos());
            let rest_is_idle = next.is_none_or(|next| timeout.is_some_and(|least| next >= least));
            if rest_is_idle {
                self.most = self.most.max(lowest);
            }
        }
    }

    /// A pause begins: what will be promised when it is long enough, and no other record comes.
    fn settle(&mut self, now: u64, pause_us: u64) {
        let rules = self.script.rules;
        if u128::from(pause_us) < rules.settled.as_micros() {
            return;
        }
        let silent = rules.idle_after.map(|timeout| 2 * timeout);
        if let Some(promised) = self.promise(now, silent) {
            self.least = self.least.max(promised);
        }
    }

    fn record<O: SourceOutput<Bounded>>(&mut self, split: u64, at: i64, now: u64, out: &mut O) {
        self.reach(now);
        out.begin_split(split);
        out.emit((at, self.least, self.most), Timestamp(at));
        if let Some(split) = self.splits.get_mut(&split) {
            split.highest = split.highest.max(Some(at));
            split.last = now;
        }
    }
}

impl SourceReader for SplitReader {
    type Item = Bounded;
    type Split = ();

    fn poll<O: SourceOutput<Bounded>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        let now = context.reactor().now();
        if !self.named {
            self.named = true;
            for split in 0..self.script.splits {
                out.begin_split(split);
                let (highest, last) = (None, now);
                self.splits.insert(split, Split { highest, last });
            }
        }
        if self.wait_until.is_some_and(|until| now < until) {
            return Ok(SourceStatus::Waiting);
        }
        self.wait_until = None;
        while out.wanted() {
            let now = context.reactor().now();
            match self.script.steps.get(self.next).cloned() {
                None => return Ok(SourceStatus::Finished),
                Some(Step::Record(split, at)) => {
                    if self.splits.contains_key(&split) {
                        self.record(split, at, now, out);
                    }
                }
                Some(Step::End(split)) => {
                    if self.splits.len() > 1 && self.splits.remove(&split).is_some() {
                        out.end_split(split);
                    }
                }
                Some(Step::Pause(us)) => {
                    self.next += 1;
                    self.settle(now, us);
                    let until = now + us * 1_000;
                    self.wait_until = Some(until);
                    context.wake_at(until);
                    return Ok(SourceStatus::Waiting);
                }
            }
            self.next += 1;
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<()> {
        vec![()]
    }
}
