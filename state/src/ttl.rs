//! How long a state lives that nobody touches.
//!
//! Part of a state's descriptor; `keyed/aging` acts on it. Invariant: a state without a time to live
//! neither keeps nor compares times. Plain data, lives on any thread.

use std::time::Duration;

use thalweg_core::Timestamp;

/// What makes a state young again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TtlUpdate {
    /// Creating and changing it.
    #[default]
    OnCreateAndWrite,
    /// Reading it too.
    OnReadAndWrite,
}

/// Whether a state may be read after its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TtlVisibility {
    /// Never: it reads as absent.
    #[default]
    NeverReturnExpired,
    /// Once more, by the read that finds it expired and removes it.
    ReturnExpiredIfNotCleanedUp,
}

/// The time to live of a state, in processing time.
///
/// It is kept per value; per entry of a map; per element of a list. What has expired is removed by the
/// read that finds it, or by [`KeyedBackend::clean_expired`](crate::KeyedBackend::clean_expired); where files of
/// state larger than memory are merged, by that.
///
/// ```
/// use std::time::Duration;
/// use thalweg_state::{StateTtl, TtlUpdate};
/// let an_hour = StateTtl::new(Duration::from_secs(3_600)).with_update(TtlUpdate::OnReadAndWrite);
/// assert_eq!(an_hour.time_to_live(), Duration::from_secs(3_600));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateTtl {
    milliseconds: i64,
    update: TtlUpdate,
    visibility: TtlVisibility,
}

impl StateTtl {
    /// Lives for `time_to_live` after it was last written, counted in whole milliseconds: what is beyond them is left
    /// out. A state that is declared with less than one is refused.
    #[must_use]
    pub fn new(time_to_live: Duration) -> StateTtl {
        StateTtl {
            milliseconds: i64::try_from(time_to_live.as_millis()).unwrap_or(i64::MAX),
            update: TtlUpdate::default(),
            visibility: TtlVisibility::default(),
        }
    }

    /// The same, with what makes it young again.
    #[must_use]
    pub fn with_update(mut self, update: TtlUpdate) -> StateTtl {
        self.update = update;
        self
    }

    /// The same, with whether it may be read after its time.
    #[must_use]
    pub fn with_visibility(mut self, visibility: TtlVisibility) -> StateTtl {
        self.visibility = visibility;
        self
    }

    /// Whether anything can be read at all that lives so long.
    pub(crate) fn is_positive(&self) -> bool {
        self.milliseconds > 0
    }

    /// The same in milliseconds.
    pub(crate) fn milliseconds(&self) -> i64 {
        self.milliseconds
    }

    /// How long it lives.
    #[must_use]
    pub fn time_to_live(&self) -> Duration {
        Duration::from_millis(self.milliseconds.unsigned_abs())
    }

    /// What makes it young again.
    #[must_use]
    pub fn update(&self) -> TtlUpdate {
        self.update
    }

    /// Whether it may be read after its time.
    #[must_use]
    pub fn visibility(&self) -> TtlVisibility {
        self.visibility
    }

    /// Whether what was touched at `since` has expired at `now`.
    pub(crate) fn is_over(&self, since: Timestamp, now: Timestamp) -> bool {
        since.0 < self.oldest_alive(now)
    }

    /// When what is just not over at `now` was touched, in milliseconds.
    pub(crate) fn oldest_alive(&self, now: Timestamp) -> i64 {
        now.0.saturating_sub(self.milliseconds).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_expires_when_its_time_has_passed_and_not_before() {
        let ttl = StateTtl::new(Duration::from_millis(10));
        assert!(!ttl.is_over(Timestamp(5), Timestamp(14)));
        assert!(ttl.is_over(Timestamp(5), Timestamp(15)));
        let forever = StateTtl::new(Duration::MAX);
        assert!(!forever.is_over(Timestamp(5), Timestamp(i64::MAX - 1)));
    }
}
