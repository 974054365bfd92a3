//! What a setting may be, and how it is written: numbers, yes or no, texts, sizes, durations, choices.
//!
//! Entered by options when a text is checked or read. Lives on any thread. Invariant: what
//! [`ConfigValue::show`] writes, [`ConfigValue::parse`] reads back as the same value.

use std::fmt;
use std::time::Duration;

/// A type a setting can have.
pub trait ConfigValue: Sized + Clone + 'static {
    /// Reads the text form.
    ///
    /// # Errors
    /// Says what was expected instead, as a phrase that follows "expected".
    fn parse(text: &str) -> Result<Self, String>;

    /// Writes the text form.
    fn show(&self) -> String;

    /// The type's name and form for the reference page.
    fn kind() -> String;
}

macro_rules! whole_number {
    ($($number:ty),*) => {$(
        impl ConfigValue for $number {
            fn parse(text: &str) -> Result<Self, String> {
                // YAML and people group digits; `from_str` does not know that.
                text.trim().replace('_', "").parse().map_err(|_| {
                    format!("a whole number from 0 to {}", <$number>::MAX)
                })
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn kind() -> String {
                "whole number".to_owned()
            }
        }
    )*};
}

whole_number!(u16, u32, u64, usize);

impl ConfigValue for f64 {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "a finite number, for instance 0.7".to_owned();
        let number: f64 = text.trim().parse().map_err(|_| expected())?;
        if number.is_finite() {
            Ok(number)
        } else {
            Err(expected())
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn kind() -> String {
        "number".to_owned()
    }
}

impl ConfigValue for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn kind() -> String {
        "true or false".to_owned()
    }
}

impl ConfigValue for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }

    fn kind() -> String {
        "text".to_owned()
    }
}

impl<T: ConfigValue> ConfigValue for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        if trimmed.eq_ignore_ascii_case("none") {
            return Ok(None);
        }
        // A variable of a shell that is not set is no wish for nothing.
        if trimmed.is_empty() {
            return Err(Self::kind());
        }
        T::parse(text)
            .map(Some)
            .map_err(|expected| format!("{expected}, or none"))
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), T::show)
    }

    fn kind() -> String {
        format!("{}, or none", T::kind())
    }
}

/// Cuts a text into its leading digits and the unit after them, lower-cased.
fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number = digits.replace('_', "").parse().ok()?;
    Some((number, unit.trim().to_lowercase()))
}

/// A size in bytes, written with binary units: `512b`, `64kb`, `1024m`, `1gb`, `2t`. A bare number is in
/// bytes.
///
/// ```
/// use thalweg_core::config::{ConfigValue, MemorySize};
/// assert_eq!(MemorySize::parse("64kb"), Ok(MemorySize(65_536)));
/// assert_eq!(MemorySize(65_536).to_string(), "64kb");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemorySize(
    /// The size in bytes.
    pub u64,
);

impl MemorySize {
    /// `count` times 1,024 bytes.
    #[must_use]
    pub const fn kib(count: u64) -> MemorySize {
        MemorySize(count << 10)
    }

    /// `count` times 1,048,576 bytes.
    #[must_use]
    pub const fn mib(count: u64) -> MemorySize {
        MemorySize(count << 20)
    }

    /// `count` times 1,073,741,824 bytes.
    #[must_use]
    pub const fn gib(count: u64) -> MemorySize {
        MemorySize(count << 30)
    }

    /// The size in bytes as an index type.
    ///
    /// # Panics
    /// When the machine's addresses are too narrow for it.
    #[must_use]
    pub const fn bytes(self) -> usize {
        assert!(
            self.0 <= usize::MAX as u64,
            "size is beyond the address space"
        );
        self.0 as usize
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("tb", 40), ("gb", 30), ("mb", 20), ("kb", 10)] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}b", self.0)
    }
}

impl ConfigValue for MemorySize {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "a size such as 512b, 64kb, 256mb or 1gb (units are binary)".to_owned();
        let (number, unit) = number_and_unit(text).ok_or_else(expected)?;
        let shift = match unit.as_str() {
            "" | "b" | "bytes" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(expected()),
        };
        let bytes = number.checked_mul(1 << shift);
        bytes
            .map(MemorySize)
            .ok_or_else(|| "a size below 16777216tb".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn kind() -> String {
        "size".to_owned()
    }
}

/// Units of time in nanoseconds, largest first; the first name of each is the one shown.
const TIME_UNITS: [(&[&str], u64); 7] = [
    (&["d", "day", "days"], 86_400_000_000_000),
    (&["h", "hour", "hours"], 3_600_000_000_000),
    (&["min", "m", "minute", "minutes"], 60_000_000_000),
    (&["s", "sec", "second", "seconds"], 1_000_000_000),
    (
        &["ms", "milli", "millis", "millisecond", "milliseconds"],
        1_000_000,
    ),
    // Both ways to write micro: the sign and the Greek letter.
    (
        &[
            "us",
            "\u{b5}s",
            "\u{3bc}s",
            "micro",
            "micros",
            "microsecond",
            "microseconds",
        ],
        1_000,
    ),
    (&["ns", "nano", "nanos", "nanosecond", "nanoseconds"], 1),
];

impl ConfigValue for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "a duration such as 50us, 10ms, 2s, 1min or 1h, or 0".to_owned();
        let (number, unit) = number_and_unit(text).ok_or_else(expected)?;
        if number == 0 && unit.is_empty() {
            return Ok(Duration::ZERO);
        }
        let known = TIME_UNITS
            .iter()
            .find(|(names, _)| names.contains(&unit.as_str()));
        let (_, unit_ns) = known.ok_or_else(expected)?;
        let nanoseconds = number.checked_mul(*unit_ns);
        nanoseconds
            .map(Duration::from_nanos)
            .ok_or_else(|| "a duration below 584 years".to_owned())
    }

    fn show(&self) -> String {
        let nanoseconds = self.as_nanos();
        if nanoseconds == 0 {
            return "0".to_owned();
        }
        let exact = TIME_UNITS
            .iter()
            .find(|(_, unit_ns)| nanoseconds.is_multiple_of(u128::from(*unit_ns)));
        let (names, unit_ns) = exact.unwrap_or(&TIME_UNITS[TIME_UNITS.len() - 1]);
        format!("{}{}", nanoseconds / u128::from(*unit_ns), names[0])
    }

    fn kind() -> String {
        "duration".to_owned()
    }
}

/// Defines a setting that is one of a few words, compared without regard to case. Other words may be read
/// as one of them; it is always written as the first.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$word_doc:meta])* $variant:ident = $word:literal $(| $alias:literal)*),*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$word_doc])* $variant,)*
        }

        impl $name {
            /// All choices with the words they are written as.
            pub const ALL: &[($name, &'static str)] = &[$(($name::$variant, $word)),*];

            /// The word it is written as.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }

            fn words(between: &str) -> String {
                let words: Vec<&str> = $name::ALL.iter().map(|(_, word)| *word).collect();
                words.join(between)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl ConfigValue for $name {
            fn parse(text: &str) -> Result<Self, String> {
                let word = text.trim().to_lowercase();
                let known = [$(($name::$variant, $word) $(, ($name::$variant, $alias))*),*];
                let known = known.iter().find(|(_, name)| name.to_lowercase() == word);
                known.map(|(choice, _)| *choice).ok_or_else(|| {
                    format!("one of {}", $name::words(", "))
                })
            }

            fn show(&self) -> String {
                self.name().to_owned()
            }

            fn kind() -> String {
                $name::words(" \\| ")
            }
        }
    };
}

choice!(
    /// Whether a program is run as an endless or as an ending one.
    RuntimeMode {
        /// Results are emitted as they change.
        Streaming = "STREAMING",
        /// Bounded input: keyed aggregates emit final results only.
        Batch = "BATCH",
        /// Batch if all sources are bounded, else streaming.
        Automatic = "AUTOMATIC"
    }
);

choice!(
    /// What a shard waits in and does its input and output with.
    IoDriver {
        /// io_uring if the host allows it, else epoll with one warning.
        Auto = "auto",
        /// io_uring, through glommio.
        IoUring = "io_uring",
        /// epoll, for hosts that forbid io_uring.
        Epoll = "epoll"
    }
);

choice!(
    /// Where keyed state is kept.
    StateBackendKind {
        /// In memory, all of it.
        Hashmap = "hashmap",
        /// In memory as far as it goes, the rest in files.
        Lsm = "lsm"
    }
);

choice!(
    /// A set of defaults for a purpose.
    Profile {
        /// For throughput; an idle shard sleeps at once.
        Default = "default",
        /// For latency; an idle shard spins before it sleeps.
        LowLatency = "low-latency"
    }
);

choice!(
    /// How often a record may be in the state after a failure.
    CheckpointingMode {
        /// Once: barriers are aligned.
        ExactlyOnce = "EXACTLY_ONCE",
        /// At least once: barriers are not waited for.
        AtLeastOnce = "AT_LEAST_ONCE"
    }
);

choice!(
    /// What becomes of the checkpoints of a job that ends without having finished.
    CheckpointRetention {
        /// Deleted, however the job ends.
        NoExternalizedCheckpoints = "NO_EXTERNALIZED_CHECKPOINTS",
        /// Deleted when the job is cancelled, kept when it fails.
        DeleteOnCancellation = "DELETE_ON_CANCELLATION",
        /// Kept when the job is cancelled and when it fails.
        RetainOnCancellation = "RETAIN_ON_CANCELLATION"
    }
);

choice!(
    /// Whether and when a failed job is started again.
    RestartStrategyKind {
        /// With growing delays if the job takes checkpoints, else never.
        Auto = "auto",
        /// Never.
        None = "none" | "disable" | "off",
        /// A number of times, each after the same delay.
        FixedDelay = "fixed-delay" | "fixeddelay",
        /// Until failures come too often.
        FailureRate = "failure-rate" | "failurerate",
        /// After delays that grow while it keeps failing.
        ExponentialDelay = "exponential-delay" | "exponentialdelay"
    }
);

choice!(
    /// What of a job starts again when a task of it fails.
    FailoverStrategy {
        /// The tasks that exchanges connect with the one that failed, where the others need not.
        Region = "region",
        /// All of it.
        Full = "full"
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_in_binary_units() {
        let cases = [
            ("512b", 512),
            ("512", 512),
            ("64kb", 64 << 10),
            ("64 KiB", 64 << 10),
            ("1024m", 1 << 30),
            ("1g", 1 << 30),
            ("1GB", 1 << 30),
            ("2t", 2 << 40),
            ("1_024kb", 1 << 20),
            ("0", 0),
        ];
        for (text, bytes) in cases {
            assert_eq!(MemorySize::parse(text), Ok(MemorySize(bytes)), "{text}");
        }
        for text in [
            "",
            "kb",
            "1.5gb",
            "-1kb",
            "1xb",
            "1 0kb",
            "99999999999t",
            "0x10",
        ] {
            assert!(MemorySize::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        let cases = [
            ("50us", Duration::from_micros(50)),
            ("50\u{b5}s", Duration::from_micros(50)),
            ("50 \u{3bc}s", Duration::from_micros(50)),
            ("10ms", Duration::from_millis(10)),
            ("2 s", Duration::from_secs(2)),
            ("1min", Duration::from_secs(60)),
            ("1H", Duration::from_secs(3_600)),
            ("1d", Duration::from_secs(86_400)),
            ("7ns", Duration::from_nanos(7)),
            ("0", Duration::ZERO),
        ];
        for (text, duration) in cases {
            assert_eq!(Duration::parse(text), Ok(duration), "{text}");
        }
        for text in ["", "10", "ms", "1.5s", "-1s", "1 parsec", "99999999999d"] {
            let expected = Duration::parse(text).unwrap_err();
            assert!(expected.contains("duration"), "{text}: {expected}");
        }
    }

    #[test]
    fn numbers_out_of_range_name_the_range() {
        assert_eq!(u16::parse("65_535"), Ok(65_535));
        assert!(u16::parse("65536").unwrap_err().contains("0 to 65535"));
        assert!(u32::parse("-1").is_err() && u32::parse("1.0").is_err());
        assert!(f64::parse("NaN").is_err() && f64::parse("inf").is_err());
        assert_eq!(f64::parse("0.7"), Ok(0.7));
    }

    #[test]
    fn truth_and_choices_ignore_case_and_list_what_there_is() {
        assert_eq!(
            (bool::parse("True"), bool::parse("false")),
            (Ok(true), Ok(false))
        );
        assert!(bool::parse("yes").is_err());
        assert_eq!(RuntimeMode::parse("batch"), Ok(RuntimeMode::Batch));
        let expected = RuntimeMode::parse("live").unwrap_err();
        assert_eq!(expected, "one of STREAMING, BATCH, AUTOMATIC");
        assert_eq!(IoDriver::parse("IO_URING"), Ok(IoDriver::IoUring));
        assert_eq!(
            Profile::parse("low-latency").map(Profile::name),
            Ok("low-latency")
        );
    }

    #[test]
    fn a_choice_is_read_by_any_of_its_words_and_written_as_the_first() {
        for word in ["none", "disable", "OFF"] {
            assert_eq!(
                RestartStrategyKind::parse(word),
                Ok(RestartStrategyKind::None)
            );
        }
        let fixed = RestartStrategyKind::parse("fixedDelay");
        assert_eq!(fixed.map(|kind| kind.show()), Ok("fixed-delay".to_owned()));
    }

    #[test]
    fn an_optional_value_may_be_none() {
        assert_eq!(Option::<u32>::parse(" none"), Ok(None));
        for nothing in ["", " "] {
            assert!(
                Option::<u32>::parse(nothing)
                    .unwrap_err()
                    .ends_with("or none")
            );
        }
        assert_eq!(Option::<u32>::parse("3"), Ok(Some(3)));
        assert!(Option::<u32>::parse("x").unwrap_err().ends_with("or none"));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(bytes: u64, nanoseconds: u64, number: u64, truth: bool) {
            let size = MemorySize(bytes);
            prop_assert_eq!(MemorySize::parse(&size.show()), Ok(size));
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(Duration::parse(&duration.show()), Ok(duration));
            prop_assert_eq!(u64::parse(&number.show()), Ok(number));
            prop_assert_eq!(bool::parse(&truth.show()), Ok(truth));
            let some = Some(size);
            prop_assert_eq!(Option::<MemorySize>::parse(&some.show()), Ok(some));
        }

        #[test]
        fn no_text_makes_a_value_panic(text in ".{0,12}") {
            let _ = MemorySize::parse(&text);
            let _ = Duration::parse(&text);
            let _ = u32::parse(&text);
        }
    }
}
