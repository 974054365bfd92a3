//! Sizes and dates as people read them.

/// A number of bytes, in binary units with one decimal from 10 kb on.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("tb", 40), ("gb", 30), ("mb", 20), ("kb", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes >= 10 << shift);
    match unit {
        Some((unit, shift)) => format!("{:.1}{unit}", bytes as f64 / (1_u64 << shift) as f64),
        None => format!("{bytes}b"),
    }
}

/// A moment in ms since 1970 as a date and time of UTC.
pub(crate) fn date(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let seconds = of_day / 1_000;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        of_day % 1_000
    )
}

/// Year, month and day of a number of days since 1970-01-01. Years are counted from March, so that the day that
/// only some have is the last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let calendar = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(calendar <= 2), calendar, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(date(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(date(1_790_000_000_123), "2026-09-21T14:13:20.123Z");
        assert_eq!(date(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(10_239), "10239b");
        assert_eq!(size(10_240), "10.0kb");
        assert_eq!(size(3 << 30), "3072.0mb");
    }
}
