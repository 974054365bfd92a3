//! Which directory below a sink's own a record goes to.
//!
//! A bucket is a relative path. Cloned into every subtask, asked once per record on its shard.
//! Invariant: a bucket never leaves the sink's directory and is never hidden, see [`check`].

use std::fmt::Write;
use std::marker::PhantomData;
use std::path::{Component, Path};

use thalweg_core::event_time::Timestamp;
use thalweg_memory::record::Item;

/// Chooses the bucket of a record.
pub trait Buckets<I: Item>: Clone + Send + 'static {
    /// Writes the bucket's path below the sink's directory to `out`, which is empty; nothing is the
    /// directory itself.
    fn bucket(&mut self, item: &I::Of<'_>, at: Timestamp, out: &mut String);
}

/// All records in the sink's own directory: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneBucket;

impl<I: Item> Buckets<I> for OneBucket {
    #[inline(always)]
    fn bucket(&mut self, _item: &I::Of<'_>, _at: Timestamp, _out: &mut String) {}
}

/// As a closure says.
pub struct BucketBy<I, F> {
    choose: F,
    item: PhantomData<fn(I)>,
}

impl<I, F> BucketBy<I, F> {
    /// The bucket the closure writes.
    pub(crate) fn new(choose: F) -> Self {
        Self {
            choose,
            item: PhantomData,
        }
    }
}

impl<I, F: Clone> Clone for BucketBy<I, F> {
    fn clone(&self) -> Self {
        Self::new(self.choose.clone())
    }
}

impl<I, F> Buckets<I> for BucketBy<I, F>
where
    I: Item,
    F: for<'a, 'b> FnMut(&'b I::Of<'a>, &mut String) + Clone + Send + 'static,
{
    #[inline]
    fn bucket(&mut self, item: &I::Of<'_>, _at: Timestamp, out: &mut String) {
        (self.choose)(item, out);
    }
}

/// A bucket for each day, or each hour, of event time in UTC: `2024-02-29`, `2024-02-29--13`. Records
/// without a time are in `undated`.
#[derive(Clone, Debug)]
pub struct DateBuckets {
    hours: bool,
    /// Hours since 1970 of the last record, and its bucket: the next one is mostly in the same.
    last: Option<(i64, String)>,
}

impl DateBuckets {
    /// One for each day.
    pub fn daily() -> Self {
        Self {
            hours: false,
            last: None,
        }
    }

    /// One for each hour.
    pub fn hourly() -> Self {
        Self {
            hours: true,
            last: None,
        }
    }

    fn name(&self, hour: i64) -> String {
        let (year, month, day) = civil(hour.div_euclid(24));
        let mut name = format!("{year:04}-{month:02}-{day:02}");
        if self.hours {
            let written = write!(name, "--{:02}", hour.rem_euclid(24));
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        name
    }
}

impl<I: Item> Buckets<I> for DateBuckets {
    fn bucket(&mut self, _item: &I::Of<'_>, at: Timestamp, out: &mut String) {
        if !at.is_some() {
            return out.push_str("undated");
        }
        let hour = at.0.div_euclid(3_600_000);
        match &self.last {
            Some((last, name)) if *last == hour => out.push_str(name),
            _ => {
                let name = self.name(hour);
                out.push_str(&name);
                self.last = Some((hour, name));
            }
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 1 March of year 0, so that a leap day ends its year; an era has 400 years.
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// Whether a bucket's name is one: a relative path within the directory, of visible names.
pub(crate) fn check(bucket: &str) -> bool {
    let plain = |part| matches!(part, Component::Normal(name) if !is_hidden(name));
    !bucket.contains('\0') && Path::new(bucket).components().all(plain)
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    matches!(name.as_encoded_bytes(), [b'.' | b'_', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(mut buckets: DateBuckets, at: i64) -> String {
        let mut out = String::new();
        Buckets::<u64>::bucket(&mut buckets, &0, Timestamp(at), &mut out);
        out
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (at, day) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400_000, "2000-02-29"),
            (951_868_799_999, "2000-02-29"),
            (951_868_800_000, "2000-03-01"),
            (4_107_542_399_999, "2100-02-28"),
            (4_107_542_400_000, "2100-03-01"),
            (1_735_689_599_999, "2024-12-31"),
            (1_735_689_600_000, "2025-01-01"),
        ] {
            assert_eq!(bucket(DateBuckets::daily(), at), day, "{at}");
        }
        let at = 951_782_400_000 + 13 * 3_600_000 + 59 * 60_000;
        assert_eq!(bucket(DateBuckets::hourly(), at), "2000-02-29--13");
        assert_eq!(bucket(DateBuckets::daily(), Timestamp::NONE.0), "undated");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let mut expected = (1599, 12, 31);
        for days in -135_140..100_000 {
            let (year, month, day) = expected;
            let length = match month {
                2 => 28 + i64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (day == length, month) {
                (false, _) => (year, month, day + 1),
                (true, 12) => (year + 1, 1, 1),
                (true, _) => (year, month + 1, 1),
            };
            assert_eq!(civil(days), expected, "{days}");
        }
    }

    #[test]
    fn a_bucket_stays_within_the_directory() {
        for good in ["", "a", "a/b c", "2024-01-01--03", "a//b", "ä"] {
            assert!(check(good), "{good}");
        }
        for bad in ["/a", "..", "a/../b", ".a", "a/.b", "_a", "./a", "a\0b"] {
            assert!(!check(bad), "{bad}");
        }
    }
}
