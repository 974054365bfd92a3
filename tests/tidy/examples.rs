//! Every example is run by a test and shown in the README.
//!
//! An example that nobody runs does not work for long, and one that nobody finds answers nobody.

use crate::finding::Finding;
use crate::house::House;

pub(crate) const RULE: &str = "example";

/// The package of the examples.
const PACKAGE: &str = "examples";

/// The programs of a manifest: their names and paths, and the line that names them.
fn programs(manifest: &str) -> Vec<(&str, &str, usize)> {
    let mut found = Vec::new();
    for (place, section) in manifest.split("[[bin]]").enumerate().skip(1) {
        let section = section.split("\n[").next().unwrap_or(section);
        let value = |key: &str| {
            let line = section.lines().find(|line| line.starts_with(key))?;
            line.split('"').nth(1)
        };
        let before = manifest.split("[[bin]]").take(place);
        let line = before.map(|text| text.matches('\n').count()).sum::<usize>() + 1;
        found.push((
            value("name").unwrap_or(""),
            value("path").unwrap_or(""),
            line,
        ));
    }
    found
}

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let manifest = format!("{PACKAGE}/Cargo.toml");
    let Some(manifest) = house.page(&manifest) else {
        let mend = "say here where they are";
        return vec![Finding::new(manifest, 0, "there are no examples", mend)];
    };
    let readme = house
        .page("README.md")
        .map_or("", |page| page.text.as_str());
    let within = format!("{PACKAGE}/tests/");
    let tests = || house.rust().filter(|page| page.path.starts_with(&within));
    let mut found = Vec::new();
    for (name, path, line) in programs(&manifest.text) {
        let starts = format!("env!(\"CARGO_BIN_EXE_{name}\")");
        if !tests().any(|page| page.text.contains(&starts)) {
            let what = format!("no test runs the example {name}");
            let mend = "start its executable in examples/tests, and look at what it says";
            found.push(Finding::new(&manifest.path, line, what, mend));
        }
        if !readme.contains(&format!("({PACKAGE}/{path})")) {
            let what = format!("the README does not show the example {name}");
            let mend = "add it to the list there, with the question it answers";
            found.push(Finding::new(&manifest.path, line, what, mend));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_that_is_not_run_or_not_shown_is_found() {
        let manifest = "[package]\nname = \"examples\"\n\n[[bin]]\nname = \"one\"\npath = \"src/one.rs\"\n\
                        \n[[bin]]\nname = \"two\"\npath = \"src/two.rs\"\n[[bin]]\nname = \"three\"\n\
                        path = \"src/a/three.rs\"\n\n[[test]]\nname = \"four\"\npath = \"tests/four.rs\"\n";
        let runs = "//! Runs.\nenv!(\"CARGO_BIN_EXE_one\")\nenv!(\"CARGO_BIN_EXE_three\")\n";
        let house = House::planted(&[
            (
                "README.md",
                "[`one`](examples/src/one.rs) [`two`](examples/src/two.rs)",
            ),
            ("examples/Cargo.toml", manifest),
            ("examples/tests/runs.rs", runs),
            ("tests/runs.rs", "env!(\"CARGO_BIN_EXE_two\")"),
        ]);
        let found: Vec<_> = check(&house)
            .into_iter()
            .map(|finding| (finding.line, finding.what))
            .collect();
        let two = "no test runs the example two".to_owned();
        let three = "the README does not show the example three".to_owned();
        assert_eq!(found, [(8, two), (11, three)]);
    }
}
