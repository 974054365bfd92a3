//! What a window aggregate gives out, by the rules of event time, in the harness.

use thalweg_core::event_time::Timestamp;

use super::{AlignedWindows, Plain, SliceOptions, aggregate_slices};
use crate::function::Collector;
use crate::harness::TestHarness;
use crate::time::WatermarkStrategy;
use crate::window::{TimeWindow, WindowAggregate};

/// A record: its key and a number.
type Pair = (u64, u64);
/// A row: key, window and the sum of the numbers.
type Row = (u64, i64, i64, u64);

/// Sums per key and window.
#[derive(Clone)]
struct Sum {
    inverse: bool,
}

impl WindowAggregate<u64, Pair> for Sum {
    type Accumulator = u64;
    type Row = Row;
    fn create(&self) -> u64 {
        0
    }
    fn add(&self, sum: &mut u64, record: Pair) {
        *sum += record.1;
    }
    fn merge(&self, into: &mut u64, other: &u64) {
        *into += other;
    }
    fn subtract(&self, from: &mut u64, other: &u64) -> bool {
        if self.inverse {
            *from -= other;
        }
        self.inverse
    }
    fn row(&self, key: u64, window: TimeWindow, sum: &u64) -> Row {
        (key, window.start.0, window.end.0, *sum)
    }
}

fn harness(windows: AlignedWindows, lateness_ms: i64, local: bool) -> TestHarness<Pair, Row> {
    TestHarness::new(move |pairs| {
        let options = SliceOptions {
            lateness_ms,
            local_aggregation: local,
            late: None,
        };
        let sum = Sum { inverse: false };
        let keyed = pairs.key_by(|pair: &Pair| pair.0);
        aggregate_slices(keyed, windows, options, sum, Plain)
    })
}

/// The rows since the last call, sorted.
fn rows(harness: &mut TestHarness<Pair, Row>) -> Vec<Row> {
    assert_eq!(harness.failure(), None);
    let mut rows = harness.output();
    rows.sort_unstable();
    rows
}

/// Runs `test` with and without local aggregation.
fn both(windows: AlignedWindows, lateness: i64, test: impl Fn(TestHarness<Pair, Row>)) {
    for local in [false, true] {
        test(harness(windows, lateness, local));
    }
}

#[test]
fn tumbling_windows_fire_when_the_watermark_reaches_their_last_time() {
    both(AlignedWindows::tumbling(10, 0), 0, |mut harness| {
        for (key, value, at) in [(1, 1, 0), (1, 2, 9), (2, 4, -1), (1, 8, 10)] {
            harness.push_at((key, value), Timestamp(at));
        }
        harness.advance_watermark(Timestamp(-1));
        assert_eq!(rows(&mut harness), [(2, -10, 0, 4)]);
        harness.advance_watermark(Timestamp(8));
        assert_eq!(rows(&mut harness), []);
        harness.push_at((2, 16), Timestamp(9));
        harness.advance_watermark(Timestamp(9));
        assert_eq!(rows(&mut harness), [(1, 0, 10, 3), (2, 0, 10, 16)]);
        // Late: its window has fired.
        harness.push_at((1, 32), Timestamp(9));
        harness.finish();
        assert_eq!(rows(&mut harness), [(1, 10, 20, 8)]);
    });
}

#[test]
fn a_late_record_within_the_lateness_fires_its_window_again_at_once() {
    both(AlignedWindows::tumbling(10, 0), 5, |mut harness| {
        harness.push_at((1, 1), Timestamp(3));
        harness.advance_watermark(Timestamp(9));
        assert_eq!(rows(&mut harness), [(1, 0, 10, 1)]);
        harness.push_at((1, 2), Timestamp(9));
        assert_eq!(rows(&mut harness), [(1, 0, 10, 3)]);
        harness.push_at((2, 7), Timestamp(0));
        assert_eq!(rows(&mut harness), [(2, 0, 10, 7)]);
        harness.advance_watermark(Timestamp(13));
        harness.push_at((1, 4), Timestamp(5));
        assert_eq!(rows(&mut harness), [(1, 0, 10, 7)]);
        harness.advance_watermark(Timestamp(14));
        harness.push_at((1, 8), Timestamp(5));
        harness.finish();
        assert_eq!(rows(&mut harness), []);
    });
}

#[test]
fn sliding_windows_share_slices_and_skip_keys_without_records() {
    both(AlignedWindows::sliding(6, 2, 0), 0, |mut harness| {
        harness.push_at((1, 1), Timestamp(0));
        harness.push_at((2, 2), Timestamp(3));
        harness.push_at((1, 4), Timestamp(9));
        harness.advance_watermark(Timestamp(4));
        assert_eq!(
            rows(&mut harness),
            [(1, -4, 2, 1), (1, -2, 4, 1), (2, -2, 4, 2)]
        );
        // Late for the windows that have fired, not for the one to come.
        harness.push_at((1, 8), Timestamp(1));
        harness.finish();
        let expected = [
            (1, 0, 6, 9),
            (1, 4, 10, 4),
            (1, 6, 12, 4),
            (1, 8, 14, 4),
            (2, 0, 6, 2),
            (2, 2, 8, 2),
        ];
        assert_eq!(rows(&mut harness), expected);
    });
}

#[test]
fn cumulating_windows_grow_to_their_full_size_and_begin_anew() {
    both(AlignedWindows::cumulating(6, 2, 1), 0, |mut harness| {
        harness.push_at((1, 1), Timestamp(1));
        harness.push_at((2, 2), Timestamp(4));
        harness.push_at((1, 4), Timestamp(7));
        harness.finish();
        let expected = [
            (1, 1, 3, 1),
            (1, 1, 5, 1),
            (1, 1, 7, 1),
            (1, 7, 9, 4),
            (1, 7, 11, 4),
            (1, 7, 13, 4),
            (2, 1, 5, 2),
            (2, 1, 7, 2),
        ];
        assert_eq!(rows(&mut harness), expected);
    });
}

#[test]
fn a_late_record_fires_again_every_sliding_window_it_is_part_of() {
    both(AlignedWindows::sliding(6, 2, 0), 100, |mut harness| {
        harness.push_at((1, 1), Timestamp(0));
        harness.advance_watermark(Timestamp(3));
        assert_eq!(rows(&mut harness), [(1, -4, 2, 1), (1, -2, 4, 1)]);
        harness.push_at((1, 2), Timestamp(1));
        assert_eq!(rows(&mut harness), [(1, -4, 2, 3), (1, -2, 4, 3)]);
        harness.push_at((1, 4), Timestamp(2));
        assert_eq!(rows(&mut harness), [(1, -2, 4, 7)]);
        harness.finish();
        assert_eq!(rows(&mut harness), [(1, 0, 6, 7), (1, 2, 8, 4)]);
    });
}

#[test]
fn a_record_without_event_time_fails_the_job_and_says_how_to_mend_it() {
    for local in [false, true] {
        let mut harness = harness(AlignedWindows::tumbling(10, 0), 0, local);
        harness.push((1, 1));
        let failure = harness.failure().unwrap_or_default();
        assert!(
            failure.contains("assign_timestamps_and_watermarks"),
            "{failure}"
        );
    }
}

#[test]
fn windows_further_apart_than_numbers_reach_are_kept_apart() {
    both(AlignedWindows::tumbling(1, 0), 0, |mut harness| {
        let far = 1 << 40;
        for at in [0, far, -far, 0] {
            harness.push_at((1, 1), Timestamp(at));
        }
        harness.finish();
        let expected = [(1, -far, 1 - far, 1), (1, 0, 1, 2), (1, far, far + 1, 1)];
        assert_eq!(rows(&mut harness), expected);
    });
}

/// A harness in which one record becomes many, with watermarks between them, in a single turn.
fn burst(windows: AlignedWindows) -> TestHarness<u64, Row> {
    TestHarness::new(move |counts| {
        let pairs = counts.flat_map(|count: u64, out: &mut Collector<Pair>| {
            (0..count).for_each(|number| out.emit((number % 7, number)));
        });
        let strategy =
            WatermarkStrategy::<Pair>::for_punctuated(|pair, at| (pair.1 % 10 == 9).then_some(at));
        let timed = pairs.assign_timestamps_and_watermarks(
            strategy.with_timestamp_assigner(|pair, _| Timestamp(pair.1 as i64)),
        );
        let keyed = timed.key_by(|pair: &Pair| pair.0);
        let sum = Sum { inverse: false };
        aggregate_slices(keyed, windows, SliceOptions::default(), sum, Plain)
    })
}

#[test]
fn a_watermark_that_overtakes_what_is_gathered_is_found() {
    let run = || {
        let mut harness = burst(AlignedWindows::tumbling(5, 0));
        harness.push(1_000);
        harness.finish();
        assert_eq!(harness.failure(), None);
        harness.output().iter().map(|row| row.3).sum::<u64>()
    };
    let all = (0..1_000).sum();
    assert_eq!(run(), all);
    super::local::planted::OVERTAKE.set(true);
    let arrived = run();
    super::local::planted::OVERTAKE.set(false);
    assert!(
        arrived < all,
        "{arrived}: nothing came behind its watermark"
    );
}

#[test]
fn a_slice_that_was_put_aside_is_gone_on_with() {
    both(AlignedWindows::tumbling(5, 0), 0, |mut harness| {
        for round in 0..3 {
            for at in [round * 20, round * 20 + 7, round * 20 + 1, round * 20 + 8] {
                harness.push_at((1, 1), Timestamp(at));
            }
            harness.advance_watermark(Timestamp(round * 20 + 6));
        }
        harness.finish();
        let expected = (0..3).flat_map(|round| {
            let from = round * 20;
            [(1, from, from + 5, 2), (1, from + 5, from + 10, 2)]
        });
        assert!(rows(&mut harness).into_iter().eq(expected));
    });
}

#[test]
fn one_record_may_yield_more_than_the_tables_hold() {
    let mut harness = burst(AlignedWindows::sliding(60, 20, 0));
    harness.push(300_000);
    harness.finish();
    assert_eq!(harness.failure(), None);
    // Every number is in three windows.
    let sum: u64 = harness.output().iter().map(|row| row.3).sum();
    assert_eq!(sum, 3 * (0..300_000).sum::<u64>());
}

#[test]
fn keys_that_never_repeat_pass_and_are_counted_all_the_same() {
    let mut harness = TestHarness::<u64, Row>::new(|counts| {
        let pairs = counts.flat_map(|count: u64, out: &mut Collector<Pair>| {
            (0..count).for_each(|number| out.emit((number % 250_000, 1)));
        });
        let strategy = WatermarkStrategy::<Pair>::no_watermarks();
        let timed = pairs.assign_timestamps_and_watermarks(
            strategy.with_timestamp_assigner(|_, _| Timestamp(0)),
        );
        let keyed = timed.key_by(|pair: &Pair| pair.0);
        let windows = AlignedWindows::tumbling(10, 0);
        let sum = Sum { inverse: false };
        aggregate_slices(keyed, windows, SliceOptions::default(), sum, Plain)
    });
    harness.push(500_000);
    harness.finish();
    assert_eq!(harness.failure(), None);
    let mut rows = harness.output();
    rows.sort_unstable();
    let expected = (0..250_000).map(|key| (key, 0, 10, 2));
    assert!(
        rows.into_iter().eq(expected),
        "each key once, with two records"
    );
}

#[test]
fn a_million_keys_and_windows_may_be_open() {
    let mut harness = TestHarness::<u64, Row>::new(|counts| {
        let pairs = counts.flat_map(|count: u64, out: &mut Collector<Pair>| {
            (0..count).for_each(|number| out.emit((number % 1_000, number / 1_000)));
        });
        let strategy = WatermarkStrategy::<Pair>::no_watermarks();
        let timed = pairs.assign_timestamps_and_watermarks(
            strategy.with_timestamp_assigner(|pair, _| Timestamp(pair.1 as i64)),
        );
        let keyed = timed.key_by(|pair: &Pair| pair.0);
        let windows = AlignedWindows::tumbling(1, 0);
        let sum = Sum { inverse: false };
        aggregate_slices(keyed, windows, SliceOptions::default(), sum, Plain)
    });
    harness.push(1_000_000);
    assert_eq!(harness.output().len(), 0);
    harness.finish();
    assert_eq!(
        (harness.failure(), harness.output().len()),
        (None, 1_000_000)
    );
}
