//! What the rules need of a `Cargo.toml`, read line by line.
//!
//! Manifests here are plain: one dependency a line, or a table of its own. A line that is neither is
//! no dependency.

/// In which section a dependency stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// What users of the crate get too, or what builds it.
    Normal,
    /// What only its own tests get.
    Development,
}

/// One dependency of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) section: Section,
    /// Line from 1.
    pub(crate) line: usize,
}

/// The dependencies of a manifest, for every target.
pub(crate) fn dependencies(text: &str) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut section = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let dependency = |name: &str, section| Dependency {
            name: renamed(line).unwrap_or(name).trim_matches('"').to_owned(),
            section,
            line: at + 1,
        };
        if let Some(header) = line.strip_prefix('[') {
            let (of, name) = section_of(header.trim_end_matches(']'));
            section = of;
            if let (Some(section), Some(name)) = (of, name) {
                found.push(dependency(name, section));
            }
            if name.is_some() {
                section = None;
            }
        } else if let (Some(section), Some((name, _))) = (section, line.split_once(['.', '=', ' ']))
            && !line.starts_with('#')
        {
            found.push(dependency(name, section));
        }
    }
    found
}

/// The real name in `alias = { package = "name" }`.
fn renamed(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("package = \"")?;
    rest.split('"').next()
}

/// Which dependencies a header opens, and which single one it names.
fn section_of(header: &str) -> (Option<Section>, Option<&str>) {
    let kinds = [
        ("dev-dependencies", Section::Development),
        ("build-dependencies", Section::Normal),
        ("dependencies", Section::Normal),
    ];
    if header.starts_with("workspace") {
        return (None, None);
    }
    for (word, section) in kinds {
        if header == word || header.ends_with(&format!(".{word}")) {
            return (Some(section), None);
        }
        if let Some((_, name)) = header.split_once(&format!("{word}.")) {
            return (Some(section), Some(name));
        }
    }
    (None, None)
}

/// The value of `name = "…"` in the package section.
pub(crate) fn package_name(text: &str) -> Option<&str> {
    let (_, package) = text.split_once("[package]")?;
    let line = package
        .lines()
        .find(|line| line.trim_start().starts_with("name"))?;
    line.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_every_form_are_read() {
        let text = "[package]\nname = \"a\"\n[dependencies]\none.workspace = true\n# two = 1\n\
                    three = { version = \"1\" }\nfour = { package = \"five\" }\n\
                    [dev-dependencies]\nsix = \"1\"\n[target.'cfg(unix)'.dependencies]\nseven = \"1\"\n\
                    [dependencies.eight]\nversion = \"1\"\n[lints]\nworkspace = true\n";
        let found = dependencies(text);
        let names: Vec<&str> = found
            .iter()
            .map(|dependency| dependency.name.as_str())
            .collect();
        assert_eq!(names, ["one", "three", "five", "six", "seven", "eight"]);
        assert_eq!(found[3].section, Section::Development);
        assert_eq!(found[4].line, 11);
        assert_eq!(package_name(text), Some("a"));
    }
}
