//! What is not left lying about: unfinished work, large binaries, traces of one machine.

use crate::finding::Finding;
use crate::house::House;

pub(crate) const UNFINISHED: &str = "unfinished";
pub(crate) const BLOB: &str = "blob";
pub(crate) const ALONE: &str = "stands-alone";

/// Marks of work that is not done, spelled so that this file does not hold them.
const MARKS: [&str; 5] = [
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("dbg", "!("),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// Bytes of the largest binary file.
const BLOB_BYTES: u64 = 256 << 10;

/// Words that tie the repository to a machine, a neighbour folder or a private registry.
const FOREIGN: [&str; 6] = [
    concat!("../", "shared"),
    concat!("/work/", "shared"),
    concat!("replace-", "with ="),
    concat!("[regis", "tries"),
    concat!("CARGO_REGIS", "TRIES"),
    concat!("index = \"", "sparse+"),
];

/// The one place crates come from.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(crate) fn unfinished(house: &House) -> Vec<Finding> {
    let mend = "finish it, or write down as a decision why it is left";
    search(house, &MARKS, mend, |path| {
        path.ends_with(".rs") || path.ends_with(".toml")
    })
}

pub(crate) fn blobs(house: &House) -> Vec<Finding> {
    let large = house
        .pages
        .iter()
        .filter(|page| page.binary && page.bytes > BLOB_BYTES);
    large
        .map(|page| {
            let what = format!("{} bytes of binary, {BLOB_BYTES} may be", page.bytes);
            Finding::new(
                &page.path,
                0,
                what,
                "make it when it is needed, or make it smaller",
            )
        })
        .collect()
}

pub(crate) fn foreign(house: &House) -> Vec<Finding> {
    let mend = "the repository is read and built where nothing else is";
    let mut found = search(house, &FOREIGN, mend, |_| true);
    let Some(lock) = house.page("Cargo.lock") else {
        return found;
    };
    for (at, line) in lock.text.lines().enumerate() {
        if line.starts_with("source = ") && !line.contains(SOURCE) {
            let what = format!("a crate from elsewhere: {line}");
            found.push(Finding::new(
                &lock.path,
                at + 1,
                what,
                "take it from the public registry",
            ));
        }
    }
    found
}

fn search(
    house: &House,
    words: &[&str],
    mend: &'static str,
    wanted: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for page in house
        .pages
        .iter()
        .filter(|page| !page.binary && wanted(&page.path))
    {
        for (at, line) in page.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                found.push(Finding::new(&page.path, at + 1, format!("`{word}`"), mend));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_work_is_found() {
        let text = format!("//! x\n// {}: later\nlet a = {}b);\n", MARKS[1], MARKS[2]);
        let found = unfinished(&House::planted(&[("a.rs", &text), ("b.md", &text)]));
        let lines: Vec<usize> = found.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 3]);
    }

    #[test]
    fn a_large_binary_is_found() {
        let small = "\0".repeat(1 << 10);
        let large = "\0".repeat(257 << 10);
        let text = "x".repeat(257 << 10);
        let pages = [
            ("small", small.as_str()),
            ("large", &large),
            ("text", &text),
        ];
        let found = blobs(&House::planted(&pages));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "large");
    }

    #[test]
    fn traces_of_elsewhere_are_found() {
        let text = format!("see {}/notes\n", FOREIGN[0]);
        let lock = format!("source = \"{SOURCE}\"\nsource = \"git+https://example.org/x\"\n");
        let found = foreign(&House::planted(&[
            ("README.md", &text),
            ("Cargo.lock", &lock),
        ]));
        let files: Vec<(&str, usize)> = found
            .iter()
            .map(|finding| (finding.file.as_str(), finding.line))
            .collect();
        assert_eq!(files, [("README.md", 1), ("Cargo.lock", 2)]);
    }
}
