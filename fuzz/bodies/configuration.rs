//! Settings as a user writes them: any text as the value of any key, any line as `key: value`.
//!
//! What is accepted is shown as a text that is accepted too, and means the same.
use thalweg_core::config::Configuration;

/// Throws bytes at it.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let settings: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let Ok(configuration) = Configuration::load(None, std::iter::empty(), &settings) else {
        return;
    };
    let shown = |configuration: &Configuration| -> Vec<(String, String)> {
        let entries = configuration.entries();
        let owned = entries.map(|(key, value, _)| (key.to_owned(), value.to_owned()));
        owned.collect()
    };
    let first = shown(&configuration);
    let again = Configuration::load(None, std::iter::empty(), &first);
    assert_eq!(shown(&again.expect("what is shown is accepted")), first);
}
