//! Runs of numbers dealt out over subtasks: what sequences and generators are read from.
//!
//! Record *i* belongs to subtask *i* mod *p*, in order. Entered by the two sources; a [`StrideReader`]
//! lives on its subtask's shard. Invariants: the strides of a deal cover every number once; `next` and
//! `left` move together, so a stride is its own position.

use std::collections::VecDeque;

use thalweg_core::event_time::Timestamp;
use thalweg_core::shard::step::TurnContext;
use thalweg_core::shard::timer::TimerId;
use thalweg_dataflow::source::{SourceError, SourceOutput, SourceReader, SourceStatus};
use thalweg_memory::record::{Record, record};

/// How many records a stride without an end is said to have: at a billion a second, 584 years' worth.
const ENDLESS: u64 = u64::MAX;

/// The numbers `next`, `next + step`, … of which `left` are left.
#[record(crate = thalweg_memory)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stride {
    next: u64,
    step: u64,
    left: u64,
}

impl Stride {
    /// Deals `count` numbers from `first` on (without end: `None`) out over the subtasks.
    pub(crate) fn deal(first: u64, count: Option<u128>, parallelism: u32) -> Vec<Stride> {
        let step = u64::from(parallelism.max(1));
        let left = |subtask: u64| match count {
            None => ENDLESS,
            Some(count) => {
                let rest = count.saturating_sub(u128::from(subtask));
                u64::try_from(rest.div_ceil(u128::from(step))).unwrap_or(ENDLESS)
            }
        };
        (0..step)
            .map(|subtask| Stride {
                next: first.wrapping_add(subtask),
                step,
                left: left(subtask),
            })
            .collect()
    }

    /// Emits the records of at most `most` numbers, while they are wanted.
    #[inline(always)]
    fn emit<P: Produce, O: SourceOutput<P::Record>>(
        &mut self,
        produce: &P,
        most: u64,
        out: &mut O,
    ) {
        let Stride { mut next, step, .. } = *self;
        let mut left = self.left.min(most);
        let kept = self.left - left;
        loop {
            let burst = left.min(u64::from(out.room())) as u32;
            if burst == 0 {
                break;
            }
            out.emit_each(
                burst,
                #[inline(always)]
                |number| produce.produce(next.wrapping_add(u64::from(number).wrapping_mul(step))),
            );
            next = next.wrapping_add(u64::from(burst).wrapping_mul(step));
            left -= u64::from(burst);
        }
        self.next = next;
        self.left = kept + left;
    }

    /// How many of its numbers are below `bound`.
    fn below(&self, bound: u64) -> u64 {
        match bound.checked_sub(self.next) {
            None | Some(0) => 0,
            Some(ahead) => (ahead - 1) / self.step + 1,
        }
        .min(self.left)
    }
}

/// Makes the record of a number.
pub trait Produce: Clone + Send + 'static {
    /// What it makes.
    type Record: Record;
    /// Whether its records have event times.
    const TIMESTAMPS: bool;

    /// The record of `number` and its event time. Must answer the same whenever it is asked.
    fn produce(&self, number: u64) -> (Self::Record, Timestamp);
}

/// Reads the strides of one subtask, all at once or as they fall due.
///
/// Those of a former parallelism are read side by side: each is a split of its own, so that event time may
/// go on in one while it stands in another.
pub struct StrideReader<P> {
    strides: VecDeque<Run>,
    produce: P,
    pace: Option<Pace>,
    /// Whether there was more than one: then the output is told of splits.
    several: bool,
    named: bool,
}

/// A stride in work.
struct Run {
    split: u64,
    stride: Stride,
}

impl<P: Produce> StrideReader<P> {
    /// A reader of these strides; paced, record *i* is held back until it is due.
    pub(crate) fn new(strides: Vec<Stride>, produce: P, records_per_second: Option<f64>) -> Self {
        let left = strides.into_iter().filter(|stride| stride.left > 0);
        let runs = (0..).zip(left).map(|(split, stride)| Run { split, stride });
        let strides: VecDeque<Run> = runs.collect();
        Self {
            several: strides.len() > 1,
            named: false,
            strides,
            produce,
            pace: records_per_second.map(Pace::new),
        }
    }

    /// Names all splits that are read side by side, before the first record.
    fn name_splits<O: SourceOutput<P::Record>>(&mut self, out: &mut O) {
        if self.several && !std::mem::replace(&mut self.named, true) {
            self.strides
                .iter()
                .for_each(|run| out.begin_split(run.split));
        }
    }

    /// Brings to the front a stride of which records are wanted: one that is ahead of its alignment group is
    /// passed over.
    fn turn_to_one_wanted<O: SourceOutput<P::Record>>(&mut self, out: &mut O) {
        if !self.several {
            return;
        }
        for _ in 0..self.strides.len() {
            if let Some(Run { split, .. }) = self.strides.front() {
                out.begin_split(*split);
            }
            if out.wanted() {
                return;
            }
            self.strides.rotate_left(1);
        }
    }

    fn poll_paced<O: SourceOutput<P::Record>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> SourceStatus {
        self.name_splits(out);
        let several = self.several;
        let first = self.strides.iter().map(|run| run.stride.next).min();
        let (Some(pace), Some(first)) = (&mut self.pace, first) else {
            return SourceStatus::Finished;
        };
        let now = context.reactor().now();
        let due = pace.due_before(first, now);
        let left = |strides: &VecDeque<Run>| {
            let left = strides.iter().map(|run| run.stride.left);
            left.fold(0, u64::wrapping_add)
        };
        let before = left(&self.strides);
        for Run { split, stride } in &mut self.strides {
            if several {
                out.begin_split(*split);
            }
            stride.emit(&self.produce, stride.below(due), out);
            if several && stride.left == 0 {
                out.end_split(*split);
            }
        }
        let none = left(&self.strides) == before;
        self.strides.retain(|run| run.stride.left > 0);
        let next = || self.strides.iter().map(|run| run.stride.next);
        if self.strides.is_empty() {
            return SourceStatus::Finished;
        }
        if !none && next().any(|next| next < due) {
            return SourceStatus::More;
        }
        // What is due and not wanted waits for room or for its alignment group, and is told by them.
        if let Some(next) = next().filter(|next| *next >= due).min() {
            pace.wake(next, now, context);
        }
        SourceStatus::Waiting
    }
}

impl<P: Produce> SourceReader for StrideReader<P> {
    type Item = P::Record;
    type Split = Stride;

    #[inline(always)]
    fn poll<O: SourceOutput<P::Record>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        if self.pace.is_some() {
            return Ok(self.poll_paced(out, context));
        }
        self.name_splits(out);
        self.turn_to_one_wanted(out);
        let several = self.several;
        let Some(Run { split, stride }) = self.strides.front_mut() else {
            return Ok(SourceStatus::Finished);
        };
        stride.emit(&self.produce, u64::MAX, out);
        if stride.left == 0 {
            if several {
                out.end_split(*split);
            }
            self.strides.pop_front();
        } else if self.strides.len() > 1 {
            // Strides of a former parallelism: none may starve behind one without an end.
            self.strides.rotate_left(1);
        }
        match self.strides.is_empty() {
            true => Ok(SourceStatus::Finished),
            false => Ok(SourceStatus::More),
        }
    }

    fn snapshot(&self) -> Vec<Stride> {
        self.strides.iter().map(|run| run.stride).collect()
    }
}

/// When records are due: number *i* at `start + i / rate`.
struct Pace {
    ns_per_record: f64,
    /// When number 0 was due, monotonic ns; may lie before the clock's zero after a restore.
    start: Option<i128>,
    alarm: Option<(u64, TimerId)>,
}

impl Pace {
    fn new(records_per_second: f64) -> Self {
        debug_assert!(records_per_second > 0.0);
        Self {
            ns_per_record: 1e9 / records_per_second,
            start: None,
            alarm: None,
        }
    }

    /// All numbers below the answer are due at `now`. The first time it is asked, `first` is due.
    fn due_before(&mut self, first: u64, now: u64) -> u64 {
        let start = *(self.start)
            .get_or_insert(i128::from(now) - (first as f64 * self.ns_per_record) as i128);
        let elapsed = (i128::from(now) - start).max(0);
        ((elapsed as f64 / self.ns_per_record) as u64).saturating_add(1)
    }

    /// Wakes the task when `next` is due; one timer at a time.
    fn wake(&mut self, next: u64, now: u64, context: &mut TurnContext<'_>) {
        let after = (next as f64 * self.ns_per_record).ceil() as i128;
        let at = u64::try_from(self.start.unwrap_or_default() + after).unwrap_or(u64::MAX);
        match self.alarm {
            Some((set, _)) if set == at && at > now => return,
            Some((_, alarm)) => context.timers().cancel(alarm),
            None => false,
        };
        self.alarm = Some((at, context.wake_at(at)));
    }
}

#[cfg(test)]
mod tests {
    use thalweg_memory::Mark;

    use super::*;

    fn numbers(mut stride: Stride) -> Vec<u64> {
        let mut all = Vec::new();
        while stride.left > 0 {
            all.push(stride.next);
            stride.next = stride.next.wrapping_add(stride.step);
            stride.left -= 1;
        }
        all
    }

    #[test]
    fn record_i_is_in_subtask_i_mod_p_in_order() {
        for parallelism in 1..=8_u32 {
            for count in [0_u64, 1, 7, 8, 9, 100] {
                let dealt = Stride::deal(50, Some(u128::from(count)), parallelism);
                assert_eq!(dealt.len(), parallelism as usize);
                for (subtask, stride) in dealt.into_iter().enumerate() {
                    let wanted: Vec<u64> = (0..count)
                        .filter(|i| i % u64::from(parallelism) == subtask as u64)
                        .map(|i| 50 + i)
                        .collect();
                    assert_eq!(numbers(stride), wanted, "{count} over {parallelism}");
                }
            }
        }
    }

    #[test]
    fn numbers_below_a_bound_are_counted_without_walking() {
        let stride = Stride {
            next: 5,
            step: 3,
            left: 4,
        };
        // 5, 8, 11, 14
        for (bound, below) in [(0, 0), (5, 0), (6, 1), (8, 1), (9, 2), (15, 4), (1000, 4)] {
            assert_eq!(stride.below(bound), below, "below {bound}");
        }
    }

    /// An output that wants records of one split only.
    struct Only {
        wanted: u64,
        current: u64,
    }

    impl SourceOutput<u64> for Only {
        fn wanted(&self) -> bool {
            self.current == self.wanted
        }
        fn emit(&mut self, _: u64, _: Timestamp) {}
        fn mark(&mut self, _: Mark) {}
        fn begin_split(&mut self, split: u64) {
            self.current = split;
        }
    }

    #[derive(Clone)]
    struct Itself;

    impl Produce for Itself {
        type Record = u64;
        const TIMESTAMPS: bool = false;
        fn produce(&self, number: u64) -> (u64, Timestamp) {
            (number, Timestamp::NONE)
        }
    }

    #[test]
    fn a_stride_that_is_not_wanted_is_passed_over() {
        let strides = Stride::deal(0, Some(30), 3);
        let mut reader = StrideReader::new(strides, Itself, None);
        for wanted in [2, 0, 1, 1, 7] {
            let mut out = Only { wanted, current: 9 };
            reader.turn_to_one_wanted(&mut out);
            if wanted < 3 {
                assert_eq!(reader.strides.front().map(|run| run.split), Some(wanted));
            }
        }
        assert_eq!(reader.strides.len(), 3);
    }

    #[test]
    fn a_pace_releases_one_record_per_period_and_goes_on_after_a_restore() {
        let mut pace = Pace::new(1000.0);
        assert_eq!(pace.due_before(0, 10_000_000), 1);
        assert_eq!(pace.due_before(0, 10_999_999), 1);
        assert_eq!(pace.due_before(0, 11_000_000), 2);
        assert_eq!(pace.due_before(0, 1_010_000_000), 1001);
        let mut restored = Pace::new(1000.0);
        assert_eq!(restored.due_before(5_000_000, 7), 5_000_001);
    }
}
