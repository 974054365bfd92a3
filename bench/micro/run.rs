//! What a run costs: rows in the order in which a table is walked over, gathered, sorted, and written as blocks.
//!
//! Figures are per row. *numbers* are keys of eight bytes in the order of their hashes within key groups, as a cut
//! of a million counters writes them; *text* has keys that begin alike.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use thalweg_core::{KeyGroup, KeyHash, MaxParallelism};
use thalweg_state::run::{RunOptions, RunWriter, StateHeader};
use thalweg_state::{Row, RowSink};

const ROWS: u64 = 100_000;

/// The keys of a table in the order of the places they have in it.
fn in_order(encode: impl Fn(u64) -> Vec<u8>) -> Vec<(KeyGroup, Vec<u8>)> {
    let groups = MaxParallelism::default();
    let mut keys: Vec<(KeyHash, Vec<u8>)> = (0..ROWS)
        .map(|key| (KeyHash::of_u64(key), encode(key)))
        .collect();
    keys.sort_unstable_by_key(|(hash, _)| hash.0);
    let placed = keys.into_iter();
    placed
        .map(|(hash, key)| (groups.key_group(hash), key))
        .collect()
}

fn write(keys: &[(KeyGroup, Vec<u8>)]) -> usize {
    let header = StateHeader {
        name: "counts".to_owned(),
        descriptor: Vec::new(),
        full: true,
    };
    let mut writer = RunWriter::new(RunOptions::default());
    let mut bytes = 0;
    let state = writer
        .declare(header)
        .unwrap_or_else(|error| panic!("{error}"));
    for chunk in keys.chunks(1_000) {
        let mut rows = writer
            .rows_of(state)
            .unwrap_or_else(|error| panic!("{error}"));
        for (group, key) in chunk {
            rows.row(Row {
                group: *group,
                key,
                namespace: b"",
                value: Some(&[7; 8]),
            });
        }
        bytes += writer.take_output().len();
    }
    let (last, summary) = writer.finish().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(summary.rows(), keys.len() as u64, "no two keys are alike");
    bytes + last.len()
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("run");
    group.throughput(Throughput::Elements(ROWS));
    let numbers = in_order(|key| key.to_be_bytes().to_vec());
    let text = in_order(|key| format!("customer-{key:08}").into_bytes());
    for (name, keys) in [("numbers", numbers), ("text", text)] {
        group.bench_function(BenchmarkId::new("write", name), |bencher| {
            bencher.iter(|| write(black_box(&keys)));
        });
    }
    group.finish();
    criterion.final_summary();
}
