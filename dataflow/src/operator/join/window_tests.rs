//! Window joins in the harness: who meets whom, sessions over both streams, late records.

use std::time::Duration;

use thalweg_core::event_time::Timestamp;

use super::*;
use crate::harness::TwoInputHarness;
use crate::window::assigner::{SessionWindows, SlidingWindows, TumblingWindows};
use crate::window::evictor::CountEvictor;
use crate::window::trigger::{CountTrigger, PurgingTrigger};

type Row = (u64, i64);
type Pair = (i64, i64);
type Harness = TwoInputHarness<Row, Row, Pair>;

fn by_key(row: &Row) -> u64 {
    row.0
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn times(left: &Row, right: &Row) -> Pair {
    (left.1, right.1)
}

fn left(harness: &mut Harness, key: u64, at: i64) {
    harness.push_first_at((key, at), Timestamp(at));
}

fn right(harness: &mut Harness, key: u64, at: i64) {
    harness.push_second_at((key, at), Timestamp(at));
}

fn sorted(harness: &mut Harness) -> Vec<Pair> {
    let mut pairs = harness.output();
    pairs.sort_unstable();
    pairs
}

#[test]
fn records_meet_in_their_window_and_the_pair_has_its_last_time() {
    let mut harness = Harness::new(|left, right| {
        let joined = left.key_by(by_key).join(right.key_by(by_key));
        joined
            .window(TumblingWindows::event_time(ms(10)))
            .apply(times)
    });
    for at in [-1, 0, 9, 10] {
        left(&mut harness, 1, at);
    }
    right(&mut harness, 1, 5);
    right(&mut harness, 2, 5);
    harness.advance_first(Timestamp(50));
    assert_eq!(harness.output(), []);
    harness.advance_second(Timestamp(9));
    let pairs = [((0, 5), Timestamp(9)), ((9, 5), Timestamp(9))];
    assert_eq!(harness.output_at(), pairs);
}

#[test]
fn sliding_windows_pair_once_for_each_window_shared() {
    let mut harness = Harness::new(|left, right| {
        let joined = left.key_by(by_key).join(right.key_by(by_key));
        joined
            .window(SlidingWindows::event_time(ms(20), ms(10)))
            .apply(times)
    });
    left(&mut harness, 1, 15);
    right(&mut harness, 1, 12);
    right(&mut harness, 1, 25);
    harness.finish();
    assert_eq!(sorted(&mut harness), [(15, 12), (15, 12), (15, 25)]);
}

#[test]
fn sessions_merge_over_both_streams() {
    let mut harness = Harness::new(|left, right| {
        let joined = left.key_by(by_key).join(right.key_by(by_key));
        joined
            .window(SessionWindows::event_time(ms(10)))
            .apply(times)
    });
    left(&mut harness, 1, 0);
    left(&mut harness, 1, 18);
    right(&mut harness, 1, 40);
    right(&mut harness, 1, 9);
    harness.finish();
    assert_eq!(sorted(&mut harness), [(0, 9), (18, 9)], "40 is alone");
}

#[test]
fn a_record_within_the_allowed_lateness_lets_the_window_speak_again() {
    let late: OutputTag<Either<Row, Row>> = OutputTag::new("late");
    let mut harness = Harness::new(|left, right| {
        let joined = left.key_by(by_key).join(right.key_by(by_key));
        let windows = joined.window(TumblingWindows::event_time(ms(10)));
        let pairs = windows
            .allowed_lateness(ms(5))
            .late_output(&late)
            .apply(times);
        let aside = pairs.side_output(&late);
        pairs.union(aside.map(|row: Either<Row, Row>| match row {
            Either::Left(left) => (left.1, i64::MIN),
            Either::Right(right) => (i64::MIN, right.1),
        }))
    });
    left(&mut harness, 1, 1);
    right(&mut harness, 1, 2);
    harness.advance_watermark(Timestamp(12));
    assert_eq!(harness.output(), [(1, 2)]);
    right(&mut harness, 1, 3);
    assert_eq!(sorted(&mut harness), [(1, 2), (1, 3)]);
    harness.advance_watermark(Timestamp(14));
    right(&mut harness, 1, 4);
    assert_eq!(harness.output(), [(i64::MIN, 4)]);
}

#[test]
fn a_trigger_is_asked_about_the_records_of_both_streams() {
    let mut harness = Harness::new(|left, right| {
        let joined = left.key_by(by_key).join(right.key_by(by_key));
        let windows = joined.window(TumblingWindows::event_time(ms(10)));
        windows.trigger(CountTrigger::new(2)).apply(times)
    });
    left(&mut harness, 1, 1);
    right(&mut harness, 1, 2);
    assert_eq!(harness.output(), [(1, 2)]);
}

/// All pairs of `lefts` and `rights`, in the order in which a window gives them out.
fn crossed(lefts: i64, rights: i64) -> Vec<Pair> {
    let rights = |left| (0..rights).map(move |right| (left, right));
    (0..lefts).flat_map(rights).collect()
}

#[test]
fn pairs_without_room_come_before_what_follows() {
    const EACH: i64 = 300;
    let mut harness = Harness::new(|left, right| {
        let joined = left.key_by(by_key).join(right.key_by(by_key));
        let windows = joined.window(TumblingWindows::event_time(ms(1_000)));
        windows.apply(times).start_new_chain()
    });
    for at in 0..EACH {
        left(&mut harness, 1, at);
        right(&mut harness, 1, at);
    }
    for (key, at) in [(1, 1_000), (2, 999)] {
        left(&mut harness, key, at);
        right(&mut harness, key, at);
    }
    harness.finish();
    let pairs = harness.output();
    let hot = pairs.iter().filter(|pair| pair.0 < EACH).copied();
    assert!(hot.eq(crossed(EACH, EACH)));
    let mut others: Vec<_> = pairs.into_iter().filter(|pair| pair.0 >= EACH).collect();
    others.sort_unstable();
    assert_eq!(others, [(999, 999), (1_000, 1_000)]);
}

#[test]
fn records_that_let_windows_speak_wait_for_the_pairs_of_those_before() {
    const EACH: i64 = 150;
    // Each record lets both of its windows speak: the one with the record, too, and not those behind.
    let mut harness = Harness::new(|left, right| {
        let joined = left.key_by(by_key).join(right.key_by(by_key));
        let windows = joined.window(SlidingWindows::event_time(ms(2_000), ms(1_000)));
        let windows = windows.trigger(CountTrigger::new(2 * EACH as u64));
        windows.apply(times).start_new_chain()
    });
    for at in 0..EACH {
        left(&mut harness, 1, at);
        right(&mut harness, 1, at);
    }
    for at in EACH..2 * EACH {
        left(&mut harness, 1, at);
        right(&mut harness, 1, at);
    }
    let pairs = harness.output();
    let (first, second) = (crossed(EACH, EACH), crossed(2 * EACH, 2 * EACH));
    assert_eq!(pairs.len(), 2 * (first.len() + second.len()));
    let once = [&first[..], &first, &second, &second].concat();
    assert_eq!(pairs, once);
}

#[test]
fn purged_and_evicted_windows_speak_of_what_is_left() {
    const EACH: i64 = 40;
    let mut harness = Harness::new(|left, right| {
        let joined = left.key_by(by_key).join(right.key_by(by_key));
        let windows = joined.window(TumblingWindows::event_time(ms(1_000)));
        let windows = windows.trigger(PurgingTrigger::new(CountTrigger::new(2 * EACH as u64)));
        let windows = windows.evictor(CountEvictor::new(2 * EACH as usize - 2));
        windows.apply(times).start_new_chain()
    });
    for at in 0..3 * EACH {
        left(&mut harness, 1, at);
        right(&mut harness, 1, at);
    }
    let expected: Vec<Pair> = (0..3)
        .map(|window| window * EACH)
        .flat_map(|begin| {
            let kept = begin + 1..begin + EACH;
            kept.clone()
                .flat_map(move |left| kept.clone().map(move |right| (left, right)))
        })
        .collect();
    assert_eq!(harness.output(), expected);
    assert_eq!(harness.failure(), None);
}
