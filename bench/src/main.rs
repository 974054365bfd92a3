//! The command line of the load generator.
//!
//! Reads the arguments, calls the library, prints one JSON object. Nothing is measured here.

mod arguments;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde::Serialize;
use thalweg_bench::comparison::{self, Comparison, Disagreement};
use thalweg_bench::engine::{
    self, BigState, Ckpt, CkptReport, EngineError, Query, Savepoint, Settings, StateReport,
};
use thalweg_bench::limit::{self, LimitError};
use thalweg_bench::recovery::{self, Recovery, RecoveryError};
use thalweg_bench::report::{self, Report};
use thalweg_bench::spread::{LatencyComparison, LatencyWork};
use thalweg_bench::text::{self, TextPlan};
use thalweg_bench::workload::keys::Keys;
use thalweg_bench::workload::pace::Pace;
use thiserror::Error;

use crate::arguments::{
    Arguments, Checkpointed, Command, How, Killed, Large, Latency, Local, Nexmark, Output,
    Overrides, Run, Saved, Single, Workload,
};

#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    #[error("cannot write text into {}: {source}; name a directory with room by --out", directory.display())]
    Text {
        directory: PathBuf,
        source: io::Error,
    },
    #[error("nobody has done this by hand: leave out --with-limit")]
    NoLimit,
    #[error("cannot write the report to stdout: {0}")]
    Report(#[from] io::Error),
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::progress(&format!("thalweg-bench: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(run) => on_engine(run),
        Command::Limit {
            workload,
            threads,
            records,
            events_per_ms,
            input,
            pace,
            wm,
            times,
            output: Output::Json,
        } => {
            let nexmark = |query| limit::Work::Nexmark {
                query,
                events: records,
                per_ms: events_per_ms,
            };
            let latency = |work| {
                let report = limit::latency(work, &Pace::from(&pace), threads);
                Ok(report::print(&report)?)
            };
            let work = match workload {
                Workload::Gen => limit::Work::Gen { records },
                Workload::Sum => limit::Work::Sum { records },
                Workload::Win => limit::Work::Win { records },
                Workload::Wc => limit::Work::Wc { inputs: input },
                Workload::Q0 => nexmark(Query::Q0),
                Workload::Q1 => nexmark(Query::Q1),
                Workload::Q2 => nexmark(Query::Q2),
                Workload::Q5 => nexmark(Query::Q5),
                Workload::Q7 => nexmark(Query::Q7),
                Workload::Q8 => nexmark(Query::Q8),
                Workload::LatRec => return latency(LatencyWork::Record),
                Workload::LatWin => return latency(LatencyWork::Window(wm.into())),
            };
            let best = fastest(times, || Ok::<_, Failure>(limit::run(&work, threads)?))?;
            Ok(report::print(&best)?)
        }
        Command::Grown { keys, how } => {
            recovery::end_with_the_measuring_process()?;
            let settings = Settings {
                parallelism: how.parallelism,
                overrides: how.settings.overrides,
            };
            Ok(engine::grown(keys, &settings)?)
        }
        Command::Text {
            bytes,
            vocabulary,
            seed,
            out,
            files,
        } => {
            let plan = TextPlan {
                bytes,
                vocabulary,
                seed,
                files,
            };
            write_text(&plan, out)
        }
    }
}

fn on_engine(run: Run) -> Result<(), Failure> {
    let (work, how) = match run {
        Run::Gen { amount, how } => (
            engine::Work::Gen {
                records: amount.records,
            },
            how,
        ),
        Run::Sum { amount, how } => (
            engine::Work::Sum {
                records: amount.records,
            },
            how,
        ),
        Run::Win { amount, local, how } => {
            let records = amount.records;
            (engine::Work::Win { records }, gathering(&local, how))
        }
        Run::Slide { amount, local, how } => {
            let records = amount.records;
            (engine::Work::Slide { records }, gathering(&local, how))
        }
        Run::Timers { amount, how } => {
            let Output::Json = how.settings.output;
            let settings = Settings {
                parallelism: how.parallelism,
                overrides: how.settings.overrides,
            };
            let report = engine::timers(amount.records, &settings)?;
            return Ok(report::print(&report)?);
        }
        Run::Wc { input, mode, how } => {
            let (inputs, mode) = (input, mode.into());
            (engine::Work::Wc { inputs, mode }, how)
        }
        Run::Q0(what) => nexmark(Query::Q0, what),
        Run::Q1(what) => nexmark(Query::Q1, what),
        Run::Q2(what) => nexmark(Query::Q2, what),
        Run::Q5(what) => nexmark(Query::Q5, what),
        Run::Q7(what) => nexmark(Query::Q7, what),
        Run::Q8(what) => nexmark(Query::Q8, what),
        Run::LatRec(how) => return latency(LatencyWork::Record, how),
        Run::LatWin { wm, local, mut how } => {
            how.settings.gather(&local);
            return latency(LatencyWork::Window(wm.into()), how);
        }
        Run::Ckpt(what) => return ckpt(what),
        Run::Bigstate(what) => return big_state(what),
        Run::Recover(killed) => {
            let restored = killed.how.parallelism;
            return recover(killed, restored);
        }
        Run::Rescale {
            killed,
            restored_parallelism,
        } => return recover(killed, restored_parallelism),
        Run::Savepoint(what) => return savepoint(what),
        Run::Lone {
            records,
            gap,
            settings,
        } => return lone(records, gap, settings),
    };
    throughput(&work, how)
}

/// Sends records one by one, and reports how long each took.
fn lone(records: u64, gap: Duration, settings: Overrides) -> Result<(), Failure> {
    let Output::Json = settings.output;
    let settings = Settings {
        parallelism: 2,
        overrides: settings.overrides,
    };
    let latencies = engine::lone(records, gap, &settings)?;
    Ok(report::print(&latencies)?)
}

fn nexmark(query: Query, what: Nexmark) -> (engine::Work, How) {
    let work = engine::Work::Nexmark {
        query,
        events: what.amount.records,
        per_ms: what.events_per_ms,
    };
    (work, what.how)
}

/// Sets whether records are gathered before the exchange.
fn gathering(local: &Local, mut how: How) -> How {
    how.settings.gather(local);
    how
}

/// Runs a latency workload, on request beside the work by hand.
fn latency(work: LatencyWork, how: Latency) -> Result<(), Failure> {
    let Output::Json = how.settings.output;
    let pace = Pace::from(&how.pace);
    let settings = Settings {
        parallelism: how.parallelism,
        overrides: how.settings.overrides,
    };
    let run = engine::latency(work, &pace, &settings)?;
    if !how.with_limit {
        return Ok(report::print(&run)?);
    }
    let limit = limit::latency(work, &pace, how.parallelism.min(2));
    Ok(report::print(&LatencyComparison { run, limit })?)
}

/// Runs the workload of large state, on request beside the same with all of it in memory.
fn big_state(what: Large) -> Result<(), Failure> {
    let work = BigState {
        records: what.amount.records,
        keys: Keys::new(what.keys, what.zipf),
        probe_seconds: PROBE_SECONDS,
    };
    let Single {
        parallelism,
        mut settings,
    } = what.how;
    let Output::Json = settings.output;
    let mut in_memory = settings.overrides.clone();
    settings.unless_set("taskmanager.memory.managed.size", &what.memory);
    settings.unless_set("state.backend.type", "lsm");
    let settings_of = |overrides| Settings {
        parallelism,
        overrides,
    };
    let run = engine::big_state(&work, &settings_of(settings.overrides))?;
    if !what.compare {
        return Ok(report::print(&run)?);
    }
    let all = work.keys.count() * BYTES_IN_MEMORY + SPARE_BYTES;
    let setting = |key: &str, value: String| (key.to_owned(), value);
    in_memory.push(setting("taskmanager.memory.managed.size", all.to_string()));
    in_memory.push(setting("state.backend.type", "hashmap".to_owned()));
    let in_memory = engine::big_state(&work, &settings_of(in_memory))?;
    let ratio = run.report.records_per_s / in_memory.report.records_per_s;
    if run.report.checksum != in_memory.report.checksum {
        return Err(Disagreement::new(run.report, in_memory.report).into());
    }
    Ok(report::print(&StateComparison {
        run,
        in_memory,
        ratio,
    })?)
}

/// Runs the workload with checkpoints, on request beside the same without.
fn ckpt(what: Checkpointed) -> Result<(), Failure> {
    let work = Ckpt {
        records: what.amount.records,
        keys: what.keys,
        changing: what.changing.unwrap_or(what.keys).min(what.keys),
    };
    let Single {
        parallelism,
        mut settings,
    } = what.how;
    let Output::Json = settings.output;
    settings.unless_set("state.backend.type", &what.state);
    let without = Settings {
        parallelism,
        overrides: settings.overrides.clone(),
    };
    settings.unless_set(
        "execution.checkpointing.interval",
        &what.checkpoint_interval,
    );
    settings.unless_set("execution.checkpointing.dir", &what.checkpoint_dir);
    let with = Settings {
        parallelism,
        overrides: settings.overrides,
    };
    let run = engine::ckpt(work, &with)?;
    if !what.compare {
        return Ok(report::print(&run)?);
    }
    let without = engine::ckpt(work, &without)?;
    let ratio = run.report.records_per_s / without.report.records_per_s;
    if run.report.checksum != without.report.checksum {
        return Err(Disagreement::new(run.report, without.report).into());
    }
    Ok(report::print(&CkptComparison {
        run,
        without,
        ratio,
    })?)
}

/// Kills a job, and measures how soon another process has gone on.
fn recover(what: Killed, restored: u32) -> Result<(), Failure> {
    let keys = (what.state_bytes / BYTES_OF_KEY).max(1);
    let Single {
        parallelism,
        mut settings,
    } = what.how;
    let Output::Json = settings.output;
    let enough = || (keys * BYTES_IN_MEMORY + SPARE_BYTES).to_string();
    let memory = what.memory.unwrap_or_else(enough);
    settings.unless_set("taskmanager.memory.managed.size", &memory);
    settings.unless_set("state.backend.type", &what.state);
    let work = Recovery {
        keys,
        parallelism,
        restored,
        directory: what.checkpoint_dir,
        overrides: settings.overrides,
    };
    Ok(report::print(&recovery::recover(&work)?)?)
}

/// Takes a savepoint of a job with state, and measures it against the disk.
fn savepoint(what: Saved) -> Result<(), Failure> {
    let keys = (what.state_bytes / BYTES_OF_KEY).max(1);
    let Single {
        parallelism,
        mut settings,
    } = what.how;
    let Output::Json = settings.output;
    let enough = (keys * BYTES_IN_MEMORY + SPARE_BYTES).to_string();
    settings.unless_set("taskmanager.memory.managed.size", &enough);
    settings.unless_set("state.backend.type", &what.state);
    let settings = Settings {
        parallelism,
        overrides: settings.overrides,
    };
    let work = Savepoint {
        keys,
        directory: what.savepoint_dir,
    };
    Ok(report::print(&engine::savepoint(&work, &settings)?)?)
}

/// A run with checkpoints beside the same without.
#[derive(Serialize)]
struct CkptComparison {
    run: CkptReport,
    without: CkptReport,
    /// Records per second of the first over those of the second.
    ratio: f64,
}

/// A run beside the same with all state in memory.
#[derive(Serialize)]
struct StateComparison {
    run: StateReport,
    in_memory: StateReport,
    /// Records per second of the first over those of the second.
    ratio: f64,
}

/// Bytes of a key and what is kept of it, in `recover` and `savepoint`.
const BYTES_OF_KEY: u64 = 72;
/// For so long the disk is measured by itself after `bigstate`.
const PROBE_SECONDS: f64 = 2.0;
/// Bytes of memory that are more than enough for a key of `bigstate`.
const BYTES_IN_MEMORY: u64 = 512;
/// Bytes beside.
const SPARE_BYTES: u64 = 64 << 20;

/// Runs a throughput workload, on request beside the work by hand.
fn throughput(work: &engine::Work, how: How) -> Result<(), Failure> {
    let Output::Json = how.settings.output;
    let settings = Settings {
        parallelism: how.parallelism,
        overrides: how.settings.overrides,
    };
    if !how.with_limit {
        let best = fastest(how.times, || {
            Ok::<_, Failure>(engine::run(work, &settings)?)
        })?;
        return Ok(report::print(&best)?);
    }
    let Some(by_hand) = comparison::by_hand(work) else {
        return Err(Failure::NoLimit);
    };
    let threads = how.parallelism.min(2);
    let mut limits = Vec::new();
    // By turns, so that a slow moment of the machine hits both.
    let run = fastest(how.times, || {
        let run = engine::run(work, &settings)?;
        limits.push(limit::run(&by_hand, threads)?);
        Ok::<_, Failure>(run)
    })?;
    let limit = limits
        .into_iter()
        .min_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let Some(limit) = limit else {
        unreachable!("a workload runs at least once");
    };
    Ok(report::print(&Comparison::of(work, run, limit)?)?)
}

/// The fastest of some runs of the same work.
fn fastest<E: From<Disagreement>>(
    times: u32,
    mut run: impl FnMut() -> Result<Report, E>,
) -> Result<Report, E> {
    let mut best = run()?;
    for time in 1..times {
        let rate = best.records_per_s / 1e6;
        report::progress(&format!("run {time} of {times}: best {rate:.1} M/s"));
        let next = run()?;
        if next.checksum != best.checksum {
            return Err(Disagreement::new(best, next).into());
        }
        if next.seconds < best.seconds {
            best = next;
        }
    }
    Ok(best)
}

fn write_text(plan: &TextPlan, directory: PathBuf) -> Result<(), Failure> {
    let written =
        text::write(plan, &directory).map_err(|source| Failure::Text { directory, source })?;
    for path in written {
        report::progress(&path.display().to_string());
    }
    Ok(())
}
