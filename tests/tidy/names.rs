//! Names say what a thing is: words that fit anything are banned from files and items.

use crate::finding::Finding;
use crate::house::House;
use crate::source::code_lines;

pub(crate) const RULE: &str = "names";

const MEND: &str = "name it by what it does or holds, in the words of the glossary";

const BANNED: [&str; 11] = [
    "manager", "managers", "util", "utils", "utility", "helper", "helpers", "common", "base",
    "impl", "misc",
];
/// The managers the field knows by that name.
const KNOWN: [&str; 4] = ["job", "task", "io", "resource"];
/// What may stand before an item's name.
const KINDS: [&str; 10] = [
    "fn",
    "struct",
    "enum",
    "trait",
    "mod",
    "type",
    "const",
    "static",
    "union",
    "macro_rules!",
];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let mut found = Vec::new();
    for page in &house.pages {
        for part in page.path.split('/') {
            if let Some(word) = banned_word(part.split('.').next().unwrap_or(part)) {
                let what = format!("`{word}` in the path");
                found.push(Finding::new(&page.path, 0, what, MEND));
            }
        }
    }
    for page in house.rust() {
        for (line, code) in code_lines(&page.text) {
            if let Some(name) = item_name(&code)
                && let Some(word) = banned_word(name)
            {
                let what = format!("`{word}` in the name `{name}`");
                found.push(Finding::new(&page.path, line, what, MEND));
            }
        }
    }
    found
}

/// The name of the item a line declares.
fn item_name(code: &str) -> Option<&str> {
    let mut words = code.split_whitespace();
    while let Some(word) = words.next() {
        if KINDS.contains(&word) {
            let next = words.next()?;
            // `const fn` and `const unsafe fn` are functions.
            if KINDS.contains(&next) || ["unsafe", "extern", "async"].contains(&next) {
                return item_name(code.split_once(word)?.1);
            }
            let name = next.trim_start_matches("r#");
            let end = name
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(name.len());
            return Some(&name[..end]).filter(|name| !name.is_empty());
        }
        let before = word.starts_with("pub") || word.starts_with("#[");
        if !before && !["unsafe", "async", "extern", "default", "crate)", "super)"].contains(&word)
        {
            return None;
        }
    }
    None
}

/// The first banned word of a name in any case style.
fn banned_word(name: &str) -> Option<String> {
    let words = words(name);
    words.iter().enumerate().find_map(|(at, word)| {
        let known =
            at > 0 && word.starts_with("manager") && KNOWN.contains(&words[at - 1].as_str());
        (BANNED.contains(&word.as_str()) && !known).then(|| word.clone())
    })
}

/// The words of `snake_case`, `kebab-case` and `CamelCase`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut low_before = false;
    for c in name.chars() {
        let apart = !c.is_alphanumeric();
        if (apart || (c.is_uppercase() && low_before))
            && words.last().is_some_and(|w| !w.is_empty())
        {
            words.push(String::new());
        }
        if let (false, Some(word)) = (apart, words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        low_before = c.is_lowercase() || c.is_numeric();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_says_nothing_is_found() {
        let code = "//! x\npub(crate) struct StateManager;\npub const fn key_helper() {}\nstruct JobManager;\n\
                    mod io_manager;\nfn rebase() {}\nimpl Base for Common {}\nlet base = 1;\n\
                    macro_rules! misc { () => {} }\ntrait Impl {}\n";
        let pages = [
            ("a/lib.rs", code),
            ("a/utils/x.rs", ""),
            ("a/common.rs", ""),
            ("a/job_manager/b.rs", ""),
        ];
        let found = check(&House::planted(&pages));
        let places: Vec<(&str, usize)> = found
            .iter()
            .map(|finding| (finding.file.as_str(), finding.line))
            .collect();
        let expected = [
            ("a/utils/x.rs", 0),
            ("a/common.rs", 0),
            ("a/lib.rs", 2),
            ("a/lib.rs", 3),
            ("a/lib.rs", 9),
            ("a/lib.rs", 10),
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn names_fall_into_words() {
        assert_eq!(
            words("TaskManager2_io-base"),
            ["task", "manager2", "io", "base"]
        );
    }
}
