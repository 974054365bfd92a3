//! What everybody can see of the output, and whether it is what it should be.
//!
//! Looked at while the job runs, after each death and in the end. Invariants held here: a file that was visible once
//! stays as it is, and so do the rows of a transaction; no line is there more often than it should be; in the end none
//! is missing.

use std::collections::BTreeMap;

use thalweg_core::seam::clock::monotonic_ns;

use super::{Extent, Outputs, Part};
use crate::oracle::model::{Lines, expected};

/// Lines too many or too few, with one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::oracle) struct Wrong {
    pub(in crate::oracle) count: u64,
    pub(in crate::oracle) line: Option<String>,
}

impl Wrong {
    fn add(&mut self, line: &str, times: u32) {
        self.count += u64::from(times);
        self.line.get_or_insert_with(|| line.to_owned());
    }
}

/// A part that was visible.
struct Shown {
    output: &'static str,
    extent: Extent,
    text: String,
    /// Whether it was still there when the power was back.
    lasts: bool,
}

/// The visible output of a job, as it was seen last.
pub(in crate::oracle) struct Visible {
    expected: BTreeMap<&'static str, Lines>,
    seen: BTreeMap<&'static str, Lines>,
    parts: BTreeMap<Part, Shown>,
    /// Whether lines may be there too often.
    may_double: bool,
    /// How long the last look took, ns.
    took: u64,
}

/// A look that takes longer keeps a process alive for longer than it should be. In ns.
const GLANCE: u64 = 30_000_000;
/// The same where a server is asked.
const QUESTION: u64 = 250_000_000;

impl Visible {
    /// The output of a job that reads so many records.
    pub(in crate::oracle) fn of(records: u64, may_double: bool) -> Visible {
        Visible {
            expected: expected(records),
            seen: BTreeMap::new(),
            parts: BTreeMap::new(),
            may_double,
            took: 0,
        }
    }

    /// How many files, and how many transactions, there were.
    pub(in crate::oracle) fn parts(&self) -> (u64, u64) {
        let files = self.parts.keys().filter(|it| matches!(it, Part::File(_)));
        let files = files.count();
        (files as u64, (self.parts.len() - files) as u64)
    }

    /// How many lines there were.
    pub(in crate::oracle) fn lines(&self) -> u64 {
        let lines = self.seen.values().flat_map(Lines::values);
        lines.map(|times| u64::from(*times)).sum()
    }

    /// Looks while a process runs, if that can be done and is quick.
    pub(in crate::oracle) fn glance(&mut self, outputs: &Outputs) -> Result<(), String> {
        let quick = match outputs.database.is_some() {
            true => QUESTION,
            false => GLANCE,
        };
        match self.took < quick && outputs.are_there() {
            true => self.look(outputs),
            false => Ok(()),
        }
    }

    /// Takes in what has become visible, and sees to it that what was visible is.
    pub(in crate::oracle) fn look(&mut self, outputs: &Outputs) -> Result<(), String> {
        let from = monotonic_ns();
        let looked = self.look_at_all(outputs);
        self.took = monotonic_ns() - from;
        looked
    }

    fn look_at_all(&mut self, outputs: &Outputs) -> Result<(), String> {
        let mut there: BTreeMap<Part, Extent> = BTreeMap::new();
        let mut new: BTreeMap<&'static str, Vec<Part>> = BTreeMap::new();
        for (output, part, extent) in outputs.parts()? {
            match self.parts.get(&part) {
                None => new.entry(output).or_default().push(part.clone()),
                Some(before) if before.extent == extent => {}
                Some(before) => {
                    let before = before.extent;
                    return Err(format!("{part} had {before} and now has {extent}"));
                }
            }
            there.insert(part, extent);
        }
        if let Some(gone) = self.parts.keys().find(|part| !there.contains_key(part)) {
            return Err(format!("{gone} was visible and is gone"));
        }
        for (output, parts) in new {
            let texts = outputs.texts(output, &parts)?;
            for (part, text) in parts.into_iter().zip(texts) {
                let extent = there[&part];
                self.take_in(output, part, extent, text)?;
            }
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        output: &'static str,
        part: Part,
        extent: Extent,
        text: String,
    ) -> Result<(), String> {
        let expected = &self.expected[output];
        let seen = self.seen.entry(output).or_default();
        for line in text.lines() {
            let times = seen.entry(line.to_owned()).or_insert(0);
            *times += 1;
            let most = expected.get(line).copied().unwrap_or(0);
            if *times > most && !self.may_double {
                return Err(format!(
                    "{part} holds `{line}`, which is visible {times} times and should be {most} times"
                ));
            }
        }
        let shown = Shown {
            output,
            extent,
            text,
            lasts: false,
        };
        self.parts.insert(part, shown);
        Ok(())
    }

    /// The power was lost and is back, and nothing runs yet. What had been visible after the last time must be so
    /// still; what came after it may have gone, because nobody had been told that it would last.
    pub(in crate::oracle) fn power_was_lost(&mut self, outputs: &Outputs) -> Result<(), String> {
        let seen = &mut self.seen;
        self.parts.retain(|part, shown| {
            let is_there = match part {
                Part::File(path) => path.exists(),
                Part::Transaction(..) => true,
            };
            let stays = shown.lasts || is_there;
            if !stays {
                forget(seen.entry(shown.output).or_default(), &shown.text);
            }
            stays
        });
        self.look(outputs)?;
        self.must_last();
        Ok(())
    }

    /// What is visible now must be so whatever happens.
    pub(in crate::oracle) fn must_last(&mut self) {
        self.parts.values_mut().for_each(|shown| shown.lasts = true);
    }

    /// What is missing and what is there too often in these outputs, when the job has ended. All of it is read
    /// again.
    pub(in crate::oracle) fn judge(
        &self,
        outputs: &Outputs,
        names: &[&str],
    ) -> Result<(Wrong, Wrong), String> {
        let (mut lost, mut doubled) = (Wrong::default(), Wrong::default());
        for output in names {
            let there = outputs.lines(output)?;
            compare(&there, &self.expected[output], &mut lost, &mut doubled);
        }
        Ok((lost, doubled))
    }

    /// The same of the output that is not transactional. What was written of each number is counted, whatever was
    /// said of it.
    pub(in crate::oracle) fn judge_leaked(
        &self,
        outputs: &Outputs,
    ) -> Result<(Wrong, Wrong), String> {
        const SEEN: &str = "seen ";
        let there = outputs.leaked(SEEN)?;
        let expected = self.expected["told"].iter();
        let expected = expected.filter(|(line, _)| line.starts_with(SEEN));
        let expected = expected
            .map(|(line, times)| (line.clone(), *times))
            .collect();
        let (mut lost, mut doubled) = (Wrong::default(), Wrong::default());
        compare(&there, &expected, &mut lost, &mut doubled);
        Ok((lost, doubled))
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
