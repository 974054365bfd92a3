//! Timers of process functions in the harness: when they fire, in which order, and when not.

use std::time::Duration;

use thalweg_core::config::RuntimeMode;
use thalweg_core::event_time::Timestamp;

use crate::function::{Collector, FunctionError, OpenContext, ProcessContext};
use crate::harness::TestHarness;
use crate::operator::KeyedProcessFunction;
use crate::time::{FiredTimer, TimeDomain};

/// What a record asks for: the key, an action, a time.
type Ask = (u64, String, i64);
/// What a timer tells: key, whether it goes by event time, its time, the watermark it saw.
type Told = (u64, bool, i64, i64);

/// Does what records ask for, and tells of every timer.
struct Asked;

impl KeyedProcessFunction<u64, Ask, Told> for Asked {
    fn process(
        &mut self,
        (_, action, at): Ask,
        context: &ProcessContext<u64>,
        _out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        let (timers, at) = (context.timers(), Timestamp(at));
        let now = context.processing_time();
        match action.as_str() {
            "event" => timers.register_event_time(at),
            "delete event" => timers.delete_event_time(at),
            "after" => timers.register_processing_time(now.plus_ms(at.0)),
            "delete after" => timers.delete_processing_time(now.plus_ms(at.0)),
            _ => timers.register_event_time(Timestamp::NONE),
        }
    }

    fn on_timer(
        &mut self,
        timer: &FiredTimer,
        context: &ProcessContext<u64>,
        out: &mut Collector<'_, Told>,
    ) -> Result<(), FunctionError> {
        let key = context.key().unwrap_or_default();
        let event = timer.domain == TimeDomain::EventTime;
        assert_eq!(context.timestamp(), timer.at);
        out.emit((key, event, timer.at.0, context.watermark().0));
        // A chain of three, the first two steps of which lie in the past.
        if event && timer.at.0 % 1000 == 7 {
            context.timers().register_event_time(timer.at.plus_ms(-1))?;
            context.timers().register_event_time(timer.at.plus_ms(1))?;
        }
        // One that never comes to an end.
        if !event {
            let again = timer.at.plus_ms(3_600_000);
            context.timers().register_processing_time(again)?;
        }
        Ok(())
    }

    fn close(&mut self, out: &mut Collector<'_, Told>) -> Result<(), FunctionError> {
        out.emit((0, false, 0, 0));
        Ok(())
    }
}

fn harness() -> TestHarness<Ask, Told> {
    harness_of(RuntimeMode::Streaming)
}

fn harness_of(mode: RuntimeMode) -> TestHarness<Ask, Told> {
    TestHarness::<Ask, Told>::with_mode(mode, |asks| {
        asks.key_by(|ask: &Ask| ask.0)
            .process_function(|_: &mut OpenContext<u64>| Asked)
    })
}

fn ask(harness: &mut TestHarness<Ask, Told>, key: u64, action: &str, at: i64) {
    harness.push((key, action.to_owned(), at));
}

#[test]
fn event_timers_fire_once_in_the_order_of_their_times() {
    let mut harness = harness();
    for (key, at) in [(1, 30), (2, 10), (1, 20), (2, 10), (3, 40)] {
        ask(&mut harness, key, "event", at);
    }
    ask(&mut harness, 1, "delete event", 20);
    ask(&mut harness, 9, "delete event", 30);
    harness.advance_watermark(Timestamp(9));
    assert_eq!(harness.output(), []);
    harness.advance_watermark(Timestamp(30));
    let told = [
        ((2, true, 10, 30), Timestamp(10)),
        ((1, true, 30, 30), Timestamp(30)),
    ];
    assert_eq!(harness.output_at(), told);
    assert_eq!(harness.watermark(), Timestamp(30));
}

#[test]
fn a_timer_for_a_past_time_waits_for_the_next_watermark() {
    let mut harness = harness();
    harness.advance_watermark(Timestamp(100));
    ask(&mut harness, 1, "event", 50);
    assert_eq!(harness.output(), []);
    harness.advance_watermark(Timestamp(101));
    assert_eq!(harness.output(), [(1, true, 50, 101)]);
}

#[test]
fn a_timer_for_a_past_time_waits_though_the_clock_makes_another_fire() {
    let mut harness = harness();
    let begin = harness.processing_time();
    harness.advance_watermark(Timestamp(100));
    ask(&mut harness, 1, "event", 50);
    ask(&mut harness, 2, "after", 10);
    harness.advance_processing_time(Duration::from_millis(20));
    assert_eq!(harness.output(), [(2, false, begin.plus_ms(10).0, 100)]);
    harness.advance_watermark(Timestamp(101));
    assert_eq!(harness.output(), [(1, true, 50, 101)]);
}

#[test]
fn what_a_firing_timer_registers_fires_in_its_turn() {
    let mut harness = harness();
    ask(&mut harness, 1, "event", 7);
    ask(&mut harness, 1, "event", 9);
    harness.advance_watermark(Timestamp(8));
    let told = [(1, true, 7, 8), (1, true, 6, 8), (1, true, 8, 8)];
    assert_eq!(harness.output(), told);
    harness.advance_watermark(Timestamp(9));
    assert_eq!(harness.output(), [(1, true, 9, 9)]);
}

#[test]
fn processing_timers_fire_by_the_clock_and_without_an_event_time() {
    let mut harness = harness();
    let begin = harness.processing_time();
    ask(&mut harness, 1, "after", 20);
    ask(&mut harness, 2, "after", 10);
    ask(&mut harness, 3, "after", 15);
    ask(&mut harness, 3, "delete after", 15);
    harness.advance_watermark(Timestamp(1_000));
    harness.advance_processing_time(Duration::from_millis(9));
    assert_eq!(harness.output(), []);
    harness.advance_processing_time(Duration::from_millis(11));
    let told = [10, 20].map(|after| begin.plus_ms(after).0);
    let told = [
        ((2, false, told[0], 1_000), Timestamp::NONE),
        ((1, false, told[1], 1_000), Timestamp::NONE),
    ];
    assert_eq!(harness.output_at(), told);
}

#[test]
fn at_the_end_event_timers_fire_and_processing_timers_do_not() {
    let mut harness = harness();
    ask(&mut harness, 1, "after", 20);
    ask(&mut harness, 1, "event", 1_000_000);
    harness.finish();
    let told = [(1, true, 1_000_000, i64::MAX), (0, false, 0, 0)];
    assert_eq!(harness.output(), told);
    harness.advance_processing_time(Duration::from_secs(1));
    assert_eq!(harness.output(), []);
    assert_eq!(harness.failure(), None);
}

#[test]
fn at_the_end_of_a_batch_processing_timers_fire_before_the_last_watermark_goes_on() {
    let mut harness = harness_of(RuntimeMode::Batch);
    let begin = harness.processing_time();
    ask(&mut harness, 1, "after", 1_000_000);
    ask(&mut harness, 2, "after", 20);
    ask(&mut harness, 1, "event", 1_000_000);
    harness.advance_watermark(Timestamp(2_000_000));
    let due = (1, true, 1_000_000, 2_000_000);
    assert_eq!(harness.output(), [due]);
    harness.finish();
    let told = [20, 1_000_000].map(|after| begin.plus_ms(after).0);
    let last = i64::MAX;
    let told = [
        (2, false, told[0], last),
        (1, false, told[1], last),
        (0, false, 0, 0),
    ];
    assert_eq!(harness.output(), told);
    assert!(harness.processing_time() < begin.plus_ms(1_000));
    assert_eq!(harness.failure(), None);
}

#[test]
fn a_timer_without_a_time_fails_the_job_and_says_how_to_mend_it() {
    let mut harness = harness();
    ask(&mut harness, 1, "nonsense", 0);
    let message = harness.failure().unwrap_or_default();
    assert!(message.contains("assign timestamps"), "{message}");
}

#[test]
fn a_closure_has_no_timers_and_is_told_so() {
    let mut harness = TestHarness::<u64, u64>::new(|numbers| {
        numbers
            .key_by(|n: &u64| *n)
            .process(|_: &mut OpenContext<u64>| {
                |_: u64, context: &ProcessContext<u64>, _: &mut Collector<'_, u64>| {
                    context.timers().register_event_time(Timestamp(1))
                }
            })
    });
    harness.push(1);
    let message = harness.failure().unwrap_or_default();
    assert!(message.contains("KeyedProcessFunction"), "{message}");
}

/// Firing goes on turn after turn without room, and what stands behind it waits.
#[test]
fn many_timers_of_one_watermark_fire_before_it_goes_on() {
    let mut harness = harness();
    for key in 0..3_000 {
        ask(&mut harness, key, "event", 5);
    }
    harness.advance_watermark(Timestamp(5));
    harness.advance_watermark(Timestamp(6));
    let told = harness.output();
    assert_eq!(told.len(), 3_000);
    assert!(told.iter().all(|(_, _, at, seen)| (*at, *seen) == (5, 5)));
    assert_eq!(harness.watermark(), Timestamp(6));
}
