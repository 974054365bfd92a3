//! Two keyed stages in a row, at every parallelism, with segments of 512 bytes and one credit.

use thalweg_connectors::{Collects, Sources};
use thalweg_core::config::RuntimeMode;
use thalweg_core::seam::simulated::SimOptions;
use thalweg_dataflow::stream::Environment;

use crate::stage::{self, Settings};

const RECORDS: u64 = 10_000;
const KEYS: u64 = 7;

const TIGHT: Settings<'static> = &[
    ("taskmanager.memory.segment-size", "512b"),
    ("taskmanager.network.memory.buffers-per-channel", "1"),
    ("taskmanager.network.memory.floating-buffers-per-gate", "0"),
];

/// Counts per key, then the greatest count per key.
fn counts(environment: &Environment, parallelism: u32) {
    environment.set_parallelism(parallelism);
    let rows = environment
        .sequence(0..=RECORDS - 1)
        .key_by(|n| n % KEYS)
        .count()
        .map(|(key, count)| (key, count))
        .key_by(|row| row.0)
        .max(|row| row.1)
        .map(|(key, count)| (key, count))
        .collect();
    let result = environment.execute("counts").unwrap();
    assert_eq!(result.summary.records_in, RECORDS);
    assert_eq!(result.summary.records_out, RECORDS);
    let rows = rows.take();
    for key in 0..KEYS {
        let expected = (0..RECORDS).filter(|n| n % KEYS == key).count() as u64;
        let of_key = rows.iter().filter(|row| row.0 == key);
        assert_eq!(of_key.clone().map(|row| row.1).max(), Some(expected));
        assert_eq!(of_key.count() as u64, expected);
    }
}

#[test]
fn counts_on_shards_at_every_parallelism() {
    for parallelism in 1..=8 {
        let (environment, token) = stage::shards(TIGHT);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        counts(&environment, parallelism);
    }
}

#[test]
fn counts_in_simulation_at_every_parallelism() {
    for parallelism in 1..=8 {
        let seed = u64::from(parallelism);
        let (environment, _) = stage::simulation(seed, SimOptions::default(), TIGHT);
        counts(&environment, parallelism);
    }
}

/// As a batch each key has one row, given out at the end, far more of them than one credit takes.
fn final_rows(environment: &Environment, parallelism: u32) {
    const KEYS: u64 = 5000;
    environment.set_parallelism(parallelism);
    environment.set_runtime_mode(RuntimeMode::Batch);
    let rows = environment
        .sequence(0..=2 * KEYS - 1)
        .key_by(|n| n % KEYS)
        .sum(|n| *n)
        .map(|(key, sum): (u64, u64)| (key, sum))
        .rebalance()
        .collect();
    environment.execute("final rows").unwrap();
    let mut rows = rows.take();
    rows.sort_unstable();
    let expected = (0..KEYS).map(|key| (key, 2 * key + KEYS));
    assert!(rows.into_iter().eq(expected), "parallelism {parallelism}");
}

#[test]
fn final_rows_wait_for_credit() {
    for parallelism in [1, 2, 5] {
        let (environment, token) = stage::shards(TIGHT);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        final_rows(&environment, parallelism);
        let (environment, _) = stage::simulation(1, SimOptions::default(), TIGHT);
        final_rows(&environment, parallelism);
    }
}
