//! Patterns of paths: `*`, `?`, `**`, `[a-z]`.
//!
//! Bytes in, yes or no out: names need not be text. Invariant: matching takes time bounded by pattern
//! times path, whatever the pattern.

/// Whether the path is one the pattern means, all of it.
///
/// `?` is one byte and `*` any number of them, but neither is a `/`; `**` is any number of bytes, and
/// `**/` also none at all; `[abc]`, `[a-z]` and `[!a-z]` are one byte of, or not of, a set. A `\` takes
/// what follows as it is.
pub(crate) fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let tokens = tokens(pattern);
    // Which prefixes of the path the tokens so far match.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for token in &tokens {
        let mut next = vec![false; path.len() + 1];
        match token {
            Token::One(set) => {
                for (at, byte) in path.iter().enumerate() {
                    next[at + 1] = reached[at] && set.has(*byte);
                }
            }
            Token::Name | Token::Path => {
                let mut open = false;
                for (at, here) in reached.iter().enumerate() {
                    open |= here;
                    next[at] = open;
                    open &= matches!(token, Token::Path) || path.get(at) != Some(&b'/');
                }
            }
            Token::Directories => {
                for at in 0..=path.len() {
                    let begins = at == 0 || path[at - 1] == b'/';
                    next[at] = reached[at] || (begins && reached[..at].contains(&true));
                }
            }
        }
        reached = next;
    }
    reached[path.len()]
}

enum Token {
    One(Set),
    /// `*`
    Name,
    /// `**`
    Path,
    /// `**/`: whole directories, or none.
    Directories,
}

struct Set {
    not: bool,
    ranges: Vec<(u8, u8)>,
}

impl Set {
    fn of(byte: u8) -> Set {
        Set {
            not: false,
            ranges: vec![(byte, byte)],
        }
    }

    fn has(&self, byte: u8) -> bool {
        let within = |(from, to): &(u8, u8)| (*from..=*to).contains(&byte);
        self.ranges.iter().any(within) != self.not
    }
}

fn tokens(pattern: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    loop {
        let (token, after) = match rest {
            [] => return tokens,
            [b'*', b'*', b'/', after @ ..] => (Token::Directories, after),
            [b'*', b'*', after @ ..] => (Token::Path, after),
            [b'*', after @ ..] => (Token::Name, after),
            [b'?', after @ ..] => {
                let not = true;
                let ranges = vec![(b'/', b'/')];
                (Token::One(Set { not, ranges }), after)
            }
            [b'\\', byte, after @ ..] => (Token::One(Set::of(*byte)), after),
            [b'[', after @ ..] => match set(after) {
                Some((set, after)) => (Token::One(set), after),
                None => (Token::One(Set::of(b'[')), after),
            },
            [byte, after @ ..] => (Token::One(Set::of(*byte)), after),
        };
        tokens.push(token);
        rest = after;
    }
}

/// What stands in brackets, and what follows them; none if they are not closed.
fn set(rest: &[u8]) -> Option<(Set, &[u8])> {
    let (not, rest) = match rest {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    // A bracket right at the beginning is one of the set.
    let end = 1 + rest.get(1..)?.iter().position(|byte| *byte == b']')?;
    let (mut inside, after) = (&rest[..end], &rest[end + 1..]);
    let mut ranges = Vec::new();
    loop {
        inside = match inside {
            [] => return Some((Set { not, ranges }, after)),
            [from, b'-', to, more @ ..] => {
                ranges.push((*from, *to));
                more
            }
            [byte, more @ ..] => {
                ranges.push((*byte, *byte));
                more
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_shells_mean() {
        for (pattern, path, is) in [
            ("*.log", "a.log", true),
            ("*.log", "a.log.1", false),
            ("*.log", "in/a.log", false),
            ("**/*.log", "a.log", true),
            ("**/*.log", "in/two/a.log", true),
            ("**/two/*.log", "in/two/a.log", true),
            ("**/two/*.log", "intwo/a.log", false),
            ("in/**", "in/two/a.log", true),
            ("in/**", "in", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x[!0-9]", "bxz", true),
            ("[a-c]x[!0-9]", "bx7", false),
            ("[]x]", "]", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), path.as_bytes()),
                is,
                "{pattern} {path}"
            );
        }
        assert!(matches(b"*\xFF*", b"n\xFFme"), "names need not be text");
    }

    #[test]
    fn no_pattern_takes_long() {
        let pattern = b"*a".repeat(200);
        let path = b"a".repeat(2000);
        assert!(matches(&pattern, &path));
        assert!(!matches(&[&pattern[..], b"b"].concat(), &path));
    }
}
