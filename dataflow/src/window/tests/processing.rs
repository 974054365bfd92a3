//! Windows by processing time.

use std::time::Duration;

use thalweg_core::config::RuntimeMode;
use thalweg_core::event_time::Timestamp;
use thalweg_state::{StateDescriptor, StateTtl};

use crate::function::Collector;
use crate::harness::TestHarness;
use crate::window::assigner::{GlobalWindows, SessionWindows, SlidingWindows, TumblingWindows};
use crate::window::trigger::{
    ContinuousProcessingTimeTrigger, CountTrigger, ProcessingTimeTrigger,
};
use crate::window::{WindowContext, WindowElements, WindowOpenContext};

type Counts = TestHarness<u64, (u64, u64)>;

const SECOND: Duration = Duration::from_secs(1);

/// Moves the time to the next whole minute.
fn to_the_minute(harness: &mut Counts) {
    let now = harness.processing_time().0;
    let rest = 60_000 - now.rem_euclid(60_000);
    harness.advance_processing_time(Duration::from_millis(rest.unsigned_abs()));
}

#[test]
fn windows_end_with_the_clock_and_what_has_not_ended_with_the_input_is_dropped() {
    let mut harness = Counts::new(|records| {
        let keyed = records.key_by(|record: &u64| record % 2);
        let windows = keyed.window(TumblingWindows::processing_time(10 * SECOND));
        windows.count().map(|row: (u64, u64)| row)
    });
    to_the_minute(&mut harness);
    harness.push(2);
    harness.advance_processing_time(Duration::from_millis(9_999));
    harness.push(4); // The last millisecond of the window is part of it.
    assert_eq!(harness.output(), []);
    harness.advance_processing_time(Duration::from_millis(1));
    assert_eq!(harness.output(), [(0, 2)]);
    harness.push(6);
    harness.finish();
    assert_eq!(harness.output(), []);
    assert_eq!(harness.failure(), None);
}

#[test]
fn what_has_not_ended_ends_with_the_input_of_a_batch() {
    let mut harness = Counts::with_mode(RuntimeMode::Batch, |records| {
        let keyed = records.key_by(|record: &u64| record % 2);
        let windows = keyed.window(TumblingWindows::processing_time(10 * SECOND));
        let counts = windows.count().map(|row: (u64, u64)| row);
        // Behind it nothing comes late: the rows are there before the end of event time.
        let by_event_time = counts.key_by(|row: &(u64, u64)| row.0);
        let windows = by_event_time.window(TumblingWindows::event_time(10 * SECOND));
        windows.count().map(|row: (u64, u64)| row)
    });
    harness.push(2);
    harness.push(3);
    harness.finish();
    let mut rows = harness.output();
    rows.sort_unstable();
    assert_eq!(rows, [(0, 1), (1, 1)]);
    assert_eq!(harness.failure(), None);
}

#[test]
fn a_record_is_in_several_sliding_windows() {
    let mut harness = Counts::new(|records| {
        let keyed = records.key_by(|record: &u64| record % 2);
        let windows = keyed.window(SlidingWindows::processing_time(10 * SECOND, 5 * SECOND));
        windows.count().map(|row: (u64, u64)| row)
    });
    to_the_minute(&mut harness);
    harness.push(2);
    harness.advance_processing_time(6 * SECOND);
    harness.push(2);
    harness.advance_processing_time(20 * SECOND);
    assert_eq!(harness.output(), [(0, 1), (0, 2), (0, 1)]);
}

#[test]
fn sessions_last_while_records_come() {
    let mut harness = Counts::new(|records| {
        let keyed = records.key_by(|record: &u64| record % 2);
        let windows = keyed.window(SessionWindows::processing_time(10 * SECOND));
        windows.count().map(|row: (u64, u64)| row)
    });
    for _ in 0..5 {
        harness.push(3);
        harness.advance_processing_time(9 * SECOND);
    }
    assert_eq!(harness.output(), []);
    harness.advance_processing_time(SECOND);
    assert_eq!(harness.output(), [(1, 5)]);
    harness.push(3);
    harness.advance_processing_time(10 * SECOND);
    assert_eq!(harness.output(), [(1, 1)]);
}

#[test]
fn a_continuous_trigger_fires_at_multiples_and_once_after_a_long_sleep() {
    let mut harness = Counts::new(|records| {
        let keyed = records.key_by(|_: &u64| 0_u64);
        let every = ContinuousProcessingTimeTrigger::new(10 * SECOND);
        let windows = keyed.window(GlobalWindows::new()).trigger(every);
        windows.count().map(|row: (u64, u64)| row)
    });
    to_the_minute(&mut harness);
    harness.push(1);
    harness.advance_processing_time(10 * SECOND + Duration::from_millis(1));
    assert_eq!(harness.output(), [(0, 1)]);
    harness.push(1);
    harness.push(1);
    harness.advance_processing_time(10 * SECOND);
    assert_eq!(harness.output(), [(0, 3)]);
}

#[test]
fn a_continuous_trigger_keeps_to_its_multiples_where_sessions_meet() {
    let mut harness = Counts::new(|records| {
        let keyed = records.key_by(|_: &u64| 0_u64);
        let every = ContinuousProcessingTimeTrigger::new(10 * SECOND);
        let windows = keyed.window(SessionWindows::processing_time(25 * SECOND));
        windows.trigger(every).count().map(|row: (u64, u64)| row)
    });
    to_the_minute(&mut harness);
    harness.push(1);
    harness.advance_processing_time(21 * SECOND);
    assert_eq!(harness.output(), [(0, 1), (0, 1)]);
    harness.push(1); // What would have ended after 25 seconds ends after 46.
    harness.advance_processing_time(8 * SECOND);
    assert_eq!(harness.output(), []);
    harness.advance_processing_time(16 * SECOND);
    assert_eq!(harness.output(), [(0, 2), (0, 2)]);
    harness.advance_processing_time(SECOND);
    assert_eq!(harness.output(), [(0, 2)]);
}

#[test]
fn what_comes_to_a_window_whose_end_the_clock_has_passed_is_told_at_once() {
    let mut harness = Counts::new(|records| {
        let keyed = records.key_by(|_: &u64| 0_u64);
        let windows = keyed.window(TumblingWindows::event_time(10 * SECOND));
        let windows = windows.trigger(ProcessingTimeTrigger::new());
        windows.count().map(|row: (u64, u64)| row)
    });
    for told in 1..=3 {
        harness.push_at(0, Timestamp(told));
        harness.advance_processing_time(Duration::from_millis(1));
        assert_eq!(harness.output(), [(0, told.unsigned_abs())]);
    }
}

#[test]
fn counting_windows_of_processing_time_forget_what_is_left_at_their_end() {
    let mut harness = Counts::new(|records| {
        let keyed = records.key_by(|_: &u64| 0_u64);
        let windows = keyed.window(TumblingWindows::processing_time(10 * SECOND));
        let windows = windows.trigger(CountTrigger::new(2)).discarding();
        windows.count().map(|row: (u64, u64)| row)
    });
    to_the_minute(&mut harness);
    (0..3).for_each(|number| harness.push(number));
    harness.advance_processing_time(20 * SECOND);
    (0..3).for_each(|number| harness.push(number));
    assert_eq!(harness.output(), [(0, 2), (0, 2)]);
}

#[test]
fn what_a_function_keeps_of_a_key_expires() {
    let mut harness = Counts::new(|records| {
        let keyed = records.key_by(|record: &u64| record % 10);
        let windows = keyed
            .window(GlobalWindows::new())
            .trigger(CountTrigger::new(1));
        windows.process(|open: &mut WindowOpenContext<u64>| {
            let seen = StateDescriptor::value::<u64>("seen").with_ttl(StateTtl::new(10 * SECOND));
            let mut seen = open.value_state_with::<u64>(seen);
            move |_: &WindowElements<u64>,
                  context: &WindowContext<u64>,
                  out: &mut Collector<(u64, u64)>| {
                seen.update(|seen| *seen += 1)?;
                out.emit((context.with_key(|key| *key), seen.get()?.unwrap_or(0)));
                Ok(())
            }
        })
    });
    for (key, later) in [(1, 9), (1, 9), (2, 2), (1, 0), (2, 9), (2, 11), (1, 0)] {
        harness.push(key);
        harness.advance_processing_time(later * SECOND);
    }
    let seen = [(1, 1), (1, 2), (2, 1), (1, 1), (2, 2), (2, 3), (1, 1)];
    assert_eq!(harness.output(), seen);
}
