//! Aligned windows with an incremental aggregate, against a naive model.
//!
//! The model keeps one sum per key and window and asks every window about every record. The engine
//! gathers records before the exchange and per slice, shares slices between windows, and gives out the
//! same rows: whatever the parallelism, the cuts of the segments, the disorder and the lateness.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_connectors::{Collected, Collects};
use thalweg_dataflow::stream::{DataStream, Environment, Pipe};
use thalweg_dataflow::window::assigner::{CumulateWindows, SlidingWindows, TumblingWindows};
use thalweg_dataflow::window::{TimeWindow, WindowAggregate};

use super::on_time::on_time;
use super::script::{Event, Script};
use super::trial::{self, Trial};
use crate::random_graphs::dice::Dice;

/// Key, number, text as long as the number says.
type Datum = (u64, u64, String);
/// Key, start and end of the window, number of records, their sum, their greatest text.
type Row = (u64, i64, i64, u64, u64, String);

/// What becomes of a window's records; as a sum alone it can be undone.
#[derive(Clone, Copy, Debug)]
struct Tally<const INVERSE: bool>;

impl<const INVERSE: bool> WindowAggregate<u64, Datum> for Tally<INVERSE> {
    type Accumulator = (u64, u64, String);
    type Row = Row;

    fn create(&self) -> Self::Accumulator {
        Default::default()
    }
    fn add(&self, held: &mut Self::Accumulator, (_, number, text): Datum) {
        let text = if INVERSE { String::new() } else { text };
        self.merge(held, &(1, number, text));
    }
    fn merge(&self, into: &mut Self::Accumulator, other: &Self::Accumulator) {
        into.0 += other.0;
        into.1 += other.1;
        if other.2 > into.2 {
            into.2.clone_from(&other.2);
        }
    }
    fn subtract(&self, from: &mut Self::Accumulator, other: &Self::Accumulator) -> bool {
        if INVERSE {
            from.0 -= other.0;
            from.1 -= other.1;
        }
        INVERSE
    }
    fn row(&self, key: u64, window: TimeWindow, held: &Self::Accumulator) -> Row {
        let (count, sum, text) = held.clone();
        (key, window.start.0, window.end.0, count, sum, text)
    }
}

/// Where windows stand, in ms.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Tumbling { size: i64 },
    Sliding { size: i64, slide: i64 },
    Cumulating { size: i64, step: i64 },
}

impl Kind {
    fn draw(dice: &mut Dice) -> Self {
        let step = dice.pick(&[1, 2, 7, 50]);
        match dice.below(3) {
            0 => Self::Tumbling { size: step },
            1 => Self::Sliding {
                size: dice.pick(&[1, 3, 12, 60]),
                slide: step,
            },
            _ => Self::Cumulating {
                size: step * dice.pick(&[1, 2, 5]),
                step,
            },
        }
    }

    /// The start and end of every window a time lies in.
    fn windows_of(self, offset: i64, at: i64) -> Vec<(i64, i64)> {
        let (size, slide) = match self {
            Self::Tumbling { size } | Self::Cumulating { size, .. } => (size, size),
            Self::Sliding { size, slide } => (size, slide),
        };
        let starts = (at - size + 1..=at).filter(|start| (start - offset).rem_euclid(slide) == 0);
        starts
            .flat_map(|start| match self {
                Self::Cumulating { step, .. } => (1..=size / step)
                    .map(|part| (start, start + part * step))
                    .filter(|(_, end)| at < *end)
                    .collect(),
                _ => vec![(start, start + size)],
            })
            .collect()
    }
}

/// The windows of a program and what is said of them.
#[derive(Clone, Copy, Debug)]
struct Windows {
    kind: Kind,
    offset: i64,
    lateness: i64,
    inverse: bool,
}

impl Windows {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            kind: Kind::draw(dice),
            offset: dice.pick(&[0, 1, -3, 40]),
            lateness: 0,
            inverse: dice.chance(50),
        }
    }

    /// The rows of one split's events, and how many records were dropped.
    fn model(&self, events: &[Event<Datum>]) -> (Vec<Row>, u64) {
        let mut held = BTreeMap::<(i64, i64, u64), (u64, u64, String)>::new();
        let (mut rows, mut dropped, mut watermark) = (Vec::new(), 0, i64::MIN);
        let end = [Event::Watermark(i64::MAX)];
        for event in events.iter().chain(&end) {
            match event {
                Event::Watermark(to) => {
                    let due = |last: i64| watermark < last && last <= *to;
                    let fired = held.iter().filter(|((end, ..), _)| due(end - 1));
                    rows.extend(fired.map(|(window, sum)| row(window, sum)));
                    watermark = watermark.max(*to);
                    held.retain(|(end, ..), _| watermark < (end - 1).saturating_add(self.lateness));
                }
                Event::Record((key, number, text), at) => {
                    let windows = self.kind.windows_of(self.offset, *at);
                    let gone = |end: i64| end - 1 + self.lateness <= watermark;
                    dropped +=
                        u64::from(!windows.is_empty() && windows.iter().all(|(_, end)| gone(*end)));
                    for (start, end) in windows.into_iter().filter(|(_, end)| !gone(*end)) {
                        let window = (end, start, *key);
                        let sum = held.entry(window).or_default();
                        (sum.0, sum.1) = (sum.0 + 1, sum.1 + number);
                        if !self.inverse {
                            sum.2 = text.clone().max(std::mem::take(&mut sum.2));
                        }
                        if end - 1 <= watermark {
                            rows.push(row(&window, sum));
                        }
                    }
                }
            }
        }
        (rows, dropped)
    }

    /// The same on the engine.
    fn stream<P: Pipe<Out = Datum>>(
        &self,
        data: DataStream<Datum, P>,
    ) -> DataStream<Row, impl Pipe<Out = Row> + use<P>> {
        match self.inverse {
            true => self.aggregate(data, Tally::<true>).boxed(),
            false => self.aggregate(data, Tally::<false>).boxed(),
        }
    }

    fn aggregate<P, G>(
        &self,
        data: DataStream<Datum, P>,
        by: G,
    ) -> DataStream<Row, impl Pipe<Out = Row> + use<P, G>>
    where
        P: Pipe<Out = Datum>,
        G: WindowAggregate<u64, Datum, Row = Row>,
    {
        let ms = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        let (offset, lateness) = (self.offset, ms(self.lateness));
        let keyed = data.key_by(|datum: &Datum| datum.0);
        match self.kind {
            Kind::Tumbling { size } => keyed
                .window(TumblingWindows::event_time(ms(size)).offset_ms(offset))
                .allowed_lateness(lateness)
                .aggregate(by)
                .boxed(),
            Kind::Sliding { size, slide } => keyed
                .window(SlidingWindows::event_time(ms(size), ms(slide)).offset_ms(offset))
                .allowed_lateness(lateness)
                .aggregate(by)
                .boxed(),
            Kind::Cumulating { size, step } => keyed
                .window(CumulateWindows::event_time(ms(size), ms(step)).offset_ms(offset))
                .allowed_lateness(lateness)
                .aggregate(by)
                .boxed(),
        }
    }
}

fn row((end, start, key): &(i64, i64, u64), (count, sum, text): &(u64, u64, String)) -> Row {
    (*key, *start, *end, *count, *sum, text.clone())
}

/// Records with their times, some of them before 1970.
fn draw(dice: &mut Dice) -> Vec<(Datum, i64)> {
    let keys = dice.pick(&[1, 3, 40, 5_000]);
    let span = dice.pick(&[40, 400, 4_000]);
    let count = dice.below(dice.clone().pick(&[50, 2_000]));
    (0..count)
        .map(|number| {
            let text = "x".repeat(dice.below(20) as usize);
            let at = dice.below(span) as i64 - span as i64 / 3;
            ((dice.below(keys), number, text), at)
        })
        .collect()
}

/// Half of the programs do not gather before the exchange.
fn choose_local(trial: &mut Trial, dice: &mut Dice) {
    let local = dice.chance(60).to_string();
    trial.set("thalweg.execution.local-aggregation", local);
}

/// Several splits with disorder, but nothing late: which order they come in makes no difference.
fn on_time_records(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    choose_local(trial, &mut dice);
    let windows = Windows::draw(&mut dice);
    let records = draw(&mut dice);
    let all: Vec<_> = records
        .iter()
        .map(|(datum, at)| Event::Record(datum.clone(), *at))
        .collect();
    let (expected, dropped) = windows.model(&all);
    assert_eq!(dropped, 0, "without a watermark nothing is late");
    let (splits, disorder) = (1 + dice.below(4) as u32, dice.pick(&[0, 10, 300]));
    trial.compare(expected, |environment: &Environment| {
        let script = Script::draw(&mut dice, &records, splits, disorder);
        let stream = windows.stream(environment.source(script));
        match dice.chance(50) {
            true => on_time(stream).collect(),
            false => on_time(stream.start_new_chain()).collect(),
        }
    })
}

/// One split, so that the model can tell what is late.
fn late_records(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    trial.batch = false;
    choose_local(trial, &mut dice);
    let mut windows = Windows::draw(&mut dice);
    windows.lateness = dice.pick(&[0, 0, 1, 20, 500]);
    let records = draw(&mut dice);
    let events = with_any_watermarks(&mut dice, records);
    let (expected, _) = windows.model(&events);
    trial.compare(expected, |environment: &Environment| -> Collected<Row> {
        let script = Script::of([events.clone()]);
        windows.stream(environment.source(script)).collect()
    })
}

/// Watermarks that promise too much now and then.
fn with_any_watermarks(dice: &mut Dice, mut records: Vec<(Datum, i64)>) -> Vec<Event<Datum>> {
    let disorder = dice.pick(&[5, 60, 1_000]);
    records.sort_by_cached_key(|(_, at)| at + dice.below(disorder) as i64);
    let (mut events, percent) = (Vec::new(), dice.pick(&[1, 10, 50]));
    let mut newest = i64::MIN;
    for (datum, at) in records {
        newest = newest.max(at);
        events.push(Event::Record(datum, at));
        if dice.chance(percent) {
            events.push(Event::Watermark(newest - dice.below(disorder / 2) as i64));
        }
    }
    events
}

#[test]
fn slices_equal_the_model_in_simulation() {
    trial::simulate(300, "slices_equal_the_model_in_simulation", on_time_records);
}

#[test]
fn slices_equal_the_model_on_shards() {
    trial::on_shards(200, "slices_equal_the_model_on_shards", on_time_records);
}

#[test]
fn late_records_in_slices_equal_the_model_in_simulation() {
    trial::simulate(
        300,
        "late_records_in_slices_equal_the_model_in_simulation",
        late_records,
    );
}

#[test]
fn late_records_in_slices_equal_the_model_on_shards() {
    trial::on_shards(
        200,
        "late_records_in_slices_equal_the_model_on_shards",
        late_records,
    );
}
