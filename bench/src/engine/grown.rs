//! The job of `recover` and `rescale`: state that grows to a given number of keys and is then kept at work.
//!
//! Two processes run it, one after the other: the first is killed when the state is whole and part of a
//! checkpoint, the second goes on from there. Each says on its output how far it is, a word a line. Lives on
//! the thread of the program; the words come from the shards.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use thalweg::connectors::Generator;
use thalweg::prelude::*;

use super::big_state::{Held, term_of};
use super::checksum::{Gathered, Total};
use super::{EngineError, Settings};
use crate::report;

/// What a process says of its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Every key has left the sources: the next checkpoint but one has all of the state.
    Grown,
    /// The first row of this process has reached the sink.
    Output,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Word::Grown => "grown",
            Word::Output => "output",
        })
    }
}

impl Word {
    /// The word in a line, if it is one.
    #[must_use]
    pub fn of(line: &str) -> Option<Word> {
        [Word::Grown, Word::Output]
            .into_iter()
            .find(|word| word.to_string() == line.trim())
    }

    fn say(self) {
        // Whoever listened is gone: then nobody measures.
        let _ = report::say(&self.to_string());
    }
}

/// Runs the job without an end.
///
/// # Errors
/// A setting that is not accepted, or a job that failed.
pub fn grown(keys: u64, settings: &Settings) -> Result<(), EngineError> {
    let environment = settings.environment()?;
    program(&environment, keys, settings.parallelism);
    environment.execute("grown")?;
    Ok(())
}

fn program(environment: &Environment, keys: u64, parallelism: u32) {
    let subtasks = u64::from(parallelism);
    let (past, first) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(true)));
    environment
        .source(Generator::new(u64::MAX, move |number| {
            // Each subtask comes by here once, at the first record of its second round.
            if (keys..keys + subtasks).contains(&number)
                && past.fetch_add(1, Ordering::Relaxed) + 1 == parallelism
            {
                Word::Grown.say();
            }
            (number % keys, number)
        }))
        .uid("keys")
        .key_by(|record: &(u64, u64)| record.0)
        .fold(Held::default(), |held, (key, _number)| held.count_in(key))
        .uid("held")
        .map(|(key, held): (u64, Held)| held.row(key))
        .inspect(move |_row: &(u64, u64, u64)| {
            if first.load(Ordering::Relaxed) && first.swap(false, Ordering::Relaxed) {
                Word::Output.say();
            }
        })
        .sink(Gathered::new(
            |row: &(u64, u64, u64)| Ok(*row),
            term_of,
            &Total::default(),
        ));
}
