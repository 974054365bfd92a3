//! A span of event time and the arithmetic of aligned spans.
//!
//! Plain data, lives on any thread. Invariants: a window's end is after its start; equal spans are
//! equal windows; the arithmetic is exact for negative times and held within the range of times at
//! its ends.

use std::fmt;
use std::time::Duration;

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::rkyv::rancor::Panic;
use thalweg_memory::record::rkyv::rend::i64_le;
use thalweg_memory::record::rkyv::tuple::ArchivedTuple2;
use thalweg_memory::record::rkyv::{Archive, Deserialize, Place, Resolver, Serialize};
use thalweg_memory::record::{Archiver, DamagedKey, Full, Record, Reviver, SchemaWriter};
use thalweg_state::Namespace;

/// The times from `start` up to, and not including, `end`.
///
/// ```
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::window::TimeWindow;
/// let minute = TimeWindow::new(Timestamp(0), Timestamp(60_000));
/// assert!(minute.contains(Timestamp(59_999)) && !minute.contains(Timestamp(60_000)));
/// assert_eq!(minute.max_timestamp(), Timestamp(59_999));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeWindow {
    /// The first time in it.
    pub start: Timestamp,
    /// The first time behind it.
    pub end: Timestamp,
}

impl TimeWindow {
    /// The window from `start` up to, and not including, `end`.
    #[inline]
    #[must_use]
    pub const fn new(start: Timestamp, end: Timestamp) -> TimeWindow {
        TimeWindow { start, end }
    }

    /// All of time: the window of [`GlobalWindows`](super::assigner::GlobalWindows).
    pub const GLOBAL: TimeWindow = TimeWindow {
        start: Timestamp::MIN,
        end: Timestamp::MAX,
    };

    /// Whether it is all of time, and so never ends.
    #[inline]
    #[must_use]
    pub fn is_global(self) -> bool {
        self == Self::GLOBAL
    }

    /// The last time in it: that of its results, and the watermark at which it is complete.
    #[inline]
    #[must_use]
    pub const fn max_timestamp(self) -> Timestamp {
        self.end.plus_ms(-1)
    }

    /// Whether `time` lies in it.
    #[inline]
    #[must_use]
    pub fn contains(self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }

    /// Whether the two share a time or touch: what merging windows melt into one.
    #[inline]
    #[must_use]
    pub fn intersects(self, other: TimeWindow) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// The smallest window that covers both.
    #[inline]
    #[must_use]
    pub fn cover(self, other: TimeWindow) -> TimeWindow {
        TimeWindow {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

impl fmt::Debug for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

impl Namespace for TimeWindow {
    #[inline(always)]
    fn spread(&self) -> u64 {
        (self.start, self.end).spread()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        (self.start, self.end).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<TimeWindow, DamagedKey> {
        let (start, end) = Namespace::decode(input)?;
        Ok(TimeWindow { start, end })
    }

    fn describe(to: &mut SchemaWriter) {
        to.text("TimeWindow");
    }
}

/// The start of the window of length `size` in which `timestamp` lies, where windows stand end to
/// end from `offset` on in both directions. All in milliseconds.
///
/// Exact for negative times and offsets of either sign; at the very ends of time the start is
/// held within `Timestamp::MIN..=Timestamp::MAX`.
///
/// ```
/// use thalweg_core::Timestamp;
/// use thalweg_dataflow::window::window_start;
/// assert_eq!(window_start(Timestamp(7), 0, 5), Timestamp(5));
/// assert_eq!(window_start(Timestamp(-7), 0, 5), Timestamp(-10));
/// assert_eq!(window_start(Timestamp(-7), 1, 5), Timestamp(-9));
/// ```
///
/// # Panics
/// If `size` is not above 0.
#[inline]
#[must_use]
pub fn window_start(timestamp: Timestamp, offset: i64, size: i64) -> Timestamp {
    assert!(size > 0, "a window has a length");
    if let Some(from_offset) = timestamp.0.checked_sub(offset)
        && let Some(start) = timestamp.0.checked_sub(from_offset.rem_euclid(size))
        && start != i64::MIN
    {
        return Timestamp(start);
    }
    start_at_the_ends(timestamp, offset, size)
}

/// A length of time in whole milliseconds.
///
/// # Panics
/// If it is not one or more of them or does not fit; the message says what it is the length of.
pub(crate) fn milliseconds(length: Duration, what: &str) -> i64 {
    let is_whole = length.subsec_nanos().is_multiple_of(1_000_000);
    match i64::try_from(length.as_millis()) {
        Ok(milliseconds) if milliseconds > 0 && is_whole => milliseconds,
        _ => panic!(
            "{what} is {length:?}: it must be one or more whole milliseconds, and fit 63 bits of them"
        ),
    }
}

#[cold]
fn start_at_the_ends(timestamp: Timestamp, offset: i64, size: i64) -> Timestamp {
    let at = i128::from(timestamp.0);
    let start = at - (at - i128::from(offset)).rem_euclid(i128::from(size));
    let held = start.clamp(i128::from(Timestamp::MIN.0), i128::from(Timestamp::MAX.0));
    Timestamp(held as i64)
}

/// What a window is archived as.
type Bounds = (i64, i64);
/// Its archive.
type ArchivedBounds = ArchivedTuple2<i64_le, i64_le>;

impl Record for TimeWindow {
    const OUT_OF_LINE: bool = false;

    fn describe(to: &mut SchemaWriter) {
        to.text("TimeWindow");
    }

    fn plain_copy(&self) -> Option<Self> {
        Some(*self)
    }
}

impl Archive for TimeWindow {
    type Archived = ArchivedBounds;
    type Resolver = Resolver<Bounds>;

    fn resolve(&self, resolver: Resolver<Bounds>, out: Place<ArchivedBounds>) {
        (self.start.0, self.end.0).resolve(resolver, out);
    }
}

impl Serialize<Archiver> for TimeWindow {
    fn serialize(&self, to: &mut Archiver) -> Result<Resolver<Bounds>, Full> {
        (self.start.0, self.end.0).serialize(to)
    }
}

impl Deserialize<TimeWindow, Reviver> for ArchivedBounds {
    fn deserialize(&self, from: &mut Reviver) -> Result<TimeWindow, Panic> {
        let (start, end): Bounds = self.deserialize(from)?;
        Ok(TimeWindow::new(Timestamp(start), Timestamp(end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_the_last_boundary_at_or_before_the_time() {
        for size in [1, 2, 7, 60] {
            for offset in [-61, -3, 0, 1, 59, 1000] {
                for time in -300..300 {
                    let start = window_start(Timestamp(time), offset, size).0;
                    assert!(
                        start <= time && time < start + size,
                        "{time} {offset} {size}"
                    );
                    assert_eq!((start - offset).rem_euclid(size), 0);
                }
            }
        }
    }

    #[test]
    fn the_ends_of_time_have_windows_too() {
        let last = window_start(Timestamp::MAX, -1000, 3_600_000);
        assert!(last <= Timestamp::MAX && last.0 > i64::MAX - 3_600_000);
        assert_eq!(window_start(Timestamp::MIN, 0, 3_600_000), Timestamp::MIN);
        assert!(window_start(Timestamp::MIN, i64::MAX, 5) >= Timestamp::MIN);
    }

    #[test]
    fn windows_that_touch_can_be_melted() {
        let window = |start, end| TimeWindow::new(Timestamp(start), Timestamp(end));
        assert!(window(0, 5).intersects(window(5, 9)));
        assert!(!window(0, 5).intersects(window(6, 9)));
        assert_eq!(window(0, 5).cover(window(3, 9)), window(0, 9));
    }
}
