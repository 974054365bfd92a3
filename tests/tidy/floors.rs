//! The one rule of direction: a crate sees only the floors below its own, and no neighbour.

use crate::finding::Finding;
use crate::house::House;
use crate::manifest::{Section, dependencies, package_name};

pub(crate) const RULE: &str = "floors";

const MEND: &str = "move what is needed to a lower floor, or compose it in cli/";

/// Floor by package. The derive macros stand between core and memory, which re-exports them.
const FLOORS: [(&str, u32); 18] = [
    ("thalweg-core", 0),
    ("thalweg-macros", 1),
    ("thalweg-memory", 2),
    ("thalweg-network", 3),
    ("thalweg-state", 3),
    ("thalweg-dataflow", 4),
    ("thalweg-connectors", 5),
    ("thalweg-table", 5),
    ("thalweg-library", 5),
    ("thalweg-cep", 5),
    ("thalweg-graph", 5),
    ("thalweg-ml", 5),
    ("thalweg-cluster", 5),
    ("thalweg", 6),
    ("thalweg-bench", YARD),
    ("thalweg-tests", YARD),
    ("thalweg-examples", YARD),
    ("thalweg-fuzz", YARD),
];
const YARD: u32 = 7;
/// Written on dataflow's public API alone, as a user's crate would be.
const LIBRARIES: [&str; 4] = [
    "thalweg-library",
    "thalweg-cep",
    "thalweg-graph",
    "thalweg-ml",
];

fn floor(package: &str) -> Option<u32> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == package)
        .map(|&(_, floor)| floor)
}

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let mut found = Vec::new();
    for (_, manifest) in house.packages() {
        let package = package_name(&manifest.text).unwrap_or_default();
        let Some(own) = floor(package) else {
            let what = format!("package `{package}` has no floor");
            found.push(Finding::new(
                &manifest.path,
                1,
                what,
                "add it to tests/tidy/floors.rs",
            ));
            continue;
        };
        for dependency in dependencies(&manifest.text) {
            if !dependency.name.starts_with("thalweg")
                || (own == YARD && dependency.section == Section::Development)
            {
                continue;
            }
            let sees = floor(&dependency.name).is_some_and(|floor| floor < own)
                && (!LIBRARIES.contains(&package)
                    || ["thalweg-dataflow", "thalweg-core"].contains(&dependency.name.as_str()));
            if !sees {
                let what = format!("`{package}` may not see `{}`", dependency.name);
                found.push(Finding::new(&manifest.path, dependency.line, what, MEND));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(package: &str, section: &str, dependency: &str) -> String {
        format!("[package]\nname = \"{package}\"\n[{section}]\n{dependency}.workspace = true\n")
    }

    fn findings(package: &str, section: &str, dependency: &str) -> usize {
        let text = manifest(package, section, dependency);
        check(&House::planted(&[("x/Cargo.toml", &text)])).len()
    }

    #[test]
    fn going_up_or_sideways_is_found() {
        assert_eq!(
            findings("thalweg-core", "dependencies", "thalweg-memory"),
            1
        );
        assert_eq!(
            findings("thalweg-network", "dependencies", "thalweg-state"),
            1
        );
        assert_eq!(
            findings("thalweg-cluster", "dev-dependencies", "thalweg-connectors"),
            1
        );
        assert_eq!(findings("thalweg", "dependencies", "thalweg-bench"), 1);
        assert_eq!(
            findings("thalweg-bench", "dependencies", "thalweg-tests"),
            1
        );
        assert_eq!(findings("thalweg-cep", "dependencies", "thalweg-state"), 1);
        assert_eq!(findings("thalweg-novelty", "dependencies", "serde"), 1);
    }

    #[test]
    fn going_down_is_not() {
        assert_eq!(
            findings("thalweg-memory", "dependencies", "thalweg-macros"),
            0
        );
        assert_eq!(
            findings("thalweg-cluster", "dependencies", "thalweg-dataflow"),
            0
        );
        assert_eq!(findings("thalweg", "dependencies", "thalweg-cluster"), 0);
        assert_eq!(
            findings("thalweg-bench", "dev-dependencies", "thalweg-tests"),
            0
        );
    }

    #[test]
    fn a_finding_names_the_line() {
        let text = manifest("thalweg-core", "dependencies", "thalweg-memory");
        let found = check(&House::planted(&[("core/Cargo.toml", &text)]));
        assert_eq!(
            (found[0].file.as_str(), found[0].line),
            ("core/Cargo.toml", 4)
        );
    }
}
