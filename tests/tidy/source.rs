//! Rust source as rules look at it: code without comments and literals, test modules left out.
//!
//! Works on text laid out by rustfmt; it is a reader of habits, not a parser.

/// The lines of a file with line numbers from 1, comments and the insides of literals blanked out.
pub(crate) fn code_lines(text: &str) -> Vec<(usize, String)> {
    let code = blank(text);
    code.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.to_owned()))
        .collect()
}

/// Whether `word` stands in `line` as a word of its own.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

/// The text with everything that is not code replaced by spaces, line ends kept.
pub(crate) fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = not_code(rest, out.chars().next_back());
        if skip == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(
                rest[..skip]
                    .chars()
                    .map(|c| if c == '\n' { '\n' } else { ' ' }),
            );
            rest = &rest[skip..];
        }
    }
    out
}

/// How many bytes from here on are a comment or a literal; `before` is the character before.
fn not_code(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    if before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        && let Some(end) = raw_string(rest)
    {
        return end;
    }
    if let Some(inside) = rest.strip_prefix('"') {
        return 1 + quoted(inside, '"');
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        // A lifetime has no second quote after one character.
        let mut chars = inside.chars();
        let first = chars.next();
        if first == Some('\\') || (first.is_some() && chars.next() == Some('\'')) {
            return 1 + quoted(inside, '\'');
        }
    }
    0
}

fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].strip_prefix('"')?;
    let start = rest.len() - after.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(
        rest[start..]
            .find(&close)
            .map_or(rest.len(), |end| start + end + close.len()),
    )
}

/// Bytes up to and with the closing quote.
fn quoted(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    inside.len()
}

/// The lines that are not in a test module, with line numbers from 1.
pub(crate) fn lines_outside_tests(text: &str) -> Vec<(usize, &str)> {
    let mut outside = Vec::new();
    let mut close: Option<String> = None;
    let mut test_follows = false;
    for (at, line) in text.lines().enumerate() {
        if let Some(end) = &close {
            if line == end {
                close = None;
            }
            continue;
        }
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        if code.starts_with("#[cfg(test") || code.starts_with("#[cfg(all(test") {
            test_follows = true;
        } else if test_follows && !code.starts_with("#[") {
            test_follows = false;
            if opens_module(code) {
                close = Some(format!("{indent}}}"));
                continue;
            }
        }
        outside.push((at + 1, line));
    }
    outside
}

/// Number of lines that are not in a test module.
pub(crate) fn lines_without_tests(text: &str) -> usize {
    lines_outside_tests(text).len()
}

fn opens_module(code: &str) -> bool {
    (code.starts_with("mod ") || code.contains(" mod ")) && code.ends_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "let a = \"unsafe \\\" x\"; // unsafe\nlet b = r#\"unsafe \"x\"#; /* unsafe\n */ \
                    let c = '\"'; fn d<'a>(e: &'a str) {}\nlet f = '\\''; unsafe {}\n";
        let lines = code_lines(text);
        assert_eq!(lines.len(), 4);
        let found: Vec<usize> = lines
            .iter()
            .filter(|(_, code)| has_word(code, "unsafe"))
            .map(|&(at, _)| at)
            .collect();
        assert_eq!(found, [4]);
        assert!(lines[2].1.contains("fn d<'a>(e: &'a str) {}"));
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("a unsafe{", "unsafe"));
        assert!(!has_word("forbid(unsafe_code)", "unsafe"));
        assert!(!has_word("notunsafe", "unsafe"));
    }

    #[test]
    fn test_modules_do_not_count() {
        let text = "a\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    b\n    fn c() {\n    }\n}\nd\n";
        // The two attribute lines count; they are two.
        assert_eq!(lines_without_tests(text), 4);
        assert_eq!(lines_without_tests("a\n#[cfg(test)]\nuse b;\nc\n"), 4);
    }
}
