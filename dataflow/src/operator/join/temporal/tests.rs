//! The temporal join in the harness: which version a row meets, when, and what is kept.

mod on_disk;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Key;

use super::versions::Versions;
use crate::function::OutputTag;
use crate::harness::TwoInputHarness;
use crate::operator::frame::Firing;
use crate::operator::join::testing::context;
use crate::time::LATE_RECORDS_DROPPED;

type Row = (u64, i64);
type Table = (u64, i64);
type Joined = (i64, Option<i64>);
type Harness = TwoInputHarness<Row, Table, Joined>;

/// Times of rows with the number of their version; numbers that end in 9 are deletions.
fn harness() -> Harness {
    let late: OutputTag<Row> = OutputTag::new("late");
    Harness::new(|rows, versions| {
        let rows = rows.key_by(|row: &Row| row.0);
        let versions = versions.key_by(|version: &Table| version.0);
        let joined = (rows.temporal_join(versions))
            .deleted_when(|version| version.1 % 10 == 9)
            .late_rows(&late)
            .apply_outer(|row: &Row, version: Option<&Table>| (row.1, version.map(|v| v.1)));
        let aside = joined.side_output(&late);
        joined.union(aside.map(|row: Row| (row.1, Some(i64::MIN))))
    })
}

fn row(harness: &mut Harness, key: u64, at: i64) {
    harness.push_first_at((key, at), Timestamp(at));
}

fn version(harness: &mut Harness, key: u64, at: i64) {
    harness.push_second_at((key, at), Timestamp(at));
}

#[test]
fn a_row_waits_for_both_streams_and_meets_the_version_of_its_time() {
    let mut harness = harness();
    version(&mut harness, 1, 20);
    version(&mut harness, 1, 10);
    version(&mut harness, 2, 5);
    for at in [25, 20, 19, 10, 9] {
        row(&mut harness, 1, at);
    }
    harness.advance_first(Timestamp(100));
    assert_eq!(harness.output(), []);
    harness.advance_second(Timestamp(19));
    assert_eq!(
        harness.output(),
        [(9, None), (10, Some(10)), (19, Some(10))]
    );
    version(&mut harness, 1, 22);
    harness.finish();
    assert_eq!(harness.output(), [(20, Some(20)), (25, Some(22))]);
}

#[test]
fn the_last_version_of_one_time_is_valid_and_deletions_end_versions() {
    let mut harness = harness();
    harness.push_second_at((1, 11), Timestamp(10));
    harness.push_second_at((1, 12), Timestamp(10));
    version(&mut harness, 1, 19);
    version(&mut harness, 1, 30);
    for at in [10, 18, 19, 29, 30] {
        row(&mut harness, 1, at);
    }
    harness.advance_watermark(Timestamp(30));
    let rows = [
        (10, Some(12)),
        (18, Some(12)),
        (19, None),
        (29, None),
        (30, Some(30)),
    ];
    assert_eq!(harness.output(), rows);
}

#[test]
fn a_late_row_is_joined_if_its_version_is_known_and_leaves_aside_otherwise() {
    let mut harness = harness();
    version(&mut harness, 1, 10);
    version(&mut harness, 1, 20);
    harness.advance_watermark(Timestamp(25));
    row(&mut harness, 1, 22);
    assert_eq!(harness.output(), [(22, Some(20))]);
    row(&mut harness, 1, 15);
    assert_eq!(harness.output(), [(15, Some(i64::MIN))], "10 is forgotten");
    version(&mut harness, 1, 21);
    row(&mut harness, 1, 22);
    row(&mut harness, 1, 26);
    assert_eq!(
        harness.output(),
        [(22, Some(21))],
        "a late version is valid from now on"
    );
    harness.advance_watermark(Timestamp(26));
    assert_eq!(harness.output(), [(26, Some(21))]);
}

#[test]
fn a_version_that_comes_late_does_not_undo_a_newer_deletion() {
    let mut harness = harness();
    version(&mut harness, 1, 10);
    version(&mut harness, 1, 19); // A deletion.
    harness.advance_watermark(Timestamp(25));
    version(&mut harness, 1, 15);
    row(&mut harness, 1, 20);
    row(&mut harness, 1, 30);
    harness.finish();
    assert_eq!(harness.output(), [(20, None), (30, None)]);
}

#[test]
fn what_comes_too_late_is_counted() {
    let mut harness = Harness::new(|rows, versions| {
        let rows = rows.key_by(|row: &Row| row.0);
        let versions = versions.key_by(|version: &Table| version.0);
        (rows.temporal_join(versions))
            .apply_outer(|row: &Row, version: Option<&Table>| (row.1, version.map(|v| v.1)))
    });
    version(&mut harness, 1, 10);
    version(&mut harness, 1, 20);
    harness.advance_watermark(Timestamp(25));
    row(&mut harness, 1, 24);
    version(&mut harness, 1, 22);
    version(&mut harness, 2, 7);
    assert_eq!(harness.accumulator(LATE_RECORDS_DROPPED), 0, "all of use");
    row(&mut harness, 1, 12);
    version(&mut harness, 1, 21);
    assert_eq!(harness.accumulator(LATE_RECORDS_DROPPED), 2);
    row(&mut harness, 1, 26);
    row(&mut harness, 2, 26);
    harness.finish();
    let rows = [(24, Some(20)), (26, Some(22)), (26, Some(7))];
    assert_eq!(harness.output(), rows);
}

#[test]
fn many_rows_of_one_time_come_out_as_there_is_room() {
    let mut harness = TwoInputHarness::<Row, Table, Row>::new(|rows, versions| {
        let rows = rows.key_by(|row: &Row| row.0);
        let versions = versions.key_by(|version: &Table| version.0);
        let joined = rows.temporal_join(versions);
        let joined = joined.apply(|row: &Row, version: &Table| (row.0 + version.0, row.1));
        joined.start_new_chain()
    });
    harness.push_second_at((1, 0), Timestamp(0));
    for number in 0..20_000 {
        harness.push_first_at((1, number), Timestamp(5));
    }
    harness.advance_watermark(Timestamp(5));
    let rows: Vec<Row> = (0..20_000).map(|number| (2, number)).collect();
    assert_eq!(harness.output(), rows);
}

#[test]
fn replaced_versions_are_forgotten_without_any_row() {
    let mut versions = Versions::<u64, u8>::new(&context(), Some(10)).unwrap();
    let (hash, key) = (u64::hash(&1), 1);
    let count = |versions: &Versions<u64, u8>| versions.count(hash, &key);
    for since in [40, 10, 20] {
        versions
            .insert(hash, &key, Timestamp(since), Some(0))
            .unwrap();
    }
    for (watermark, kept) in [(9, 3), (10, 3), (20, 2), (39, 2), (40, 1), (90, 1)] {
        let forgotten = versions.forget(Timestamp(watermark), 8).unwrap();
        assert_eq!(forgotten, Firing::Done);
        assert_eq!(count(&versions), kept, "at {watermark}");
    }
    versions.insert(hash, &key, Timestamp(95), None).unwrap();
    for (watermark, kept) in [(95, 1), (104, 1), (105, 0)] {
        let forgotten = versions.forget(Timestamp(watermark), 8).unwrap();
        assert_eq!(forgotten, Firing::Done);
        assert_eq!(count(&versions), kept, "a deletion goes too, later");
    }
}
