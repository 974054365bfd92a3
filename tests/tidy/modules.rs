//! Every file opens with what it is, and every file belongs to a module tree.

use crate::finding::Finding;
use crate::house::{House, Page};

pub(crate) const HEAD: &str = "head";
pub(crate) const DEAD: &str = "dead-file";

pub(crate) fn heads(house: &House) -> Vec<Finding> {
    let bare = house.rust().filter(|page| {
        let head = page
            .text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("//!"));
        head.is_none_or(|head| head.trim().is_empty())
    });
    let mend = "say in //! what room this is, who enters, what it keeps, on which thread it lives";
    bare.map(|page| Finding::new(&page.path, 1, "the file does not say what it is", mend))
        .collect()
}

pub(crate) fn dead_files(house: &House) -> Vec<Finding> {
    let mend = "name it by `mod` where it belongs, or remove it";
    let dead = house
        .rust()
        .filter(|page| !is_root(house, page) && !is_named(house, page));
    dead.map(|page| Finding::new(&page.path, 0, "no module names this file", mend))
        .collect()
}

/// Folders in which cargo finds targets by itself, and the line that forbids it.
const FOUND: [(&str, &str); 4] = [
    ("src/bin/", "autobins = false"),
    ("tests/", "autotests = false"),
    ("examples/", "autoexamples = false"),
    ("benches/", "autobenches = false"),
];

/// Whether cargo starts at this file.
fn is_root(house: &House, page: &Page) -> bool {
    house.packages().any(|(package, manifest)| {
        let Some(inside) = page.path.strip_prefix(&format!("{package}/")) else {
            return false;
        };
        let automatic = ["src/lib.rs", "src/main.rs", "build.rs"].contains(&inside)
            || FOUND
                .iter()
                .any(|(folder, off)| inside.starts_with(folder) && !manifest.text.contains(off));
        automatic || manifest.text.contains(&format!("path = \"{inside}\""))
    })
}

/// Whether a parent has a `mod` line for this file, or any file a `#[path]`.
fn is_named(house: &House, page: &Page) -> bool {
    let stem = page.name().trim_end_matches(".rs");
    let (module, home) = if stem == "mod" {
        let folder = page.folder();
        folder
            .rsplit_once('/')
            .map_or((folder, ""), |(home, module)| (module, home))
    } else {
        (stem, page.folder())
    };
    let parents = house.rust().filter(|parent| {
        let beside = parent.folder() == home
            && parent.path != page.path
            && (["mod.rs", "lib.rs", "main.rs"].contains(&parent.name()) || is_root(house, parent));
        beside || parent.path == format!("{home}.rs")
    });
    let by_name = parents.into_iter().any(|parent| {
        let plain = format!("mod {module};");
        let raw = format!("mod r#{module};");
        parent
            .text
            .lines()
            .any(|line| line.ends_with(&plain) || line.ends_with(&raw))
    });
    by_name
        || house.rust().any(|parent| {
            paths(&parent.text).any(|path| {
                let whole = format!("{}/{path}", parent.folder());
                whole == page.path || page.path.ends_with(path.trim_start_matches("../"))
            })
        })
}

fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("#[path = \"")?.split('"').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_file_is_found() {
        let pages = [
            ("a.rs", "//! A room.\n"),
            ("b.rs", "// no\n"),
            ("c.rs", "//!\n"),
            ("d.rs", ""),
        ];
        let found = heads(&House::planted(&pages));
        let files: Vec<&str> = found.iter().map(|finding| finding.file.as_str()).collect();
        assert_eq!(files, ["b.rs", "c.rs", "d.rs"]);
    }

    #[test]
    fn a_dead_file_is_found() {
        let house = House::planted(&[
            (
                "a/Cargo.toml",
                "[package]\nname = \"a\"\nautotests = false\n[[test]]\npath = \"t.rs\"\n",
            ),
            (
                "a/src/lib.rs",
                "mod one;\npub(crate) mod two;\nmod r#gen;\n",
            ),
            ("a/src/one.rs", ""),
            ("a/src/two/mod.rs", "mod three;"),
            ("a/src/two/three.rs", ""),
            ("a/src/two/dead.rs", "mod dead;"),
            ("a/src/gen.rs", ""),
            ("a/examples/six.rs", ""),
            ("a/t.rs", "#[path = \"t/four.rs\"]\nmod four;"),
            ("a/t/four.rs", ""),
            ("a/t/five.rs", ""),
        ]);
        let found = dead_files(&house);
        let files: Vec<&str> = found.iter().map(|finding| finding.file.as_str()).collect();
        assert_eq!(files, ["a/src/two/dead.rs", "a/t/five.rs"]);
    }
}
