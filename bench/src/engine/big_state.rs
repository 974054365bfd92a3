//! `bigstate`: a value of 64 bytes per key, of more keys than memory holds.
//!
//! Each record adds one to the counter in its key's value, which the engine has to fetch from disk first if
//! memory does not hold it. The other 56 bytes follow from the key and enter the checksum with every row, so a
//! value that came back changed is seen.

use serde::Serialize;
use thalweg::connectors::Generator;
use thalweg::prelude::*;

use super::checksum::{Gathered, Total};
use super::{EngineError, Settings, measure};
use crate::disk;
use crate::report::Report;
use crate::workload::definitions::{h2, mix, step};
use crate::workload::keys::Keys;

/// Bytes of a MiB.
const MIB: f64 = (1 << 20) as f64;
/// Reads under way where the disk is measured by itself.
const DEPTH: usize = 32;
/// Bytes of the file for that.
const LEAST_PROBED: u64 = 64 << 20;
const MOST_PROBED: u64 = 2 << 30;
/// Words that follow from the key.
const WORDS: usize = 7;

/// What is kept of a key.
#[record]
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    words: [u64; WORDS],
    count: u64,
}

impl Held {
    /// Counts one more record of the key.
    pub(super) fn count_in(&mut self, key: u64) {
        if self.count == 0 {
            self.words = words_of(key);
        }
        self.count += 1;
    }

    /// The row the key comes to.
    pub(super) fn row(&self, key: u64) -> (u64, u64, u64) {
        (key, folded(&self.words), self.count)
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct BigState {
    /// Records to generate.
    pub records: u64,
    /// Which keys they have.
    pub keys: Keys,
    /// For how many seconds the disk is measured by itself afterwards.
    pub probe_seconds: f64,
}

/// What a run did, and what the disk had to do for it.
#[derive(Clone, Debug, Serialize)]
pub struct StateReport {
    /// What every workload tells.
    #[serde(flatten)]
    pub report: Report,
    /// Keys there are.
    pub keys: u64,
    /// Blocks of state read from disk per record.
    pub miss_rate: f64,
    /// Blocks of state read from disk per second.
    pub device_reads_per_s: f64,
    /// State on disk at the end, MiB.
    pub disk_mb: f64,
    /// Blocks that the disk reads a second by itself, at random in a file as long as the state, with 32 reads under way
    /// and past the system's cache; none where nothing was on disk or reads cannot go past the cache.
    pub device_iops: Option<f64>,
    /// Records per second over those that this many reads would do at this miss rate.
    pub of_device: Option<f64>,
    /// Managed memory of all slots, MiB.
    pub budget_mb: f64,
    /// Peak memory of the process, with code, network memory and all, over this.
    pub rss_of_budget: f64,
}

/// Does it.
///
/// # Errors
/// A setting that is not accepted, or a job that failed.
pub fn big_state(work: &BigState, settings: &Settings) -> Result<StateReport, EngineError> {
    let environment = settings.environment()?;
    let total = program(&environment, work);
    let (result, report) = measure(&environment, "bigstate", work.records, &total, settings)?;
    let reads = result.metric("numStateReads").unwrap_or(0.0);
    let disk = result.metric("stateDiskBytes").unwrap_or(0.0);
    let seconds = report.seconds;
    let miss_rate = reads / work.records.max(1) as f64;
    let device_iops = match disk > 0.0 {
        true => device_iops(disk as u64, work, settings)?,
        false => None,
    };
    let of_device = device_iops.filter(|_| miss_rate > 0.0);
    let budget_mb = settings.managed_bytes()? / MIB;
    Ok(StateReport {
        keys: work.keys.count(),
        miss_rate,
        device_reads_per_s: reads / seconds,
        disk_mb: disk / MIB,
        device_iops,
        of_device: of_device.map(|iops| report.records_per_s / (iops / miss_rate)),
        budget_mb,
        rss_of_budget: report.peak_rss_mb / budget_mb,
        report,
    })
}

/// What the disk that the state overflows to does by itself.
fn device_iops(
    bytes: u64,
    work: &BigState,
    settings: &Settings,
) -> Result<Option<f64>, EngineError> {
    let directory = settings.spill_directory();
    let bytes = bytes.clamp(LEAST_PROBED, MOST_PROBED);
    disk::reads_per_second(&directory, bytes, DEPTH, work.probe_seconds)
        .map_err(|source| EngineError::Place { directory, source })
}

fn program(environment: &Environment, work: &BigState) -> Total {
    let total = Total::default();
    let keys = work.keys.clone();
    environment
        .source(Generator::new(work.records, move |number| {
            (keys.of(number), number)
        }))
        .key_by(|record: &(u64, u64)| record.0)
        .fold(Held::default(), |held, (key, _number)| held.count_in(key))
        .map(|(key, held): (u64, Held)| held.row(key))
        .sink(Gathered::new(
            |row: &(u64, u64, u64)| Ok(*row),
            term_of,
            &total,
        ));
    total
}

/// The checksum term of the row in which a key's counter came to `count`.
pub(super) fn term_of((key, folded, count): (u64, u64, u64)) -> u64 {
    step(h2(key, folded), count - 1, count)
}

fn words_of(key: u64) -> [u64; WORDS] {
    std::array::from_fn(|at| mix(key.wrapping_mul(WORDS as u64).wrapping_add(at as u64)))
}

fn folded(words: &[u64; WORDS]) -> u64 {
    words.iter().fold(0, |folded, word| mix(folded ^ word))
}

/// The checksum of all rows, worked out without the engine.
#[must_use]
pub fn expected(work: &BigState) -> u64 {
    let mut counts = vec![0_u64; work.keys.count() as usize];
    (0..work.records).for_each(|number| counts[work.keys.of(number) as usize] += 1);
    let rows = (0_u64..).zip(counts).filter(|(_, count)| *count > 0);
    rows.fold(0, |sum, (key, count)| {
        let whole = step(h2(key, folded(&words_of(key))), 0, count);
        sum.wrapping_add(whole)
    })
}
