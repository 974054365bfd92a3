//! Windows against a model that works event by event.
//!
//! The model and the drawing of cases know nothing of the engine, and are read by the engine's own
//! tests too, where mistakes are planted.

pub(super) mod aligned;
mod all;
mod counted;
mod days;
mod draw;
pub(super) mod drawn;
mod many;
pub(crate) mod model;
mod on_disk;
mod without_end;

use std::collections::BTreeMap;

use thalweg_connectors::Collects;
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Environment, Pipe};
use thalweg_dataflow::window::{
    TimeWindow, WindowAggregate, WindowContext, WindowElements, WindowOpenContext,
};
use thalweg_dataflow::{Collector, OutputTag};

use self::drawn::{DrawnAssigner, DrawnEvictor, DrawnTrigger, Rec, ms};
use self::model::{Case, Event, Function, Row};
use super::script::{Event as Emitted, Script};
use super::trial::{self, Trial};
use crate::random_graphs::dice::Dice;

pub(crate) type Rows = DataStream<Row, BoxedPipe<Row>>;

pub(crate) fn row_of(key: u64, window: TimeWindow, made: Vec<u64>) -> Row {
    (key, window.start.0, window.end.0, made)
}

/// How many, and their sum.
#[derive(Clone)]
pub(crate) struct Totals;

impl WindowAggregate<u64, Rec> for Totals {
    type Accumulator = (u64, u64);
    type Row = Row;

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }
    fn add(&self, (count, sum): &mut (u64, u64), record: Rec) {
        *count += 1;
        *sum += record.1;
    }
    fn merge(&self, into: &mut (u64, u64), other: &(u64, u64)) {
        into.0 += other.0;
        into.1 += other.1;
    }
    fn row(&self, key: u64, window: TimeWindow, (count, sum): &(u64, u64)) -> Row {
        row_of(key, window, vec![*count, *sum])
    }
}

/// A function over the records of windows, opened.
type Made<K> = Box<
    dyn for<'a, 'b, 'c, 'd> FnMut(
        &'a WindowElements<Rec>,
        &'b WindowContext<K>,
        &'c mut Collector<'d, Row>,
    ) -> Result<(), thalweg_dataflow::FunctionError>,
>;

/// The numbers of a window's records, sorted.
fn numbers(elements: &WindowElements<Rec>) -> Vec<u64> {
    let mut numbers: Vec<u64> = elements.iter().map(|record| record.1).collect();
    numbers.sort_unstable();
    numbers
}

/// Opens the function that gives the numbers of a window, sorted.
pub(super) fn whole(
    _: &mut WindowOpenContext<u64>,
) -> impl FnMut(
    &WindowElements<Rec>,
    &WindowContext<u64>,
    &mut Collector<'_, Row>,
) -> Result<(), thalweg_dataflow::FunctionError>
+ 'static
+ use<> {
    |elements, context, out| {
        out.emit(row_of(
            context.with_key(|key| *key),
            context.window(),
            numbers(elements),
        ));
        Ok(())
    }
}

/// Late records come out as rows that no window gives.
pub(crate) fn late_row((key, number): Rec) -> Row {
    (key, 0, 0, vec![u64::MAX, number])
}

const LATE: OutputTag<Rec> = OutputTag::new("late");

fn with_late<P: Pipe<Out = Row>>(rows: DataStream<Row, P>) -> Rows {
    let late = rows.side_output(&LATE).map(late_row);
    rows.union(late).boxed()
}

/// What comes to the windows of a case.
fn emitted(case: &Case) -> Vec<Emitted<Rec>> {
    let emitted = case.events.iter().map(|event| match *event {
        Event::Record { key, number, at } => Emitted::Record((key, number), at),
        Event::Watermark(at) => Emitted::Watermark(at),
    });
    emitted.collect()
}

/// The windows of a case as a program.
fn program(case: &Case, emitted: Vec<Emitted<Rec>>, environment: &Environment) -> Rows {
    let records = environment.source(Script::of(vec![emitted]));
    let windows = (records.key_by(|record: &Rec| record.0))
        .window(DrawnAssigner::of(case.kind))
        .trigger(DrawnTrigger::of(case))
        .allowed_lateness(ms(case.lateness))
        .late_output(&LATE);
    match (case.eviction, case.function) {
        (None, Function::Whole) => with_late(windows.process(whole)),
        (None, Function::Totals) if case.lateness % 2 == 0 => with_late(windows.aggregate(Totals)),
        (None, Function::Totals) => {
            let open = |_: &mut WindowOpenContext<u64>| {
                |row: Row, context: &WindowContext<u64>, out: &mut Collector<'_, Row>| {
                    assert_eq!((row.1, row.2), {
                        let window = context.window();
                        (window.start.0, window.end.0)
                    });
                    out.emit(row);
                    Ok(())
                }
            };
            with_late(windows.aggregate_process(Totals, open))
        }
        (Some(eviction), Function::Whole) => {
            with_late(windows.evictor(DrawnEvictor::of(eviction)).process(whole))
        }
        (Some(eviction), Function::Totals) => {
            let windows = windows.evictor(DrawnEvictor::of(eviction));
            with_late(windows.aggregate(Totals))
        }
    }
}

/// What must come out, late records included.
fn expected(case: &Case) -> Vec<Row> {
    let model::Expected { mut rows, late } = model::expected(case);
    rows.extend(late_rows(case, late));
    rows
}

/// The rows of records that came too late, by their numbers.
fn late_rows(case: &Case, late: Vec<u64>) -> impl Iterator<Item = Row> {
    let keys: BTreeMap<u64, u64> = (case.events.iter())
        .filter_map(|event| match event {
            Event::Record { key, number, .. } => Some((*number, *key)),
            Event::Watermark(_) => None,
        })
        .collect();
    late.into_iter()
        .map(move |number| late_row((keys[&number], number)))
}

pub(crate) fn draw(dice: &mut Dice) -> Case {
    draw::case(&mut |bound| dice.below(bound))
}

fn windows(trial: &mut Trial) -> Result<(), String> {
    let case = draw(&mut trial.dice.clone());
    compare(trial, case)
}

/// Compares what the windows of a case give with what the model does.
fn compare(trial: &mut Trial, case: Case) -> Result<(), String> {
    // As a batch, watermarks before the end are not given out.
    trial.batch = false;
    let compared = trial.compare(expected(&case), |environment| {
        program(&case, emitted(&case), environment).collect()
    });
    compared.map_err(|difference| format!("{difference}\n\ncase: {case:?}"))
}

#[test]
fn windows_are_the_models_in_simulation() {
    trial::simulate(600, "windows_are_the_models_in_simulation", windows);
}

#[test]
fn windows_are_the_models_on_shards() {
    trial::on_shards(200, "windows_are_the_models_on_shards", windows);
}
