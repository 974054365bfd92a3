//! The rules of event-time windows, one by one.

use std::time::Duration;

use thalweg_core::event_time::Timestamp;

use crate::function::{Collector, OutputTag};
use crate::harness::TestHarness;
use crate::window::assigner::{
    GlobalWindows, SessionWindows, SlidingWindows, TumblingWindows, WindowAssigner,
};
use crate::window::trigger::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, DeltaTrigger,
    EventTimeTrigger, Trigger, TriggerContext, TriggerResult,
};
use crate::window::{WindowContext, WindowElements, WindowOpenContext};

type Pair = (u64, u64);
type Counts = TestHarness<Pair, Pair>;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn key(pair: &Pair) -> u64 {
    pair.0
}

/// Counts per key in windows of this assigner that this trigger lets speak.
fn counts<A, G>(assigner: A, trigger: G, lateness: u64) -> Counts
where
    A: WindowAssigner<Pair>,
    G: Trigger<Pair>,
{
    Counts::new(|pairs| {
        let windows = pairs.key_by(key).window(assigner).trigger(trigger);
        let windows = windows.allowed_lateness(ms(lateness));
        windows.count().map(|row: Pair| row)
    })
}

fn push(harness: &mut Counts, times: &[i64]) {
    for at in times {
        harness.push_at((1, 0), Timestamp(*at));
    }
}

fn tumbling() -> TumblingWindows {
    TumblingWindows::event_time(ms(10))
}

#[test]
fn results_have_the_last_time_of_their_window() {
    let mut harness = counts(tumbling(), EventTimeTrigger::new(), 100);
    push(&mut harness, &[-1, 3]);
    harness.advance_watermark(Timestamp(20));
    push(&mut harness, &[4]);
    let rows = harness.output_at();
    let (first, second, late) = (Timestamp(-1), Timestamp(9), Timestamp(9));
    assert_eq!(rows, [((1, 1), first), ((1, 1), second), ((1, 2), late)]);
}

#[test]
fn a_window_is_gone_when_the_watermark_reaches_its_last_time_and_the_lateness() {
    let mut harness = counts(tumbling(), EventTimeTrigger::new(), 5);
    push(&mut harness, &[3]);
    harness.advance_watermark(Timestamp(13));
    push(&mut harness, &[3]);
    assert_eq!(harness.output(), [(1, 1), (1, 2)]);
    harness.advance_watermark(Timestamp(14));
    push(&mut harness, &[3]);
    assert_eq!(harness.output(), []);
}

#[test]
fn a_purged_window_stays_until_it_is_cleaned_up() {
    let mut harness = Counts::new(|pairs| {
        let windows = pairs.key_by(key).window(tumbling()).discarding();
        let windows = windows.allowed_lateness(ms(50));
        windows.count().map(|row: Pair| row)
    });
    push(&mut harness, &[3, 4]);
    harness.advance_watermark(Timestamp(9));
    push(&mut harness, &[5]);
    push(&mut harness, &[6]);
    harness.finish();
    assert_eq!(harness.output(), [(1, 2), (1, 1), (1, 1)]);
}

#[test]
fn a_late_record_joins_an_open_session_and_else_is_dropped() {
    let mut harness = counts(
        SessionWindows::event_time(ms(10)),
        EventTimeTrigger::new(),
        0,
    );
    push(&mut harness, &[20]);
    harness.advance_watermark(Timestamp(25));
    push(&mut harness, &[10, 4]); // [10, 20) touches [20, 30); [4, 14) then does too.
    push(&mut harness, &[-20]);
    harness.finish();
    assert_eq!(harness.output(), [(1, 3)]);
}

#[test]
fn sessions_that_meet_after_one_has_spoken_speak_again_as_one() {
    let mut harness = counts(
        SessionWindows::event_time(ms(10)),
        EventTimeTrigger::new(),
        100,
    );
    push(&mut harness, &[0, 20]);
    harness.advance_watermark(Timestamp(12));
    assert_eq!(harness.output(), [(1, 1)]);
    push(&mut harness, &[10]); // Late, and joins [0, 10) with [20, 30): which has not ended.
    assert_eq!(harness.output(), []);
    harness.advance_watermark(Timestamp(29));
    assert_eq!(harness.output(), [(1, 3)]);
    push(&mut harness, &[5]);
    assert_eq!(harness.output(), [(1, 4)]);
    harness.finish();
    assert_eq!(harness.output(), []);
}

#[test]
fn counts_of_sessions_that_meet_add_up() {
    let sessions = SessionWindows::event_time(ms(10));
    let mut harness = counts(sessions, CountTrigger::new(4), 0);
    push(&mut harness, &[0, 1, 30, 31]);
    assert_eq!(harness.output(), []);
    push(&mut harness, &[11, 21]);
    assert_eq!(harness.output(), [(1, 6)]);
}

#[test]
fn a_continuous_trigger_fires_for_every_interval_the_watermark_passes() {
    let windows = TumblingWindows::event_time(ms(100));
    let every = ContinuousEventTimeTrigger::new(ms(30));
    let mut harness = counts(windows, every, 0);
    push(&mut harness, &[5]);
    harness.advance_watermark(Timestamp(65));
    assert_eq!(harness.output(), [(1, 1), (1, 1)]);
    push(&mut harness, &[70]);
    harness.finish();
    assert_eq!(harness.output(), [(1, 2), (1, 2)]);
}

#[test]
fn a_continuous_trigger_keeps_to_its_multiples_where_sessions_meet() {
    let sessions = SessionWindows::event_time(ms(25));
    let every = ContinuousEventTimeTrigger::new(ms(10));
    let mut harness = counts(sessions, every, 0);
    push(&mut harness, &[0]);
    harness.advance_watermark(Timestamp(20));
    assert_eq!(harness.output(), [(1, 1), (1, 1)]);
    push(&mut harness, &[20]); // [0, 25) ends at 44 now.
    harness.advance_watermark(Timestamp(29));
    assert_eq!(harness.output(), []);
    harness.advance_watermark(Timestamp(43));
    assert_eq!(harness.output(), [(1, 2), (1, 2)]);
    harness.finish();
    assert_eq!(harness.output(), [(1, 2)]);
}

#[test]
fn what_is_late_for_a_session_that_was_reopened_is_told_as_before() {
    let late = ContinuousProcessingTimeTrigger::new(Duration::from_secs(10));
    let trigger = EventTimeTrigger::new().with_late(late);
    let mut harness = counts(SessionWindows::event_time(ms(10)), trigger, 1_000);
    push(&mut harness, &[0]);
    harness.advance_watermark(Timestamp(9));
    push(&mut harness, &[0, 5]); // The second one reopens the session: it ends at 14.
    harness.advance_watermark(Timestamp(14));
    assert_eq!(harness.output(), [(1, 1), (1, 3)]);
    push(&mut harness, &[3]);
    harness.advance_processing_time(Duration::from_secs(11));
    assert_eq!(harness.output(), [(1, 4)]);
}

#[test]
fn a_continuous_trigger_of_a_global_window_ends_with_the_input() {
    let every = ContinuousEventTimeTrigger::new(ms(30));
    let mut harness = counts(GlobalWindows::new(), every, 0);
    push(&mut harness, &[5]);
    harness.finish();
    assert_eq!(harness.output(), [(1, 1)]);
}

#[test]
fn timers_of_the_past_fire_at_the_next_watermark() {
    #[derive(Clone)]
    struct AskBack;
    impl Trigger<Pair> for AskBack {
        type State = ();
        fn on_element(
            &self,
            _pair: &Pair,
            at: Timestamp,
            context: &mut TriggerContext<'_, ()>,
        ) -> TriggerResult {
            context.register_event_time(at);
            context.register_event_time(at.plus_ms(5));
            context.delete_event_time(at.plus_ms(5));
            TriggerResult::Continue
        }
        fn on_event_time(&self, _: Timestamp, _: &mut TriggerContext<'_, ()>) -> TriggerResult {
            TriggerResult::FireAndPurge
        }
    }
    let mut harness = counts(GlobalWindows::new(), AskBack, 0);
    harness.advance_watermark(Timestamp(50));
    push(&mut harness, &[20]);
    assert_eq!(harness.output(), []);
    harness.advance_watermark(Timestamp(51));
    assert_eq!(harness.output(), [(1, 1)]);
    harness.finish();
    assert_eq!(harness.output(), []);
}

#[test]
#[should_panic(expected = "the windows merge, but their trigger cannot")]
fn a_trigger_that_cannot_merge_is_refused_with_sessions() {
    let delta = DeltaTrigger::new(1.0, |_: &Pair, _: &Pair| 0.0);
    let _ = counts(SessionWindows::event_time(ms(10)), delta, 0);
}

#[test]
fn a_record_without_event_time_fails_the_job() {
    let mut harness = counts(tumbling(), EventTimeTrigger::new(), 0);
    harness.push((1, 1));
    let failure = harness.failure().unwrap_or_default();
    assert!(failure.contains("assign timestamps"), "{failure}");
}

#[test]
fn too_late_for_one_window_is_not_too_late_for_another() {
    let late = OutputTag::<Pair>::new("late");
    let mut harness = Counts::new(|pairs| {
        let windows = SlidingWindows::event_time(ms(20), ms(10));
        let windows = pairs.key_by(key).window(windows);
        let windows = windows.trigger(EventTimeTrigger::new()).late_output(&late);
        let rows = windows.count();
        let late = rows.side_output(&late).map(|pair: Pair| (pair.0, 1000));
        rows.map(|row: Pair| row).union(late)
    });
    harness.advance_watermark(Timestamp(19));
    push(&mut harness, &[15]); // [0, 20) is gone, [10, 30) is not.
    push(&mut harness, &[5]);
    harness.finish();
    let mut rows = harness.output();
    rows.sort_unstable();
    assert_eq!(rows, [(1, 1), (1, 1000)]);
}

/// How often each window has fired, and how many windows its key has had.
fn firings(assigner: impl WindowAssigner<Pair>) -> Counts {
    Counts::new(|pairs| {
        let windows = pairs.key_by(key).window(assigner);
        let windows = windows.allowed_lateness(ms(100));
        windows.process(|open: &mut WindowOpenContext<u64>| {
            let mut in_window = open.window_value_state::<u64>("firings of the window");
            let mut in_all = open.value_state::<u64>("firings of the key");
            move |_: &WindowElements<Pair>,
                  context: &WindowContext<u64>,
                  out: &mut Collector<Pair>| {
                context.metrics().counter("firings").inc();
                in_window.update(|firings| *firings += 1)?;
                in_all.update(|firings| *firings += 1)?;
                let of_window = in_window.get()?.unwrap_or_default();
                out.emit((of_window, in_all.get()?.unwrap_or_default()));
                Ok(())
            }
        })
    })
}

#[test]
fn state_is_kept_per_window_and_per_key() {
    let mut harness = firings(tumbling());
    push(&mut harness, &[3, 13]);
    harness.advance_watermark(Timestamp(19));
    push(&mut harness, &[4, 14]);
    assert_eq!(harness.output(), [(1, 1), (1, 2), (2, 3), (2, 4)]);
    harness.advance_watermark(Timestamp(500));
    push(&mut harness, &[503]);
    assert_eq!(harness.metric("firings"), Some(4.0));
    harness.finish();
    assert_eq!(harness.output(), [(1, 5)]);
}

#[test]
#[should_panic(expected = "is kept per window, but these windows merge")]
fn state_per_window_is_refused_where_windows_merge() {
    let _ = firings(SessionWindows::event_time(ms(10)));
}

#[test]
#[should_panic(
    expected = "the size of a window is 1.5ms: it must be one or more whole milliseconds"
)]
fn a_window_of_half_milliseconds_is_refused() {
    let _ = TumblingWindows::event_time(Duration::from_micros(1_500));
}

#[test]
#[should_panic(
    expected = "the gap of sessions is 900µs: it must be one or more whole milliseconds"
)]
fn a_gap_under_a_millisecond_is_refused() {
    let _ = SessionWindows::event_time(Duration::from_micros(900));
}
