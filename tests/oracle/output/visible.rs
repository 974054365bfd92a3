//! What everybody can see of the output, and whether it is what it should be.
//!
//! Looked at while the job runs, after each death and in the end. Invariants held here: a file that was visible once
//! stays as it is, and no line is there more often than it should be; in the end none is missing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thalweg_core::seam::clock::monotonic_ns;

use super::job::{LEAKED, OUTPUTS};
use super::model::{Lines, expected};

/// Lines too many or too few, with one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) count: u64,
    pub(super) line: Option<String>,
}

impl Wrong {
    fn add(&mut self, line: &str, times: u32) {
        self.count += u64::from(times);
        self.line.get_or_insert_with(|| line.to_owned());
    }
}

/// A file that was visible.
struct Shown {
    output: &'static str,
    text: String,
    /// Whether it was still there when the power was back.
    lasts: bool,
}

/// The visible output of a job, as it was seen last.
pub(super) struct Visible {
    directory: PathBuf,
    expected: BTreeMap<&'static str, Lines>,
    seen: BTreeMap<&'static str, Lines>,
    files: BTreeMap<PathBuf, Shown>,
    /// Whether lines may be there too often.
    may_double: bool,
    /// How long the last look took, ns.
    took: u64,
}

/// A look that takes longer keeps a process alive for longer than it should be. In ns.
const GLANCE: u64 = 30_000_000;

impl Visible {
    /// The output below a directory of a job that reads so many records.
    pub(super) fn of(directory: &Path, records: u64, may_double: bool) -> Visible {
        Visible {
            directory: directory.to_owned(),
            expected: expected(records),
            seen: BTreeMap::new(),
            files: BTreeMap::new(),
            may_double,
            took: 0,
        }
    }

    /// How many files there were.
    pub(super) fn files(&self) -> u64 {
        self.files.len() as u64
    }

    /// How many lines there were.
    pub(super) fn lines(&self) -> u64 {
        let lines = self.seen.values().flat_map(Lines::values);
        lines.map(|times| u64::from(*times)).sum()
    }

    /// Looks while a process runs, if that is quick.
    pub(super) fn glance(&mut self) -> Result<(), String> {
        match self.took < GLANCE {
            true => self.look(),
            false => Ok(()),
        }
    }

    /// Takes in what has become visible, and sees to it that what was visible is.
    pub(super) fn look(&mut self) -> Result<(), String> {
        let from = monotonic_ns();
        let looked = self.look_at_all();
        self.took = monotonic_ns() - from;
        looked
    }

    fn look_at_all(&mut self) -> Result<(), String> {
        let mut there = 0;
        for output in OUTPUTS {
            for (path, length) in files_in(&self.directory.join(output))? {
                match self.files.get(&path) {
                    None => self.take_in(output, &path)?,
                    Some(before) if before.text.len() as u64 == length => {}
                    Some(before) => {
                        let (path, before) = (path.display(), before.text.len());
                        return Err(format!("{path} had {before} bytes and now has {length}"));
                    }
                }
                there += 1;
            }
        }
        if there == self.files.len() {
            return Ok(());
        }
        let gone = self.files.keys().find(|path| !path.exists());
        Err(match gone {
            Some(path) => format!("{} was visible and is gone", path.display()),
            None => "a file was visible and was gone for a while".to_owned(),
        })
    }

    fn take_in(&mut self, output: &'static str, path: &Path) -> Result<(), String> {
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        let expected = &self.expected[output];
        let seen = self.seen.entry(output).or_default();
        for line in text.lines() {
            let times = seen.entry(line.to_owned()).or_insert(0);
            *times += 1;
            let most = expected.get(line).copied().unwrap_or(0);
            if *times > most && !self.may_double {
                let path = path.display();
                return Err(format!(
                    "{path} holds `{line}`, which is visible {times} times and should be {most} times"
                ));
            }
        }
        let shown = Shown {
            output,
            text,
            lasts: false,
        };
        self.files.insert(path.to_owned(), shown);
        Ok(())
    }

    /// The power was lost and is back, and nothing runs yet. What had been visible after the last time must be so
    /// still; what came after it may have gone, because nobody had been told that it would last.
    pub(super) fn power_was_lost(&mut self) -> Result<(), String> {
        let seen = &mut self.seen;
        self.files.retain(|path, shown| {
            let stays = shown.lasts || path.exists();
            if !stays {
                forget(seen.entry(shown.output).or_default(), &shown.text);
            }
            stays
        });
        self.look()?;
        self.must_last();
        Ok(())
    }

    /// What is visible now must be so whatever happens.
    pub(super) fn must_last(&mut self) {
        self.files.values_mut().for_each(|shown| shown.lasts = true);
    }

    /// What is missing and what is there too often in these outputs, when the job has ended. All of it is read
    /// again.
    pub(super) fn judge(&self, outputs: &[&str]) -> Result<(Wrong, Wrong), String> {
        let (mut lost, mut doubled) = (Wrong::default(), Wrong::default());
        for output in outputs {
            let there = lines_in(&self.directory.join(output), |_| true)?;
            compare(&there, &self.expected[output], &mut lost, &mut doubled);
        }
        Ok((lost, doubled))
    }

    /// The same of the output that is not transactional. What was written of each number is counted, whatever was
    /// said of it.
    pub(super) fn judge_leaked(&self) -> Result<(Wrong, Wrong), String> {
        let seen = |line: &str| line.starts_with("seen ");
        let there = lines_in(&self.directory.join(LEAKED), seen)?;
        let expected = self.expected["told"].iter();
        let expected = expected.filter(|(line, _)| seen(line));
        let expected = expected
            .map(|(line, times)| (line.clone(), *times))
            .collect();
        let (mut lost, mut doubled) = (Wrong::default(), Wrong::default());
        compare(&there, &expected, &mut lost, &mut doubled);
        Ok((lost, doubled))
    }

    /// Hidden files that are left: of processes that were killed before they had completed a checkpoint.
    pub(super) fn hidden(&self) -> Result<u64, String> {
        let mut hidden = 0;
        for output in OUTPUTS {
            let directory = self.directory.join(output);
            hidden += entries(&directory)?
                .iter()
                .filter(|path| is_hidden(path))
                .count() as u64;
        }
        Ok(hidden)
    }
}

/// Takes back the lines of a file.
fn forget(seen: &mut Lines, text: &str) {
    for line in text.lines() {
        if let Some(times) = seen.get_mut(line) {
            *times -= 1;
        }
    }
}

/// Adds up lines that are missing, and lines that are there too often, or at all.
fn compare(there: &Lines, expected: &Lines, lost: &mut Wrong, doubled: &mut Wrong) {
    let find = |of: &Lines, than: &Lines, wrong: &mut Wrong| {
        for (line, times) in of {
            let short = times.saturating_sub(than.get(line).copied().unwrap_or(0));
            if short > 0 {
                wrong.add(line, short);
            }
        }
    };
    find(expected, there, lost);
    find(there, expected, doubled);
}

fn lines_in(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<Lines, String> {
    let mut lines = Lines::new();
    for (path, _) in files_in(directory)? {
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        for line in text.lines().filter(|line| wanted(line)) {
            *lines.entry(line.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(lines)
}

/// The visible files of a directory, with their lengths.
fn files_in(directory: &Path) -> Result<Vec<(PathBuf, u64)>, String> {
    let mut files = Vec::new();
    for path in entries(directory)? {
        if !is_hidden(&path) {
            let about = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
            files.push((path, about.len()));
        }
    }
    Ok(files)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// What lies in a directory; nothing where there is none yet.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| unreadable(directory, &error))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Result<Vec<PathBuf>, io::Error> = paths.collect();
    paths.map_err(|error| unreadable(directory, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
