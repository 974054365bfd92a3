//! What a metric belongs to: labels, from the process down to the operator.
//!
//! Lives on any thread; made when something starts, never while records flow. Invariants: label names
//! are distinct within a scope; values are cut at [`Scope::VALUE_LIMIT`] bytes, so that no user can make
//! a metric of unbounded size.

use std::fmt;
use std::sync::Arc;

/// Labels in the order in which they were given, outermost first. Clones share them.
///
/// ```
/// use thalweg_core::metrics::Scope;
/// let shard = Scope::root().with("shard", "0");
/// let operator = shard.with("operator", "count words");
/// assert_eq!(operator.to_string(), "{shard=\"0\",operator=\"count words\"}");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    labels: Arc<[(&'static str, String)]>,
}

impl Scope {
    /// The longest label value in bytes; longer ones are cut.
    pub const VALUE_LIMIT: usize = 256;

    /// The scope without labels.
    #[must_use]
    pub fn root() -> Scope {
        Scope::default()
    }

    /// This scope with one more label, or with a new value for a label it has.
    ///
    /// # Panics
    /// When `name` is not a label name: letters, digits and `_`, not starting with a digit.
    #[must_use]
    pub fn with(&self, name: &'static str, value: impl fmt::Display) -> Scope {
        assert!(is_name(name), "`{name}` is not a label name");
        let mut value = value.to_string();
        value.truncate(value.floor_char_boundary(Scope::VALUE_LIMIT));
        let mut labels = self.labels.to_vec();
        match labels.iter_mut().find(|(known, _)| *known == name) {
            Some(label) => label.1 = value,
            None => labels.push((name, value)),
        }
        Scope {
            labels: labels.into(),
        }
    }

    /// The labels, outermost first.
    #[must_use]
    pub fn labels(&self) -> &[(&'static str, String)] {
        &self.labels
    }

    /// Whether this scope is `outer` or was made from it by more labels: whether it begins with its labels. So scopes
    /// that lie within one follow it in their order.
    #[must_use]
    pub fn is_within(&self, outer: &Scope) -> bool {
        self.labels.starts_with(&outer.labels)
    }

    /// The value of the label `name`.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (place, (name, value)) in self.labels.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

/// Whether a text can name a label or a metric: letters, digits and `_`, not starting with a digit.
pub(super) fn is_name(text: &str) -> bool {
    let wordlike = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    wordlike && !text.is_empty() && !text.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_scope_keeps_the_outer_labels_and_may_change_them() {
        let outer = Scope::root().with("job", "a").with("shard", 0);
        let inner = outer.with("shard", 1).with("operator", "map");
        let labels: Vec<_> = inner
            .labels()
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(labels, [("job", "a"), ("shard", "1"), ("operator", "map")]);
        assert_eq!(
            outer.label("shard"),
            Some("0"),
            "the outer scope is unchanged"
        );
        assert_eq!(outer.label("operator"), None);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let scope = Scope::root().with("operator", "\u{442}".repeat(1_000));
        let value = scope.label("operator").unwrap();
        assert!(value.len() <= Scope::VALUE_LIMIT && value.chars().all(|c| c == '\u{442}'));
    }

    #[test]
    #[should_panic(expected = "is not a label name")]
    fn label_names_are_checked() {
        let _ = Scope::root().with("not a name", "");
    }
}
