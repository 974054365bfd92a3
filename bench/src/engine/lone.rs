//! `lone`: one record at a time, through `key_by` to a task of another shard that was idle.
//!
//! The latency of each is the time from its emission to its arrival in the sink. Between two
//! records everything rests, so a shard that parks has parked. Beside it stands what waking a thread
//! by hand takes on this machine at this moment, half of it measured before and half after.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use thalweg::connectors::Generator;
use thalweg::prelude::*;
use thalweg_core::key_group::{KeyHash, MaxParallelism};
use thalweg_core::seam::clock::monotonic_ns;

use super::{EngineError, Settings};
use crate::limit::wake;

/// Percentiles of the latency, in µs.
#[derive(Clone, Debug, Serialize)]
pub struct Latencies {
    /// Name of the workload.
    pub workload: &'static str,
    /// Records measured.
    pub records: u64,
    /// Time between two records, µs.
    pub gap_us: f64,
    /// Half were faster.
    pub p50_us: f64,
    /// 90 % were faster.
    pub p90_us: f64,
    /// 99 % were faster.
    pub p99_us: f64,
    /// 99.9 % were faster.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
    /// Half of the wake-ups by hand were faster.
    pub bare_p50_us: f64,
    /// 99 % of the wake-ups by hand were faster.
    pub bare_p99_us: f64,
}

/// Sends records one by one, `gap` apart, from shard 0 to shard 1.
///
/// # Errors
/// A setting that is not accepted, or a job that failed.
pub fn lone(records: u64, gap: Duration, settings: &Settings) -> Result<Latencies, EngineError> {
    let environment = Settings {
        parallelism: 2,
        ..settings.clone()
    }
    .environment()?;
    let key = key_of_subtask(1);
    let taken: Arc<Mutex<Vec<u64>>> = Arc::default();
    let kept = Arc::clone(&taken);
    let rate = 1.0 / gap.as_secs_f64();
    let mut bare = wake(records / 4, gap);
    environment
        .source(Generator::new(records, move |_| (key, monotonic_ns())).rate(rate))
        .parallelism(1)
        .key_by(|record| record.0)
        .reduce(|last, record| *last = record)
        .for_each(move |(_key, sent): (u64, u64)| {
            let latency = monotonic_ns().saturating_sub(sent);
            kept.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(latency);
        });
    environment.execute("lone")?;
    bare.append(&mut wake(records / 4, gap));
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(percentiles(gap, &mut taken, &mut bare))
}

/// A key that the subtask of two owns.
fn key_of_subtask(subtask: u32) -> u64 {
    let groups = MaxParallelism::default();
    let owned = |key: &u64| {
        let group = groups.key_group(KeyHash::of_u64(*key));
        groups.subtask(group, 2) == subtask
    };
    match (0..u64::MAX).find(owned) {
        Some(key) => key,
        None => unreachable!("half of all keys belong to each of two subtasks"),
    }
}

/// The time in µs that a part of the sorted `times` does not exceed.
fn within(part: f64, times: &[u64]) -> f64 {
    let last = times.len().saturating_sub(1);
    let place = (last as f64 * part) as usize;
    times.get(place).map_or(0.0, |ns| *ns as f64 / 1000.0)
}

fn percentiles(gap: Duration, latencies: &mut [u64], bare: &mut [u64]) -> Latencies {
    latencies.sort_unstable();
    bare.sort_unstable();
    let at = |part| within(part, latencies);
    Latencies {
        workload: "lone",
        records: latencies.len() as u64,
        gap_us: gap.as_secs_f64() * 1e6,
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: at(1.0),
        bare_p50_us: within(0.5, bare),
        bare_p99_us: within(0.99, bare),
    }
}
