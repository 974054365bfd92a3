//! Event time: when something happened, as opposed to when it is handled.
//!
//! A [`Timestamp`] is a point in milliseconds, a [`Watermark`] the promise that nothing older follows.
//! Plain data, lives on any thread. Invariant: [`Timestamp::NONE`] is below every real time and is never
//! a promise.

use std::fmt;
use std::time::Duration;

/// A point in event time: milliseconds since 1970-01-01T00:00:00Z, negative before it.
///
/// ```
/// use thalweg_core::Timestamp;
/// assert!(Timestamp::NONE < Timestamp::MIN);
/// assert_eq!(Timestamp(1_000).plus_ms(500), Timestamp(1_500));
/// assert_eq!(Timestamp::MAX.plus_ms(1), Timestamp::MAX);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(
    /// Milliseconds since the epoch.
    pub i64,
);

impl Timestamp {
    /// The record carries no timestamp. Below every real time.
    pub const NONE: Timestamp = Timestamp(i64::MIN);
    /// The earliest real time.
    pub const MIN: Timestamp = Timestamp(i64::MIN + 1);
    /// The latest real time; as a watermark it means the end of the stream.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// Whether this is a real time, so not [`Timestamp::NONE`].
    #[inline]
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != i64::MIN
    }

    /// This time moved by `milliseconds`, held within `MIN..=MAX`; `NONE` stays `NONE`.
    #[inline]
    #[must_use]
    pub const fn plus_ms(self, milliseconds: i64) -> Timestamp {
        if !self.is_some() {
            return self;
        }
        let moved = self.0.saturating_add(milliseconds);
        if moved == i64::MIN {
            Timestamp::MIN
        } else {
            Timestamp(moved)
        }
    }
}

/// The milliseconds of event time that cover a length: a part of one counts as one, and what does not fit as all there
/// is. For bounds that promise at least so much, as of disorder and lateness.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::event_time::covering_ms;
/// assert_eq!(covering_ms(Duration::from_micros(1_500)), 2);
/// assert_eq!(covering_ms(Duration::MAX), i64::MAX);
/// ```
#[must_use]
pub fn covering_ms(length: Duration) -> i64 {
    let rest = u128::from(!length.subsec_nanos().is_multiple_of(1_000_000));
    i64::try_from(length.as_millis() + rest).unwrap_or(i64::MAX)
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Timestamp::NONE => f.write_str("none"),
            Timestamp::MIN => f.write_str("min"),
            Timestamp::MAX => f.write_str("max"),
            Timestamp(milliseconds) => write!(f, "{milliseconds}ms"),
        }
    }
}

/// The promise that no record with a timestamp at or below it will follow.
///
/// Runs from [`Watermark::MIN`] (nothing promised yet) to [`Watermark::MAX`] (the stream has ended).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(
    /// The newest time that is promised to be complete; never [`Timestamp::NONE`].
    pub Timestamp,
);

impl Watermark {
    /// Nothing is promised.
    pub const MIN: Watermark = Watermark(Timestamp::MIN);
    /// Nothing will follow: the end of the stream.
    pub const MAX: Watermark = Watermark(Timestamp::MAX);

    /// The promise up to and including `time`.
    ///
    /// # Panics
    /// When `time` is [`Timestamp::NONE`]: the absence of a time promises nothing.
    #[inline]
    #[must_use]
    pub const fn at(time: Timestamp) -> Watermark {
        assert!(time.is_some(), "a watermark needs a real time");
        Watermark(time)
    }

    /// Whether a record of `time` comes too late for this promise. Records without a timestamp are
    /// never late.
    #[inline]
    #[must_use]
    pub const fn is_late(self, time: Timestamp) -> bool {
        time.is_some() && time.0 <= self.0.0
    }

    /// Whether this is the end of the stream.
    #[inline]
    #[must_use]
    pub const fn is_end(self) -> bool {
        self.0.0 == i64::MAX
    }
}

impl Default for Watermark {
    fn default() -> Self {
        Watermark::MIN
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watermark {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_below_every_real_time() {
        assert!(Timestamp::NONE < Timestamp::MIN);
        assert!(Timestamp::MIN < Timestamp(0) && Timestamp(0) < Timestamp::MAX);
        assert!(!Timestamp::NONE.is_some() && Timestamp::MIN.is_some());
    }

    #[test]
    fn moving_a_time_never_turns_it_into_none() {
        assert_eq!(Timestamp(-5).plus_ms(i64::MIN), Timestamp::MIN);
        assert_eq!(Timestamp::MIN.plus_ms(-1), Timestamp::MIN);
        assert_eq!(Timestamp::MAX.plus_ms(1), Timestamp::MAX);
        assert_eq!(Timestamp::NONE.plus_ms(7), Timestamp::NONE);
    }

    #[test]
    fn a_record_at_the_watermark_is_late_and_one_without_time_is_not() {
        let promise = Watermark::at(Timestamp(100));
        assert!(promise.is_late(Timestamp(100)) && promise.is_late(Timestamp(-3)));
        assert!(!promise.is_late(Timestamp(101)));
        assert!(!Watermark::MAX.is_late(Timestamp::NONE));
        assert!(Watermark::MAX.is_end() && !promise.is_end());
    }

    #[test]
    #[should_panic(expected = "real time")]
    fn no_time_promises_nothing() {
        let _ = Watermark::at(Timestamp::NONE);
    }
}
