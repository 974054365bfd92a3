//! Loops in the harness: what comes back, when they end, what they do to time.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;

use crate::function::{Collector, OpenContext, ProcessContext};
use crate::harness::TestHarness;
use crate::window::assigner::TumblingWindows;

/// Numbers that count down by three.
fn countdown() -> TestHarness<i64, i64> {
    TestHarness::<i64, i64>::new(|numbers| {
        numbers.iterate().close_with(|numbers| {
            let less = numbers.map(|number| number - 3).share();
            let again = less.stream().filter(|number| *number >= 3);
            (again, less.stream().filter(|number| *number < 3))
        })
    })
}

#[test]
fn records_go_around_until_the_body_lets_them_go() {
    let mut harness = countdown();
    harness.push(10);
    assert_eq!(harness.output(), [1]);
    for number in 3..200 {
        harness.push(number);
    }
    let mut rests = harness.output();
    rests.sort_unstable();
    let mut expected: Vec<i64> = (3..200).map(|number| number % 3).collect();
    expected.sort_unstable();
    assert_eq!(rests, expected);
    assert_eq!(harness.watermark(), Timestamp::MIN);
    harness.finish();
    assert_eq!(harness.watermark(), Timestamp::MAX, "the loop has ended");
    assert!(harness.output().is_empty());
    assert_eq!(harness.failure(), None);
}

#[test]
fn a_loop_without_records_ends() {
    let mut harness = countdown();
    harness.finish();
    assert_eq!(harness.watermark(), Timestamp::MAX);
    assert_eq!(harness.failure(), None);
}

#[test]
fn watermarks_pass_a_loop_but_the_last_waits_for_what_is_in_it() {
    let mut harness = TestHarness::<i64, (i64, u64)>::new(|numbers| {
        let left = numbers.iterate().close_with(|numbers| {
            let less = numbers.map(|number| number - 1).share();
            let again = less.stream().filter(|number| *number > 0);
            (again, less.stream().filter(|number| *number <= 0))
        });
        let windows = left.key_by(|number: &i64| *number);
        let windows = windows.window(TumblingWindows::event_time(Duration::from_millis(10)));
        windows.count().map(|row: (i64, u64)| row)
    });
    harness.push_at(5, Timestamp(3));
    harness.advance_watermark(Timestamp(9));
    assert_eq!(harness.watermark(), Timestamp(9), "nothing holds it back");
    assert_eq!(harness.output(), [(0, 1)]);
    for number in 1..500 {
        harness.push_at(number, Timestamp(12));
    }
    harness.finish();
    assert_eq!(harness.output(), [(0, 499)], "none came too late");
    assert_eq!(harness.failure(), None);
}

#[test]
fn a_keyed_loop_keeps_state_at_its_head() {
    type Known = (u64, u64);
    const ROADS: [(u64, u64, u64); 5] = [(1, 2, 7), (1, 3, 2), (3, 2, 3), (2, 4, 1), (4, 1, 1)];
    let mut harness = TestHarness::<Known, Known>::new(|starts| {
        let starts = starts.key_by(|known: &Known| known.0);
        starts.iterate().close_with(|known| {
            let nearer = known.process(|open: &mut OpenContext<u64>| {
                let mut nearest = open.value_state::<u64>("nearest");
                move |known: Known, _: &ProcessContext<u64>, out: &mut Collector<'_, Known>| {
                    if nearest.get()?.is_none_or(|before| known.1 < before) {
                        nearest.set(known.1)?;
                        out.emit(known);
                    }
                    Ok(())
                }
            });
            let nearer = nearer.share();
            let on = |(place, far): Known, out: &mut Collector<'_, Known>| {
                let roads = ROADS.iter().filter(|road| road.0 == place);
                roads.for_each(|(_, to, length)| out.emit((*to, far + length)));
            };
            (nearer.stream().flat_map(on), nearer.stream())
        })
    });
    harness.push((1, 0));
    harness.finish();
    let mut least = BTreeMap::new();
    for (place, far) in harness.output() {
        let known: &mut u64 = least.entry(place).or_insert(far);
        *known = far.min(*known);
    }
    let expected = BTreeMap::from([(1, 0), (2, 5), (3, 2), (4, 6)]);
    assert_eq!(least, expected);
    assert_eq!(harness.failure(), None);
}

#[test]
fn what_is_kept_until_the_end_of_input_cannot_come_back() {
    let mut harness = TestHarness::<u64, u64>::new(|numbers| {
        numbers.iterate().close_with(|numbers| {
            let sums = numbers.map_partition(|numbers: Vec<u64>| [numbers.iter().sum::<u64>()]);
            let sums = sums.share();
            (sums.stream(), sums.stream())
        })
    });
    harness.push(1);
    harness.finish();
    let failure = harness.failure().unwrap_or_default();
    assert!(failure.contains("after the loop had ended"), "{failure}");
}
