//! Ceilings for files, functions and folders: what a reader can hold.

use std::collections::BTreeMap;

use crate::finding::Finding;
use crate::house::{House, Page};
use crate::source::lines_without_tests;

pub(crate) const FILE: &str = "file-ceiling";
pub(crate) const MOST: &str = "most-files";
pub(crate) const FOLDER: &str = "folder-ceiling";
pub(crate) const FUNCTION: &str = "function-ceiling";

/// Lines of a file without its test module.
const FILE_LINES: usize = 800;
/// Lines nine files of ten keep under.
const MOST_LINES: usize = 400;
/// Rust files of a folder without its `mod.rs`.
const FOLDER_FILES: usize = 15;
/// Lines of a function; clippy counts them.
const FUNCTION_LINES: usize = 70;

/// Files with their lines; files that are test modules themselves are left out.
fn counted(house: &House) -> impl Iterator<Item = (&Page, usize)> {
    let pages = house.rust().filter(|page| page.name() != "tests.rs");
    pages.map(|page| (page, lines_without_tests(&page.text)))
}

pub(crate) fn files(house: &House) -> Vec<Finding> {
    let long = counted(house).filter(|&(_, lines)| lines > FILE_LINES);
    long.map(|(page, lines)| {
        let what = format!("{lines} lines without tests, the ceiling is {FILE_LINES}");
        Finding::new(&page.path, 0, what, "cut it where it holds two thoughts")
    })
    .collect()
}

pub(crate) fn most_files(house: &House) -> Vec<Finding> {
    let mut sizes: Vec<(usize, &str)> = counted(house)
        .map(|(page, lines)| (lines, page.path.as_str()))
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let allowed = sizes.len() / 10;
    let long: Vec<_> = sizes
        .iter()
        .filter(|(lines, _)| *lines > MOST_LINES)
        .collect();
    if long.len() <= allowed {
        return Vec::new();
    }
    let mend = "cut the longest ones where they hold two thoughts";
    long.iter()
        .map(|(lines, path)| {
            let what = format!(
                "{lines} lines: {} files of {} are over {MOST_LINES}, {allowed} may be",
                long.len(),
                sizes.len()
            );
            Finding::new(*path, 0, what, mend)
        })
        .collect()
}

pub(crate) fn folders(house: &House) -> Vec<Finding> {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for page in house.rust().filter(|page| page.name() != "mod.rs") {
        *folders.entry(page.folder()).or_default() += 1;
    }
    let full = folders
        .into_iter()
        .filter(|&(_, files)| files > FOLDER_FILES);
    full.map(|(folder, files)| {
        let what = format!("{files} files, the ceiling is {FOLDER_FILES}");
        Finding::new(folder, 0, what, "make rooms of those that belong together")
    })
    .collect()
}

/// Clippy counts the lines of functions; here is seen to it that it does, everywhere.
pub(crate) fn functions(house: &House) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut want = |path: &str, line: &str, mend: &'static str| {
        let text = house.page(path).map_or("", |page| page.text.as_str());
        if !text.lines().any(|there| there.trim() == line) {
            found.push(Finding::new(path, 0, format!("`{line}` is missing"), mend));
        }
    };
    let threshold = format!("too-many-lines-threshold = {FUNCTION_LINES}");
    want(
        "Cargo.toml",
        "too_many_lines = \"deny\"",
        "deny it in [workspace.lints.clippy]",
    );
    want(
        "clippy.toml",
        &threshold,
        "set the ceiling clippy counts to",
    );
    for (_, manifest) in house.packages() {
        // A workspace of its own has no lints to inherit.
        if manifest.path != "Cargo.toml" && manifest.text.contains("\n[workspace]\n") {
            continue;
        }
        let text = manifest
            .text
            .split("\n[lints]\n")
            .nth(1)
            .unwrap_or_default();
        if text.lines().next().map(str::trim) != Some("workspace = true") {
            let what = "the lints of the workspace do not hold here";
            found.push(Finding::new(
                &manifest.path,
                0,
                what,
                "add [lints] workspace = true",
            ));
        }
    }
    let lint = concat!("clippy::too", "_many_lines");
    for page in house.rust() {
        for (at, line) in page
            .text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains(lint))
        {
            let what = format!("the ceiling is lifted: {}", line.trim());
            found.push(Finding::new(
                &page.path,
                at + 1,
                what,
                "cut the function instead",
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found_and_long_tests_are_not() {
        let long = "x\n".repeat(801);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    x\n".repeat(900));
        let house = House::planted(&[("a.rs", &long), ("b.rs", &tests), ("c/tests.rs", &long)]);
        let found = files(&house);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "a.rs");
    }

    #[test]
    fn too_many_long_files_are_found() {
        let long = "x\n".repeat(401);
        let mut pages: Vec<(&str, &str)> = vec![("a.rs", "x"); 18];
        pages.extend([("long.rs", long.as_str()); 2]);
        assert_eq!(most_files(&House::planted(&pages)), []);
        pages.push(("longer.rs", &long));
        assert_eq!(most_files(&House::planted(&pages)).len(), 3);
    }

    #[test]
    fn a_full_folder_is_found() {
        let paths: Vec<String> = (0..16).map(|at| format!("a/b/{at}.rs")).collect();
        let mut pages: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
        assert_eq!(folders(&House::planted(&pages))[0].file, "a/b");
        pages[0].0 = "a/b/mod.rs";
        assert_eq!(folders(&House::planted(&pages)), []);
    }

    #[test]
    fn a_lifted_function_ceiling_is_found() {
        let lints = "[workspace.lints.clippy]\ntoo_many_lines = \"deny\"\n";
        let package = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n";
        let allow = format!("//! x\n#[allow({}_many_lines)]\n", "clippy::too");
        let mut pages = vec![
            ("Cargo.toml", lints),
            ("clippy.toml", "too-many-lines-threshold = 70\n"),
            ("a/Cargo.toml", package),
        ];
        assert_eq!(functions(&House::planted(&pages)), []);
        pages[1].1 = "too-many-lines-threshold = 100\n";
        pages[2].1 = "[package]\nname = \"a\"\n";
        pages.push(("a/src/lib.rs", &allow));
        let found = functions(&House::planted(&pages));
        let files: Vec<&str> = found.iter().map(|finding| finding.file.as_str()).collect();
        assert_eq!(files, ["clippy.toml", "a/Cargo.toml", "a/src/lib.rs"]);
        assert_eq!(found[2].line, 2);
    }
}
