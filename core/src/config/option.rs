//! One setting: its key, type, default, bounds and doc.
//!
//! Options are constants; whoever needs a setting asks a `Configuration` for the constant, so the type
//! and the key cannot disagree. Lives on any thread. Invariant: an option accepts its own default.

use super::value::ConfigValue;

/// A setting of type `T`.
///
/// ```
/// use thalweg_core::config::{ConfigOption, Configuration, MemorySize, options};
/// let mut configuration = Configuration::new();
/// assert_eq!(configuration.get(&options::SEGMENT_SIZE), MemorySize::kib(32));
/// configuration.set(&options::SEGMENT_SIZE, MemorySize(512));
/// assert_eq!(configuration.get(&options::SEGMENT_SIZE), MemorySize(512));
/// ```
pub struct ConfigOption<T: 'static> {
    /// The key, dotted; no key is a prefix of another.
    pub key: &'static str,
    /// What holds when nobody sets it.
    pub default: fn() -> T,
    /// What it is for, in a sentence or two, with its unit.
    pub doc: &'static str,
    /// What holds instead in the profile `low-latency`.
    pub(super) low_latency: Option<fn() -> T>,
    /// What a value must keep to beyond its type.
    pub(super) bounds: Option<Bounds<T>>,
}

/// A condition on a value, and the same in words.
pub(super) struct Bounds<T> {
    pub(super) holds: fn(&T) -> bool,
    pub(super) words: &'static str,
}

impl<T: ConfigValue> ConfigOption<T> {
    /// An option that takes every value of its type.
    #[must_use]
    pub const fn new(key: &'static str, default: fn() -> T, doc: &'static str) -> Self {
        ConfigOption {
            key,
            default,
            doc,
            low_latency: None,
            bounds: None,
        }
    }

    /// The same, with another default in the profile `low-latency`.
    #[must_use]
    pub const fn in_low_latency(mut self, default: fn() -> T) -> Self {
        self.low_latency = Some(default);
        self
    }

    /// The same, but values must satisfy `holds`; `words` says so, as a phrase that follows "expected".
    #[must_use]
    pub const fn within(mut self, holds: fn(&T) -> bool, words: &'static str) -> Self {
        self.bounds = Some(Bounds { holds, words });
        self
    }

    /// Reads a text as a value of this option.
    ///
    /// # Errors
    /// Says what was expected instead, as a phrase that follows "expected".
    pub fn read(&self, text: &str) -> Result<T, String> {
        // The bounds say what the type takes and more: its own words would name a range that is not this option's.
        let value = T::parse(text).map_err(|expected| match &self.bounds {
            Some(bounds) => bounds.words.to_owned(),
            None => expected,
        })?;
        match &self.bounds {
            Some(bounds) if !(bounds.holds)(&value) => Err(bounds.words.to_owned()),
            _ => Ok(value),
        }
    }
}

/// An option whose type is not known here: for lists, checks and the reference page.
pub trait AnyOption: Sync {
    /// The dotted key.
    fn key(&self) -> &'static str;
    /// What it is for.
    fn doc(&self) -> &'static str;
    /// Its type, in words.
    fn kind(&self) -> String;
    /// Its bounds, in words, if it has any beyond its type.
    fn bounds(&self) -> Option<&'static str>;
    /// Its default as text.
    fn default_text(&self) -> String;
    /// Its default in the profile `low-latency` as text, if it has another there.
    fn low_latency_text(&self) -> Option<String>;
    /// Whether `text` can be its value, and if so the canonical form of that text.
    ///
    /// # Errors
    /// Says what was expected instead.
    fn check(&self, text: &str) -> Result<String, String>;
}

impl<T: ConfigValue> AnyOption for ConfigOption<T> {
    fn key(&self) -> &'static str {
        self.key
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn kind(&self) -> String {
        T::kind()
    }

    fn bounds(&self) -> Option<&'static str> {
        self.bounds.as_ref().map(|bounds| bounds.words)
    }

    fn default_text(&self) -> String {
        (self.default)().show()
    }

    fn low_latency_text(&self) -> Option<String> {
        self.low_latency.map(|default| default().show())
    }

    fn check(&self, text: &str) -> Result<String, String> {
        self.read(text).map(|value| value.show())
    }
}
