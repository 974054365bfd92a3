//! Very many open windows: a million of them at once, opened one after another and fired at the end.

use thalweg_connectors::{Collects, Generator};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Environment};
use thalweg_dataflow::window::assigner::{SessionWindows, TumblingWindows};
use thalweg_dataflow::window::trigger::EventTimeTrigger;

use super::Totals;
use super::drawn::{Rec, ms};
use super::model::Row;
use crate::stage;

/// Records of ten milliseconds, of each key one.
const KEYS: u64 = 1_000;
const WINDOWS: u64 = 1_000_000;

fn records(environment: &Environment) -> DataStream<Rec, BoxedPipe<Rec>> {
    let make = |number: u64| {
        let at = Timestamp((number / KEYS) as i64 * 10);
        ((number % KEYS, number), at)
    };
    environment.source(Generator::timed(WINDOWS, make)).boxed()
}

fn run(build: impl FnOnce(DataStream<Rec, BoxedPipe<Rec>>) -> DataStream<Row, BoxedPipe<Row>>) {
    let (environment, token) = stage::shards(&[("parallelism.default", "2")]);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    let totals = build(records(&environment))
        .map(|row: Row| (row.2 - row.1, row.3[0], row.3[1]))
        .collect();
    environment.execute("a million windows").unwrap();
    let mut totals: Vec<(i64, u64, u64)> = totals.take();
    totals.sort_unstable_by_key(|total| total.2);
    assert_eq!(totals.len() as u64, WINDOWS);
    for (number, total) in totals.into_iter().enumerate() {
        assert_eq!((total.1, total.2), (1, number as u64));
    }
}

#[test]
fn a_million_windows_are_open_at_once() {
    run(|records| {
        let keyed = records.key_by(|record: &Rec| record.0);
        let windows = keyed.window(TumblingWindows::event_time(ms(10)));
        windows
            .trigger(EventTimeTrigger::new())
            .aggregate(Totals)
            .boxed()
    });
}

#[test]
fn a_million_sessions_are_open_at_once() {
    run(|records| {
        let keyed = records.key_by(|record: &Rec| record.0);
        let sessions = keyed.window(SessionWindows::event_time(ms(9)));
        sessions.aggregate(Totals).boxed()
    });
}
