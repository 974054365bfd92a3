//! A source that emits records, in bursts, and watermarks in a given order, one subtask for each of its
//! splits.
//!
//! Invariant of what is drawn here: a watermark is never at or after the time of a record that follows it
//! in its split, so no record is late.

use std::sync::Arc;

use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::{Mark, Record};

use crate::random_graphs::dice::Dice;

/// What a split emits.
#[derive(Clone, Debug)]
pub(crate) enum Event<T> {
    Record(T, i64),
    Watermark(i64),
}

/// The splits of a source, each with what it emits.
pub(crate) struct Script<T>(Arc<[Vec<Event<T>>]>);

impl<T> Clone for Script<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Script<T> {
    /// These splits.
    pub(crate) fn of(splits: impl IntoIterator<Item = Vec<Event<T>>>) -> Self {
        Self(splits.into_iter().collect())
    }
}

impl<T: Clone> Script<T> {
    /// The highest watermark of any split before its end.
    pub(crate) fn highest(&self) -> i64 {
        let events = self.0.iter().flatten();
        let promised = events.map(|event| match event {
            Event::Watermark(to) => *to,
            Event::Record(..) => i64::MIN,
        });
        promised.max().unwrap_or(i64::MIN)
    }

    /// Deals timed records out over `splits` splits, each in the order of its records' times but for
    /// up to `disorder` ms, with watermarks between them.
    pub(crate) fn draw(dice: &mut Dice, records: &[(T, i64)], splits: u32, disorder: u64) -> Self {
        let mut dealt: Vec<Vec<(i64, T, i64)>> = (0..splits).map(|_| Vec::new()).collect();
        for (record, at) in records {
            let place = at + dice.below(disorder + 1) as i64;
            dealt[dice.below(splits.into()) as usize].push((place, record.clone(), *at));
        }
        let percent = dice.pick(&[2, 20, 60]);
        let ordered = dealt.into_iter().map(|mut split| {
            split.sort_by_key(|(place, _, _)| *place);
            with_watermarks(dice, split, percent)
        });
        Self(ordered.collect())
    }
}

/// Puts a watermark behind `percent` of the records, as high as what follows allows.
fn with_watermarks<T>(dice: &mut Dice, split: Vec<(i64, T, i64)>, percent: u64) -> Vec<Event<T>> {
    let mut allowed = i64::MAX;
    let mut events = Vec::new();
    for (_, record, at) in split.into_iter().rev() {
        if allowed < i64::MAX && dice.chance(percent) {
            events.push(Event::Watermark(allowed - 1 - dice.below(3) as i64));
        }
        allowed = allowed.min(at);
        events.push(Event::Record(record, at));
    }
    events.reverse();
    events
}

impl<T: Record + Clone + Sync> Source for Script<T> {
    type Item = T;
    /// Which, and how many of its events were read.
    type Split = (u64, u64);
    type Reader = ScriptReader<T>;

    fn name(&self) -> String {
        "script".to_owned()
    }
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }
    fn parallelism(&self) -> Option<u32> {
        Some(self.0.len() as u32)
    }
    fn timestamps(&self) -> bool {
        true
    }
    fn splits(&self, _parallelism: u32) -> Result<Vec<(u64, u64)>, SourceError> {
        Ok((0..self.0.len() as u64).map(|split| (split, 0)).collect())
    }
    fn open(
        &self,
        splits: Vec<(u64, u64)>,
        _: &SubtaskInfo,
    ) -> Result<ScriptReader<T>, SourceError> {
        assert_eq!(splits.len(), 1, "one subtask for each split");
        let (split, next) = splits[0];
        Ok(ScriptReader {
            split,
            events: self.0[split as usize].clone(),
            next: next as usize,
        })
    }
}

/// Reads one split.
pub(crate) struct ScriptReader<T> {
    split: u64,
    events: Vec<Event<T>>,
    next: usize,
}

impl<T: Record + Clone + Sync> ScriptReader<T> {
    /// Emits the records before the next watermark, as many as there is room for, in one burst.
    fn emit_run(&mut self, out: &mut impl SourceOutput<T>) {
        let ahead = self.events[self.next..].iter();
        let records = ahead.map_while(|event| match event {
            Event::Record(record, at) => Some((record, Timestamp(*at))),
            Event::Watermark(_) => None,
        });
        let run: Vec<_> = records.take(out.room().max(1) as usize).collect();
        out.emit_each(run.len() as u32, |number| {
            let (record, at) = run[number as usize];
            (record.clone(), at)
        });
        self.next += run.len();
    }
}

impl<T: Record + Clone + Sync> SourceReader for ScriptReader<T> {
    type Item = T;
    type Split = (u64, u64);

    fn poll<O: SourceOutput<T>>(
        &mut self,
        out: &mut O,
        _context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        while out.wanted() {
            match self.events.get(self.next) {
                Some(Event::Record(..)) => self.emit_run(out),
                Some(Event::Watermark(at)) => {
                    out.mark(Mark::Watermark(Watermark(Timestamp(*at))));
                    self.next += 1;
                }
                None => return Ok(SourceStatus::Finished),
            }
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<(u64, u64)> {
        vec![(self.split, self.next as u64)]
    }
}
