//! A job of several pipelines, what passes them, and what they must write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use thalweg_connectors::{FileSink, Generator};
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::stream::Environment;

use crate::recovery::counting::{Poison, lines};
use crate::stage;

pub(super) const RECORDS: u64 = 24_000;
const KEYS: u64 = 37;
/// Slow enough for some checkpoints, and for the others not to have ended when one fails.
pub(super) const RATE: f64 = 40_000.0;

/// A job of several pipelines.
pub(super) struct Job {
    directory: TempDir,
    settings: Vec<(String, String)>,
}

impl Job {
    pub(super) fn new(interval: &str) -> Job {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let mut job = Job {
            settings: Vec::new(),
            directory,
        };
        for (key, value) in [
            ("parallelism.default", "2"),
            ("thalweg.shard.count", "2"),
            ("thalweg.shard.pin", "false"),
            ("taskmanager.memory.segment-size", "1kb"),
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "20"),
            ("restart-strategy.fixed-delay.delay", "1ms"),
        ] {
            job.set(key, value);
        }
        if !interval.is_empty() {
            job.set("execution.checkpointing.interval", interval);
            job.set("execution.checkpointing.dir", state.to_str().unwrap());
        }
        job
    }

    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.settings.retain(|(before, _)| before != key);
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    pub(super) fn files(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn run(&self, write_down: impl FnOnce(&Environment)) -> Result<(), JobError> {
        let settings = self.settings.iter();
        let settings: Vec<_> = settings.map(|(key, value)| (&**key, &**value)).collect();
        let (environment, token) = stage::shards(&settings);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        write_down(&environment);
        environment.execute("apart").map(|_| ())
    }
}

/// One pipeline, and how many records have passed its function.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) poison: Poison,
    pub(super) passed: Arc<AtomicU64>,
}

impl Line {
    pub(super) fn new(name: &'static str, every: u64, times: u32) -> Line {
        Line {
            name,
            poison: Poison::new(every, times),
            passed: Arc::default(),
        }
    }

    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Acquire)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.poison.left.load(Ordering::Acquire) == 0
    }

    /// Counts by key, and writes every count.
    pub(super) fn count(&self, environment: &Environment, into: &Path) {
        let line = self.clone();
        environment
            .source(Generator::new(RECORDS, |number| number).rate(RATE))
            .uid(&format!("{} numbers", self.name))
            .map(move |number: u64| {
                line.poison.taste(number);
                line.passed.fetch_add(1, Ordering::AcqRel);
                number
            })
            .key_by(|number: &u64| *number % KEYS)
            .fold(0_u64, |count, _number: u64| *count += 1)
            .uid(&format!("{} counts", self.name))
            .map(|(key, count): (u64, u64)| format!("{key} {count}"))
            .sink(FileSink::new(into))
            .uid(&format!("{} files", self.name));
    }
}

/// What [`Line::count`] writes.
pub(super) fn check_counts(into: &Path) {
    let of_key = |key: u64| (1..=(RECORDS - key).div_ceil(KEYS)).map(move |n| format!("{key} {n}"));
    let expected: BTreeMap<String, u32> = (0..KEYS).flat_map(of_key).map(|it| (it, 1)).collect();
    assert!(lines(into) == expected, "{}", into.display());
}

/// Nothing is left of what was taken back.
pub(super) fn check_nothing_hidden(into: &Path) {
    let names = std::fs::read_dir(into).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let hidden: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?} in {}", into.display());
}
