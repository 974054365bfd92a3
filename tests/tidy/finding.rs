//! What a rule found, and the exceptions it is checked against.

use std::fmt::{self, Write};

/// One violation of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path from the root of the repository.
    pub(crate) file: String,
    /// Line from 1; 0 if the file as a whole is meant.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) what: String,
    /// How to mend it.
    pub(crate) mend: &'static str,
}

impl Finding {
    pub(crate) fn new(
        file: impl Into<String>,
        line: usize,
        what: impl Into<String>,
        mend: &'static str,
    ) -> Self {
        Self {
            file: file.into(),
            line,
            what: what.into(),
            mend,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}; {}", self.file, self.what, self.mend),
            line => write!(f, "{}:{line}: {}; {}", self.file, self.what, self.mend),
        }
    }
}

/// The exceptions: pairs of rule and path.
pub(crate) struct Ratchet<'a> {
    entries: Vec<(&'a str, &'a str)>,
}

impl<'a> Ratchet<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self {
            entries: lines.filter_map(|line| line.split_once(' ')).collect(),
        }
    }

    /// What of the findings is no exception, and which exceptions are needed no more, as text.
    pub(crate) fn report(&self, rule: &str, findings: Vec<Finding>) -> String {
        let mut report = String::new();
        let excepted = |path: &str| self.entries.contains(&(rule, path));
        for finding in findings.iter().filter(|finding| !excepted(&finding.file)) {
            let _ = writeln!(report, "[{rule}] {finding}");
        }
        for (_, path) in self.entries.iter().filter(|(of, _)| *of == rule) {
            if !findings.iter().any(|finding| finding.file == *path) {
                let _ = writeln!(
                    report,
                    "[{rule}] tests/tidy/ratchet.txt: {path} keeps the rule by now; remove its line"
                );
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_file_line_rule_and_mend() {
        let finding = Finding::new("core/src/a.rs", 7, "too long", "cut it");
        let report = Ratchet::parse("").report("file", vec![finding]);
        assert_eq!(report, "[file] core/src/a.rs:7: too long; cut it\n");
    }

    #[test]
    fn the_ratchet_excepts_and_only_shrinks() {
        let ratchet = Ratchet::parse("# note\nfile a.rs\nhead a.rs\nfile gone.rs\n");
        let report = ratchet.report("file", vec![Finding::new("a.rs", 1, "x", "y")]);
        assert!(!report.contains("a.rs:1"), "{report}");
        assert!(report.contains("gone.rs keeps the rule by now"), "{report}");
        assert_eq!(report.lines().count(), 1, "{report}");
    }
}
