//! The map in `ARCHITECTURE.md` shows the house as it is, and the pages of settings and metrics those there are.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::house::House;

pub(crate) const MAP: &str = "map";
pub(crate) const SETTINGS: &str = "settings-page";
pub(crate) const METRICS: &str = "metrics-page";

const MAP_FILE: &str = "ARCHITECTURE.md";
const SETTINGS_FILE: &str = "docs/reference/config.md";
const METRICS_FILE: &str = "docs/reference/metrics.md";

/// Every path ending in `/` that the map names is a folder, and every folder of Rust code is named.
///
/// A folder may be named by its whole path or by its end (`seam/glommio/`); to name a folder names
/// those it lies in.
pub(crate) fn folders(house: &House) -> Vec<Finding> {
    let Some(map) = house.page(MAP_FILE) else {
        let mend = "write the map: every folder of code by its path, with a closing slash";
        return vec![Finding::new(MAP_FILE, 0, "there is no map", mend)];
    };
    let (all, code) = existing(house);
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for (at, line) in map.text.lines().enumerate() {
        for path in named_folders(line) {
            let ending = format!("/{path}");
            let mut places = all
                .iter()
                .copied()
                .filter(|there| *there == path || there.ends_with(&ending))
                .peekable();
            if places.peek().is_none() {
                let what = format!("`{path}/` is on the map and not in the house");
                found.push(Finding::new(
                    MAP_FILE,
                    at + 1,
                    what,
                    "draw the house as it is",
                ));
            }
            named.extend(places);
        }
    }
    for folder in code {
        let inside = format!("{folder}/");
        if !named
            .iter()
            .any(|path| *path == folder || path.starts_with(&inside))
        {
            let what = "the folder is not on the map";
            found.push(Finding::new(
                folder,
                0,
                what,
                "name it in ARCHITECTURE.md with its purpose",
            ));
        }
    }
    found
}

/// All folders, and those with Rust files in them; `src` itself is no room.
fn existing(house: &House) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let (mut all, mut code) = (BTreeSet::new(), BTreeSet::new());
    for page in &house.pages {
        let mut folder = page.folder();
        let own = folder.strip_suffix("/src").unwrap_or(folder);
        if page.is_rust() && !own.is_empty() {
            code.insert(own);
        }
        while !folder.is_empty() {
            all.insert(folder);
            folder = folder.rsplit_once('/').map_or("", |(outer, _)| outer);
        }
    }
    (all, code)
}

/// The paths of a line that end with a slash, without it.
fn named_folders(line: &str) -> impl Iterator<Item = &str> {
    let part = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    // An address on the web names no folder.
    let words = line.split_whitespace().filter(|word| !word.contains("://"));
    words
        .flat_map(move |word| word.split(move |c: char| !part(c)))
        .filter_map(|word| word.strip_suffix('/'))
        .filter(|path| !path.is_empty() && !path.starts_with('/'))
}

/// The settings page is the one the settings generate, so every key is in it.
pub(crate) fn settings(house: &House, generated: &str) -> Vec<Finding> {
    let mend = "write the generated page there (thalweg_core::config::reference_markdown)";
    generated_page(house, SETTINGS_FILE, generated, mend)
}

/// The metrics page is the one the vocabulary generates, so every metric is in it.
pub(crate) fn metrics(house: &House, generated: &str) -> Vec<Finding> {
    let mend = "write the generated page there (thalweg_core::metrics::reference_markdown)";
    generated_page(house, METRICS_FILE, generated, mend)
}

fn generated_page(
    house: &House,
    file: &'static str,
    generated: &str,
    mend: &'static str,
) -> Vec<Finding> {
    let Some(page) = house.page(file) else {
        return vec![Finding::new(file, 0, "there is no such page", mend)];
    };
    let different = page
        .text
        .lines()
        .zip(generated.lines())
        .position(|(there, here)| there != here);
    let lines = (page.text.lines().count(), generated.lines().count());
    let Some(at) = different.or_else(|| (lines.0 != lines.1).then(|| lines.0.min(lines.1))) else {
        return Vec::new();
    };
    let line = generated.lines().nth(at).unwrap_or("the end");
    let what = format!("the code says here: {line}");
    vec![Finding::new(file, at + 1, what, mend)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [(&str, &str); 4] = [
        ("core/src/lib.rs", ""),
        ("core/src/seam/glommio/disk.rs", ""),
        ("docs/book/a.md", ""),
        ("core/src/shard/lane.rs", ""),
    ];

    fn check(map: &str) -> Vec<(String, usize)> {
        let mut pages = PAGES.to_vec();
        pages.push((MAP_FILE, map));
        folders(&House::planted(&pages))
            .into_iter()
            .map(|it| (it.file, it.line))
            .collect()
    }

    #[test]
    fn a_missing_map_is_found() {
        assert_eq!(folders(&House::planted(&PAGES))[0].file, MAP_FILE);
    }

    #[test]
    fn map_and_house_are_held_together() {
        let whole = "├── core/  the ground\n`core/src/shard/`, `seam/glommio/` docs/\n";
        assert_eq!(check(whole), []);
        let stale = format!("{whole}see https://example.org/x/ and/or\n`core/src/attic/`\n");
        assert_eq!(check(&stale), [(MAP_FILE.to_owned(), 4)]);
        assert_eq!(
            check("core/ seam/glommio/\n"),
            [("core/src/shard".to_owned(), 0)]
        );
    }

    #[test]
    fn a_stale_settings_page_is_found() {
        let page = |text| settings(&House::planted(&[(SETTINGS_FILE, text)]), "a\nb\n");
        assert_eq!(page("a\nb\n"), []);
        assert_eq!(page("a\n")[0].line, 2);
        assert_eq!(page("a\nc\n")[0].line, 2);
        assert_eq!(page("a\nb\nc\n")[0].line, 3);
        assert_eq!(settings(&House::planted(&[]), "a").len(), 1);
        let house = House::planted(&[(METRICS_FILE, "a\n")]);
        assert_eq!(metrics(&house, "a\n"), []);
        assert_eq!(metrics(&house, "b\n")[0].file, METRICS_FILE);
    }
}
