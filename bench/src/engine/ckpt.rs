//! `ckpt`: a running sum by key while checkpoints are taken.
//!
//! What checkpoints cost is what the same work takes without them, in the same run of the program.

use std::time::Duration;

use serde::Serialize;
use thalweg::connectors::Generator;
use thalweg::prelude::*;
use thalweg_core::metrics::{MetricSnapshot, MetricValue};

use super::checksum::{Gathered, Total};
use super::{EngineError, Settings, measure};
use crate::report::Report;
use crate::workload::definitions::{pick, sm, step};

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Ckpt {
    /// Records to generate.
    pub records: u64,
    /// Distinct keys.
    pub keys: u64,
    /// The keys that go on changing once all have been there.
    pub changing: u64,
}

/// What a run did, and its checkpoints.
#[derive(Clone, Debug, Serialize)]
pub struct CkptReport {
    /// What every workload tells.
    #[serde(flatten)]
    pub report: Report,
    /// Distinct keys.
    pub keys: u64,
    /// The keys that went on changing.
    pub changing: u64,
    /// Checkpoints that were completed.
    pub checkpoints: u64,
    /// Those that were given up.
    pub given_up: u64,
    /// MiB written for all of them.
    pub written_mb: f64,
    /// MiB written for one: half of the newest thousand took no more.
    pub median_mb: f64,
    /// How long one took, ms: half of the newest thousand took no longer.
    pub median_ms: f64,
    /// The longest of them, ms.
    pub max_ms: f64,
    /// MiB written for the largest of them: the first that has all keys.
    pub largest_mb: f64,
    /// How long that one took, ms.
    pub largest_ms: f64,
    /// The longest turn of any task, ms.
    pub longest_turn_ms: f64,
    /// How long a segment is in work in the keyed operator, µs: 999 of 1,000 took no longer in any subtask.
    pub segment_p999_us: f64,
}

/// Does it.
///
/// # Errors
/// A setting that is not accepted, or a job that failed.
pub fn ckpt(work: Ckpt, settings: &Settings) -> Result<CkptReport, EngineError> {
    const MIB: f64 = (1 << 20) as f64;
    let environment = settings.environment()?;
    let total = program(&environment, work);
    let (result, report) = measure(&environment, "ckpt", work.records, &total, settings)?;
    let checkpoints = &result.summary.checkpoints;
    let longest_turn = greatest(&result, "longestTurnMs", MetricSnapshot::number);
    let segment = greatest(&result, "inputBufferTimeNs", |metric| match &metric.value {
        MetricValue::Histogram(spread) => spread.p999 as f64,
        _ => 0.0,
    });
    let largest = (checkpoints.recent.iter()).max_by_key(|completed| completed.bytes_written);
    let ms = |duration: Option<Duration>| duration.unwrap_or_default().as_secs_f64() * 1e3;
    Ok(CkptReport {
        report,
        keys: work.keys,
        changing: work.changing,
        checkpoints: checkpoints.completed,
        given_up: checkpoints.given_up,
        written_mb: checkpoints.bytes_written as f64 / MIB,
        median_mb: checkpoints.median_bytes().unwrap_or(0) as f64 / MIB,
        median_ms: ms(checkpoints.median_duration()),
        max_ms: ms(checkpoints.longest()),
        largest_mb: largest.map_or(0, |completed| completed.bytes_written) as f64 / MIB,
        largest_ms: ms(largest.map(|completed| completed.duration)),
        longest_turn_ms: longest_turn,
        segment_p999_us: segment / 1e3,
    })
}

/// The greatest of what the tasks show by a name.
fn greatest(result: &JobResult, name: &str, read: impl Fn(&MetricSnapshot) -> f64) -> f64 {
    let metrics = result.summary.metrics.iter();
    let shown = metrics.filter(|metric| metric.name == name).map(read);
    shown.fold(0.0, f64::max)
}

fn program(environment: &Environment, work: Ckpt) -> Total {
    let Ckpt {
        records,
        keys,
        changing,
    } = work;
    let total = Total::default();
    // Where only some go on changing, each key comes once before.
    let once = if changing < keys { keys } else { 0 };
    environment
        .source(Generator::new(records, move |number| {
            let value = sm(number);
            let key = match number < once {
                true => number,
                false => pick(value, changing),
            };
            (key, value)
        }))
        .uid("numbers")
        .key_by(|record: &(u64, u64)| record.0)
        .fold((0_u64, 0_u64), |(old, sum), (_key, value)| {
            *old = *sum;
            *sum = sum.wrapping_add(value);
        })
        .uid("sums")
        .sink(Gathered::new(
            |row: &(u64, (u64, u64))| Ok(*row),
            |(key, (old, new))| step(key, old, new),
            &total,
        ));
    total
}
