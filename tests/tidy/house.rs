//! The repository as the rules see it: paths and texts.
//!
//! Read from disk once per rule; build products and the history are left out. A rule's own test
//! makes a house of a few planted pages instead.

use std::fs;
use std::path::Path;

/// Folders that are no part of the house.
const OUTSIDE: [&str; 2] = [".git", "target"];

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Path from the root of the repository, with `/`.
    pub(crate) path: String,
    /// Its text; of a binary file what of it is text.
    pub(crate) text: String,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// Whether it is not text.
    pub(crate) binary: bool,
}

impl Page {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The folder the page lies in; empty at the root.
    pub(crate) fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The name without its folder.
    pub(crate) fn name(&self) -> &str {
        self.path
            .rsplit_once('/')
            .map_or(&self.path, |(_, name)| name)
    }
}

/// All files, in order of their paths.
#[derive(Debug, Default)]
pub(crate) struct House {
    pub(crate) pages: Vec<Page>,
}

impl House {
    /// Reads the repository this test was built from.
    pub(crate) fn read() -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = tests
            .ancestors()
            .find(|folder| folder.join("clippy.toml").exists());
        let root = root.unwrap_or_else(|| panic!("{} lies in no repository", tests.display()));
        let house = Self::read_from(root);
        assert!(house.pages.len() > 50, "the whole repository was read");
        house
    }

    pub(crate) fn read_from(root: &Path) -> Self {
        let mut house = Self::default();
        house.enter(root, "");
        house.pages.sort_by(|a, b| a.path.cmp(&b.path));
        house
    }

    fn enter(&mut self, folder: &Path, prefix: &str) {
        let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let entry = entry.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if OUTSIDE.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{prefix}{name}");
            if kind.is_dir() {
                self.enter(&entry.path(), &format!("{path}/"));
            } else if kind.is_file() {
                // A file that went away since the listing is no part of the house.
                let Ok(bytes) = fs::read(entry.path()) else {
                    continue;
                };
                self.pages.push(Page {
                    path,
                    bytes: bytes.len() as u64,
                    binary: bytes.contains(&0),
                    text: String::from_utf8_lossy(&bytes).into_owned(),
                });
            }
        }
    }

    /// A house of these pages.
    #[cfg(test)]
    pub(crate) fn planted(pages: &[(&str, &str)]) -> Self {
        let page = |&(path, text): &(&str, &str)| Page {
            path: path.to_owned(),
            text: text.to_owned(),
            bytes: text.len() as u64,
            binary: text.contains('\0'),
        };
        Self {
            pages: pages.iter().map(page).collect(),
        }
    }

    pub(crate) fn page(&self, path: &str) -> Option<&Page> {
        self.pages.iter().find(|page| page.path == path)
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &Page> {
        self.pages.iter().filter(|page| page.is_rust())
    }

    /// Folders of packages: those with a manifest that names one.
    pub(crate) fn packages(&self) -> impl Iterator<Item = (&str, &Page)> {
        let manifests = self.pages.iter().filter(|page| page.name() == "Cargo.toml");
        manifests
            .filter(|page| page.text.contains("[package]"))
            .map(|page| (page.folder(), page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_house_is_read_without_build_products() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a/src", "target/debug", ".git"] {
            fs::create_dir_all(root.path().join(path)).unwrap();
        }
        for path in [
            "a/src/lib.rs",
            "target/debug/x.rs",
            ".git/config",
            "a/Cargo.toml",
        ] {
            fs::write(root.path().join(path), "[package]\n").unwrap();
        }
        fs::write(root.path().join("a/blob"), [0, 159, 1]).unwrap();
        let house = House::read_from(root.path());
        let paths: Vec<&str> = house.pages.iter().map(|page| page.path.as_str()).collect();
        assert_eq!(paths, ["a/Cargo.toml", "a/blob", "a/src/lib.rs"]);
        assert!(house.page("a/blob").unwrap().binary);
        assert_eq!(
            house
                .packages()
                .map(|(folder, _)| folder)
                .collect::<Vec<_>>(),
            ["a"]
        );
    }
}
