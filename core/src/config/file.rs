//! A YAML file of settings, flat or nested or both, as a list of dotted keys with their lines.
//!
//! Entered by `load`. Lives on any thread. Invariant: a key occurs once, whichever way it is written;
//! nothing of the file's types is kept, values are texts until their option reads them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// One setting as it stands in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The dotted key.
    pub(super) key: String,
    /// The value as text; empty if there is none.
    pub(super) text: String,
    /// Where the value stands, from 1.
    pub(super) line: u64,
}

/// Why a file could not be read as settings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) line: u64,
    pub(super) message: String,
}

/// A section or a value.
enum Node {
    Section(Vec<(String, Spanned<Node>)>),
    Text(String),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

/// Visitor methods that keep a scalar as its text.
macro_rules! keep_text {
    ($($method:ident($scalar:ty)),*) => {$(
        fn $method<E: Error>(self, scalar: $scalar) -> Result<Node, E> {
            Ok(Node::Text(scalar.to_string()))
        }
    )*};
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section of settings or a single value")
    }

    keep_text!(
        visit_bool(bool),
        visit_i64(i64),
        visit_i128(i128),
        visit_u64(u64),
        visit_u128(u128),
        visit_f64(f64),
        visit_str(&str)
    );

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Text(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(A::Error::custom(
            "a setting cannot be a list: write a section or a single value",
        ))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Section(entries))
    }
}

/// Reads a whole file. An empty one is no settings.
pub(super) fn parse(yaml: &str) -> Result<Vec<Line>, Malformed> {
    let options = serde_saphyr::options! { with_snippet: false };
    let root: Option<Spanned<Node>> =
        serde_saphyr::from_str_with_options(yaml, options).map_err(|error| Malformed {
            line: error.location().map_or(0, |location| location.line()),
            message: error.to_string(),
        })?;
    let mut lines = Vec::new();
    match root {
        None => {}
        Some(Spanned {
            value: Node::Text(text),
            ..
        }) if text.is_empty() => {}
        Some(Spanned {
            value: Node::Text(_),
            referenced,
            ..
        }) => {
            let message = "expected settings as `key: value`".to_owned();
            return Err(Malformed {
                line: referenced.line(),
                message,
            });
        }
        Some(Spanned {
            value: Node::Section(entries),
            ..
        }) => flatten("", entries, &mut lines),
    }
    refuse_twice(&lines)?;
    Ok(lines)
}

fn flatten(prefix: &str, entries: Vec<(String, Spanned<Node>)>, lines: &mut Vec<Line>) {
    for (name, node) in entries {
        let key = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}.{name}")
        };
        match node.value {
            Node::Section(inner) => flatten(&key, inner, lines),
            Node::Text(text) => lines.push(Line {
                key,
                text,
                line: node.referenced.line(),
            }),
        }
    }
}

/// The parser refuses a key that is written twice in one way; this one, in two ways.
fn refuse_twice(lines: &[Line]) -> Result<(), Malformed> {
    let mut by_key: Vec<&Line> = lines.iter().collect();
    by_key.sort_by(|a, b| (&a.key, a.line).cmp(&(&b.key, b.line)));
    match by_key.windows(2).find(|pair| pair[0].key == pair[1].key) {
        None => Ok(()),
        Some(pair) => {
            let message = format!("`{}` is already set in line {}", pair[0].key, pair[0].line);
            Err(Malformed {
                line: pair[1].line,
                message,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Vec<(String, String, u64)> {
        let lines = parse(yaml).unwrap();
        lines
            .into_iter()
            .map(|line| (line.key, line.text, line.line))
            .collect()
    }

    fn line(key: &str, text: &str, line: u64) -> (String, String, u64) {
        (key.to_owned(), text.to_owned(), line)
    }

    #[test]
    fn flat_and_nested_keys_come_to_the_same() {
        let flat = read("# comment\na.b.c: 1\na.b.d: x\n");
        assert_eq!(flat, [line("a.b.c", "1", 2), line("a.b.d", "x", 3)]);
        let nested = read("a:\n  b:\n    c: 1\n    d: x\n");
        assert_eq!(nested, [line("a.b.c", "1", 3), line("a.b.d", "x", 4)]);
        let mixed = read("a.b:\n  c: 1\na:\n  b.d: x\n");
        assert_eq!(mixed, [line("a.b.c", "1", 2), line("a.b.d", "x", 4)]);
    }

    #[test]
    fn values_are_kept_as_text() {
        let lines = read("a: true\nb: 0.25\nc: 32kb\nd: '17'\ne: -3\nf:\n");
        let texts: Vec<&str> = lines.iter().map(|(_, text, _)| text.as_str()).collect();
        assert_eq!(texts, ["true", "0.25", "32kb", "17", "-3", ""]);
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        for yaml in ["", "\n\n", "# only a comment\n", "---\n", "{}"] {
            assert_eq!(parse(yaml), Ok(vec![]), "{yaml:?}");
        }
    }

    #[test]
    fn a_key_set_in_two_ways_is_refused_with_both_lines() {
        let refusal = parse("a.b: 1\na:\n  b: 2\n").unwrap_err();
        assert_eq!(
            (refusal.line, refusal.message.as_str()),
            (3, "`a.b` is already set in line 1")
        );
        assert!(parse("a: 1\na: 2\n").is_err());
    }

    #[test]
    fn what_is_not_settings_is_refused_with_its_line() {
        let refusal = parse("a: 1\nb:\n  - 1\n  - 2\n").unwrap_err();
        assert!(refusal.message.contains("cannot be a list"), "{refusal:?}");
        assert_eq!(refusal.line, 3);
        assert!(
            parse("just words")
                .unwrap_err()
                .message
                .contains("key: value")
        );
        assert!(parse("a: [1\nb: 2").unwrap_err().line > 0);
        assert!(parse("- a\n- b\n").is_err());
    }

    #[test]
    fn a_file_too_deep_is_an_error_and_not_a_crash() {
        let deep: String = (0..100_000).map(|_| "{a: ").collect();
        assert!(parse(&deep).is_err());
    }
}
