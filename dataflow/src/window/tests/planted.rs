//! Mistakes that are planted into the window operator to see them found.

use std::cell::Cell;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;

use super::draw;
use super::model::{self, Case, Event, Firing, Function, Kind, Row};
use crate::function::Collector;
use crate::harness::TestHarness;
use crate::window::assigner::{SessionWindows, TumblingWindows};
use crate::window::trigger::EventTimeTrigger;
use crate::window::{WindowContext, WindowElements, WindowOpenContext};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::window) enum Planted {
    /// Sessions that meet: what one of them holds is lost.
    PaneLost,
    /// A window that speaks because of a late record speaks twice.
    LateTwice,
}

thread_local! {
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Whether this mistake is planted on this thread.
pub(in crate::window) fn planted(mistake: Planted) -> bool {
    PLANTED.get() == Some(mistake)
}

type Rec = (u64, u64);

/// The numbers of a window, sorted.
fn whole(
    _: &mut WindowOpenContext<u64>,
) -> impl FnMut(
    &WindowElements<Rec>,
    &WindowContext<u64>,
    &mut Collector<'_, Row>,
) -> Result<(), crate::function::FunctionError>
+ 'static
+ use<> {
    |elements, context, out| {
        let mut numbers: Vec<u64> = elements.iter().map(|record| record.1).collect();
        numbers.sort_unstable();
        let (key, window) = (context.with_key(|key| *key), context.window());
        out.emit((key, window.start.0, window.end.0, numbers));
        Ok(())
    }
}

fn rows(case: &Case) -> Vec<Row> {
    let lateness = Duration::from_millis(case.lateness.unsigned_abs());
    let mut harness = TestHarness::<Rec, Row>::new(|records| {
        let keyed = records.key_by(|record: &Rec| record.0);
        match case.kind {
            Kind::Session { gap } => {
                let gap = Duration::from_millis(gap.unsigned_abs());
                let windows = keyed.window(SessionWindows::event_time(gap));
                windows.allowed_lateness(lateness).process(whole).boxed()
            }
            Kind::Tumbling { size, offset } => {
                let size = Duration::from_millis(size.unsigned_abs());
                let assigner = TumblingWindows::event_time(size).offset_ms(offset);
                let windows = keyed.window(assigner).trigger(EventTimeTrigger::new());
                windows.allowed_lateness(lateness).process(whole).boxed()
            }
            _ => unreachable!("only these are drawn"),
        }
    });
    for event in &case.events {
        match *event {
            Event::Record { key, number, at } => harness.push_at((key, number), Timestamp(at)),
            Event::Watermark(to) => harness.advance_watermark(Timestamp(to)),
        }
    }
    harness.finish();
    assert_eq!(harness.failure(), None);
    let mut rows = harness.output();
    rows.sort();
    rows
}

fn draw(seed: u64) -> Case {
    let mut state = seed;
    loop {
        let case = draw::case(&mut |bound| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % bound
        });
        if matches!(case.kind, Kind::Session { .. } | Kind::Tumbling { .. }) {
            return Case {
                firing: Firing::End,
                discarding: false,
                eviction: None,
                function: Function::Whole,
                ..case
            };
        }
    }
}

/// The first seed whose rows are not the model's.
fn first_difference(seeds: u64) -> Option<u64> {
    (0..seeds).find(|seed| {
        let case = draw(*seed);
        rows(&case) != model::expected(&case).rows
    })
}

#[test]
fn planted_mistakes_are_found_and_without_them_nothing() {
    for mistake in [Planted::PaneLost, Planted::LateTwice] {
        PLANTED.set(Some(mistake));
        assert!(first_difference(100).is_some(), "{mistake:?} is not found");
        PLANTED.set(None);
    }
    assert_eq!(first_difference(100), None);
}
