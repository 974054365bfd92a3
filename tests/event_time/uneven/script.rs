//! A source whose splits promise too much now and then, fall silent, speak again and end at different
//! times, one subtask for each of them.
//!
//! Which of its records may come late is known, though not which do: that depends on how far the other
//! splits are when they come. Lives on a shard.

use std::sync::Arc;

use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::{Mark, Record};

use crate::random_graphs::dice::Dice;

/// The longest silence, µs.
const LONGEST_PAUSE: u64 = 300;

/// What a split emits.
#[derive(Clone, Debug)]
enum Event<T> {
    Record(T, i64),
    Watermark(i64),
    /// It makes no promise until it says that it is active or promises something.
    Idle,
    Active,
    /// Nothing for so many µs.
    Pause(u64),
}

/// The splits of a source, each with what it emits.
#[derive(Debug)]
pub(super) struct Script<T>(Arc<[Vec<Event<T>>]>);

impl<T> Clone for Script<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Script<T> {
    /// Deals timed records out over some splits, about in the order of their times.
    pub(super) fn draw(dice: &mut Dice, records: &[(T, i64)]) -> Self {
        let splits = 1 + dice.below(4);
        let disorder = dice.pick(&[1, 10, 200]);
        let mut dealt: Vec<Vec<(i64, T, i64)>> = (0..splits).map(|_| Vec::new()).collect();
        for (record, at) in records {
            let place = at + dice.below(disorder) as i64;
            dealt[dice.below(splits) as usize].push((place, record.clone(), *at));
        }
        let splits = dealt.into_iter().map(|mut split| {
            split.sort_by_key(|(place, _, _)| *place);
            with_marks(dice, split)
        });
        Self(splits.collect())
    }

    /// The records that may come behind the watermark: those a promise of their own split stands before,
    /// and those of a split that was idle before, where one of the others, or `elsewhere`, promises as
    /// much. `promised_by` is the watermark at which a record of a time is late.
    pub(super) fn may_be_late(
        &self,
        elsewhere: i64,
        promised_by: impl Fn(i64) -> i64,
    ) -> impl Iterator<Item = T> {
        let highest: Vec<i64> = self.0.iter().map(|split| highest(split)).collect();
        let mut late = Vec::new();
        for (place, split) in self.0.iter().enumerate() {
            let others = highest.iter().enumerate().filter(|(of, _)| *of != place);
            let others = others
                .map(|(_, highest)| *highest)
                .fold(elsewhere, i64::max);
            let mut promised = i64::MIN;
            for event in split {
                match event {
                    Event::Watermark(to) => promised = promised.max(*to),
                    Event::Idle => promised = promised.max(others),
                    Event::Record(record, at) if promised_by(*at) <= promised => {
                        late.push(record.clone());
                    }
                    Event::Record(..) | Event::Active | Event::Pause(_) => {}
                }
            }
        }
        late.into_iter()
    }

    /// The highest promise of any split, but for those of their ends.
    pub(super) fn highest(&self) -> i64 {
        self.0
            .iter()
            .map(|split| highest(split))
            .max()
            .unwrap_or(i64::MIN)
    }
}

fn highest<T>(split: &[Event<T>]) -> i64 {
    let promised = split.iter().map(|event| match event {
        Event::Watermark(to) => *to,
        _ => i64::MIN,
    });
    promised.max().unwrap_or(i64::MIN)
}

/// Puts watermarks and silences between records.
fn with_marks<T>(dice: &mut Dice, split: Vec<(i64, T, i64)>) -> Vec<Event<T>> {
    let often = dice.pick(&[2, 20, 60]);
    // How far a promise is behind the newest record: less than records are apart makes some late.
    let slack = dice.pick(&[1, 10, 300]);
    let silent = dice.pick(&[0, 2, 8]);
    let mut newest = -1_000;
    let mut events = Vec::new();
    for (_, record, at) in split {
        if dice.chance(silent) {
            events.push(Event::Idle);
            if dice.chance(80) {
                events.push(Event::Pause(1 + dice.below(LONGEST_PAUSE)));
            }
            events.push(match dice.chance(50) {
                true => Event::Active,
                false => Event::Watermark(newest - dice.below(slack) as i64),
            });
        }
        newest = newest.max(at);
        events.push(Event::Record(record, at));
        if dice.chance(often) {
            events.push(Event::Watermark(newest - dice.below(slack) as i64));
        }
    }
    if dice.chance(silent) {
        events.extend([Event::Idle, Event::Pause(LONGEST_PAUSE)]);
    }
    events
}

impl<T: Record + Clone + Sync> Source for Script<T> {
    type Item = T;
    type Split = u64;
    type Reader = Reader<T>;

    fn name(&self) -> String {
        "uneven".to_owned()
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
    fn splits(&self, _parallelism: u32) -> Result<Vec<u64>, SourceError> {
        Ok((0..self.0.len() as u64).collect())
    }
    fn open(&self, splits: Vec<u64>, _: &SubtaskInfo) -> Result<Reader<T>, SourceError> {
        assert_eq!(splits.len(), 1, "one subtask for each split");
        Ok(Reader {
            events: self.0[splits[0] as usize].clone(),
            next: 0,
            wait_until: 0,
        })
    }
}

/// Reads one split.
pub(super) struct Reader<T> {
    events: Vec<Event<T>>,
    next: usize,
    /// Monotonic ns.
    wait_until: u64,
}

impl<T: Record + Clone + Sync> SourceReader for Reader<T> {
    type Item = T;
    type Split = u64;

    fn poll<O: SourceOutput<T>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        if context.reactor().now() < self.wait_until {
            return Ok(SourceStatus::Waiting);
        }
        while out.wanted() {
            let Some(event) = self.events.get(self.next).cloned() else {
                return Ok(SourceStatus::Finished);
            };
            self.next += 1;
            match event {
                Event::Record(record, at) => out.emit(record, Timestamp(at)),
                Event::Watermark(to) => out.mark(Mark::Watermark(Watermark(Timestamp(to)))),
                Event::Idle => out.mark(Mark::Idle),
                Event::Active => out.mark(Mark::Active),
                Event::Pause(us) => {
                    self.wait_until = context.reactor().now() + us * 1_000;
                    context.wake_at(self.wait_until);
                    return Ok(SourceStatus::Waiting);
                }
            }
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<u64> {
        unreachable!("no checkpoint is taken of it")
    }
}
