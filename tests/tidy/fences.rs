//! Outside crates of weight are named in one place each, so that they can be replaced there.

use crate::finding::Finding;
use crate::house::House;
use crate::manifest::{dependencies, package_name};
use crate::source::{code_lines, has_word};

pub(crate) const RULE: &str = "fences";

const MEND: &str = "go through what the crate that owns it offers, or move the code there";

/// Crate, and the packages that may depend on it.
const PACKAGES: [(&str, &[&str]); 11] = [
    ("glommio", &["thalweg-core"]),
    ("io-uring", &["thalweg-core"]),
    ("crossbeam-utils", &["thalweg-core"]),
    ("rkyv", &["thalweg-memory"]),
    ("memmap2", &["thalweg-memory"]),
    ("hdrhistogram", &["thalweg-core", "thalweg-bench"]),
    ("criterion", &["thalweg-bench"]),
    ("tonic", &["thalweg-cluster"]),
    ("prometheus", &["thalweg-cluster"]),
    ("tokio-postgres", &["thalweg-connectors"]),
    ("object_store", &["thalweg-cluster"]),
];

/// Crate as code names it, and the rooms that may do so.
const ROOMS: [(&str, &[&str]); 7] = [
    ("glommio", &["core/src/shard/", "core/src/seam/"]),
    ("io_uring", &["core/src/shard/", "core/src/seam/"]),
    ("hdrhistogram", &["core/src/metrics/", "bench/"]),
    ("tonic", &["cluster/src/rpc/", "cluster/build.rs"]),
    ("prometheus", &["cluster/src/rest/metrics.rs"]),
    (
        "tokio_postgres",
        &[
            "connectors/src/postgres/",
            "connectors/tests/contract/postgres/",
        ],
    ),
    ("object_store", &["cluster/src/checkpoint/storage/"]),
];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let mut found = Vec::new();
    for (_, manifest) in house.packages() {
        let package = package_name(&manifest.text).unwrap_or_default();
        for dependency in dependencies(&manifest.text) {
            let fence = PACKAGES.iter().find(|(name, _)| *name == dependency.name);
            if fence.is_some_and(|(_, packages)| !packages.contains(&package)) {
                let what = format!("`{package}` may not name `{}`", dependency.name);
                found.push(Finding::new(&manifest.path, dependency.line, what, MEND));
            }
        }
    }
    for page in house.rust() {
        let away = |rooms: &[&str]| !rooms.iter().any(|room| page.path.starts_with(room));
        for (name, _) in ROOMS.iter().filter(|(_, rooms)| away(rooms)) {
            for (line, code) in code_lines(&page.text) {
                if has_word(&code, name) && code.contains(&format!("{name}::")) {
                    let what = format!("`{name}` is not named in this room");
                    found.push(Finding::new(&page.path, line, what, MEND));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_over_the_fence_is_found() {
        let house = House::planted(&[
            (
                "state/Cargo.toml",
                "[package]\nname = \"thalweg-state\"\n[dependencies]\nrkyv = \"1\"\n",
            ),
            ("core/src/ids.rs", "//! x\nuse glommio::Task;\n"),
            (
                "core/src/seam/glommio/mod.rs",
                "//! x\nuse glommio::Task;\n",
            ),
            (
                "core/src/slot.rs",
                "//! glommio::Task\nuse crate::seam::glommio;\n// io_uring::x\n",
            ),
        ]);
        let found: Vec<(String, usize)> = check(&house)
            .into_iter()
            .map(|finding| (finding.file, finding.line))
            .collect();
        assert_eq!(
            found,
            [
                ("state/Cargo.toml".to_owned(), 4),
                ("core/src/ids.rs".to_owned(), 2)
            ]
        );
    }
}
