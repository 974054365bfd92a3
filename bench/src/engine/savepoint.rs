//! `savepoint`: the copy of a job's state that its user asks for, against the disk it goes to.
//!
//! State grows to a given number of keys, and is then kept at work by some records a second. Before and after the
//! savepoint as many bytes as it has are written to one file beside it, in blocks of the same size: what the disk
//! takes. Lives on the program's thread; the job runs on shards beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde::Serialize;
use thalweg::connectors::Generator;
use thalweg::prelude::*;

use super::big_state::{Held, term_of};
use super::checksum::{Gathered, Total};
use super::{EngineError, Settings};
use crate::disk;
use crate::limit::{Stopwatch, process_cpu_seconds};

/// How long the state may take to grow.
const PATIENCE: Duration = Duration::from_secs(600);
/// Records a second that keep the job at work.
const AFTERWARDS: f64 = 10_000.0;
/// Bytes of a copy that tasks give to the disk at once.
const BLOCK_BYTES: usize = 128 << 10;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Savepoint {
    /// Keys of the state.
    pub keys: u64,
    /// Where the savepoint and the files beside it go; all is removed at the end.
    pub directory: PathBuf,
}

/// How long it took.
#[derive(Clone, Debug, Serialize)]
pub struct SavepointReport {
    /// Always Thalweg.
    pub engine: &'static str,
    /// Always `savepoint`.
    pub workload: &'static str,
    /// Keys of the state.
    pub keys: u64,
    /// Subtasks per operator.
    pub parallelism: u32,
    /// Bytes of the savepoint.
    pub bytes: u64,
    /// Seconds from the question to the answer that it is complete.
    pub seconds: f64,
    /// MB (millions of bytes) per second of it.
    pub mb_per_s: f64,
    /// CPU seconds of the process meanwhile.
    pub cpu_s: f64,
    /// Bytes written at once, here and there.
    pub block_bytes: usize,
    /// MB per second that the disk takes from one writer in order, with the sync at the end, before and after.
    pub disk_mb_per_s: [f64; 2],
    /// The rate of the savepoint over the better of these.
    pub ratio: f64,
}

/// Does it.
///
/// # Errors
/// A setting that is not accepted, a job that failed, a savepoint that was refused, a disk that cannot be written.
pub fn savepoint(work: &Savepoint, settings: &Settings) -> Result<SavepointReport, EngineError> {
    let at = |source: io::Error| EngineError::Place {
        directory: work.directory.clone(),
        source,
    };
    fs::create_dir_all(&work.directory).map_err(at)?;
    let mut settings = settings.clone();
    let place = work.directory.display().to_string();
    let key = "execution.checkpointing.savepoint-dir".to_owned();
    settings.overrides.push((key, place));
    let environment = settings.environment()?;
    let grown = program(&environment, work.keys);
    let job = environment.execute_async("savepoint")?;
    if let Err(late) = grown.recv_timeout(PATIENCE) {
        if late == RecvTimeoutError::Timeout {
            job.cancel();
        }
        // Says why, where it failed.
        job.wait()?;
        return Err(EngineError::NotGrown(PATIENCE.as_secs()));
    }
    let (cpu_before, since) = (process_cpu_seconds(), Stopwatch::start());
    let made = job.trigger_savepoint(None)?;
    let seconds = since.seconds().0;
    let cpu_s = process_cpu_seconds() - cpu_before;
    let bytes = bytes_of(Path::new(&made)).map_err(at)?;
    let by_disk = || disk::write_seconds(&work.directory, bytes, BLOCK_BYTES).map_err(at);
    let after = by_disk()?;
    fs::remove_dir_all(&made).map_err(at)?;
    let again = by_disk()?;
    job.cancel();
    match job.wait() {
        Err(JobError::Cancelled { .. }) | Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let rate = |seconds: f64| bytes as f64 / 1e6 / seconds;
    Ok(SavepointReport {
        engine: "thalweg",
        workload: "savepoint",
        keys: work.keys,
        parallelism: settings.parallelism,
        bytes,
        seconds,
        mb_per_s: rate(seconds),
        cpu_s,
        block_bytes: BLOCK_BYTES,
        disk_mb_per_s: [after, again].map(rate),
        ratio: after.min(again) / seconds,
    })
}

/// Writes the job down; answers what is told once every key has its state.
fn program(environment: &Environment, keys: u64) -> Receiver<()> {
    let (tell, grown) = sync_channel(1);
    let there = Arc::new(AtomicU64::new(0));
    let growing = environment
        .source(Generator::new(keys, |number| (number, number)))
        .uid("keys");
    let afterwards = environment
        .source(Generator::new(u64::MAX, move |number| (number % keys, number)).rate(AFTERWARDS))
        .uid("afterwards");
    growing
        .union(afterwards)
        .key_by(|record: &(u64, u64)| record.0)
        .fold(Held::default(), |held, (key, _number)| held.count_in(key))
        .uid("held")
        .map(|(key, held): (u64, Held)| held.row(key))
        .inspect(move |row: &(u64, u64, u64)| {
            // The first row of a key.
            if row.2 == 1 && there.fetch_add(1, Ordering::Relaxed) + 1 == keys {
                // Who waited may have lost patience.
                let _ = tell.try_send(());
            }
        })
        .sink(Gathered::new(
            |row: &(u64, u64, u64)| Ok(*row),
            term_of,
            &Total::default(),
        ));
    grown
}

/// Bytes of the files in a directory.
fn bytes_of(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
