//! The workloads on the engine, through nothing but its public API.
//!
//! Entered by the binary. What a program of a user would not get, these do not get either. Lives
//! on the thread of the program; the engine's shards come and go inside a run.

mod big_state;
mod checksum;
mod ckpt;
mod generated;
mod grown;
mod latency;
mod lone;
mod nexmark;
mod paced;
mod savepoint;
mod timers;
mod win;
mod words;

use std::path::PathBuf;

use thalweg::RequestRefused;
use thalweg::config::{Configuration, options};
use thalweg::prelude::{ConfigError, Environment, JobError, JobResult, RuntimeMode};
use thiserror::Error;

use self::checksum::Total;
use crate::limit::process_cpu_seconds;
use crate::report::{Measured, Report, forget_peak_rss};
use crate::workload::Totals;

pub use big_state::{BigState, StateReport, big_state, expected};
pub use ckpt::{Ckpt, CkptReport, ckpt};
pub use grown::{Word, grown};
pub use latency::latency;
pub use lone::{Latencies, lone};
pub use nexmark::Query;
pub use savepoint::{Savepoint, SavepointReport, savepoint};
pub use timers::timers;

/// A workload and what it is to work on.
#[derive(Clone, Debug)]
pub enum Work {
    /// Generate records, straight into the sink.
    Gen {
        /// How many.
        records: u64,
    },
    /// Running sum by key.
    Sum {
        /// How many records.
        records: u64,
    },
    /// Count by key and window of a second.
    Win {
        /// How many records.
        records: u64,
    },
    /// Count by key and window of an hour, a new one every second.
    Slide {
        /// How many records.
        records: u64,
    },
    /// Count by word.
    Wc {
        /// Files or directories of them.
        inputs: Vec<PathBuf>,
        /// A row per word, or one per distinct word.
        mode: RuntimeMode,
    },
    /// A query over the events of an auction site.
    Nexmark {
        /// Which.
        query: Query,
        /// How many events, of which 46 of 50 are bids.
        events: u64,
        /// Events per millisecond of event time.
        per_ms: u64,
    },
}

/// How the engine is to run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Subtasks per operator.
    pub parallelism: u32,
    /// Settings of the engine by key, as with `-D`.
    pub overrides: Vec<(String, String)>,
}

/// A run that did not come to its end.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A setting is not accepted.
    #[error(transparent)]
    Setting(#[from] ConfigError),
    /// The job failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A savepoint was not made.
    #[error(transparent)]
    Refused(#[from] RequestRefused),
    /// A directory cannot be written or read.
    #[error("{}: {source}; name a directory with room for the state twice", directory.display())]
    Place {
        /// Which.
        directory: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The state takes too long to grow.
    #[error("the state has not grown in {0} s: choose a smaller --state-bytes")]
    NotGrown(u64),
    /// Of the timers that were registered, some did not fire, or more than once.
    #[error(
        "each of {records} timers must fire once, which is checksum {expected}; {} rows came, checksum {}: \
         the run is worth nothing", report.rows_out, report.checksum
    )]
    Fired {
        /// Timers that were registered.
        records: u64,
        /// The checksum of all of them.
        expected: String,
        /// What came of them.
        report: Box<Report>,
    },
}

impl Settings {
    /// What a setting was set to, if it was.
    fn said(&self, key: &str) -> Option<&str> {
        let mut settings = self.overrides.iter().rev();
        let said = settings.find(|(known, _)| known == key);
        said.map(|(_, value)| value.as_str())
    }

    /// The first directory that state overflows to.
    fn spill_directory(&self) -> PathBuf {
        let said = self.said("io.tmp.dirs").unwrap_or_default();
        match said.split([',', ':']).next() {
            None | Some("") => std::env::temp_dir(),
            Some(first) => PathBuf::from(first),
        }
    }

    /// Bytes of managed memory.
    fn managed_bytes(&self) -> Result<f64, EngineError> {
        let mut configuration = Configuration::new();
        let key = options::MANAGED_MEMORY_SIZE.key;
        if let Some(said) = self.said(key) {
            configuration.set_str(key, said)?;
        }
        Ok(configuration.get(&options::MANAGED_MEMORY_SIZE).0 as f64)
    }

    /// An empty program with these settings.
    fn environment(&self) -> Result<Environment, EngineError> {
        let environment = thalweg::environment()?;
        let mut refused = None;
        environment.configure(|configuration: &mut Configuration| {
            let settings = self.overrides.iter();
            refused = settings
                .map(|(key, value)| configuration.set_str(key, value))
                .find_map(Result::err);
        });
        if let Some(error) = refused {
            return Err(error.into());
        }
        environment.set_parallelism(self.parallelism);
        Ok(environment)
    }
}

/// What a run is measured by, while it is under way.
struct Measuring {
    cpu_before: f64,
}

impl Measuring {
    fn begin() -> Measuring {
        forget_peak_rss();
        Measuring {
            cpu_before: process_cpu_seconds(),
        }
    }

    fn end(self, result: &JobResult) -> Measured {
        Measured {
            seconds: result.summary.duration.as_secs_f64(),
            cpu_seconds: process_cpu_seconds() - self.cpu_before,
        }
    }
}

/// Runs a program that was written down, and reports what it took.
fn measure(
    environment: &Environment,
    name: &'static str,
    records: u64,
    total: &Total,
    settings: &Settings,
) -> Result<(JobResult, Report), EngineError> {
    let measuring = Measuring::begin();
    let result = environment.execute(name)?;
    let measured = measuring.end(&result);
    let (rows_out, checksum) = total.get();
    let totals = Totals {
        records,
        rows_out,
        checksum,
    };
    let report = Report::new("thalweg", name, settings.parallelism, totals, measured);
    Ok((result, report))
}

/// Does the work on the engine.
///
/// # Errors
/// A setting that is not accepted, or a job that failed.
pub fn run(work: &Work, settings: &Settings) -> Result<Report, EngineError> {
    let environment = settings.environment()?;
    let (name, total) = match work {
        Work::Gen { records } => ("gen", generated::generate(&environment, *records)),
        Work::Sum { records } => ("sum", generated::sum(&environment, *records)),
        Work::Win { records } => ("win", win::tumbling(&environment, *records)),
        Work::Slide { records } => ("slide", win::sliding(&environment, *records)),
        Work::Wc { inputs, mode } => {
            let total = words::count(&environment, inputs, *mode);
            ("wc", total)
        }
        Work::Nexmark {
            query,
            events,
            per_ms,
        } => {
            let total = nexmark::program(&environment, *query, *events, *per_ms);
            (query.name(), total)
        }
    };
    let measuring = Measuring::begin();
    let result = environment.execute(name)?;
    let measured = measuring.end(&result);
    let (rows_out, checksum) = total.get();
    let records = match work {
        Work::Gen { records }
        | Work::Sum { records }
        | Work::Win { records }
        | Work::Slide { records } => *records,
        Work::Nexmark { events, .. } => *events,
        Work::Wc { .. } => words::words_in(&result).unwrap_or(rows_out),
    };
    let totals = Totals {
        records,
        rows_out,
        checksum,
    };
    Ok(Report::new(
        "thalweg",
        name,
        settings.parallelism,
        totals,
        measured,
    ))
}
