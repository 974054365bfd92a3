//! Day windows: the days of a time zone.

use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

use super::{EventTime, ProcessingTime, WindowAssigner, WindowTime};
use crate::function::FunctionError;
use crate::window::{TimeWindow, window_start};

const DAY_MS: i64 = 24 * 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// A time zone: how far its clocks are ahead of UTC.
///
/// The engine brings [`FixedOffset`] along and, with the cargo feature `time-zones`, `NamedZone`: the zones
/// of the IANA database by their names, whose days are 23, 24 or 25 hours long. Other rules are given by
/// an implementation of one's own.
///
/// ```
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::window::assigner::TimeZone;
///
/// /// An hour ahead of UTC, two from the 86,400,000th millisecond on.
/// #[derive(Clone)]
/// struct Changing;
/// impl TimeZone for Changing {
///     fn ahead_of_utc_ms(&self, at: Timestamp) -> i64 {
///         if at.0 < 86_400_000 { 3_600_000 } else { 7_200_000 }
///     }
/// }
/// ```
pub trait TimeZone: Clone + Send + 'static {
    /// How many milliseconds the zone's clocks are ahead of UTC at `at`; negative where behind.
    fn ahead_of_utc_ms(&self, at: Timestamp) -> i64;
}

/// A zone whose clocks are always equally far ahead of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedOffset {
    ahead_ms: i64,
}

impl FixedOffset {
    /// UTC itself.
    pub const UTC: FixedOffset = FixedOffset { ahead_ms: 0 };

    /// A zone `minutes` ahead of UTC, or behind it where negative: India has 330.
    #[must_use]
    pub const fn minutes(minutes: i32) -> Self {
        Self {
            ahead_ms: minutes as i64 * MINUTE_MS,
        }
    }

    /// A zone `hours` ahead of UTC, or behind it where negative: China has 8.
    #[must_use]
    pub const fn hours(hours: i32) -> Self {
        Self::minutes(hours * 60)
    }
}

impl TimeZone for FixedOffset {
    fn ahead_of_utc_ms(&self, _at: Timestamp) -> i64 {
        self.ahead_ms
    }
}

/// Windows from midnight to midnight of a time zone.
///
/// A day begins when the clocks show midnight, the first time where they are put back over it; where they are
/// put forward over it, when they are.
///
/// ```
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::harness::TestHarness;
/// use thalweg_dataflow::window::assigner::{DayWindows, FixedOffset};
///
/// const HOUR: i64 = 3_600_000;
/// let mut harness = TestHarness::<u64, ((), u64)>::new(|orders| {
///     let rows = orders.window_all(DayWindows::event_time(FixedOffset::hours(8))).count();
///     rows.map(|row: ((), u64)| row)
/// });
/// harness.push_at(1, Timestamp(15 * HOUR)); // 23:00 in Shanghai
/// harness.push_at(2, Timestamp(16 * HOUR)); // 0:00 of the next day
/// harness.push_at(3, Timestamp(39 * HOUR)); // 23:00
/// harness.advance_watermark(Timestamp(40 * HOUR - 1));
/// assert_eq!(harness.output(), [((), 1), ((), 2)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DayWindows<Z, W = EventTime> {
    zone: Z,
    time: PhantomData<fn() -> W>,
}

impl<Z: TimeZone> DayWindows<Z, EventTime> {
    /// The days of `zone` in event time.
    #[must_use]
    pub fn event_time(zone: Z) -> Self {
        Self {
            zone,
            time: PhantomData,
        }
    }
}

impl<Z: TimeZone> DayWindows<Z, ProcessingTime> {
    /// The days of `zone` in processing time.
    #[must_use]
    pub fn processing_time(zone: Z) -> Self {
        Self {
            zone,
            time: PhantomData,
        }
    }
}

impl<Z: TimeZone, W> DayWindows<Z, W> {
    /// What the zone's clocks show at `at`, as if it were UTC.
    fn local(&self, at: Timestamp) -> Timestamp {
        at.plus_ms(self.zone.ahead_of_utc_ms(at))
    }

    /// The first moment at which the zone's clocks show `midnight` or later.
    fn begins(&self, midnight: Timestamp) -> Timestamp {
        // No zone is a day away from UTC, and clocks change at most once in the two days around.
        let mut before = midnight.plus_ms(-DAY_MS);
        let ahead = self.zone.ahead_of_utc_ms(before);
        let settled = midnight.plus_ms(-ahead);
        if self.zone.ahead_of_utc_ms(settled) == ahead {
            return settled;
        }
        // The clocks change before they show it: either they skip it, or they are put back and show it later.
        let mut changed = settled;
        while changed.0.saturating_sub(before.0) > 1 {
            let middle = Timestamp(before.0 + (changed.0 - before.0) / 2);
            if self.zone.ahead_of_utc_ms(middle) == ahead {
                before = middle;
            } else {
                changed = middle;
            }
        }
        let ahead = self.zone.ahead_of_utc_ms(changed);
        changed.max(midnight.plus_ms(-ahead))
    }

    fn day_of(&self, at: Timestamp) -> TimeWindow {
        let ahead = self.zone.ahead_of_utc_ms(at);
        let midnight = window_start(self.local(at), 0, DAY_MS);
        let next = midnight.plus_ms(DAY_MS);
        let (start, end) = (midnight.plus_ms(-ahead), next.plus_ms(-ahead));
        let settled = |at: Timestamp| self.zone.ahead_of_utc_ms(at) == ahead;
        // On nearly every day, and on the day before, the clocks do not change.
        if settled(start.plus_ms(-DAY_MS)) && settled(end) {
            return TimeWindow::new(start, end);
        }
        let (start, end) = (self.begins(midnight), self.begins(next));
        // Where clocks are put back over midnight a date comes twice: moments decide then.
        if at < start {
            TimeWindow::new(self.begins(midnight.plus_ms(-DAY_MS)), start)
        } else if at >= end {
            TimeWindow::new(end, self.begins(next.plus_ms(DAY_MS)))
        } else {
            TimeWindow::new(start, end)
        }
    }
}

impl<T, Z, W> WindowAssigner<T> for DayWindows<Z, W>
where
    T: Item,
    Z: TimeZone,
    W: WindowTime<T>,
{
    type DefaultTrigger = W::Trigger;

    fn assign(
        &self,
        _item: &T::Of<'_>,
        at: Timestamp,
        processing_time: Timestamp,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<(), FunctionError> {
        windows.push(self.day_of(W::time(at, processing_time)?));
        Ok(())
    }

    fn default_trigger(&self) -> W::Trigger {
        W::trigger()
    }

    fn is_event_time(&self) -> bool {
        W::EVENT_TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clocks are put forward an hour at 1:00 UTC of day 100 and back at 1:00 UTC of day 200.
    #[derive(Clone)]
    struct Summer;

    const HOUR: i64 = 3_600_000;

    impl TimeZone for Summer {
        fn ahead_of_utc_ms(&self, at: Timestamp) -> i64 {
            let summer = 100 * DAY_MS + HOUR..200 * DAY_MS + HOUR;
            HOUR + if summer.contains(&at.0) { HOUR } else { 0 }
        }
    }

    #[test]
    fn days_are_as_long_as_the_clocks_say() {
        let days = DayWindows::<_, EventTime>::event_time(Summer);
        let mut start = 98 * DAY_MS - HOUR;
        for (day, hours) in [(98, 24), (99, 24), (100, 23), (101, 24)] {
            let window = TimeWindow::new(Timestamp(start), Timestamp(start + hours * HOUR));
            for at in (start..window.end.0).step_by(HOUR as usize / 4) {
                assert_eq!(days.day_of(Timestamp(at)), window, "day {day}");
            }
            assert_eq!(days.day_of(Timestamp(window.end.0 - 1)), window);
            start = window.end.0;
        }
        let back = days.day_of(Timestamp(200 * DAY_MS + 12 * HOUR));
        assert_eq!(back.end.0 - back.start.0, 25 * HOUR);
    }

    /// Clocks are put back an hour at 0:30 of day 100, to 23:30 of the day before.
    #[derive(Clone)]
    struct Back;

    impl TimeZone for Back {
        fn ahead_of_utc_ms(&self, at: Timestamp) -> i64 {
            let before = at.0 < 100 * DAY_MS - HOUR / 2;
            if before { HOUR } else { 0 }
        }
    }

    #[test]
    fn a_midnight_that_comes_twice_begins_the_day_the_first_time() {
        let days = DayWindows::<_, EventTime>::event_time(Back);
        let begins = [
            99 * DAY_MS - HOUR,
            100 * DAY_MS - HOUR,
            101 * DAY_MS,
            102 * DAY_MS,
        ];
        for pair in begins.windows(2) {
            let window = TimeWindow::new(Timestamp(pair[0]), Timestamp(pair[1]));
            for at in (pair[0]..pair[1]).step_by(HOUR as usize / 4) {
                assert_eq!(days.day_of(Timestamp(at)), window, "at {at}");
            }
        }
    }

    #[test]
    fn a_fixed_offset_moves_midnight() {
        let days = DayWindows::<_, EventTime>::event_time(FixedOffset::minutes(-330));
        let window = days.day_of(Timestamp(0));
        assert_eq!(window.start, Timestamp(330 * MINUTE_MS - DAY_MS));
        assert_eq!(window.end, Timestamp(330 * MINUTE_MS));
    }
}
