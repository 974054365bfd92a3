//! Aligned windows put together from slices, against the model: with several producers, gathered before
//! the exchange or not, in order of arrival or not.

use thalweg_connectors::{Collected, Collects};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::window::assigner::{CumulateWindows, SlidingWindows, TumblingWindows};
use thalweg_dataflow::window::{WindowContext, WindowOpenContext};
use thalweg_dataflow::{Collector, FunctionError};

use super::drawn::{Rec, ms};
use super::model::{self, Case, Event, Firing, Function, Kind, Row};
use super::{LATE, Totals, late_row};
use crate::event_time::joins::gathered;
use crate::event_time::script::{Event as Emitted, Script};
use crate::event_time::trial::{self, Trial};
use crate::random_graphs::dice::Dice;

/// A case that slices serve: its own trigger, an aggregate, no evictor.
pub(super) fn draw(dice: &mut Dice) -> Case {
    loop {
        let case = super::draw(dice);
        let aligned = matches!(
            case.kind,
            Kind::Tumbling { .. } | Kind::Sliding { .. } | Kind::Cumulate { .. }
        );
        if aligned {
            return Case {
                firing: Firing::End,
                discarding: false,
                eviction: None,
                function: Function::Totals,
                ..case
            };
        }
    }
}

/// How the windows of a program are given late records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::event_time) struct Way {
    pub(in crate::event_time) local: bool,
    pub(in crate::event_time) late_output: bool,
    /// Whether a function is called with the rows; it adds which of its window's firings each is.
    pub(in crate::event_time) called: bool,
}

macro_rules! rows {
    ($records:ident, $assigner:expr, $case:ident, $way:ident) => {{
        let keyed = $records.key_by(|record: &Rec| record.0);
        let mut windows = keyed.window($assigner).allowed_lateness(ms($case.lateness));
        if !$way.local {
            windows = windows.without_local_aggregation();
        }
        if $way.late_output {
            windows = windows.late_output(&LATE);
        }
        match $way.called {
            true => windows.aggregate_process(Totals, numbered).boxed(),
            false => windows.aggregate(Totals).boxed(),
        }
    }};
}

/// How many rows there were of a key, many times.
type Calls = [u64; 16];

/// Opens the function that numbers the firings of each window, and counts those of each key.
fn numbered(
    open: &mut WindowOpenContext<u64>,
) -> impl FnMut(Row, &WindowContext<u64>, &mut Collector<'_, Row>) -> Result<(), FunctionError>
+ 'static
+ use<> {
    let mut firings = open.window_value_state::<u64>("firings");
    let mut calls = open.value_state::<Calls>("calls");
    move |(key, start, end, mut made), context, out| {
        assert_eq!(context.with_key(|key| *key), key);
        let window = context.window();
        assert_eq!((window.start.0, window.end.0), (start, end));
        firings.update(|firings| *firings += 1)?;
        made.extend(firings.get()?);
        calls.update(|calls| calls.iter_mut().for_each(|call| *call += 1))?;
        let calls = calls.get()?.unwrap_or_default();
        assert!(calls == [calls[0]; 16] && firings.get()? <= Some(calls[0]));
        out.emit((key, start, end, made));
        Ok(())
    }
}

/// Numbers the firings of each window: each holds more records than the one before.
pub(super) fn number(rows: &mut Vec<Row>) {
    rows.sort();
    let (mut last, mut firing) = (None, 0);
    for (key, start, end, made) in rows {
        let window = (*key, *start, *end);
        firing = match last == Some(window) {
            true => firing + 1,
            false => 1,
        };
        last = Some(window);
        made.push(firing);
    }
}

/// The case as a program; where a record behind its watermark is a failure, whether what says so is in one
/// chain with the windows.
pub(in crate::event_time) fn program(
    case: &Case,
    script: Script<Rec>,
    way: Way,
    environment: &Environment,
    on_time: Option<bool>,
) -> Collected<Row> {
    let records = environment.source(script);
    let rows = match case.kind {
        Kind::Tumbling { size, offset } => {
            let windows = TumblingWindows::event_time(ms(size)).offset_ms(offset);
            rows!(records, windows, case, way)
        }
        Kind::Sliding {
            size,
            slide,
            offset,
        } => {
            let windows = SlidingWindows::event_time(ms(size), ms(slide)).offset_ms(offset);
            rows!(records, windows, case, way)
        }
        Kind::Cumulate { size, step, offset } => {
            let windows = CumulateWindows::event_time(ms(size), ms(step)).offset_ms(offset);
            rows!(records, windows, case, way)
        }
        _ => unreachable!("only aligned windows are drawn"),
    };
    if let Some(chained) = on_time {
        return gathered(rows, chained);
    }
    if !way.late_output {
        return rows.collect();
    }
    let late = rows.side_output(&LATE).map(late_row);
    rows.union(late).collect()
}

/// One producer, late records: every firing is the model's.
fn with_late_records(trial: &mut Trial) -> Result<(), String> {
    trial.batch = false;
    let mut dice = trial.dice.clone();
    let case = draw(&mut dice);
    let way = Way {
        local: dice.chance(50),
        late_output: dice.chance(50),
        called: dice.chance(50),
    };
    let emitted = case.events.iter().map(|event| match *event {
        Event::Record { key, number, at } => Emitted::Record((key, number), at),
        Event::Watermark(at) => Emitted::Watermark(at),
    });
    let script = Script::of(vec![emitted.collect()]);
    let model::Expected { mut rows, late } = model::expected(&case);
    if way.called {
        number(&mut rows);
    }
    if way.late_output {
        rows.extend(super::late_rows(&case, late));
    }
    let compared = trial.compare(rows, |environment| {
        program(&case, script, way, environment, None)
    });
    compared.map_err(|difference| format!("{difference}\n\n{way:?}, case: {case:?}"))
}

/// Several producers, nothing late: the rows do not depend on the order of arrival.
fn from_many_producers(trial: &mut Trial) -> Result<(), String> {
    let mut dice = trial.dice.clone();
    let mut case = draw(&mut dice);
    case.events
        .retain(|event| matches!(event, Event::Record { .. }));
    let records: Vec<(Rec, i64)> = (case.events.iter())
        .filter_map(|event| match *event {
            Event::Record { key, number, at } => Some(((key, number), at)),
            Event::Watermark(_) => None,
        })
        .collect();
    let splits = 1 + dice.below(4) as u32;
    let disorder = dice.pick(&[0, 10, 300]);
    let script = Script::draw(&mut dice, &records, splits, disorder);
    let way = Way {
        local: dice.chance(50),
        late_output: false,
        called: dice.chance(50),
    };
    let mut expected = model::expected(&case).rows;
    if way.called {
        number(&mut expected);
    }
    let chained = dice.chance(50);
    let compared = trial.compare(expected, |environment| {
        program(&case, script, way, environment, Some(chained))
    });
    compared.map_err(|difference| format!("{difference}\n\n{way:?}, case: {case:?}"))
}

#[test]
fn slices_with_late_records_are_the_models_in_simulation() {
    let test = "slices_with_late_records_are_the_models_in_simulation";
    trial::simulate(300, test, with_late_records);
}

#[test]
fn slices_from_many_producers_are_the_models_in_simulation() {
    let test = "slices_from_many_producers_are_the_models_in_simulation";
    trial::simulate(300, test, from_many_producers);
}

#[test]
fn slices_are_the_models_on_shards() {
    let test = "slices_are_the_models_on_shards";
    trial::on_shards(200, test, with_late_records);
    trial::on_shards(200, test, from_many_producers);
}
