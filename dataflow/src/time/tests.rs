//! Watermarks in the harness: when they go out, what idle inputs do, what comes through from before.

use std::time::Duration;

use thalweg_core::config::{Configuration, options};
use thalweg_core::event_time::Timestamp;

use super::{WatermarkGenerator, WatermarkOutput, WatermarkStrategy};
use crate::harness::{TestHarness, TwoInputHarness};
use crate::stream::RuntimeMode;

type Times = TestHarness<i64, i64>;

const INTERVAL: Duration = Duration::from_millis(200);

fn at(time: &i64, _previous: Timestamp) -> Timestamp {
    Timestamp(*time)
}

fn monotonous(idle_after: Option<Duration>, configuration: Configuration) -> Times {
    TestHarness::<i64, i64>::with_configuration(configuration, |times| {
        let mut strategy = WatermarkStrategy::<i64>::for_monotonous_timestamps();
        if let Some(timeout) = idle_after {
            strategy = strategy.with_idleness(timeout);
        }
        times.assign_timestamps_and_watermarks(strategy.with_timestamp_assigner(at))
    })
}

fn with_interval(interval: Duration) -> Configuration {
    let mut configuration = Configuration::new();
    configuration.set(&options::AUTO_WATERMARK_INTERVAL, interval);
    configuration
}

#[test]
fn watermarks_go_out_once_per_interval_and_at_the_end() {
    let mut harness = monotonous(None, Configuration::new());
    harness.push(10);
    harness.push(7);
    harness.advance_processing_time(INTERVAL);
    assert_eq!(harness.watermark(), Timestamp(9));
    harness.push(20);
    assert_eq!(harness.watermark(), Timestamp(9), "not yet");
    harness.advance_processing_time(INTERVAL);
    assert_eq!(harness.watermark(), Timestamp(19));
    harness.push(30);
    harness.finish();
    assert_eq!(harness.watermark(), Timestamp::MAX);
    assert_eq!(harness.output(), [10, 7, 20, 30]);
}

#[test]
fn where_event_time_runs_ahead_of_the_clock_they_go_out_more_often() {
    let mut harness = monotonous(None, Configuration::new());
    harness.push(0);
    assert_eq!(harness.watermark(), Timestamp(-1));
    harness.advance_processing_time(INTERVAL / 50);
    harness.push(198);
    assert_eq!(harness.watermark(), Timestamp(-1), "less than an interval");
    harness.push(200);
    assert_eq!(harness.watermark(), Timestamp(199));
    harness.push(900);
    assert_eq!(harness.watermark(), Timestamp(199), "a hundred at most");
    harness.advance_processing_time(INTERVAL / 50);
    harness.push(901);
    assert_eq!(harness.watermark(), Timestamp(900));
}

/// Counts how often it is asked, in its promise.
struct Asked(i64);

impl WatermarkGenerator<i64> for Asked {
    fn on_event(&mut self, _: &i64, _: Timestamp, _: &mut WatermarkOutput) {}
    fn on_periodic(&mut self, _: Timestamp, out: &mut WatermarkOutput) {
        self.0 += 1_000;
        out.emit(Timestamp(self.0));
    }
}

#[test]
fn a_generator_that_may_count_periods_is_asked_once_in_each() {
    let mut harness = TestHarness::<i64, i64>::new(|times| {
        times.assign_timestamps_and_watermarks(WatermarkStrategy::<i64>::for_generator(|| Asked(0)))
    });
    harness.push(1);
    let first = harness.watermark();
    for time in 0..10 {
        harness.advance_processing_time(INTERVAL / 20);
        harness.push(1_000 * time);
    }
    assert_eq!(harness.watermark(), first);
}

#[test]
fn an_interval_of_zero_makes_none_but_the_last() {
    let mut harness = monotonous(None, with_interval(Duration::ZERO));
    harness.push(10);
    harness.advance_processing_time(INTERVAL);
    assert_eq!(harness.watermark(), Timestamp::MIN);
    harness.finish();
    assert_eq!(harness.watermark(), Timestamp::MAX);
}

#[test]
fn watermarks_from_before_are_replaced_and_the_last_comes_through() {
    let mut harness = monotonous(None, Configuration::new());
    harness.advance_watermark(Timestamp(1_000));
    harness.push(10);
    harness.advance_processing_time(INTERVAL);
    assert_eq!(harness.watermark(), Timestamp(9));
    harness.advance_watermark(Timestamp::MAX);
    assert_eq!(harness.watermark(), Timestamp::MAX);
}

#[test]
fn in_batch_mode_there_is_but_the_last() {
    let mut configuration = Configuration::new();
    configuration.set(&options::RUNTIME_MODE, RuntimeMode::Batch);
    let mut harness = monotonous(Some(INTERVAL), configuration);
    harness.push(10);
    harness.advance_processing_time(10 * INTERVAL);
    assert_eq!(
        (harness.watermark(), harness.is_idle()),
        (Timestamp::MIN, false)
    );
    harness.finish();
    assert_eq!(harness.watermark(), Timestamp::MAX);
}

#[test]
fn a_silent_input_becomes_idle_after_its_last_promise_and_counts_again_with_a_record() {
    let mut harness = monotonous(Some(Duration::from_secs(1)), Configuration::new());
    harness.push(10);
    harness.advance_processing_time(Duration::from_millis(900));
    assert_eq!(
        (harness.watermark(), harness.is_idle()),
        (Timestamp(9), false)
    );
    harness.advance_processing_time(Duration::from_millis(500));
    assert!(harness.is_idle());
    harness.advance_processing_time(Duration::from_secs(60));
    harness.push(12);
    assert!(!harness.is_idle());
    assert_eq!(harness.watermark(), Timestamp(11), "nobody waited for it");
}

#[test]
fn an_input_that_never_had_a_record_becomes_idle_too() {
    let mut harness = monotonous(Some(Duration::from_secs(1)), Configuration::new());
    harness.mark_active();
    harness.advance_processing_time(Duration::from_secs(2));
    assert!(harness.is_idle());
    harness.finish();
    assert_eq!(harness.watermark(), Timestamp::MAX);
}

#[test]
fn idleness_said_before_comes_through_behind_what_is_still_to_be_promised() {
    let mut harness = monotonous(None, Configuration::new());
    harness.push(10);
    harness.mark_idle();
    assert_eq!(
        (harness.watermark(), harness.is_idle()),
        (Timestamp(9), true)
    );
    harness.mark_active();
    assert!(!harness.is_idle());
}

/// Promises what the wall clock says, less a second.
struct Clock;

impl WatermarkGenerator<i64> for Clock {
    fn on_event(&mut self, _: &i64, _: Timestamp, _: &mut WatermarkOutput) {}
    fn on_periodic(&mut self, now: Timestamp, out: &mut WatermarkOutput) {
        out.emit(now.plus_ms(-1_000));
    }
}

#[test]
fn a_generator_may_speak_without_records() {
    let mut harness = TestHarness::<i64, i64>::new(|times| {
        times.assign_timestamps_and_watermarks(WatermarkStrategy::<i64>::for_generator(|| Clock))
    });
    harness.push(1);
    let begin = harness.processing_time();
    harness.advance_processing_time(Duration::from_secs(10));
    let behind = begin.plus_ms(10_000).0 - harness.watermark().0;
    assert!((1_000..=1_200).contains(&behind), "{behind} ms behind");
}

#[test]
fn ingestion_time_is_the_wall_clock_when_a_record_comes() {
    let mut harness = TestHarness::<i64, i64>::new(|times| {
        let strategy = WatermarkStrategy::<i64>::for_monotonous_timestamps();
        times.assign_timestamps_and_watermarks(strategy.with_ingestion_time())
    });
    let first = harness.processing_time();
    harness.push(1);
    harness.advance_processing_time(Duration::from_secs(5));
    harness.push(2);
    let expected = [(1, first), (2, first.plus_ms(5_000))];
    assert_eq!(harness.output_at(), expected);
}

#[test]
fn a_watermark_of_a_record_stands_right_behind_it() {
    let mut harness = TestHarness::<i64, (i64, i64)>::new(|times| {
        let strategy = WatermarkStrategy::<i64>::for_punctuated(|_, at| Some(at));
        times
            .assign_timestamps_and_watermarks(strategy.with_timestamp_assigner(at))
            .process(|_: &mut crate::OpenContext| {
                |time: i64,
                 context: &crate::ProcessContext,
                 out: &mut crate::Collector<'_, (i64, i64)>| {
                    out.emit((time, context.watermark().0));
                    Ok(())
                }
            })
    });
    for time in [5, 9, 7, 12] {
        harness.push(time);
    }
    let seen = [(5, Timestamp::MIN.0), (9, 5), (7, 9), (12, 9)];
    assert_eq!(harness.output(), seen);
}

#[test]
fn an_input_that_has_ended_promises_nothing_for_one_that_is_idle() {
    let mut harness = TwoInputHarness::<i64, i64, i64>::new(|ended, idle| ended.union(idle));
    harness.advance_watermark(Timestamp(10));
    harness.mark_second_idle();
    harness.finish_first();
    assert_eq!(
        (harness.watermark(), harness.is_idle()),
        (Timestamp(10), true)
    );
    harness.push_second_at(20, Timestamp(20));
    harness.advance_second(Timestamp(30));
    assert_eq!(
        (harness.watermark(), harness.is_idle()),
        (Timestamp(30), false)
    );
    harness.finish_second();
    assert_eq!(harness.watermark(), Timestamp::MAX);
}
