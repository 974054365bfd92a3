//! What somebody who mistyped a key may have meant.
//!
//! Entered only on the way to an error message. Lives on any thread.

/// How many single changes (insert, delete, replace) turn `a` into `b`, without regard to ASCII case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_ascii_lowercase().chars().collect();
    // `row[j]` = distance of the part of `a` seen so far to the first `j` characters of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.to_ascii_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The key closest to `written`, unless all are so far off that naming one would mislead.
pub(super) fn nearest<'a>(written: &str, keys: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A key whose end is exactly what was written: somebody left the section out.
    let tail = |key: &str| {
        let end = key.len().checked_sub(written.len());
        !written.is_empty()
            && end.is_some_and(|end| {
                end > 0 && key.is_char_boundary(end) && {
                    key.as_bytes()[end - 1] == b'.' && key[end..].eq_ignore_ascii_case(written)
                }
            })
    };
    let ranked = keys.map(|key| (if tail(key) { 0 } else { distance(written, key) }, key));
    let (changes, key) = ranked.min()?;
    // More than half of the longer one changed is not a slip of the finger.
    (changes * 2 <= written.chars().count().max(key.len())).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = [
        "parallelism.default",
        "pipeline.max-parallelism",
        "thalweg.profile",
        "thalweg.shard.pin",
    ];

    #[test]
    fn distance_counts_single_changes() {
        for (a, b, changes) in [
            ("", "", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("Pin", "pin", 0),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(a, b), changes, "{a} {b}");
            assert_eq!(distance(b, a), changes, "{b} {a}");
        }
    }

    #[test]
    fn slips_are_understood_and_nonsense_is_not() {
        let near = |written| nearest(written, KEYS.into_iter());
        assert_eq!(near("paralelism.default"), Some("parallelism.default"));
        assert_eq!(
            near("pipeline.maxParallelism"),
            Some("pipeline.max-parallelism")
        );
        assert_eq!(near("max-parallelism"), Some("pipeline.max-parallelism"));
        assert_eq!(near("pin"), Some("thalweg.shard.pin"));
        assert_eq!(near("completely.different.thing.altogether"), None);
        assert_eq!(near(""), None);
        assert_eq!(nearest("x", std::iter::empty()), None);
    }
}
