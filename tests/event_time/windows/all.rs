//! Windows over the whole stream, against the model of one key: whatever the parallelism before them, they
//! are all in one subtask.

use thalweg_connectors::{Collected, Collects};
use thalweg_dataflow::stream::Environment;
use thalweg_dataflow::window::WindowOpenContext;

use super::drawn::{DrawnAssigner, DrawnEvictor, DrawnTrigger, ms};
use super::model::{Case, Event, Function, Row};
use super::{LATE, Made, expected, numbers, row_of, with_late};
use crate::event_time::script::{Event as Emitted, Script};
use crate::event_time::trial::{self, Trial};
use crate::random_graphs::dice::Dice;

fn draw(dice: &mut Dice) -> Case {
    let mut case = super::draw(dice);
    for event in &mut case.events {
        if let Event::Record { key, .. } = event {
            *key = 0;
        }
    }
    case
}

/// Opens the function that gives the numbers of a window, or how many there are and their sum.
fn made(
    function: Function,
) -> impl Fn(&mut WindowOpenContext<()>) -> Made<()> + Clone + Send + 'static {
    move |_| {
        Box::new(move |elements, context, out| {
            let numbers = numbers(elements);
            match function {
                Function::Whole => out.emit(row_of(0, context.window(), numbers)),
                Function::Totals if numbers.is_empty() => {}
                Function::Totals => {
                    let totals = vec![numbers.len() as u64, numbers.iter().sum()];
                    out.emit(row_of(0, context.window(), totals));
                }
            }
            Ok(())
        })
    }
}

fn program(case: &Case, environment: &Environment) -> Collected<Row> {
    let emitted = case.events.iter().map(|event| match *event {
        Event::Record { number, at, .. } => Emitted::Record((0, number), at),
        Event::Watermark(at) => Emitted::Watermark(at),
    });
    let records = environment.source(Script::of(vec![emitted.collect()]));
    let windows = (records.window_all(DrawnAssigner::of(case.kind)))
        .trigger(DrawnTrigger::of(case))
        .allowed_lateness(ms(case.lateness))
        .late_output(&LATE);
    let rows = match case.eviction {
        None => with_late(windows.process(made(case.function))),
        Some(eviction) => {
            let windows = windows.evictor(DrawnEvictor::of(eviction));
            with_late(windows.process(made(case.function)))
        }
    };
    rows.collect()
}

fn windows(trial: &mut Trial) -> Result<(), String> {
    trial.batch = false;
    let case = draw(&mut trial.dice.clone());
    let compared = trial.compare(expected(&case), |environment| program(&case, environment));
    compared.map_err(|difference| format!("{difference}\n\ncase: {case:?}"))
}

#[test]
fn windows_over_all_are_the_models_in_simulation() {
    let test = "windows_over_all_are_the_models_in_simulation";
    trial::simulate(300, test, windows);
}

#[test]
fn windows_over_all_are_the_models_on_shards() {
    let test = "windows_over_all_are_the_models_on_shards";
    trial::on_shards(200, test, windows);
}
