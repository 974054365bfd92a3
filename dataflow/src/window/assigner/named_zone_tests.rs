//! Days of real time zones: those on which clocks change, and the rules of all days.

use proptest::prelude::*;

use super::super::{DayWindows, EventTime, WindowAssigner};
use super::*;
use crate::window::TimeWindow;

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;

fn zone(name: &str) -> NamedZone {
    NamedZone::new(name).unwrap()
}

fn day(zone: &NamedZone, at: i64) -> TimeWindow {
    let days = DayWindows::<_, EventTime>::event_time(zone.clone());
    let mut windows = Vec::new();
    let assigned = <DayWindows<_, _> as WindowAssigner<u64>>::assign(
        &days,
        &0,
        Timestamp(at),
        Timestamp::NONE,
        &mut windows,
    );
    assert!(assigned.is_ok());
    let [window] = windows[..] else {
        panic!("one day for each record, not {windows:?}");
    };
    assert!(window.contains(Timestamp(at)), "{window:?} at {at}");
    window
}

/// Milliseconds since 1970 of a moment in UTC.
fn utc(moment: &str) -> i64 {
    moment.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// The zone's day that holds a moment of UTC begins and ends at these.
fn is_day(name: &str, moment: &str, begins: &str, ends: &str) {
    let (start, end) = (utc(begins), utc(ends));
    let expected = TimeWindow::new(Timestamp(start), Timestamp(end));
    let zone = zone(name);
    for at in [start, utc(moment), end - 1] {
        assert_eq!(day(&zone, at), expected, "{name} at {moment}");
    }
    assert_eq!(day(&zone, start - 1).end, expected.start, "{name}");
    assert_eq!(day(&zone, end).start, expected.end, "{name}");
}

#[test]
fn days_of_summer_time_have_23_and_25_hours() {
    let berlin = "Europe/Berlin";
    is_day(
        berlin,
        "2024-03-31T01:00:00Z",
        "2024-03-30T23:00:00Z",
        "2024-03-31T22:00:00Z",
    );
    is_day(
        berlin,
        "2024-10-27T01:30:00Z",
        "2024-10-26T22:00:00Z",
        "2024-10-27T23:00:00Z",
    );
    is_day(
        berlin,
        "2024-07-01T12:00:00Z",
        "2024-06-30T22:00:00Z",
        "2024-07-01T22:00:00Z",
    );
    let new_york = "America/New_York";
    is_day(
        new_york,
        "2024-03-10T07:00:00Z",
        "2024-03-10T05:00:00Z",
        "2024-03-11T04:00:00Z",
    );
    is_day(
        new_york,
        "2024-11-03T06:30:00Z",
        "2024-11-03T04:00:00Z",
        "2024-11-04T05:00:00Z",
    );
}

#[test]
fn offsets_need_not_be_whole_hours() {
    is_day(
        "Asia/Kolkata",
        "2024-05-05T00:00:00Z",
        "2024-05-04T18:30:00Z",
        "2024-05-05T18:30:00Z",
    );
    is_day(
        "Asia/Kathmandu",
        "2024-05-05T00:00:00Z",
        "2024-05-04T18:15:00Z",
        "2024-05-05T18:15:00Z",
    );
    // Lord Howe puts its clocks forward by half an hour.
    let howe = "Australia/Lord_Howe";
    is_day(
        howe,
        "2024-10-05T20:00:00Z",
        "2024-10-05T13:30:00Z",
        "2024-10-06T13:00:00Z",
    );
    is_day(
        howe,
        "2024-04-06T20:00:00Z",
        "2024-04-06T13:00:00Z",
        "2024-04-07T13:30:00Z",
    );
}

#[test]
fn a_day_without_midnight_begins_when_its_clocks_begin() {
    // At midnight of 4 November 2018 it was one o'clock in Sao Paulo.
    let paulo = "America/Sao_Paulo";
    is_day(
        paulo,
        "2018-11-04T12:00:00Z",
        "2018-11-04T03:00:00Z",
        "2018-11-05T02:00:00Z",
    );
    // On 18 February the clocks were put back at midnight to 23 o'clock of the day before.
    is_day(
        paulo,
        "2018-02-18T02:30:00Z",
        "2018-02-17T02:00:00Z",
        "2018-02-18T03:00:00Z",
    );
}

#[test]
fn a_skipped_day_does_not_exist() {
    // Samoa went from 29 to 31 December 2011.
    let apia = zone("Pacific/Apia");
    let before = day(&apia, utc("2011-12-30T09:59:59Z"));
    let after = day(&apia, utc("2011-12-30T10:00:00Z"));
    assert_eq!(before.end, after.start);
    assert_eq!(before.end.0 - before.start.0, 24 * HOUR);
    assert_eq!(after.end.0 - after.start.0, 24 * HOUR);
    is_day(
        "Pacific/Apia",
        "2011-12-31T00:00:00Z",
        "2011-12-30T10:00:00Z",
        "2011-12-31T10:00:00Z",
    );
}

#[test]
fn names_are_found_in_any_case_and_others_are_refused_by_name() {
    assert_eq!(zone("europe/BERLIN").name(), "Europe/Berlin");
    assert_eq!(zone("UTC").ahead_of_utc_ms(Timestamp(0)), 0);
    let refused = NamedZone::new("Europe/Atlantis").unwrap_err();
    assert!(
        refused.to_string().contains("\"Europe/Atlantis\""),
        "{refused}"
    );
}

#[test]
fn the_ends_of_time_have_days_too() {
    let berlin = zone("Europe/Berlin");
    assert_eq!(berlin.ahead_of_utc_ms(Timestamp::MAX) % (30 * MINUTE), 0);
    let _ = berlin.ahead_of_utc_ms(Timestamp::MIN);
    day(&berlin, utc("0001-01-01T00:00:00Z"));
    day(&berlin, utc("9990-01-01T00:00:00Z"));
}

#[test]
fn days_begin_when_the_clocks_first_show_their_midnight() {
    let until = utc("2040-01-01T00:00:00Z");
    for name in ZONES {
        let zone = zone(name);
        let shown = |at: i64| at + zone.ahead_of_utc_ms(Timestamp(at));
        let changes = zone.0.following(jiff::Timestamp::UNIX_EPOCH);
        let changes = changes.map(|change| change.timestamp().as_millisecond());
        for change in changes.take_while(|at| *at < until) {
            let today = shown(change).div_euclid(24 * HOUR);
            for date in today - 1..=today + 1 {
                let midnight = date * 24 * HOUR;
                let moments = (-24 * 60..24 * 60).map(|minute| midnight + minute * MINUTE);
                let begins = moments
                    .into_iter()
                    .find(|at| shown(*at) >= midnight)
                    .unwrap();
                let (day, before) = (day(&zone, begins), day(&zone, begins - 1));
                assert_eq!((day.start.0, before.end.0), (begins, begins), "{name}");
            }
        }
    }
}

const ZONES: [&str; 13] = [
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "America/St_Johns",
    "Asia/Gaza",
    "Asia/Shanghai",
    "UTC",
];

proptest! {
    /// Days follow one another without a gap, and the clocks show one date throughout a day, but for
    /// the hours that come twice.
    #[test]
    fn days_tile_the_time(
        name in prop::sample::select(ZONES.to_vec()),
        at in -2_000_000_000_000_i64..4_000_000_000_000,
    ) {
        let zone = zone(name);
        let window = day(&zone, at);
        let length = window.end.0 - window.start.0;
        prop_assert!((20 * HOUR..=28 * HOUR).contains(&length), "{length}");
        prop_assert_eq!(day(&zone, window.start.0 - 1).end, window.start);
        prop_assert_eq!(day(&zone, window.end.0).start, window.end);
        let date = |at: i64| (at + zone.ahead_of_utc_ms(Timestamp(at))).div_euclid(24 * HOUR);
        prop_assert_eq!(date(window.start.0), date(window.end.0 - 1), "one date");
        prop_assert!(date(window.start.0 - 1) < date(window.start.0) || length != 24 * HOUR);
    }
}
