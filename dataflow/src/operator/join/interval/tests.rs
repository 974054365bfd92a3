//! The interval join in the harness: bounds, late records, what is kept, pairs without room.

mod on_disk;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Key;

use super::slices::TimeSlices;
use crate::function::OutputTag;
use crate::harness::TwoInputHarness;
use crate::operator::frame::Firing;
use crate::operator::join::testing::context;
use crate::time::LATE_RECORDS_DROPPED;

type Row = (u64, i64);
type Pair = (i64, i64);
type Harness = TwoInputHarness<Row, Row, Pair>;

fn by_key(row: &Row) -> u64 {
    row.0
}

/// Pairs of times, joined between these bounds.
fn harness(lower_ms: i64, upper_ms: i64) -> Harness {
    Harness::new(|left, right| {
        let joined = (left.key_by(by_key)).interval_join(right.key_by(by_key));
        (joined.between(lower_ms, upper_ms)).apply(|l: &Row, r: &Row| (l.1, r.1))
    })
}

fn left(harness: &mut Harness, key: u64, at: i64) {
    harness.push_first_at((key, at), Timestamp(at));
}

fn right(harness: &mut Harness, key: u64, at: i64) {
    harness.push_second_at((key, at), Timestamp(at));
}

#[test]
fn bounds_are_included_whichever_record_comes_first() {
    for left_first in [true, false] {
        let mut harness = harness(-2, 3);
        if left_first {
            left(&mut harness, 1, 10);
        }
        for at in 5..16 {
            right(&mut harness, 1, at);
            right(&mut harness, 2, at);
        }
        if !left_first {
            left(&mut harness, 1, 10);
        }
        let mut pairs = harness.output();
        pairs.sort_unstable();
        assert_eq!(pairs, [8, 9, 10, 11, 12, 13].map(|at| (10, at)));
    }
}

#[test]
fn bounds_may_be_left_out_negative_or_the_same() {
    let mut exclusive = Harness::new(|left, right| {
        let joined = (left.key_by(by_key)).interval_join(right.key_by(by_key));
        let bounded = joined.between(-1, 1).lower_bound_exclusive();
        (bounded.upper_bound_exclusive()).apply(|l: &Row, r: &Row| (l.1, r.1))
    });
    for at in -2..3 {
        right(&mut exclusive, 0, at);
    }
    left(&mut exclusive, 0, 0);
    assert_eq!(exclusive.output(), [(0, 0)]);

    for (bound, partner) in [(-7, -7), (5, 5)] {
        let mut one = harness(bound, bound);
        left(&mut one, 0, 0);
        for at in -9..9 {
            right(&mut one, 0, at);
        }
        assert_eq!(one.output(), [(0, partner)]);
    }
}

#[test]
fn the_slower_stream_decides_who_is_late_and_late_records_leave_aside() {
    let late: OutputTag<Row> = OutputTag::new("late");
    let mut harness = Harness::new(|left, right| {
        let joined = (left.key_by(by_key)).interval_join(right.key_by(by_key));
        let joined = (joined.between(-5, 5).late_left(&late).late_right(&late))
            .apply(|l: &Row, r: &Row| (l.1, r.1));
        let aside = joined.side_output(&late);
        joined.union(aside.map(|row: Row| (row.1, i64::MIN)))
    });
    right(&mut harness, 1, 10);
    harness.advance_second(Timestamp(10));
    left(&mut harness, 1, 5);
    assert_eq!(
        harness.output(),
        [(5, 10)],
        "the left stream promised nothing"
    );
    harness.advance_first(Timestamp(7));
    left(&mut harness, 1, 7);
    right(&mut harness, 1, 7);
    assert_eq!(harness.output(), [(7, i64::MIN), (7, i64::MIN)]);
    left(&mut harness, 1, 8);
    right(&mut harness, 1, 8);
    assert_eq!(harness.output(), [(8, 10), (5, 8), (8, 8)]);
    assert_eq!(harness.failure(), None);
}

#[test]
fn late_records_without_an_output_are_counted() {
    let late: OutputTag<Row> = OutputTag::new("late");
    let mut harness = Harness::new(|left, right| {
        let joined = (left.key_by(by_key)).interval_join(right.key_by(by_key));
        let joined = joined.between(-5, 5).late_left(&late);
        joined.apply(|l: &Row, r: &Row| (l.1, r.1))
    });
    harness.advance_watermark(Timestamp(7));
    left(&mut harness, 1, 8);
    right(&mut harness, 1, 8);
    assert_eq!(harness.accumulator(LATE_RECORDS_DROPPED), 0);
    for at in 5..8 {
        left(&mut harness, 1, at);
        right(&mut harness, 1, at);
    }
    assert_eq!(harness.output(), [(8, 8)]);
    assert_eq!(harness.accumulator(LATE_RECORDS_DROPPED), 3, "right ones");
}

#[test]
fn a_record_without_time_fails_the_job_and_says_why() {
    let mut harness = harness(0, 1);
    harness.push_second((1, 1));
    let failure = harness.failure().unwrap_or_default();
    assert!(
        failure.contains("interval_join") && failure.contains("without event time"),
        "{failure}"
    );
}

#[test]
fn pairs_without_room_come_before_what_follows() {
    const PARTNERS: i64 = 20_000;
    let mut harness = Harness::new(|left, right| {
        let joined = (left.key_by(by_key)).interval_join(right.key_by(by_key));
        let pairs = (joined.between(-PARTNERS, PARTNERS)).apply(|l: &Row, r: &Row| (l.1, r.1));
        pairs.start_new_chain()
    });
    for at in 0..PARTNERS {
        right(&mut harness, 1, at);
    }
    left(&mut harness, 1, 0);
    left(&mut harness, 1, 1);
    harness.advance_watermark(Timestamp(2 * PARTNERS));
    left(&mut harness, 1, 5);
    let pairs: Vec<Pair> = [0, 1]
        .iter()
        .flat_map(|l| (0..PARTNERS).map(|r| (*l, r)))
        .collect();
    assert_eq!(harness.output(), pairs);
    for at in [1, 2] {
        left(&mut harness, 2, 3 * PARTNERS + at);
    }
    right(&mut harness, 2, 3 * PARTNERS);
    assert_eq!(
        harness.output(),
        [1, 2].map(|at| (3 * PARTNERS + at, 3 * PARTNERS))
    );
}

#[test]
fn bounds_in_the_wrong_order_are_told() {
    let refused = std::panic::catch_unwind(|| harness(3, 2)).err();
    let message = refused.and_then(|text| text.downcast::<String>().ok());
    assert!(message.is_some_and(|text| text.contains("between 3 ms and 2 ms")));
}

#[test]
fn a_slice_is_forgotten_when_its_last_record_is_needed_no_more() {
    let mut slices = TimeSlices::<u64, Row>::new(&context(), "left", 10, 3).unwrap();
    for at in [-1, 0, 9, 10] {
        let at = Timestamp(at);
        slices.insert(u64::hash(&1), &1, at, (1, at.0)).unwrap();
    }
    assert_eq!(slices.len(), 3, "before 0, from 0 to 9, from 10");
    for (watermark, kept) in [(1, 3), (2, 2), (11, 2), (12, 1), (21, 1), (22, 0)] {
        assert_eq!(slices.forget(Timestamp(watermark), 8), Firing::Done);
        assert_eq!(slices.len(), kept, "at {watermark}");
    }
}

#[test]
fn what_cannot_have_partners_is_not_kept() {
    let slices = TimeSlices::<u64, Row>::new(&context(), "left", 0, -5).unwrap();
    assert!(!slices.needs(Timestamp(25), Timestamp(20)));
    assert!(slices.needs(Timestamp(26), Timestamp(20)));
}
