//! Where the outputs of a job lie, read from outside: files that are committed, and rows of tables.
//!
//! Both are read part by part: a file, or what one transaction wrote. [`Visible`] judges them. Lives on the oracle's
//! thread. Invariant: nothing here writes to an output.

mod files;
mod rows;
mod visible;

use std::fmt;
use std::path::{Path, PathBuf};

pub(super) use rows::{Database, lacking};
pub(super) use visible::{Visible, Wrong};

use super::job::{LEAKED, OUTPUTS, ROWS};
use super::model::Lines;

/// What becomes visible at once, and then stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    File(PathBuf),
    /// What the transaction of this number wrote into a table.
    Transaction(&'static str, u64),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::File(path) => path.display().fmt(f),
            Part::Transaction(table, number) => write!(f, "transaction {number} in `{table}`"),
        }
    }
}

/// How large a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes of a file, rows of a transaction.
    pub(super) size: u64,
    /// Of its rows, as the server works it out.
    pub(super) digest: i64,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digest {
            0 => write!(f, "{} bytes", self.size),
            digest => write!(f, "{} rows of digest {digest:x}", self.size),
        }
    }
}

/// The outputs of a job.
pub(super) struct Outputs {
    /// Where those are that are files.
    pub(super) directory: PathBuf,
    /// Where the others are, if any is elsewhere.
    pub(super) database: Option<Database>,
}

impl Outputs {
    fn tables(&self, output: &str) -> Option<&Database> {
        self.database.as_ref().filter(|_| ROWS.contains(&output))
    }

    fn directory_of(&self, output: &str) -> PathBuf {
        self.directory.join(output)
    }

    /// Whether all of them can be read now.
    pub(super) fn are_there(&self) -> bool {
        self.database.as_ref().is_none_or(Database::is_up)
    }

    /// Brings back what cannot.
    pub(super) fn are_back(&mut self) -> Result<(), String> {
        match &mut self.database {
            Some(database) => database.come_back(),
            None => Ok(()),
        }
    }

    /// Every part that is visible, with its output.
    fn parts(&self) -> Result<Vec<(&'static str, Part, Extent)>, String> {
        let mut parts = Vec::new();
        if let Some(database) = &self.database {
            parts.extend(database.transactions()?);
        }
        for output in OUTPUTS {
            if self.tables(output).is_some() {
                continue;
            }
            for (path, size) in files::visible_in(&self.directory_of(output))? {
                parts.push((output, Part::File(path), Extent { size, digest: 0 }));
            }
        }
        Ok(parts)
    }

    /// The text of parts of an output.
    fn texts(&self, output: &'static str, parts: &[Part]) -> Result<Vec<String>, String> {
        let read = |path: &Path| files::text(path);
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Part::File(path) => texts.push(read(path)?),
                Part::Transaction(_, number) => numbers.push(*number),
            }
        }
        match self.tables(output) {
            Some(database) if !numbers.is_empty() => database.texts(output, &numbers),
            _ => Ok(texts),
        }
    }

    /// All lines of an output, read anew.
    fn lines(&self, output: &str) -> Result<Lines, String> {
        match self.tables(output) {
            Some(database) => database.lines(output),
            None => files::lines_in(&self.directory_of(output), |_| true),
        }
    }

    /// The lines that begin so of the output that is not transactional.
    fn leaked(&self, prefix: &str) -> Result<Lines, String> {
        files::lines_in(&self.directory_of(LEAKED), |line| line.starts_with(prefix))
    }

    /// Hidden files that are left: of processes that were killed before they had completed a checkpoint.
    pub(super) fn hidden(&self) -> Result<u64, String> {
        let mut hidden = 0;
        for output in OUTPUTS {
            hidden += files::hidden_in(&self.directory_of(output))?;
        }
        Ok(hidden)
    }
}
