//! `unsafe` stands in the listed files and nowhere else; crates without one say so to the compiler.

use crate::finding::Finding;
use crate::house::House;
use crate::source::{code_lines, has_word};

pub(crate) const LIST: &str = "unsafe-list";
pub(crate) const FORBID: &str = "forbid-unsafe";

/// Files, and folders with all that is in them.
const LISTED: [&str; 14] = [
    "core/src/shard/lane.rs",
    "core/src/shard/placement.rs",
    "core/src/seam/",
    "core/src/simd.rs",
    "memory/src/segment.rs",
    "memory/src/buffer/",
    "memory/src/arena.rs",
    "memory/src/hash/batch/",
    "memory/src/hash/buckets.rs",
    "memory/src/record/archive.rs",
    "memory/src/record/saved.rs",
    "memory/src/record/view.rs",
    "bench/src/limit/",
    "tests/allocations/counting.rs",
];

/// Packages whose libraries hold a listed file.
const EXEMPT: [&str; 3] = ["core", "memory", "bench"];

pub(crate) fn listed(house: &House) -> Vec<Finding> {
    let mend = "write it safely, or use what a listed file offers (tests/tidy/unsafe_list.rs)";
    let mut found = Vec::new();
    for page in house
        .rust()
        .filter(|page| !LISTED.iter().any(|at| page.path.starts_with(at)))
    {
        for (line, code) in code_lines(&page.text) {
            if has_word(&code, "unsafe") {
                let what = "`unsafe` in a file that is not listed";
                found.push(Finding::new(&page.path, line, what, mend));
            }
        }
    }
    found
}

pub(crate) fn forbidden(house: &House) -> Vec<Finding> {
    let line = "#![forbid(unsafe_code)]";
    let mut found = Vec::new();
    for (package, _) in house
        .packages()
        .filter(|(package, _)| !EXEMPT.contains(package))
    {
        let path = format!("{package}/src/lib.rs");
        let Some(page) = house.page(&path) else {
            continue;
        };
        if !page.text.lines().any(|there| there == line) {
            let what = format!("`{line}` is missing");
            found.push(Finding::new(path, 1, what, "add it under the file's head"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_out_of_place_is_found() {
        let code = "//! unsafe\nfn a() { unsafe { b() } }\n// unsafe\n";
        let house = House::planted(&[
            ("core/src/shard/lane.rs", code),
            ("bench/src/limit/ring.rs", code),
            ("core/src/shard/mesh.rs", code),
            ("state/src/lib.rs", "//! x\n#![forbid(unsafe_code)]\n"),
        ]);
        let found = listed(&house);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].file.as_str(), found[0].line),
            ("core/src/shard/mesh.rs", 2)
        );
    }

    #[test]
    fn a_crate_that_does_not_forbid_it_is_found() {
        let package = "[package]\n";
        let house = House::planted(&[
            ("state/Cargo.toml", package),
            ("state/src/lib.rs", "//! #![forbid(unsafe_code)]\n"),
            ("core/Cargo.toml", package),
            ("core/src/lib.rs", "//! x\n"),
            ("cli/Cargo.toml", package),
            ("cli/src/lib.rs", "//! x\n#![forbid(unsafe_code)]\n"),
        ]);
        let found = forbidden(&house);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "state/src/lib.rs");
    }
}
