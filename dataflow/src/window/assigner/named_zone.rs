//! Time zones by their names in the IANA database, which is part of the program.
//!
//! Behind the cargo feature `time-zones`, because the database and the crate that reads it are weight a
//! program without such days need not carry. The rules do not depend on the machine: two machines with
//! databases of different age would cut different days.

use jiff::tz;
use thalweg_core::event_time::Timestamp;

use super::TimeZone;

/// A time zone of the IANA database: `Europe/Berlin`, `Asia/Kolkata`.
///
/// Days are as long as the zone's clocks say: 23 and 25 hours where summer time begins and ends, and a
/// day that the clocks skipped does not exist. Before the first rule of a zone its local mean time holds.
///
/// ```
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::{DayWindows, NamedZone};
///
/// const HOUR: i64 = 3_600_000;
/// /// Noon, UTC, of 30 March 2024. The night after it the clocks of Berlin are put forward.
/// const NOON: i64 = 1_711_800_000_000;
///
/// let berlin = NamedZone::new("Europe/Berlin")?;
/// let mut harness = TestHarness::<u64, u64>::new(|orders| {
///     let days = orders.window_all(DayWindows::event_time(berlin));
///     days.count().map(|((), count): ((), u64)| count)
/// });
/// harness.push_at(1, Timestamp(NOON + 11 * HOUR - 1)); // 23:59:59.999 in Berlin
/// harness.push_at(2, Timestamp(NOON + 11 * HOUR)); // midnight
/// harness.push_at(3, Timestamp(NOON + 34 * HOUR - 1)); // 23 hours later, the day ends
/// harness.push_at(4, Timestamp(NOON + 34 * HOUR));
/// harness.finish();
/// assert_eq!(harness.output(), [1, 2, 1]);
/// # Ok::<(), thalweg_dataflow::window::assigner::UnknownTimeZone>(())
/// ```
#[derive(Clone, Debug)]
pub struct NamedZone(tz::TimeZone);

/// The database has no zone of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no time zone {name:?}: give the name of one in the IANA database, as Europe/Berlin, or a \
     FixedOffset"
)]
pub struct UnknownTimeZone {
    /// The name that was given.
    pub name: String,
}

impl NamedZone {
    /// The zone of this name, in whatever case it is written.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(name: &str) -> Result<Self, UnknownTimeZone> {
        let unknown = |_| UnknownTimeZone {
            name: name.to_owned(),
        };
        tz::TimeZone::get(name).map(Self).map_err(unknown)
    }

    /// The zone's name, as the database writes it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

impl TimeZone for NamedZone {
    fn ahead_of_utc_ms(&self, at: Timestamp) -> i64 {
        // Ten thousand years hold the rules of their last one.
        let within = jiff::Timestamp::MIN.as_millisecond()..=jiff::Timestamp::MAX.as_millisecond();
        let at = at.0.clamp(*within.start(), *within.end());
        let at = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        i64::from(self.0.to_offset(at).seconds()) * 1_000
    }
}

#[cfg(test)]
#[path = "named_zone_tests.rs"]
mod tests;
